//! Carrying out a plan, and the writes that don't come from the configuration: next hops, released slots.
use keel_abi::{Addr, Load, PATH_REACHABLE, Path, Server, ServerStats, state};

use std::os::fd::{AsFd, AsRawFd};

use aya::maps::PerCpuValues;
use keel_net::bpf_batch::BatchMap;

use crate::{
    Dataplane, DataplaneError, Desired, Op, PathId, ServerId, Slot,
    error::{Context, Result},
    plan, shadow,
    table::TableSpec,
};

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Ethernet address of the next hop.
    pub mac: [u8; 6],
    /// Our own on the interface.
    pub own_mac: [u8; 6],
    /// The interface frames leave by (a VLAN's parent).
    pub ifindex: u32,
    /// VLAN tag, 0 = none.
    pub vlan: u16,
    /// Largest IP packet.
    pub mtu: u16,
    /// Source address of tunnel packets.
    pub local: Addr,
}

impl Dataplane {
    /// Makes the maps hold `desired`. Returns the number of writes.
    ///
    /// # Errors
    /// Before the first write, if there is no room; in between, if the kernel refuses a write: what is in force is
    /// then a mixture of old and new services, each whole, and the next call completes it.
    pub fn apply(&mut self, desired: &Desired) -> Result<usize> {
        let ops = plan(&self.shadow, desired)?;
        let count = ops.len();
        let mut tables = Vec::new();
        for op in ops {
            // Tables stand together in a plan, and go in together.
            match op {
                Op::Table(slot, spec) => tables.push((slot, spec)),
                op => {
                    self.swap_tables(&mut tables)?;
                    self.run(op)?;
                }
            }
        }
        self.swap_tables(&mut tables)?;
        Ok(count)
    }

    fn run(&mut self, op: Op) -> Result<()> {
        match op {
            Op::AddPath(addr, path) => self.add_path(addr, path),
            Op::Server(id, server) => self.write_server(id, server),
            Op::Nat(on) => self.set_nat(on),
            Op::AddNatServer(key, value) => {
                self.maps.nat_servers.insert(key, value, 0).context("adding", "NAT_SERVERS")?;
                self.shadow.nat_servers.insert(key, value);
                Ok(())
            }
            Op::Table(slot, spec) => self.swap_tables(&mut vec![(slot, spec)]),
            Op::AddService(key, slot) => {
                self.maps.services.insert(key, slot, 0).context("adding", "SERVICES")?;
                self.shadow.services.insert(key, slot);
                Ok(())
            }
            Op::Address(addr, sizes) => {
                self.maps.addresses.insert(addr, sizes, 0).context("adding", "ADDRESSES")?;
                self.shadow.addresses.insert(addr, sizes);
                Ok(())
            }
            Op::DropService(key) => {
                self.maps.services.remove(&key).context("removing", "SERVICES")?;
                self.shadow.services.remove(&key);
                Ok(())
            }
            Op::DropAddress(addr) => {
                self.maps.addresses.remove(&addr).context("removing", "ADDRESSES")?;
                self.shadow.addresses.remove(&addr);
                Ok(())
            }
            Op::DropTable(slot) => {
                self.swap_tables(&mut vec![(slot, TableSpec::default())])?;
                self.shadow.tables.remove(&slot);
                // The next service in this slot begins at zero.
                self.retired.remove(&slot);
                Ok(())
            }
            Op::DropNatServer(key) => {
                self.maps.nat_servers.remove(&key).context("removing", "NAT_SERVERS")?;
                self.shadow.nat_servers.remove(&key);
                Ok(())
            }
            Op::DropPath(addr, _) => {
                self.maps.path_of.remove(&addr).context("removing", "PATH_OF")?;
                self.shadow.paths.remove(&addr);
                Ok(())
            }
        }
    }

    fn add_path(&mut self, addr: Addr, path: PathId) -> Result<()> {
        self.maps.paths.set(path, shadow::unresolved(), 0).context("adding", "PATHS")?;
        self.maps.path_of.insert(addr, path, 0).context("adding", "PATH_OF")?;
        self.shadow.paths.insert(addr, path);
        Ok(())
    }

    fn write_server(&mut self, id: ServerId, server: Server) -> Result<()> {
        if !self.shadow.servers.contains_key(&id) {
            self.maps.loads.set(id, Load::default(), 0).context("clearing", "LOADS")?;
            self.clear_stats(id)?;
        }
        self.maps.servers.set(id, server, 0).context("writing", "SERVERS")?;
        self.shadow.servers.insert(id, server);
        Ok(())
    }

    fn clear_stats(&mut self, id: ServerId) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_or(1, |n| n);
        let Ok(zero) = PerCpuValues::try_from(vec![ServerStats::default(); cpus]) else { return Ok(()) };
        self.maps.stats.set(id, zero, 0).context("clearing", "STATS")
    }

    fn set_nat(&mut self, on: bool) -> Result<()> {
        let mut config = self.config()?;
        config.nat = on.into();
        self.maps.config.set(0, config, 0).context("writing the settings", "CONFIG")?;
        self.shadow.nat = on;
        Ok(())
    }

    /// Puts new tables in place. The kernel waits, after each update of a map of maps, until no packet uses the former
    /// inner map any more; in a batch it waits once.
    fn swap_tables(&mut self, tables: &mut Vec<(Slot, TableSpec)>) -> Result<()> {
        // Each new table is a file descriptor until it is in place, and a process has 1024 of them.
        const TOGETHER: usize = 256;
        while !tables.is_empty() {
            let some: Vec<_> = tables.drain(..tables.len().min(TOGETHER)).collect();
            let made: Vec<_> = some.iter().map(|(_, spec)| spec.create()).collect::<Result<_>>()?;
            let entries: Vec<_> = some
                .iter()
                .zip(&made)
                .map(|((slot, _), table)| (slot.to_ne_bytes(), table.fd().as_fd().as_raw_fd().to_ne_bytes()))
                .collect();
            let failed = |source| DataplaneError::Batch { map: "TABLES", source };
            let outer = BatchMap::new(self.maps.tables_batch.fd().as_fd()).map_err(failed)?;
            outer.update(&entries).map_err(failed)?;
            for (slot, spec) in some {
                self.shadow.fingerprints.remove(&slot);
                self.shadow.tables.insert(slot, Some(spec));
            }
        }
        Ok(())
    }

    /// Says how the server at `addr` is reached; `None` if it isn't known any more. What was learned about the path's
    /// MTU is kept.
    ///
    /// # Errors
    /// The map can't be written.
    pub fn set_hop(&mut self, addr: Addr, hop: Option<Hop>) -> Result<()> {
        let Some(path) = self.shadow.paths.get(&addr).copied() else { return Ok(()) };
        let old = self.maps.paths.get(&path, 0).context("reading", "PATHS")?;
        let new = match hop {
            None => Path { state: keel_abi::PATH_UNRESOLVED, ..old },
            Some(hop) => Path {
                dmac: keel_abi::mac(hop.mac),
                mtu: hop.mtu,
                smac: keel_abi::mac(hop.own_mac),
                vlan: hop.vlan.to_be(),
                ifindex: hop.ifindex,
                state: PATH_REACHABLE,
                local: hop.local,
                ..old
            },
        };
        if new == old {
            return Ok(());
        }
        self.maps.paths.set(path, new, 0).context("writing", "PATHS")
    }

    /// How the server at `addr` is reached, if that is known.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn path(&self, addr: Addr) -> Result<Option<Path>> {
        let Some(path) = self.shadow.paths.get(&addr) else { return Ok(None) };
        self.maps.paths.get(path, 0).context("reading", "PATHS").map(Some)
    }

    /// Gives back the slot of a removed server that has no connections left.
    pub(crate) fn release(&mut self, id: ServerId) -> Result<()> {
        let Some(server) = self.shadow.servers.get(&id).copied() else { return Ok(()) };
        let counters = self.server_counters(id)?;
        self.add_retired(server.service, counters);
        let generation = server.generation.wrapping_add(1).max(1);
        let free = Server { state: state::FREE, generation, ..Server::default() };
        self.maps.servers.set(id, free, 0).context("freeing", "SERVERS")?;
        self.shadow.servers.remove(&id);
        self.shadow.generations.insert(id, generation);
        Ok(())
    }
}
