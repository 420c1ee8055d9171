//! What the maps should hold, in terms that don't depend on slots.
use std::collections::BTreeSet;

use keel_abi::{Addr, PortKey, TIMEOUT_CLASSES, service_flags};

/// All layer-4 services as they should run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The services.
    pub services: Vec<DesiredService>,
}

/// The name of a service's fallback server on another host, which no server of a configuration can have.
pub const FALLBACK: &str = "(fallback)";

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    /// Its name, for people.
    pub name: String,
    /// The port blocks it claims, in order; its ports are its identity across restarts.
    pub keys: Vec<PortKey>,
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
    /// Its servers.
    pub servers: Vec<DesiredServer>,
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredServer {
    /// Its name, for people.
    pub name: String,
    /// The real address.
    pub addr: Addr,
    /// Port in NAT mode (0 = as the client's), UDP port in GUE mode, else 0.
    pub port_be: u16,
    /// One of `keel_abi::MODE_*`.
    pub mode: u8,
    /// One of [`keel_abi::state`].
    pub state: u8,
    /// One of [`keel_abi::policy`].
    pub policy: u8,
    /// Idle seconds per class.
    pub timeouts: [u32; TIMEOUT_CLASSES],
    /// Takes new connections.
    pub member: bool,
    /// Its weight.
    pub weight: u16,
    /// Connections at which it is full, 0 = never.
    pub max_connections: u32,
    /// Connections below which it takes some again.
    pub readmit_connections: u32,
}

impl Desired {
    /// Lets this node answer for the named services only. Whoever isn't led to a fallback would meet the node's own programs.
    pub fn answer_here_only(&mut self, led: &BTreeSet<String>) {
        for service in self.services.iter_mut().filter(|service| !led.contains(&service.name)) {
            service.flags &= !service_flags::ANSWERED_HERE;
        }
    }
}

impl DesiredService {
    /// Whether no server takes connections and the fallback does.
    pub fn fallback_in_use(&self) -> bool {
        let elsewhere = self.servers.iter().any(|server| server.member && server.name == FALLBACK);
        elsewhere || self.flags & service_flags::ANSWERED_HERE != 0
    }

    /// The virtual address.
    pub fn address(&self) -> Option<Addr> {
        self.keys.first().map(|key| key.addr)
    }
}
