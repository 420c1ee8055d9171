//! The connection tables, read in batches.
use std::{net::IpAddr, os::fd::BorrowedFd};

use keel_abi::{Connection, FlowKey, IPPROTO_UDP, TcpState, connection_flags as flags, from_bytes};
use keel_net::bpf_batch::BatchMap;

use crate::{Dataplane, DataplaneError, ServerId, error::Result};

/// Entries read by one system call.
const BATCH: u32 = 4096;

/// A connection as userspace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// The client.
    pub client: (IpAddr, u16),
    /// The virtual end.
    pub vip: (IpAddr, u16),
    /// IP protocol number.
    pub proto: u8,
    /// Its server.
    pub server: ServerId,
    /// The server slot's generation it belongs to.
    pub generation: u32,
    /// Its state.
    pub state: TcpState,
    /// In the half-open table.
    pub half_open: bool,
    /// Scheduled without a SYN.
    pub midstream: bool,
    /// First packet, monotonic nanoseconds.
    pub created_ns: u64,
    /// Last packet from the client, monotonic nanoseconds.
    pub seen_ns: u64,
}

impl ConnectionRow {
    fn new(key: &FlowKey, entry: &Connection, half_open: bool) -> Self {
        let end = |addr: keel_abi::Addr, port_be: u16| (IpAddr::from(addr), u16::from_be(port_be));
        Self {
            client: end(key.src, key.sport_be),
            vip: end(key.dst, key.dport_be),
            proto: key.proto,
            server: entry.server,
            generation: entry.generation,
            state: TcpState::from_u8(entry.state),
            half_open,
            midstream: entry.flags & flags::MIDSTREAM != 0,
            created_ns: entry.created_ns,
            seen_ns: entry.seen_ns,
        }
    }

    /// As `keel connections` prints it.
    pub fn state_name(&self) -> &'static str {
        if self.proto == IPPROTO_UDP { "UDP" } else { self.state.name() }
    }
}

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    Established,
    HalfOpen,
}

impl TableKind {
    /// Half-open connections first: whoever walks both while a connection is established sees it twice, not never.
    pub(crate) const BOTH: [Self; 2] = [Self::HalfOpen, Self::Established];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Established => "CONNECTIONS",
            Self::HalfOpen => "HALF_OPEN",
        }
    }
}

impl Dataplane {
    pub(crate) fn fd_of(&self, kind: TableKind) -> BorrowedFd<'_> {
        match kind {
            TableKind::Established => self.maps.connections.fd(),
            TableKind::HalfOpen => self.maps.half_open.fd(),
        }
    }

    /// Calls `visit` with every entry of a table, both directions.
    pub(crate) fn walk(&self, kind: TableKind, mut visit: impl FnMut(&FlowKey, &Connection)) -> Result<()> {
        let failed = |source| DataplaneError::Batch { map: kind.name(), source };
        let map = BatchMap::new(self.fd_of(kind)).map_err(failed)?;
        map.walk(BATCH)
            .for_each(|key, value| {
                if let (Some(key), Some(entry)) = (from_bytes(key), from_bytes(value)) {
                    visit(&key, &entry);
                }
            })
            .map_err(failed)
    }

    /// Calls `visit` with every connection: established ones first, then half-open ones.
    ///
    /// # Errors
    /// A table can't be read.
    pub fn connections(&self, mut visit: impl FnMut(ConnectionRow)) -> Result<()> {
        for kind in TableKind::BOTH {
            self.walk(kind, |key, entry| {
                if entry.flags & flags::REVERSE == 0 {
                    visit(ConnectionRow::new(key, entry, kind == TableKind::HalfOpen));
                }
            })?;
        }
        Ok(())
    }
}

/// Counts of a whole table walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Established entries, both directions.
    pub established: u64,
    /// Half-open entries, both directions.
    pub half_open: u64,
}
