//! A connection's entry, one for each direction the dataplane sees.
use crate::{Addr, FlowKey, Mac};

/// Which way a connection's entry points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Client to server; the key has the VIP as destination.
    Forward,
    /// Server to client (NAT only); the key has the real server as source.
    Reverse,
}

/// Bits of [`Connection::flags`].
pub mod flags {
    /// The entry is for packets from the server (NAT).
    pub const REVERSE: u8 = 1;
    /// Scheduled by the ring without a SYN, after a failover or a lost entry.
    pub const MIDSTREAM: u8 = 2;
    /// The service keeps clients on their server: activity prolongs the persistence entry.
    pub const PERSISTENT: u8 = 4;
    /// A FIN from the client was seen.
    pub const FIN_CLIENT: u8 = 8;
    /// A FIN from the server was seen (NAT only).
    pub const FIN_SERVER: u8 = 16;
    /// The server has answered (NAT only).
    pub const ANSWERED: u8 = 32;
}

/// A connection's entry. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connection {
    /// Last packet in this direction: monotonic coarse nanoseconds, written at most every quarter second.
    pub seen_ns: u64,
    /// First packet: monotonic coarse nanoseconds.
    pub created_ns: u64,
    /// Index into the servers map.
    pub server: u32,
    /// The server's generation when it was chosen.
    pub generation: u32,
    /// A [`crate::TcpState`] as a number; for UDP always `Established`.
    pub state: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Reverse: the VIP's port.
    pub vport_be: u16,
    /// Reverse: interface the client is reached by.
    pub ifindex: u32,
    /// Reverse: the virtual address. Forward: zero.
    pub vip: Addr,
    /// Reverse: the client's next hop.
    pub dmac: Mac,
    /// Reverse: our address on that interface.
    pub smac: Mac,
    /// Reverse: VLAN tags outside in, 0 = none.
    pub vlan: [u16; 2],
}
const _: () = assert!(size_of::<Connection>() == 64);

impl Connection {
    /// Whether this is the entry for replies to the connection with forward key `key`.
    #[inline(always)]
    pub fn replies_to(&self, key: &FlowKey) -> bool {
        self.flags & flags::REVERSE != 0 && self.vip == key.dst && self.vport_be == key.dport_be
    }
}
