//! A service's table as bytes: header, members, ring, in the chunks of `keel_abi`.
use std::os::fd::AsFd;

use aya::maps::MapData;
use keel_abi::{
    CHUNK_BYTES, Chunk, Cost, MEMBERS_PER_CHUNK, Member, RING_SLOTS_PER_CHUNK, TableHeader, as_bytes,
    chunks_for, from_bytes, maglev, scheduler,
};

use keel_net::bpf_batch::BatchMap;

use crate::{
    DataplaneError,
    error::{Context, Result},
};

/// Inner maps of one outer map may differ in size (linux/bpf.h, `BPF_F_INNER_MAP`).
const INNER_MAP: u32 = 1 << 12;
/// `BPF_MAP_TYPE_ARRAY` (linux/bpf.h).
const ARRAY: u32 = 2;

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

    /// A number that differs whenever the table would (but for one case in four thousand million).
    pub fn fingerprint(&self) -> u32 {
        let settings = [
            self.scheduler,
            self.flags,
            self.persist_ns as u32,
            (self.persist_ns >> 32) as u32,
            u32::from(self.prefix4) << 8 | u32::from(self.prefix6),
        ];
        let members = self.members.iter().flat_map(|(identity, m)| {
            let words = [*identity as u32, (*identity >> 32) as u32, m.server, u32::from(m.weight)];
            words.into_iter().chain([m.max_connections, m.readmit_connections])
        });
        let hash = settings.into_iter().chain(members).fold(0, keel_abi::mix);
        (hash >> 32) as u32 ^ hash as u32
    }

    /// The table's chunks.
    pub fn chunks(&self) -> Vec<Chunk> {
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
            fingerprint: self.fingerprint(),
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
    pub(crate) fn create(&self) -> Result<MapData> {
        let chunks = self.chunks();
        let (key, value) = (size_of::<u32>() as u32, CHUNK_BYTES as u32);
        let shape = aya_obj::Map::new_from_params(ARRAY, key, value, chunks.len() as u32, INNER_MAP);
        let map = MapData::create(shape, "table", None).context("creating a table", "TABLES")?;
        let failed = |source| DataplaneError::Batch { map: "TABLES", source };
        let entries: Vec<_> = (0..).map(u32::to_ne_bytes).zip(chunks.iter().map(|chunk| &chunk.0)).collect();
        BatchMap::new(map.fd().as_fd()).and_then(|map| map.update(&entries)).map_err(failed)?;
        Ok(map)
    }
}

/// The header in a table's first chunk.
pub(crate) fn header_of(chunk: &Chunk) -> Option<TableHeader> {
    from_bytes(&chunk.0[..size_of::<TableHeader>()])
}
