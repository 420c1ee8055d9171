//! The node itself: its status, drops, performance, floating addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use keel_model::Severity;
use serde::{Deserialize, Serialize};

use super::config::PendingConfirm;
use super::service::{ConnectionCounts, Rates};

/// Which part of the pair this node plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Not paired: it does all the work.
    Single,
    /// Holds the floating addresses.
    Active,
    /// Stands by.
    Passive,
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "single",
            Self::Active => "active",
            Self::Passive => "passive",
        })
    }
}

/// How the packet program sits on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver: full speed.
    Native,
    /// In the kernel's generic path: works everywhere, costs a copy per packet.
    Generic,
    /// Switched off in node.toml.
    Off,
    /// It could not be attached; the warning says why.
    Failed,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Off => "off",
            Self::Failed => "failed",
        })
    }
}

/// An interface and the packet program on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// The mode in force.
    pub mode: Mode,
    /// Whether the link is up.
    pub link_up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// What is not as it should be, and what it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An engine of the appliance: "layer 4", "layer 7", "health checks", "pair".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// What that means: "servers are taken to be up".
    #[serde(default)]
    pub note: String,
}

/// Something an administrator should know and can do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// How bad.
    pub severity: Severity,
    /// What it is about: "HTTP-Cluster/IIS1", "eth0".
    pub subject: String,
    /// What is the matter.
    pub text: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The daemon.
    pub keeld: String,
    /// The packet program and the layout of its maps.
    pub dataplane: String,
    /// The kernel.
    pub kernel: String,
}

/// Sums over all services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections now.
    pub connections: ConnectionCounts,
    /// Rates now.
    pub rates: Rates,
    /// Packets dropped per second, for any reason.
    pub drops: f64,
}

/// The node at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub hostname: String,
    /// Its part in the pair.
    pub role: NodeRole,
    /// The node's clock.
    pub now: Timestamp,
    /// Since the daemon started; the packet path may be much older.
    pub uptime_seconds: u64,
    /// What runs.
    pub versions: Versions,
    /// The configuration in force.
    pub revision: u64,
    /// A commit that waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_confirm: Option<PendingConfirm>,
    /// Who has a candidate open, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_by: Option<String>,
    /// The interfaces.
    pub interfaces: Vec<Attachment>,
    /// The engines, running or not.
    pub engines: Vec<Engine>,
    /// What needs attention, worst first.
    pub warnings: Vec<Warning>,
    /// Sums over all services.
    pub totals: Totals,
}

/// Packets dropped for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// The reason's short name: "no-neighbour".
    pub reason: String,
    /// What it means.
    pub explanation: String,
    /// What to do, where something can be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How many since the counters began.
    pub packets: u64,
    /// How many per second now.
    pub rate: f64,
}

/// All drops.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// Every reason there is, the busiest first, those that never happened too.
    pub drops: Vec<Drop>,
    /// The sum of packets.
    pub packets: u64,
    /// The sum of rates.
    pub rate: f64,
}

/// How full a map is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub map: String,
    /// What it holds, in words.
    pub holds: String,
    /// Entries now.
    pub entries: u64,
    /// Entries at most.
    pub capacity: u64,
}

/// The packet program's own measure. The kernel keeps it only while `kernel.bpf_stats_enabled` is on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProgramStats {
    /// Whether the kernel measures at the moment.
    pub enabled: bool,
    /// Packets measured.
    pub runs: u64,
    /// Nanoseconds per packet over those; none while there are none.
    pub nanoseconds_per_packet: Option<f64>,
}

/// How busy a CPU is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuLoad {
    /// Its number.
    pub cpu: u32,
    /// Per cent of its time in anything.
    pub busy: f64,
    /// Per cent of its time on packets (soft interrupts).
    pub softirq: f64,
}

/// How fast the packet path is, and how full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// The interfaces.
    pub interfaces: Vec<Attachment>,
    /// The packet program; none while it is not loaded.
    pub program: Option<ProgramStats>,
    /// The maps.
    pub maps: Vec<MapFill>,
    /// Packets forwarded per second.
    pub packets: f64,
    /// Bytes forwarded per second.
    pub bytes: f64,
    /// The CPUs.
    pub cpus: Vec<CpuLoad>,
}

/// An address that moves between the nodes of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// The address with its prefix length: "10.0.0.1/24".
    pub address: String,
    /// The services it was made for; empty when it was added by hand.
    #[serde(default)]
    pub services: Vec<String>,
    /// The interface that carries it here.
    pub interface: Option<String>,
    /// Whether this node holds it now.
    pub held: bool,
}

/// An address to hold, beside those that come with services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFloatingIp {
    /// The address with its prefix length.
    pub address: IpNet,
    /// The interface it goes onto; the one in whose network it is when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// What to do on the real servers of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServerHelp {
    /// The service.
    pub service: String,
    /// The operating system: "linux", "windows", "bsd".
    pub os: String,
    /// The virtual address the servers must know.
    pub address: IpAddr,
    /// "dr", "nat" or "tun".
    pub mode: String,
    /// The instructions with ready commands, as text.
    pub text: String,
}
