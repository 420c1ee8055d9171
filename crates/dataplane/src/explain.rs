//! Which server a client would get, by the packet path's own scheduling code over a copy of its maps. Nothing changes:
//! not a counter, not a round-robin turn.
use aya::maps::{Array, MapData};
use keel_abi::{
    Candidates, Choice, Chunk, Config, Connection, FlowKey, Load, MEMBERS_PER_CHUNK, Member, PersistKey,
    PersistValue, PortKey, RING_SLOTS_PER_CHUNK, Server, Standing, TableHeader, choose, from_bytes,
    persistent_client, ring_hash, service_flags, state,
};
use keel_net::bpf_batch::BatchMap;

use crate::{
    Dataplane, DataplaneError, ServerId, Slot,
    connections::TableKind,
    error::{Context, Result},
    table::header_of,
};

/// A flow somebody wants explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The flow, client to virtual address.
    pub key: FlowKey,
    /// Now, `CLOCK_MONOTONIC_COARSE`.
    pub now_ns: u64,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation {
    /// This node is passive: the packet goes to the kernel.
    Passive,
    /// The address isn't virtual: the packet goes to the kernel.
    NotVirtual,
    /// The address is virtual, but no layer-4 service has this port: the packet goes to the kernel.
    NoService,
    /// The connection exists.
    Known {
        /// Its service.
        service: Slot,
        /// Its server.
        server: ServerId,
        /// Its entry.
        entry: Connection,
        /// In the half-open table.
        half_open: bool,
    },
    /// The client sticks to a server.
    Persistent {
        /// The service.
        service: Slot,
        /// The server.
        server: ServerId,
        /// Until when, monotonic nanoseconds.
        expires_ns: u64,
    },
    /// The scheduler would choose.
    Scheduled {
        /// The service.
        service: Slot,
        /// Whom.
        choice: Choice,
        /// Servers that take new connections.
        members: u32,
    },
}

impl Dataplane {
    /// Explains a flow.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn explain(&self, question: &Question) -> Result<Explanation> {
        let config = self.config()?;
        if config.role != keel_abi::ROLE_ACTIVE {
            return Ok(Explanation::Passive);
        }
        let key = question.key;
        if let Some((entry, half_open)) = self.entry(&key)? {
            let server = self.shadow.servers.get(&entry.server).copied();
            let good = |s: &Server| s.standing(entry.generation, key.proto) == Standing::Good;
            if let Some(server) = server.filter(good) {
                return Ok(Explanation::Known {
                    service: server.service,
                    server: entry.server,
                    entry,
                    half_open,
                });
            }
        }
        let Some(sizes) = self.shadow.addresses.get(&key.dst) else { return Ok(Explanation::NotVirtual) };
        let Some(service) = self.service_of(&key, *sizes) else { return Ok(Explanation::NoService) };
        self.explain_new(&key, service, &config, question.now_ns)
    }

    fn explain_new(&self, key: &FlowKey, service: Slot, config: &Config, now_ns: u64) -> Result<Explanation> {
        let table = self.maps.tables.get(&service, 0).context("reading", "TABLES")?;
        let first = table.get(&0, 0).context("reading", "TABLES")?;
        let Some(header) = header_of(&first) else {
            return Err(DataplaneError::Missing { kind: "map", name: "TABLES" });
        };
        if header.flags & service_flags::PERSISTENT != 0
            && let Some(value) = self.sticking(&header, key, service, now_ns)?
        {
            return Ok(Explanation::Persistent {
                service,
                server: value.server,
                expires_ns: value.expires_ns,
            });
        }
        let hash = ring_hash(&header, key, config);
        let pool = Snapshot { dataplane: self, table, header };
        let choice = choose(&pool, hash);
        Ok(Explanation::Scheduled { service, choice, members: header.members })
    }

    fn service_of(&self, key: &FlowKey, sizes: u32) -> Option<Slot> {
        let port = u16::from_be(key.dport_be);
        keel_abi::lookup_order(sizes).find_map(|shift| {
            self.shadow.slot_of(&PortKey { addr: key.dst, block: port >> shift, proto: key.proto, shift })
        })
    }

    fn entry(&self, key: &FlowKey) -> Result<Option<(Connection, bool)>> {
        for kind in TableKind::BOTH {
            let failed = |source| DataplaneError::Batch { map: kind.name(), source };
            let map = BatchMap::new(self.fd_of(kind)).map_err(failed)?;
            let found = map.lookup(keel_abi::as_bytes(key)).map_err(failed)?;
            if let Some(entry) = found.and_then(|bytes| from_bytes(&bytes)) {
                return Ok(Some((entry, kind == TableKind::HalfOpen)));
            }
        }
        Ok(None)
    }

    fn sticking(
        &self,
        header: &TableHeader,
        key: &FlowKey,
        service: Slot,
        now_ns: u64,
    ) -> Result<Option<PersistValue>> {
        let key = PersistKey { client: persistent_client(header, key), service };
        let valid = |value: &PersistValue| {
            let usable = |s: &Server| {
                s.generation == value.generation && matches!(s.state, state::ONLINE | state::DRAIN)
            };
            now_ns < value.expires_ns && self.shadow.servers.get(&value.server).is_some_and(usable)
        };
        for (map, name) in
            [(&self.maps.persistence, "PERSISTENCE"), (&self.maps.persistence_new, "PERSISTENCE_NEW")]
        {
            match map.get(&key, 0) {
                Ok(value) if valid(&value) => return Ok(Some(value)),
                Ok(_) => {}
                Err(aya::maps::MapError::KeyNotFound) => {}
                Err(source) => return Err(DataplaneError::Map { action: "reading", map: name, source }),
            }
        }
        Ok(None)
    }
}

/// A table as it stands, for the scheduler; all changes are dropped.
struct Snapshot<'a> {
    dataplane: &'a Dataplane,
    table: Array<MapData, Chunk>,
    header: TableHeader,
}

impl Snapshot<'_> {
    fn chunk(&self, index: u32) -> Option<Chunk> {
        self.table.get(&index, 0).ok()
    }
}

impl Candidates for Snapshot<'_> {
    fn header(&self) -> &TableHeader {
        &self.header
    }

    fn member(&self, index: u32) -> Option<Member> {
        let chunk = self.chunk(1 + index / MEMBERS_PER_CHUNK as u32)?;
        let at = index as usize % MEMBERS_PER_CHUNK * size_of::<Member>();
        from_bytes(&chunk.0[at..at + size_of::<Member>()])
    }

    fn slot(&self, slot: u32) -> Option<u32> {
        let chunk = self.chunk(self.header.ring_chunk + slot / RING_SLOTS_PER_CHUNK as u32)?;
        let at = slot as usize % RING_SLOTS_PER_CHUNK * 2;
        Some(u32::from(u16::from_ne_bytes([chunk.0[at], chunk.0[at + 1]])))
    }

    fn load(&self, server: u32) -> Option<Load> {
        self.dataplane.load(server).ok()
    }

    fn mark_overloaded(&self, _server: u32, _overloaded: bool) {}

    fn advance(&self) -> u32 {
        self.header.counter as u32
    }

    fn picks(&self, index: u32) -> u64 {
        self.header.picks.get(index as usize).copied().unwrap_or(0)
    }

    fn picked(&self, _index: u32) {}

    fn catch_up(&self, _index: u32, _picks: u64) {}

    fn level(&self) -> u64 {
        self.header.counter
    }

    fn reached(&self, _level: u64) {}
}
