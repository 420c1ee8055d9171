//! What a service needs when packets are forwarded, not answered.

use std::time::Duration;

use serde::Serialize;

use crate::word::words;

words! {
    /// The transport protocols a layer-4 service takes.
    pub enum Protocol4("protocol") {
        /// TCP only.
        Tcp = "tcp",
        /// UDP only.
        Udp = "udp",
        /// Both, on the same ports.
        TcpUdp = "tcp+udp",
    }
}

words! {
    /// One transport protocol.
    pub enum Transport("protocol") {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

words! {
    /// Which server gets the next connection, at layer 4.
    pub enum Scheduler4("scheduler") {
        /// Each in turn.
        Rr = "rr",
        /// Each in turn, as often as its weight says.
        Wrr = "wrr",
        /// The fewest connections.
        Lc = "lc",
        /// The fewest connections for its weight.
        Wlc = "wlc",
        /// The shortest expected delay.
        Sed = "sed",
        /// An idle server first, else the shortest expected delay.
        Nq = "nq",
        /// By the client's address.
        Sh = "sh",
        /// By the destination address.
        Dh = "dh",
        /// By a consistent hash that moves few clients when servers change.
        Maglev = "maglev",
    }
}

words! {
    /// What happens to connections whose server was taken out of the configuration.
    pub enum RemovedPolicy("policy") {
        /// The next packet chooses another server.
        Reschedule = "reschedule",
        /// The client is told that the connection is over.
        Reset = "reset",
        /// They go on until they end by themselves.
        Hold = "hold",
    }
}

impl Protocol4 {
    /// The transports it stands for.
    pub fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::TcpUdp => &[Transport::Tcp, Transport::Udp],
        }
    }

    /// Whether it includes TCP.
    pub fn has_tcp(self) -> bool {
        self != Self::Udp
    }

    /// Whether it includes UDP.
    pub fn has_udp(self) -> bool {
        self != Self::Tcp
    }
}

impl Scheduler4 {
    /// Whether it computes the server from the packet alone.
    pub fn is_hash(self) -> bool {
        matches!(self, Self::Sh | Self::Dh | Self::Maglev)
    }
}

/// How a packet reaches its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode4 {
    /// Direct routing: only the destination MAC address changes.
    Dr,
    /// Destination address and port change, replies come back through us.
    Nat,
    /// The packet travels inside another IP packet.
    Tun(Encapsulation),
}

/// What a tunnelled packet is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// IP directly inside IP, in any of the four combinations of families.
    Ip,
    /// Generic UDP encapsulation to this port of the server.
    Gue {
        /// The UDP port the server receives it on.
        port: u16,
    },
}

impl Encapsulation {
    /// The port GUE uses unless told otherwise.
    pub const GUE_PORT: u16 = 6080;

    /// The spelling used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Gue { .. } => "gue",
        }
    }
}

impl Mode4 {
    /// The spelling used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dr => "dr",
            Self::Nat => "nat",
            Self::Tun(_) => "tun",
        }
    }
}

impl std::fmt::Display for Mode4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The layer-4 side of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer4 {
    /// Which transports it takes.
    pub protocol: Protocol4,
    /// How packets reach the servers.
    pub mode: Mode4,
    /// Who gets a new connection.
    pub scheduler: Scheduler4,
    /// Every datagram is scheduled for itself (UDP only).
    pub one_packet: bool,
    /// Whether `sh` and `maglev` hash the client's port too.
    pub hash_ports: bool,
    /// What happens to connections of a removed server.
    pub on_removed: RemovedPolicy,
    /// Idle times that differ from those of the cluster.
    pub timeouts: Layer4TimeoutOverrides,
}

impl Default for Layer4 {
    fn default() -> Self {
        Self {
            protocol: Protocol4::Tcp,
            mode: Mode4::Dr,
            scheduler: Scheduler4::Wlc,
            one_packet: false,
            hash_ports: false,
            on_removed: RemovedPolicy::Reschedule,
            timeouts: Layer4TimeoutOverrides::default(),
        }
    }
}

impl Layer4 {
    /// Whether `hash_ports` is on when nothing is written: a consistent ring spreads one client's connections.
    pub fn default_hash_ports(scheduler: Scheduler4) -> bool {
        scheduler == Scheduler4::Maglev
    }
}

/// Idle times of one service; none means the cluster's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Layer4TimeoutOverrides {
    /// An established TCP connection.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<Duration>,
    /// A TCP connection one side has closed.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<Duration>,
    /// A half-open TCP connection.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub tcp_syn: Option<Duration>,
    /// A TCP connection that was reset.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub tcp_close: Option<Duration>,
    /// A UDP exchange.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub udp: Option<Duration>,
}
