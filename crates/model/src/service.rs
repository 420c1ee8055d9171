//! A virtual service: an address and ports that clients use, and the servers behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::health::Health;
use crate::layer4::{Layer4, Protocol4, Transport};
use crate::layer7::Layer7;
use crate::name::ServiceName;
use crate::persistence::Persistence;
use crate::ports::PortSet;
use crate::server::Server;
use crate::word::words;

words! {
    /// What a service does when too few of its servers are up.
    pub enum PanicAction("panic action") {
        /// All servers that aren't taken out by hand are used, whatever their checks say.
        All = "all",
        /// Nobody but the fallback server takes new work.
        Fallback = "fallback",
    }
}

words! {
    /// How a lower priority group takes over again.
    pub enum Failback("way to fail back") {
        /// By itself, as soon as one of its servers is up.
        Auto = "auto",
        /// When somebody says so.
        Manual = "manual",
    }
}

/// One virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique in the cluster.
    pub name: ServiceName,
    /// What it is for, in the administrator's words.
    pub description: Option<String>,
    /// The virtual address (VIP).
    pub address: IpAddr,
    /// The ports clients use.
    pub ports: PortSet,
    /// Whether it takes traffic at all.
    pub enabled: bool,
    /// Layer 4 or layer 7, with what belongs to it.
    pub kind: ServiceKind,
    /// Whether clients stay on their server; none means off.
    pub persistence: Option<Persistence>,
    /// Who answers when no server can; none means nobody.
    pub fallback: Option<SocketAddr>,
    /// Percent of servers up below which all are used; 0 means never.
    pub panic_threshold: u8,
    /// What happens then.
    pub panic_action: PanicAction,
    /// How a lower priority group takes over again.
    pub failback: Failback,
    /// How long a server's share grows after it came up; none gives it all at once.
    pub slow_start: Option<Duration>,
    /// How servers are checked.
    pub health: Health,
    /// The real servers, in the order of the file.
    pub servers: Vec<Server>,
}

/// The engine that serves it, with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// Packets are forwarded.
    Layer4(Layer4),
    /// Connections are answered by the proxy.
    Layer7(Layer7),
}

impl Service {
    /// A layer-4 service with every default and no servers.
    pub fn layer4(name: ServiceName, address: IpAddr, ports: PortSet, layer4: Layer4) -> Self {
        Self::new(name, address, ports, ServiceKind::Layer4(layer4))
    }

    /// A layer-7 service with every default and no servers.
    pub fn layer7(name: ServiceName, address: IpAddr, ports: PortSet, layer7: Layer7) -> Self {
        Self::new(name, address, ports, ServiceKind::Layer7(layer7))
    }

    fn new(name: ServiceName, address: IpAddr, ports: PortSet, kind: ServiceKind) -> Self {
        let protocol = kind.protocol();
        Self {
            name,
            description: None,
            address,
            ports,
            enabled: true,
            kind,
            persistence: None,
            fallback: Self::default_fallback(address, protocol),
            panic_threshold: 0,
            panic_action: PanicAction::All,
            failback: Failback::Auto,
            slow_start: None,
            health: Health::default_for(protocol),
            servers: Vec::new(),
        }
    }

    /// The built-in page that says the service is unavailable, in the family of the service; UDP has none.
    pub fn default_fallback(address: IpAddr, protocol: Protocol4) -> Option<SocketAddr> {
        let local = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        protocol.has_tcp().then(|| SocketAddr::new(local, Self::FALLBACK_PORT))
    }

    /// The port of the built-in fallback page.
    pub const FALLBACK_PORT: u16 = 9081;

    /// The layer-4 settings, if this is a layer-4 service.
    pub fn as_layer4(&self) -> Option<&Layer4> {
        match &self.kind {
            ServiceKind::Layer4(layer4) => Some(layer4),
            ServiceKind::Layer7(_) => None,
        }
    }

    /// The layer-7 settings, if this is a layer-7 service.
    pub fn as_layer7(&self) -> Option<&Layer7> {
        match &self.kind {
            ServiceKind::Layer4(_) => None,
            ServiceKind::Layer7(layer7) => Some(layer7),
        }
    }

    /// 4 or 7.
    pub fn layer(&self) -> u8 {
        match self.kind {
            ServiceKind::Layer4(_) => 4,
            ServiceKind::Layer7(_) => 7,
        }
    }

    /// The transports clients use.
    pub fn protocol(&self) -> Protocol4 {
        self.kind.protocol()
    }

    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == *name)
    }

    /// Whether a packet to this address and port is for this service.
    pub fn claims(&self, address: IpAddr, port: u16, transport: Transport) -> bool {
        self.address == address
            && self.ports.contains(port)
            && self.protocol().transports().contains(&transport)
    }
}

impl ServiceKind {
    /// The transports clients use; the proxy takes TCP only.
    pub fn protocol(&self) -> Protocol4 {
        match self {
            Self::Layer4(layer4) => layer4.protocol,
            Self::Layer7(_) => Protocol4::Tcp,
        }
    }
}
