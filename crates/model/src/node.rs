//! What belongs to one node alone: `node.toml` as a value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::word::words;

/// A whole valid `node.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The node's own name.
    pub hostname: String,
    /// The network cards and their addresses.
    #[serde(rename = "interface")]
    pub interfaces: Vec<Interface>,
    /// Where packets go.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// Where packets from certain addresses go.
    #[serde(rename = "policy_route")]
    pub policy_routes: Vec<PolicyRoute>,
    /// Name resolution.
    pub dns: Dns,
    /// The clock.
    pub ntp: Ntp,
    /// The web interface.
    pub web: Web,
    /// How the pair's heartbeats travel.
    pub heartbeat: HeartbeatPaths,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            hostname: "evenkeel".to_owned(),
            interfaces: Vec::new(),
            routes: Vec::new(),
            policy_routes: Vec::new(),
            dns: Dns::default(),
            ntp: Ntp::default(),
            web: Web::default(),
            heartbeat: HeartbeatPaths::default(),
        }
    }
}

impl Node {
    /// The interface of this name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The interface that has this very address.
    pub fn owner_of(&self, address: IpAddr) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.addresses.iter().any(|net| net.addr() == address))
    }

    /// The interface in whose network this address is, with that network.
    pub fn on_link(&self, address: IpAddr) -> Option<(&Interface, IpNet)> {
        let networks = |interface| Interface::addresses(interface).map(move |net| (interface, net));
        let all = self.interfaces.iter().flat_map(networks);
        all.filter(|(_, net)| net.contains(&address)).max_by_key(|(_, net)| net.prefix_len())
    }
}

words! {
    /// How the packet program is attached to an interface.
    pub enum XdpChoice("XDP mode") {
        /// Native where the driver can, else generic with a warning.
        Auto = "auto",
        /// Native or not at all.
        Native = "native",
        /// Generic, at its cost.
        Generic = "generic",
        /// Not attached.
        Off = "off",
    }
}

/// A network card (or a VLAN on one) and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The kernel's name for it.
    pub name: String,
    /// Its own addresses, each with its prefix length.
    pub addresses: Vec<IpNet>,
    /// The largest packet; none leaves it as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// How the packet program is attached.
    pub xdp: XdpChoice,
    /// Set when it is a VLAN on another interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// Whether it is brought up.
    pub enabled: bool,
}

impl Interface {
    /// An interface with every default.
    pub fn new(name: impl Into<String>, addresses: Vec<IpNet>) -> Self {
        Self { name: name.into(), addresses, mtu: None, xdp: XdpChoice::Auto, vlan: None, enabled: true }
    }

    fn addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.addresses.iter().copied()
    }
}

/// A VLAN on another interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vlan {
    /// The interface that carries it.
    pub parent: String,
    /// Its number, 1 to 4094.
    pub id: u16,
}

/// A network, or everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// Everything no other route is for.
    Default,
    /// This network.
    Net(IpNet),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self::Net).map_err(|_| {
            format!("`{text}` is not a destination: write \"default\" or a network like \"10.9.0.0/24\"")
        })
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Net(net) => fmt::Display::fmt(net, f),
        }
    }
}

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// What it is for.
    pub to: Destination,
    /// The next router; none means directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The interface; none means the one whose network the router is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// The routing table; none means the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Lower is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// Packets from certain addresses (a VIP, say) use another gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRoute {
    /// Packets with a source in this network.
    pub from: IpNet,
    /// Use this routing table.
    pub table: u32,
    /// Lower is asked first; none lets the kernel choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// Name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Asked in this order.
    pub servers: Vec<IpAddr>,
    /// Appended to short names.
    pub search: Vec<String>,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ntp {
    /// Time servers.
    pub servers: Vec<Host>,
    /// The time zone people see.
    pub timezone: String,
}

impl Default for Ntp {
    fn default() -> Self {
        Self { servers: Vec::new(), timezone: "UTC".to_owned() }
    }
}

/// The web interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Web {
    /// Clear text.
    pub http_port: u16,
    /// TLS.
    pub https_port: u16,
    /// The addresses it listens on; empty means all of the node's own.
    pub listen: Vec<IpAddr>,
    /// Whether clear-text requests are only redirected.
    pub https_only: bool,
    /// The networks administrators come from; empty means any.
    pub allow: Vec<IpNet>,
}

impl Default for Web {
    fn default() -> Self {
        Self { http_port: 9080, https_port: 9443, listen: Vec::new(), https_only: false, allow: Vec::new() }
    }
}

/// How the pair's heartbeats travel. The peer's part is its own `node.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeartbeatPaths {
    /// Our own addresses that heartbeats leave from.
    pub addresses: Vec<IpAddr>,
    /// The peer's addresses they go to; with a port where it differs from the cluster's.
    pub peers: Vec<PeerAddress>,
    /// The serial port, such as `/dev/ttyS0`; none means off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its speed.
    pub baud: u32,
}

impl Default for HeartbeatPaths {
    fn default() -> Self {
        Self { addresses: Vec::new(), peers: Vec::new(), serial: None, baud: 19_200 }
    }
}

/// An address of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddress {
    /// Where it is.
    pub ip: IpAddr,
    /// The port, where it isn't the cluster's.
    pub port: Option<u16>,
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let socket = text.parse::<SocketAddr>().ok().filter(|socket| socket.port() != 0);
        let peer = socket.map(|socket| Self { ip: socket.ip(), port: Some(socket.port()) });
        peer.ok_or_else(|| format!("`{text}` is not an address: write for example \"192.168.2.22\""))
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(peer: PeerAddress) -> Self {
        peer.to_string()
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => fmt::Display::fmt(&SocketAddr::new(self.ip, port), f),
            None => fmt::Display::fmt(&self.ip, f),
        }
    }
}
