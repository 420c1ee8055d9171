//! A service's server as the packet path sees it.
use crate::{Addr, TIMEOUT_CLASSES};

/// Direct routing: only the Ethernet addresses change.
pub const MODE_DR: u8 = 0;
/// Destination address and port change; replies come back through us.
pub const MODE_NAT: u8 = 1;
/// IP in IP (any family in any).
pub const MODE_TUN: u8 = 2;
/// Generic UDP encapsulation, variant 1 (draft-ietf-intarea-gue §6): the IP header follows UDP at once.
pub const MODE_GUE: u8 = 3;

/// Values of [`Server::state`].
pub mod state {
    /// The slot is free.
    pub const FREE: u8 = 0;
    /// New connections welcome.
    pub const ONLINE: u8 = 1;
    /// No new connections; persistence is honoured, existing ones finish.
    pub const DRAIN: u8 = 2;
    /// Out now: existing connections are treated by [`super::policy`] at once.
    pub const HALT: u8 = 3;
    /// Removed from the configuration; existing connections are treated by [`super::policy`].
    pub const REMOVED: u8 = 4;
    /// Fails its health check: no new connections, no persistence; existing ones are left alone.
    pub const DOWN: u8 = 5;
}

/// Values of [`Server::policy`]: what happens to the connections of a server that is gone.
pub mod policy {
    /// The next packet is scheduled as if it were new.
    pub const RESCHEDULE: u8 = 0;
    /// The client gets a TCP reset.
    pub const RESET: u8 = 1;
    /// They go on to the old server until they end by themselves.
    pub const HOLD: u8 = 2;
}

/// One server of one service.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Server {
    /// The real address.
    pub addr: Addr,
    /// Counts re-uses of this slot; connections remember it.
    pub generation: u32,
    /// Index into the paths map.
    pub path: u32,
    /// Index into the tables map.
    pub service: u32,
    /// Port in NAT mode, 0 = keep the client's; UDP port in GUE mode.
    pub port_be: u16,
    /// One of `MODE_*`.
    pub mode: u8,
    /// One of [`state`].
    pub state: u8,
    /// One of [`policy`].
    pub policy: u8,
    /// Always zero.
    pub pad: [u8; 3],
    /// Idle seconds per [`crate::timeout_class`].
    pub timeouts: [u32; TIMEOUT_CLASSES],
    /// Always zero.
    pub pad2: [u32; 2],
}
const _: () = assert!(size_of::<Server>() == 64);
