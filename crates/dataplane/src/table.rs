//! A service's table as bytes: header, members, ring, in the chunks of `keel_abi`.
use aya::maps::{Array, MapData};
use keel_abi::{
    CHUNK_BYTES, Chunk, Cost, MEMBERS_PER_CHUNK, Member, RING_SLOTS_PER_CHUNK, TableHeader, as_bytes,
    chunks_for, from_bytes, maglev, scheduler,
};

use crate::error::{Context, Result};

/// Inner maps of one outer map may differ in size (linux/bpf.h, `BPF_F_INNER_MAP`).
const INNER_MAP: u32 = 1 << 12;

/// Everything a table is made of. Two equal specifications make equal tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSpec {
    /// One of [`keel_abi::scheduler`].
    pub scheduler: u32,
    /// Bits of [`keel_abi::service_flags`].
    pub flags: u32,
    /// Persistence, nanoseconds.
    pub persist_ns: u64,
    /// Persistence prefix, IPv4.
    pub prefix4: u8,
    /// Persistence prefix, IPv6.
    pub prefix6: u8,
    /// Members with the stable identity the ring is built from.
    pub members: Vec<(u64, Member)>,
}

impl TableSpec {
    /// Slots of the ring: the full Maglev size where that is the scheduler, else what keeps this pool balanced.
    pub fn ring_slots(&self) -> u32 {
        match self.scheduler {
            _ if self.members.is_empty() => 0,
            scheduler::MAGLEV => maglev::FULL,
            _ => maglev::slots_for(self.members.len()),
        }
    }

    /// The table's chunks.
    pub fn chunks(&self, generation: u32) -> Vec<Chunk> {
        let slots = self.ring_slots();
        let members = self.members.len() as u32;
        // Never less than two chunks: the packet path takes chunk 1 for granted.
        let count = chunks_for(members.max(1), slots);
        let mut chunks = vec![Chunk([0; CHUNK_BYTES]); count as usize];
        let ring_chunk = 1 + members.max(1).div_ceil(MEMBERS_PER_CHUNK as u32);
        let header = TableHeader {
            scheduler: self.scheduler,
            flags: self.flags,
            members,
            ring_slots: slots,
            ring_chunk,
            generation,
            persist_ns: self.persist_ns,
            prefix4: self.prefix4,
            prefix6: self.prefix6,
            pad: [0; 6],
            cost: Cost::of(self.scheduler),
            counter: 0,
            picks: [0; MEMBERS_PER_CHUNK],
        };
        chunks[0].0[..size_of::<TableHeader>()].copy_from_slice(as_bytes(&header));
        for (i, (_, member)) in self.members.iter().enumerate() {
            let chunk = &mut chunks[1 + i / MEMBERS_PER_CHUNK].0;
            let at = i % MEMBERS_PER_CHUNK * size_of::<Member>();
            chunk[at..at + size_of::<Member>()].copy_from_slice(as_bytes(member));
        }
        let identities: Vec<(u64, u16)> = self.members.iter().map(|(id, m)| (*id, m.weight)).collect();
        for (i, slot) in maglev::build(&identities, slots).iter().enumerate() {
            let chunk = &mut chunks[ring_chunk as usize + i / RING_SLOTS_PER_CHUNK].0;
            let at = i % RING_SLOTS_PER_CHUNK * 2;
            chunk[at..at + 2].copy_from_slice(&slot.to_ne_bytes());
        }
        chunks
    }

    /// The table as a new inner map.
    pub(crate) fn create(&self, generation: u32) -> Result<Array<MapData, Chunk>> {
        let chunks = self.chunks(generation);
        let mut map = Array::create(chunks.len() as u32, INNER_MAP).context("creating a table", "TABLES")?;
        for (i, chunk) in chunks.iter().enumerate() {
            map.set(i as u32, chunk, 0).context("filling a table", "TABLES")?;
        }
        Ok(map)
    }
}

/// The header in a table's first chunk.
pub(crate) fn header_of(chunk: &Chunk) -> Option<TableHeader> {
    from_bytes(&chunk.0[..size_of::<TableHeader>()])
}
