//! A service's server as the packet path sees it.
use crate::{Addr, IPPROTO_TCP, TIMEOUT_CLASSES};

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
    /// How long its connections' leases are, in ticks; 0 = there are none.
    pub lease: u32,
    /// Always zero.
    pub pad2: u32,
    /// The virtual address of its service.
    pub vip: Addr,
}
const _: () = assert!(size_of::<Server>() == 80);

/// What a server says about a connection's entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is still the entry's server.
    Good,
    /// The entry is void; the next packet begins anew.
    Void,
    /// The client is to be told with a reset.
    Reset,
}

impl Server {
    /// Halted or removed: connections are treated by [`policy`].
    #[inline(always)]
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, state::HALT | state::REMOVED | state::FREE)
    }

    /// Whether an entry of `generation` may go on using this server.
    #[inline(always)]
    pub const fn standing(&self, generation: u32, proto: u8) -> Standing {
        if self.generation != generation {
            return Standing::Void;
        }
        if !self.is_gone() {
            return Standing::Good;
        }
        match self.policy {
            // "Out now" is not to be held up; only a removed server's connections may run on.
            policy::HOLD if self.state == state::REMOVED => Standing::Good,
            policy::RESET if proto == IPPROTO_TCP => Standing::Reset,
            _ => Standing::Void,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_follows_state_policy_and_generation() {
        use Standing::{Good, Reset, Void};
        for (state, policy, tcp, udp) in [
            (state::ONLINE, policy::RESET, Good, Good),
            (state::DRAIN, policy::RESCHEDULE, Good, Good),
            (state::DOWN, policy::RESET, Good, Good),
            (state::HALT, policy::RESCHEDULE, Void, Void),
            (state::HALT, policy::RESET, Reset, Void),
            (state::HALT, policy::HOLD, Void, Void),
            (state::REMOVED, policy::RESCHEDULE, Void, Void),
            (state::REMOVED, policy::RESET, Reset, Void),
            (state::REMOVED, policy::HOLD, Good, Good),
            (state::FREE, policy::HOLD, Void, Void),
        ] {
            let server = Server { generation: 3, state, policy, ..Server::default() };
            assert_eq!((server.standing(3, 6), server.standing(3, 17)), (tcp, udp), "{state} {policy}");
            assert_eq!(server.standing(2, 6), Void, "another server's entry");
        }
    }
}
