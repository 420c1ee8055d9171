//! The persistence tables, read and cleared in batches. What makes an entry count is what the packet path looks at
//! (`sticks_to` in `ebpf/src/keel/fresh.rs`): others are neither shown nor counted.
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use keel_abi::{Addr, PersistKey, PersistValue, from_bytes, state};
use keel_net::bpf_batch::BatchMap;

use crate::{Dataplane, DataplaneError, ServerId, Slot, error::Result, maps::pinned};

/// Entries read by one system call.
const BATCH: u32 = 4096;
/// Clients with a proved connection, and those whose first one isn't proved yet.
const PROVED: &str = "PERSISTENCE";
const NEW: &str = "PERSISTENCE_NEW";

/// A client, or the network that it is in, and the server it sticks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistenceRow {
    /// The service.
    pub service: Slot,
    /// The client's address, masked with the service's prefix.
    pub client: IpAddr,
    /// Its server.
    pub server: ServerId,
    /// When it is free again if nothing more comes, monotonic nanoseconds.
    pub expires_ns: u64,
    /// Whether a connection of the client has been proved.
    pub proved: bool,
}

impl PersistenceRow {
    fn new(key: &PersistKey, value: &PersistValue, proved: bool) -> Self {
        let (service, client) = (key.service, IpAddr::from(key.client));
        Self { service, client, server: value.server, expires_ns: value.expires_ns, proved }
    }
}

impl Dataplane {
    /// Calls `visit` with every client that sticks to a server at `now_ns`, in no order.
    ///
    /// # Errors
    /// A table can't be read.
    pub fn persistence(&self, now_ns: u64, mut visit: impl FnMut(PersistenceRow)) -> Result<()> {
        let mut unproved: HashMap<(Addr, Slot), PersistenceRow> = HashMap::new();
        walk(NEW, pinned(&self.pins(), NEW)?.fd().as_fd(), |key, value| {
            if self.sticks(value, now_ns) {
                unproved.insert((key.client, key.service), PersistenceRow::new(key, value, false));
            }
        })?;
        walk(PROVED, pinned(&self.pins(), PROVED)?.fd().as_fd(), |key, value| {
            if self.sticks(value, now_ns) {
                // The packet path looks here first.
                unproved.remove(&(key.client, key.service));
                visit(PersistenceRow::new(key, value, true));
            }
        })?;
        unproved.into_values().for_each(visit);
        Ok(())
    }

    fn sticks(&self, value: &PersistValue, now_ns: u64) -> bool {
        now_ns < value.expires_ns
            && self.shadow.servers.get(&value.server).is_some_and(|server| {
                server.generation == value.generation && matches!(server.state, state::ONLINE | state::DRAIN)
            })
    }

    /// Forgets the clients (masked) of services that `gone` says; returns how many stuck to a server at `now_ns`. Their
    /// connections stay; the next new one goes where the scheduler says.
    ///
    /// # Errors
    /// A table can't be read or written; some may be gone then.
    pub fn forget_clients(&self, now_ns: u64, gone: impl Fn(Slot, IpAddr) -> bool) -> Result<usize> {
        let mut stuck: HashSet<(Slot, Addr)> = HashSet::new();
        for name in [NEW, PROVED] {
            let map = pinned(&self.pins(), name)?;
            let mut keys: Vec<PersistKey> = Vec::new();
            walk(name, map.fd().as_fd(), |key, value| {
                if gone(key.service, IpAddr::from(key.client)) {
                    keys.push(*key);
                    if self.sticks(value, now_ns) {
                        stuck.insert((key.service, key.client));
                    }
                }
            })?;
            let bytes: Vec<&[u8]> = keys.iter().map(keel_abi::as_bytes).collect();
            let failed = |source| DataplaneError::Batch { map: name, source };
            BatchMap::new(map.fd().as_fd()).and_then(|map| map.delete(&bytes)).map_err(failed)?;
        }
        Ok(stuck.len())
    }
}

fn walk(
    name: &'static str,
    fd: BorrowedFd<'_>,
    mut visit: impl FnMut(&PersistKey, &PersistValue),
) -> Result<()> {
    let failed = |source| DataplaneError::Batch { map: name, source };
    let map = BatchMap::new(fd).map_err(failed)?;
    map.walk(BATCH)
        .for_each(|key, value| {
            if let (Some(key), Some(value)) = (from_bytes(key), from_bytes(value)) {
                visit(&key, &value);
            }
        })
        .map_err(failed)
}
