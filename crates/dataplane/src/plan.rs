//! From what the maps hold and what they should hold to the writes between, in an order in which every prefix is a
//! working dataplane: what a packet is led to exists before anything leads there, and goes after nothing does.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use keel_abi::{
    Addr, MODE_NAT, Member, NatServerKey, NatServerValue, PortKey, Server, TIMEOUT_CLASSES, is_weighted,
    lease_ticks, maglev, service_flags, state, timeout_class,
};

use crate::{
    DataplaneError, Desired, DesiredServer, DesiredService, PathId, ServerId, Shadow, Slot, table::TableSpec,
};

/// Limits of the maps (`ebpf/src/keel/maps.rs`).
const SLOTS: u32 = 16_384;
const SERVERS: u32 = 65_536;
const PATHS: u32 = 16_384;
const SERVICES: u32 = 131_072;
const ADDRESSES: u32 = 65_536;
const NAT_SERVERS: u32 = 65_536;

/// A NAT service with more ports than this, and no port of the server's own, has its replies recognised by the
/// server's address alone.
const LISTED_PORTS: usize = 64;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A new next hop, not resolved yet.
    AddPath(Addr, PathId),
    /// A server's entry.
    Server(ServerId, Server),
    /// Whether replies have to be looked for.
    Nat(bool),
    /// The end of a NAT server.
    AddNatServer(NatServerKey, NatServerValue),
    /// A service's whole table, swapped in by one update.
    Table(Slot, TableSpec),
    /// A port block of a service.
    AddService(PortKey, Slot),
    /// Block sizes in use of an address.
    Address(Addr, u32),
    /// A port block nobody claims any more.
    DropService(PortKey),
    /// An address that isn't virtual any more.
    DropAddress(Addr),
    /// The slot of a service that is gone.
    DropTable(Slot),
    /// The end of a NAT server that is gone.
    DropNatServer(NatServerKey),
    /// A next hop nobody uses.
    DropPath(Addr, PathId),
}

/// What tells servers of a service apart, besides the service: a server that moves to another port or mode is another
/// server to its connections.
type Identity = (Slot, Addr, u16, u8);

fn identity(server: &Server) -> Identity {
    (server.service, server.addr, server.port_be, server.mode)
}

/// The writes that turn `shadow` into `desired`.
///
/// # Errors
/// [`DataplaneError::Full`] if the maps have no room; nothing is to be written then.
pub fn plan(shadow: &Shadow, desired: &Desired) -> Result<Vec<Op>, DataplaneError> {
    let mut planner = Planner::new(shadow);
    // Before the first service gets a slot: none takes one that another has more right to.
    let inherited = slots::inherited(shadow, desired);
    for (index, service) in desired.services.iter().enumerate() {
        let slot = planner.slot(inherited.get(&index).copied())?;
        planner.service(service, slot)?;
    }
    planner.check_room()?;
    Ok(planner.finish())
}

struct Planner<'a> {
    shadow: &'a Shadow,
    by_identity: HashMap<Identity, ServerId>,
    used_slots: HashSet<Slot>,
    claimed_slots: HashSet<Slot>,
    next_slot: Slot,
    next_server: ServerId,
    next_path: PathId,
    used_paths: HashSet<PathId>,
    new_paths: HashMap<Addr, PathId>,
    kept_servers: HashSet<ServerId>,
    services: HashMap<PortKey, Slot>,
    addresses: BTreeMap<Addr, u32>,
    nat_servers: HashMap<NatServerKey, NatServerValue>,
    paths: Vec<Op>,
    servers: Vec<Op>,
    tables: Vec<Op>,
}

impl<'a> Planner<'a> {
    fn new(shadow: &'a Shadow) -> Self {
        let live = |s: &Server| s.state != state::REMOVED;
        let by_identity =
            shadow.servers.iter().filter(|(_, s)| live(s)).map(|(id, s)| (identity(s), *id)).collect();
        let mut used_slots: HashSet<Slot> = shadow.tables.keys().copied().collect();
        used_slots.extend(shadow.servers.values().map(|s| s.service));
        Self {
            shadow,
            by_identity,
            used_slots,
            claimed_slots: HashSet::new(),
            next_slot: 0,
            next_server: 0,
            next_path: 0,
            used_paths: shadow.paths.values().copied().collect(),
            new_paths: HashMap::new(),
            kept_servers: HashSet::new(),
            services: HashMap::new(),
            addresses: BTreeMap::new(),
            nat_servers: HashMap::new(),
            paths: Vec::new(),
            servers: Vec::new(),
            tables: Vec::new(),
        }
    }

    fn service(&mut self, service: &DesiredService, slot: Slot) -> Result<(), DataplaneError> {
        for key in &service.keys {
            self.services.insert(*key, slot);
            *self.addresses.entry(key.addr).or_default() |= 1 << key.shift;
        }
        let mut members = Vec::new();
        for server in &service.servers {
            let id = self.server(slot, service, server)?;
            if server.mode == MODE_NAT {
                self.nat_ends(service, server, id);
            }
            if server.member {
                let mut member = member(id, server);
                if !is_weighted(service.scheduler) {
                    member.weight = 1;
                }
                members.push((ring_identity(server), member));
            }
        }
        let spec = TableSpec {
            scheduler: service.scheduler,
            flags: service.flags,
            persist_ns: service.persist_ns,
            prefix4: service.prefix4,
            prefix6: service.prefix6,
            members,
        };
        if !self.shadow.has_table(slot, &spec) {
            self.tables.push(Op::Table(slot, spec));
        }
        Ok(())
    }

    /// The slot a service takes over, or a free one.
    fn slot(&mut self, inherited: Option<Slot>) -> Result<Slot, DataplaneError> {
        let slot = match inherited {
            Some(slot) => slot,
            None => {
                while self.used_slots.contains(&self.next_slot) {
                    self.next_slot += 1;
                }
                if self.next_slot >= SLOTS {
                    return Err(DataplaneError::Full { what: "services", limit: SLOTS });
                }
                self.used_slots.insert(self.next_slot);
                self.next_slot
            }
        };
        self.claimed_slots.insert(slot);
        Ok(slot)
    }

    fn server(
        &mut self,
        slot: Slot,
        service: &DesiredService,
        server: &DesiredServer,
    ) -> Result<ServerId, DataplaneError> {
        let path = self.path(server.addr)?;
        let found = self.by_identity.get(&(slot, server.addr, server.port_be, server.mode)).copied();
        let (id, generation) = match found {
            Some(id) => (id, self.shadow.servers[&id].generation),
            None => self.free_server()?,
        };
        self.kept_servers.insert(id);
        let value = Server {
            addr: server.addr,
            generation,
            path,
            service: slot,
            port_be: server.port_be,
            mode: server.mode,
            state: server.state,
            policy: server.policy,
            pad: [0; 3],
            timeouts: server.timeouts,
            lease: lease(service, server),
            pad2: 0,
            vip: service.address().unwrap_or_default(),
        };
        const _: () = assert!(TIMEOUT_CLASSES == 5);
        if self.shadow.servers.get(&id) != Some(&value) {
            self.servers.push(Op::Server(id, value));
        }
        Ok(id)
    }

    fn free_server(&mut self) -> Result<(ServerId, u32), DataplaneError> {
        while self.shadow.servers.contains_key(&self.next_server) {
            self.next_server += 1;
        }
        let id = self.next_server;
        if id >= SERVERS {
            return Err(DataplaneError::Full { what: "servers", limit: SERVERS });
        }
        self.next_server += 1;
        Ok((id, self.shadow.generations.get(&id).copied().unwrap_or(1)))
    }

    fn path(&mut self, addr: Addr) -> Result<PathId, DataplaneError> {
        if let Some(path) = self.shadow.paths.get(&addr).or_else(|| self.new_paths.get(&addr)) {
            return Ok(*path);
        }
        while self.used_paths.contains(&self.next_path) {
            self.next_path += 1;
        }
        let path = self.next_path;
        if path >= PATHS {
            return Err(DataplaneError::Full { what: "different server addresses", limit: PATHS });
        }
        self.used_paths.insert(path);
        self.new_paths.insert(addr, path);
        self.paths.push(Op::AddPath(addr, path));
        Ok(path)
    }

    /// The ends replies of a NAT server come from. Two services on one end leave it ambiguous.
    fn nat_ends(&mut self, service: &DesiredService, server: &DesiredServer, id: ServerId) {
        let Some(vip) = service.address() else { return };
        for proto in service.keys.iter().map(|k| k.proto).collect::<BTreeSet<_>>() {
            let ports = ports_of(service, proto);
            // Replies from one end to several virtual ports can't be told apart without their connection's entry.
            let shared = server.port_be != 0 && ports.len() > 1;
            let ends: Vec<(u16, u16)> = if server.port_be != 0 {
                ports.iter().take(1).map(|port| (server.port_be, port.to_be())).collect()
            } else if ports.len() > LISTED_PORTS {
                vec![(0, 0)]
            } else {
                ports.iter().map(|port| (port.to_be(), port.to_be())).collect()
            };
            for (port_be, vport_be) in ends {
                let key = NatServerKey { addr: server.addr, port_be, proto, pad: 0 };
                // What is ambiguous names nobody, so that the order of services doesn't matter.
                let ambiguous = NatServerValue { ambiguous: 1, ..NatServerValue::default() };
                let value = NatServerValue { vip, server: id, vport_be, ambiguous: 0 };
                let value = if shared { ambiguous } else { value };
                self.nat_servers
                    .entry(key)
                    .and_modify(|other| {
                        if other.vip != vip || other.vport_be != vport_be {
                            *other = ambiguous;
                        }
                    })
                    .or_insert(value);
            }
        }
    }

    /// What is added comes before what goes, so both have to fit for a moment.
    fn check_room(&self) -> Result<(), DataplaneError> {
        let shadow = self.shadow;
        let union = |old: usize, new: usize| (old + new) as u32;
        let blocks = self.services.keys().filter(|k| !shadow.services.contains_key(k)).count();
        full("port ranges", union(shadow.services.len(), blocks), SERVICES)?;
        let addresses = self.addresses.keys().filter(|a| !shadow.addresses.contains_key(a)).count();
        full("virtual addresses", union(shadow.addresses.len(), addresses), ADDRESSES)?;
        let ends = self.nat_servers.keys().filter(|k| !shadow.nat_servers.contains_key(k)).count();
        full("ports of NAT servers", union(shadow.nat_servers.len(), ends), NAT_SERVERS)
    }

    fn finish(self) -> Vec<Op> {
        let shadow = self.shadow;
        let mut ops = self.paths;
        ops.extend(self.servers);
        if !self.nat_servers.is_empty() && !shadow.nat {
            ops.push(Op::Nat(true));
        }
        let changed = |k: &NatServerKey, v: &NatServerValue| shadow.nat_servers.get(k) != Some(v);
        ops.extend(
            self.nat_servers.iter().filter(|(k, v)| changed(k, v)).map(|(k, v)| Op::AddNatServer(*k, *v)),
        );
        ops.extend(self.tables);
        let changed = |k: &PortKey, s: &Slot| shadow.services.get(k) != Some(s);
        ops.extend(self.services.iter().filter(|(k, s)| changed(k, s)).map(|(k, s)| Op::AddService(*k, *s)));
        let changed = |a: &Addr, m: &u32| shadow.addresses.get(a) != Some(m);
        // A superset first: a size that goes is looked up in vain until the removals below are done.
        ops.extend(self.addresses.iter().filter(|(a, m)| changed(a, m)).map(|(a, m)| Op::Address(*a, *m)));

        let gone = |k: &&PortKey| !self.services.contains_key(k);
        ops.extend(shadow.services.keys().filter(gone).map(|key| Op::DropService(*key)));
        let gone = |a: &&Addr| !self.addresses.contains_key(a);
        ops.extend(shadow.addresses.keys().filter(gone).map(|address| Op::DropAddress(*address)));
        for (id, server) in &shadow.servers {
            if !self.kept_servers.contains(id) && server.state != state::REMOVED {
                ops.push(Op::Server(*id, Server { state: state::REMOVED, ..*server }));
            }
        }
        let gone = |s: &&Slot| !self.claimed_slots.contains(s);
        ops.extend(shadow.tables.keys().filter(gone).map(|slot| Op::DropTable(*slot)));
        let gone = |k: &&NatServerKey| !self.nat_servers.contains_key(k);
        ops.extend(shadow.nat_servers.keys().filter(gone).map(|key| Op::DropNatServer(*key)));
        if self.nat_servers.is_empty() && shadow.nat && !shadow.servers.values().any(|s| s.mode == MODE_NAT) {
            ops.push(Op::Nat(false));
        }
        let in_use: HashSet<PathId> = shadow
            .servers
            .values()
            .map(|s| s.path)
            .chain(ops.iter().filter_map(|op| if let Op::Server(_, s) = op { Some(s.path) } else { None }))
            .collect();
        let unused = |(_, path): &(&Addr, &PathId)| !in_use.contains(path);
        ops.extend(shadow.paths.iter().filter(unused).map(|(a, p)| Op::DropPath(*a, *p)));
        ops
    }
}

/// How long the leases of a server's connections are: by the shortest time after which something that they keep alive
/// would end.
fn lease(service: &DesiredService, server: &DesiredServer) -> u32 {
    let idle = |class: u32| server.timeouts[class as usize];
    let shortest = idle(timeout_class::TCP_ESTABLISHED).min(idle(timeout_class::UDP));
    if service.flags & service_flags::PERSISTENT == 0 {
        return lease_ticks(shortest);
    }
    lease_ticks(shortest.min(u32::try_from(service.persist_ns / 1_000_000_000).unwrap_or(u32::MAX)))
}

fn full(what: &'static str, wanted: u32, limit: u32) -> Result<(), DataplaneError> {
    if wanted > limit { Err(DataplaneError::Full { what, limit }) } else { Ok(()) }
}

/// The service's ports of one protocol, ascending.
fn ports_of(service: &DesiredService, proto: u8) -> Vec<u16> {
    let keys = service.keys.iter().filter(|k| k.proto == proto);
    keys.flat_map(|k| {
        let first = u32::from(k.block) << k.shift;
        (first..first + (1 << k.shift)).map(|port| port as u16)
    })
    .collect()
}

/// Both nodes of a pair must build the same ring: by what the server is, not by where it stands in a map.
fn ring_identity(server: &DesiredServer) -> u64 {
    let address = std::net::IpAddr::from(server.addr);
    maglev::identity(&format!("{address} {}", u16::from_be(server.port_be)))
}

fn member(id: ServerId, server: &DesiredServer) -> Member {
    Member {
        server: id,
        weight: server.weight,
        pad: 0,
        max_connections: server.max_connections,
        readmit_connections: server.readmit_connections,
    }
}

mod slots;
#[cfg(test)]
mod tests;
