//! What the maps hold: read back from the kernel at start, kept in step with every write afterwards. The kernel's maps
//! are the only record; there is no file that could disagree with them.
use std::collections::{BTreeMap, HashMap};

use keel_abi::{Addr, NatServerKey, NatServerValue, PATH_UNRESOLVED, PortKey, Server, state};

use crate::{
    error::{Context, Result},
    maps::Maps,
    table::{TableSpec, header_of},
};

/// Index into the tables map: a service.
pub type Slot = u32;
/// Index into the servers map: a server of a service.
pub type ServerId = u32;
/// Number of sets in the leases' map.
pub type LeaseSets = u32;
/// Index into the paths map: a next hop.
pub type PathId = u32;

/// The contents of the maps that the configuration decides.
#[derive(Debug, Clone, Default)]
pub struct Shadow {
    /// Service slots by port block.
    pub services: HashMap<PortKey, Slot>,
    /// Block sizes in use per address.
    pub addresses: HashMap<Addr, u32>,
    /// Tables; `None` for one left by an earlier process, whose contents aren't known.
    pub tables: BTreeMap<Slot, Option<TableSpec>>,
    /// Fingerprints of the tables an earlier process left.
    pub fingerprints: HashMap<Slot, u32>,
    /// Servers in use, with those that were removed and still have connections.
    pub servers: BTreeMap<ServerId, Server>,
    /// Generation the next user of a free server slot gets.
    pub generations: HashMap<ServerId, u32>,
    /// Paths by remote address.
    pub paths: HashMap<Addr, PathId>,
    /// Ends of NAT servers.
    pub nat_servers: HashMap<NatServerKey, NatServerValue>,
    /// The settings say that NAT is in use.
    pub nat: bool,
}

impl Shadow {
    /// Reads the maps.
    pub(crate) fn read(maps: &Maps) -> Result<Self> {
        let mut shadow = Self::default();
        for entry in maps.services.iter() {
            let (key, slot) = entry.context("listing", "SERVICES")?;
            shadow.services.insert(key, slot);
            shadow.tables.insert(slot, None);
        }
        for slot in shadow.tables.keys() {
            let table = maps.tables.get(slot, 0).and_then(|table| table.get(&0, 0));
            if let Some(header) = table.ok().as_ref().and_then(header_of) {
                shadow.fingerprints.insert(*slot, header.fingerprint);
            }
        }
        for entry in maps.addresses.iter() {
            let (address, sizes) = entry.context("listing", "ADDRESSES")?;
            shadow.addresses.insert(address, sizes);
        }
        for entry in maps.path_of.iter() {
            let (address, path) = entry.context("listing", "PATH_OF")?;
            shadow.paths.insert(address, path);
        }
        for entry in maps.nat_servers.iter() {
            let (key, value) = entry.context("listing", "NAT_SERVERS")?;
            shadow.nat_servers.insert(key, value);
        }
        for id in 0..maps.servers.len() {
            let server = maps.servers.get(&id, 0).context("reading", "SERVERS")?;
            if server.state != state::FREE {
                shadow.servers.insert(id, server);
            } else if server.generation != 0 {
                shadow.generations.insert(id, server.generation);
            }
        }
        shadow.nat = maps.config.get(&0, 0).context("reading", "CONFIG")?.nat != 0;
        Ok(shadow)
    }

    /// Whether a service's table is already built from this.
    pub fn has_table(&self, slot: Slot, spec: &TableSpec) -> bool {
        match self.tables.get(&slot) {
            Some(Some(known)) => known == spec,
            Some(None) => self.fingerprints.get(&slot) == Some(&spec.fingerprint()),
            None => false,
        }
    }

    /// The slot of the service that claims `key`.
    pub fn slot_of(&self, key: &PortKey) -> Option<Slot> {
        self.services.get(key).copied()
    }

    /// The live server of a service at an address and port.
    pub fn server_of(&self, slot: Slot, addr: Addr, port_be: u16) -> Option<ServerId> {
        self.servers
            .iter()
            .find(|(_, s)| {
                s.service == slot && s.addr == addr && s.port_be == port_be && s.state != state::REMOVED
            })
            .map(|(id, _)| *id)
    }

    /// The remote address of a path.
    pub fn remote_of(&self, path: PathId) -> Option<Addr> {
        self.paths.iter().find(|(_, id)| **id == path).map(|(addr, _)| *addr)
    }
}

/// A path nobody has resolved yet.
pub(crate) fn unresolved() -> keel_abi::Path {
    keel_abi::Path { state: PATH_UNRESOLVED, mtu: 1500, ..keel_abi::Path::default() }
}
