//! Services and servers as they are doing now.

use std::fmt;
use std::net::IpAddr;

use keel_model::AdminState;
use serde::{Deserialize, Serialize};

use super::light::Light;

/// How a server is doing: the administrator's wish and what was found out, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Answers its health check.
    Up,
    /// In use, though nothing checks its health.
    Unchecked,
    /// Its checks haven't come to a verdict yet; it is used while no other server is known to be up.
    Checking,
    /// Does not answer its health check, or cannot be reached at all.
    Down,
    /// Works, and asks for no new connections: a status that says so, an agent.
    Declining,
    /// Finishing its work by the administrator's wish; takes no new.
    Draining,
    /// Taken out.
    Halted,
}

impl ServerState {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unchecked => "unchecked",
            Self::Checking => "checking",
            Self::Down => "down",
            Self::Declining => "declining",
            Self::Draining => "draining",
            Self::Halted => "halted",
        }
    }

    /// Its colour in the overview.
    pub const fn light(self) -> Light {
        match self {
            Self::Up | Self::Unchecked => Light::Green,
            Self::Checking | Self::Declining => Light::Yellow,
            Self::Down => Light::Red,
            Self::Draining | Self::Halted => Light::Blue,
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Connections in the table now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Established TCP connections, and UDP flows.
    pub active: u64,
    /// Closing or closed ones that are still remembered.
    pub inactive: u64,
    /// Half-open ones: the client has not completed its handshake.
    pub pending: u64,
    /// Persistence entries, not connections.
    pub persistent: u64,
}

/// Totals since the counters began. They survive a restart of the daemon and every edit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// New connections.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, with their IP headers.
    pub bytes_in: u64,
    /// Packets to clients that passed through us. Replies do not in DR and TUN mode.
    pub packets_out: u64,
    /// Bytes to clients that passed through us.
    pub bytes_out: u64,
}

/// The same per second, now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// New connections.
    pub connections: f64,
    /// Packets from clients.
    pub packets_in: f64,
    /// Bytes from clients.
    pub bytes_in: f64,
    /// Packets to clients through us.
    pub packets_out: f64,
    /// Bytes to clients through us.
    pub bytes_out: f64,
}

/// The way to a server on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The interface packets leave by.
    pub interface: Option<String>,
    /// The address asked for on the wire: the server's own, or the gateway's towards it.
    pub next_hop: Option<IpAddr>,
    /// Its hardware address, once known: `52:54:00:12:34:56`.
    pub mac: Option<String>,
}

/// A service and its servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The virtual address.
    pub address: IpAddr,
    /// The virtual ports as written: "80,443,8000-8010".
    pub ports: String,
    /// 4 or 7.
    pub layer: u8,
    /// "tcp", "udp" or "tcp+udp".
    pub protocol: String,
    /// "dr", "nat" or "tun"; layer 7: "http" or "tcp".
    pub mode: String,
    /// "wlc" and so on.
    pub scheduler: String,
    /// Persistence in words: "by source, 300 s". None when off.
    pub persistence: Option<String>,
    /// The fallback server, where one is set.
    pub fallback: Option<String>,
    /// Whether the fallback is what answers now.
    #[serde(default)]
    pub fallback_in_use: bool,
    /// The priority group whose servers take connections, where there are several groups.
    #[serde(default)]
    pub group: Option<u16>,
    /// A lower group works and waits to be told: `keel service failback`.
    #[serde(default)]
    pub awaits_failback: bool,
    /// Fewer servers of the group are up than `panic_threshold` asks for: all of it are used, whatever their checks say.
    #[serde(default)]
    pub panic: bool,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The colour of the overview, by [`super::light_of`].
    pub light: Light,
    /// Why that colour: "1 of 3 servers down: IIS2".
    pub reason: String,
    /// Connections now.
    pub connections: ConnectionCounts,
    /// Totals.
    pub counters: Counters,
    /// Rates.
    pub rates: Rates,
    /// The servers, in the order of the file.
    pub servers: Vec<ServerStatus>,
}

/// A server of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The address as written: an IP address or a host name.
    pub address: String,
    /// The address in use: none while a host name has not been resolved.
    pub ip: Option<IpAddr>,
    /// The port there, where it differs from the virtual one.
    pub port: Option<u16>,
    /// The weight as configured.
    pub weight: u16,
    /// The weight in force.
    pub effective_weight: u16,
    /// The priority group; lower numbers are used first.
    pub priority: u16,
    /// New connections come back below this number once the maximum was reached.
    pub min_connections: u32,
    /// No new connections above this number; 0 is no limit.
    pub max_connections: u32,
    /// What the administrator wants.
    pub admin: AdminState,
    /// How it is doing.
    pub state: ServerState,
    /// Why: "no answer to ARP on eth0". Empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// Since when it has been so, as far as its checks go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// A mistake in the server's own set-up that its connections betray, with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The way there on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<Neighbour>,
    /// Connections now.
    pub connections: ConnectionCounts,
    /// Totals.
    pub counters: Counters,
    /// Rates.
    pub rates: Rates,
}

/// What an operator may do with a server. It becomes a revision like every other change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "action", deny_unknown_fields)]
pub enum ServerAction {
    /// Back in.
    Online,
    /// No new work, let what runs finish.
    Drain,
    /// Out now.
    Halt,
    /// Another weight.
    Weight {
        /// The new weight.
        weight: u16,
    },
}
