//! A service's table: one inner map holding everything a packet of the service needs to be scheduled. A new
//! configuration is a new inner map put in place by one update, so no packet sees half of it.
//!
//! The map is an array of 1 KiB chunks: chunk 0 is the [`TableHeader`]; from chunk 1 on the members, 64 in each;
//! after them the ring, 512 slots in each, every slot a member's index.

/// Bytes of a chunk.
pub const CHUNK_BYTES: usize = 1024;
/// Members in a chunk.
pub const MEMBERS_PER_CHUNK: usize = 64;
/// Ring slots in a chunk.
pub const RING_SLOTS_PER_CHUNK: usize = 512;
/// Pools up to this size are scheduled exactly; larger ones by a sample.
pub const MAX_EXACT_MEMBERS: u32 = MEMBERS_PER_CHUNK as u32;

/// Schedulers, as stored in [`TableHeader::scheduler`].
pub mod scheduler {
    /// Round robin.
    pub const RR: u32 = 0;
    /// Weighted round robin.
    pub const WRR: u32 = 1;
    /// Least connections.
    pub const LC: u32 = 2;
    /// Weighted least connections.
    pub const WLC: u32 = 3;
    /// Shortest expected delay.
    pub const SED: u32 = 4;
    /// Never queue.
    pub const NQ: u32 = 5;
    /// Source hash.
    pub const SH: u32 = 6;
    /// Destination hash.
    pub const DH: u32 = 7;
    /// Maglev consistent hash.
    pub const MAGLEV: u32 = 8;
}

/// Bits of [`TableHeader::flags`].
pub mod service_flags {
    /// Clients stay with their server.
    pub const PERSISTENT: u32 = 1;
    /// UDP: every packet is scheduled for itself.
    pub const ONE_PACKET: u32 = 2;
    /// The hash takes the client's port in.
    pub const HASH_PORTS: u32 = 4;
    /// Nobody takes new connections, and this node answers them itself: they go to the kernel.
    pub const ANSWERED_HERE: u32 = 8;
}

/// What a scheduler minimises, as numbers instead of cases: one loop serves all schedulers. They stand in the table,
/// not in the code, because the verifier forgets what it reads from a map and so walks the loop once, not once for
/// each scheduler.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Factor of the connections there are (lc, wlc).
    pub overhead: u32,
    /// Factor of the connections there would be: the delay a new one sees (sed, nq).
    pub delay: u32,
    /// Factor of the connections chosen so far. Sainte-Laguë: the n-th pick costs 2n+1, and each server's share stays
    /// near its weight at every moment (wrr).
    pub picks: u32,
    /// 2: the first member that takes connections will do (rr); 1: an idle one will do at once (nq).
    pub eager: u32,
}

impl Cost {
    /// The numbers of a [`scheduler`].
    pub const fn of(how: u32) -> Self {
        Self {
            overhead: (how == scheduler::LC || how == scheduler::WLC) as u32,
            delay: (how == scheduler::SED || how == scheduler::NQ) as u32,
            picks: (how == scheduler::WRR) as u32,
            eager: match how {
                scheduler::RR => 2,
                scheduler::NQ => 1,
                _ => 0,
            },
        }
    }
}

/// Whether a [`scheduler`] looks at weights. For the others every member's weight in the table is 1.
pub const fn is_weighted(how: u32) -> bool {
    !matches!(how, scheduler::RR | scheduler::LC)
}

/// The first chunk of a table.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableHeader {
    /// One of [`scheduler`].
    pub scheduler: u32,
    /// Bits of [`service_flags`].
    pub flags: u32,
    /// Members that take new connections.
    pub members: u32,
    /// Slots of the ring, a prime; 0 with no members.
    pub ring_slots: u32,
    /// First chunk of the ring.
    pub ring_chunk: u32,
    /// Of everything the table was built from: a new userspace knows by it whether it has to build it again.
    pub fingerprint: u32,
    /// Persistence, nanoseconds.
    pub persist_ns: u64,
    /// Persistence: bits of an IPv4 client that count.
    pub prefix4: u8,
    /// Persistence: bits of an IPv6 client that count.
    pub prefix6: u8,
    /// Always zero.
    pub pad: [u8; 6],
    /// What the scheduler minimises over the members, divided by their weight.
    pub cost: Cost,
    /// Round-robin position, advanced by the packet path. Weighted round robin of up to 64 members: how far it has come.
    pub counter: u64,
    /// Connections chosen from this table per member (weighted round robin), advanced by the packet path.
    pub picks: [u64; MEMBERS_PER_CHUNK],
}
const _: () = assert!(size_of::<TableHeader>() == 64 + 8 * MEMBERS_PER_CHUNK);

/// A server that takes new connections.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Index into the servers map.
    pub server: u32,
    /// 1–65535.
    pub weight: u16,
    /// Always zero.
    pub pad: u16,
    /// Connections at which it takes no more, 0 = no limit.
    pub max_connections: u32,
    /// Connections below which it takes some again after it was full.
    pub readmit_connections: u32,
}
const _: () = assert!(size_of::<Member>() * MEMBERS_PER_CHUNK == CHUNK_BYTES);

/// One value of a table's array.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Chunk(pub [u8; CHUNK_BYTES]);
const _: () = assert!(size_of::<Chunk>() == CHUNK_BYTES);

/// Chunks a table needs.
pub const fn chunks_for(members: u32, ring_slots: u32) -> u32 {
    1 + members.div_ceil(MEMBERS_PER_CHUNK as u32) + ring_slots.div_ceil(RING_SLOTS_PER_CHUNK as u32)
}
