//! Reading counters.
use std::{collections::HashMap, ops::AddAssign, os::fd::AsFd as _};

use aya::maps::MapData;
use keel_abi::{DropReason, Load, ServerStats, TrafficStats, from_bytes};
use keel_net::bpf_batch::BatchMap;

use crate::{
    Dataplane, DataplaneError, ServerId, Slot,
    connections::TableKind,
    error::{Context, Result},
};

/// A server's counters, summed over CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Connections scheduled to it.
    pub connections: u64,
    /// Packets to the server.
    pub packets_in: u64,
    /// Bytes to the server.
    pub bytes_in: u64,
    /// Packets from the server (NAT).
    pub packets_out: u64,
    /// Bytes from the server (NAT).
    pub bytes_out: u64,
}

impl AddAssign for ServerCounters {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.packets_in += other.packets_in;
        self.bytes_in += other.bytes_in;
        self.packets_out += other.packets_out;
        self.bytes_out += other.bytes_out;
    }
}

impl From<&ServerStats> for ServerCounters {
    fn from(stats: &ServerStats) -> Self {
        Self {
            connections: stats.connections,
            packets_in: stats.packets_in,
            bytes_in: stats.bytes_in,
            packets_out: stats.packets_out,
            bytes_out: stats.bytes_out,
        }
    }
}

/// What a server has counted, and its connections now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Since its slot was given to it.
    pub counters: ServerCounters,
    /// At this moment.
    pub load: Load,
}

/// What the program did with everything it saw, summed over CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets forwarded.
    pub forwarded: u64,
    /// Packets left to the kernel.
    pub passed: u64,
    /// Answers of its own.
    pub answered: u64,
    /// Packets that would have established a connection, had its table had room.
    pub table_full: u64,
}

impl Dataplane {
    /// Room of the established and the half-open table as they were created. A changed setting takes effect when the
    /// tables are created anew.
    ///
    /// # Errors
    /// A map can't be described.
    pub fn capacities(&self) -> Result<(u32, u32)> {
        let room = |kind: TableKind| {
            let failed = |source| DataplaneError::Batch { map: kind.name(), source };
            Ok(BatchMap::new(self.fd_of(kind)).map_err(failed)?.shape().max_entries)
        };
        Ok((room(TableKind::Established)?, room(TableKind::HalfOpen)?))
    }

    /// How often the packet program ran and how long it took, if the kernel keeps count
    /// (`sysctl kernel.bpf_stats_enabled=1`).
    pub fn program_runs(&self) -> Option<(u64, std::time::Duration)> {
        let aya::programs::Program::Xdp(program) = self.ebpf.program("keel")? else { return None };
        let info = program.info().ok()?;
        Some((info.run_count(), info.run_time()))
    }

    /// Counters and connections of every server, in a few system calls however many servers there are.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn readings(&self) -> Result<HashMap<ServerId, Reading>> {
        let mut readings: HashMap<ServerId, Reading> =
            self.shadow.servers.keys().map(|id| (*id, Reading::default())).collect();
        let Some(last) = readings.keys().max().copied() else { return Ok(readings) };
        // Counters first: a connection that begins in between is then missing among those begun, which `recount` allows for.
        up_to(last, &self.maps.stats_batch, "STATS", |id, bytes| {
            let Some(reading) = readings.get_mut(&id) else { return };
            // Each CPU's; their size is a multiple of eight, so nothing lies between them.
            for stats in bytes.chunks_exact(size_of::<ServerStats>()) {
                reading.counters += from_bytes(stats).as_ref().map(ServerCounters::from).unwrap_or_default();
            }
        })?;
        up_to(last, &self.maps.loads_batch, "LOADS", |id, bytes| {
            if let (Some(reading), Some(load)) = (readings.get_mut(&id), from_bytes(bytes)) {
                reading.load = load;
            }
        })?;
        Ok(readings)
    }

    /// The most connections that are pending with one server: less to read than everything.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn most_pending(&self) -> Result<u64> {
        let Some(last) = self.shadow.servers.keys().next_back().copied() else { return Ok(0) };
        let mut most = 0;
        up_to(last, &self.maps.loads_batch, "LOADS", |_, bytes| {
            let load: Load = from_bytes(bytes).unwrap_or_default();
            // One that was corrected for more than it held stands below zero.
            most = most.max(Some(load.pending).filter(|count| *count <= u64::from(u32::MAX)).unwrap_or(0));
        })?;
        Ok(most)
    }

    /// A server's counters.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn server_counters(&self, id: ServerId) -> Result<ServerCounters> {
        let per_cpu = self.maps.stats.get(&id, 0).context("reading", "STATS")?;
        let mut sum = ServerCounters::default();
        for stats in per_cpu.iter() {
            sum += stats.into();
        }
        Ok(sum)
    }

    /// Counters of servers that have left a service, so that the service's own never fall.
    pub fn retired_counters(&self, slot: Slot) -> ServerCounters {
        self.retired.get(&slot).copied().unwrap_or_default()
    }

    /// The same of all services that have any.
    pub fn retired(&self) -> impl Iterator<Item = (Slot, ServerCounters)> {
        self.retired.iter().map(|(slot, counters)| (*slot, *counters))
    }

    /// Counts what servers had counted before this process, if their service is still there.
    pub fn add_retired(&mut self, slot: Slot, counters: ServerCounters) {
        if self.shadow.tables.contains_key(&slot) {
            *self.retired.entry(slot).or_default() += counters;
        }
    }

    /// A server's connections now.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn load(&self, id: ServerId) -> Result<Load> {
        self.maps.loads.get(&id, 0).context("reading", "LOADS")
    }

    /// Dropped packets by reason.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        DropReason::ALL
            .iter()
            .map(|reason| {
                let per_cpu = self.maps.drops.get(&(*reason as u32), 0).context("reading", "DROPS")?;
                Ok((*reason, per_cpu.iter().sum()))
            })
            .collect()
    }

    /// What the program did with everything it saw.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn totals(&self) -> Result<Totals> {
        let per_cpu = self.maps.traffic.get(&0, 0).context("reading", "TRAFFIC")?;
        let mut sum = Totals::default();
        let each: &[TrafficStats] = &per_cpu;
        for stats in each {
            sum.forwarded += stats.forwarded;
            sum.passed += stats.passed;
            sum.answered += stats.answered;
            sum.table_full += stats.table_full;
        }
        Ok(sum)
    }
}

/// Entries of an array that are read in one system call at most.
const BATCH: u32 = 4096;

/// Calls `visit` with the entries of an array from the first to `last`, and perhaps with some behind.
fn up_to(last: u32, map: &MapData, name: &'static str, mut visit: impl FnMut(u32, &[u8])) -> Result<()> {
    let failed = |source| DataplaneError::Batch { map: name, source };
    let map = BatchMap::new(map.fd().as_fd()).map_err(failed)?;
    let mut walk = map.walk(last.saturating_add(1).min(BATCH));
    while let Some(entries) = walk.next_chunk().map_err(failed)? {
        let mut reached = 0;
        for (id, value) in entries.iter() {
            reached = from_bytes(id).unwrap_or(u32::MAX);
            visit(reached, value);
        }
        if reached >= last {
            break;
        }
    }
    Ok(())
}
