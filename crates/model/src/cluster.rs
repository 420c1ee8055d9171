//! Everything the pair shares: `cluster.toml` as a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::health::NamedHealth;
use crate::name::{CertificateName, ServiceName, UserName};
use crate::service::Service;
use crate::word::words;

/// A whole valid `cluster.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The virtual services, in the order of the file.
    #[serde(rename = "service")]
    pub services: Vec<Service>,
    /// Floating addresses beyond those every service brings by itself.
    #[serde(rename = "floating_ip")]
    pub floating_ips: Vec<FloatingIp>,
    /// The rhythm of the pair.
    pub heartbeat: Heartbeat,
    /// Sizes and times of the packet path.
    pub layer4: Layer4Settings,
    /// Checks with a name.
    #[serde(rename = "health_check")]
    pub health_checks: Vec<NamedHealth>,
    /// Certificates by name; keys are kept elsewhere.
    #[serde(rename = "certificate")]
    pub certificates: Vec<Certificate>,
    /// Who may sign in, and what they may do; passwords are kept elsewhere.
    #[serde(rename = "user")]
    pub users: Vec<User>,
    /// Who is told when something changes.
    pub alerts: Alerts,
}

impl Cluster {
    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// Every address that moves between the nodes: those of the services and those added by hand, each once.
    pub fn floating_addresses(&self) -> Vec<IpAddr> {
        let own = self.services.iter().filter(|service| service.enabled).map(|service| service.address);
        let added = self.floating_ips.iter().map(|floating| floating.address.addr());
        let mut all: Vec<IpAddr> = own.chain(added).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// An address that moves between the nodes, added by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FloatingIp {
    /// The address with its prefix length.
    pub address: IpNet,
    /// The interface it belongs on; none means the one whose network it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The rhythm of the pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// How often a node says that it lives.
    #[serde(with = "crate::duration::required")]
    pub keepalive: Duration,
    /// A silence this long is logged.
    #[serde(with = "crate::duration::required")]
    pub warn_time: Duration,
    /// A silence this long means that the peer is gone.
    #[serde(with = "crate::duration::required")]
    pub dead_time: Duration,
    /// The same while starting, when networks take their time.
    #[serde(with = "crate::duration::required")]
    pub initial_dead_time: Duration,
    /// Where heartbeats are sent.
    pub udp_port: u16,
    /// Whether the primary takes over again by itself when it returns.
    pub auto_failback: bool,
    /// Hosts that must answer for a node to believe that it sees the network.
    pub ping_nodes: Vec<IpAddr>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_millis(200),
            warn_time: Duration::from_millis(600),
            dead_time: Duration::from_secs(1),
            initial_dead_time: Duration::from_secs(10),
            udp_port: 6694,
            auto_failback: false,
            ping_nodes: Vec::new(),
        }
    }
}

/// Sizes and times of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer4Settings {
    /// Connections remembered at most.
    pub connections: u32,
    /// Half-open connections remembered at most, apart from the others.
    pub half_open: u32,
    /// Clients remembered for persistence at most.
    pub persistence_entries: u32,
    /// Fragmented packets followed at once.
    pub fragments: u32,
    /// Idle times, unless a service has its own.
    pub timeouts: Layer4Timeouts,
    /// The outer IPv4 source of tunnelled packets; none means the interface's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_source4: Option<Ipv4Addr>,
    /// The outer IPv6 source of tunnelled packets; none means the interface's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_source6: Option<Ipv6Addr>,
    /// Interfaces on which the servers' own traffic leaves with our address.
    pub autonat: Vec<String>,
}

impl Default for Layer4Settings {
    fn default() -> Self {
        Self {
            connections: 524_288,
            half_open: 131_072,
            persistence_entries: 262_144,
            fragments: 16_384,
            timeouts: Layer4Timeouts::default(),
            tunnel_source4: None,
            tunnel_source6: None,
            autonat: Vec::new(),
        }
    }
}

/// How long an idle connection is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer4Timeouts {
    /// An established TCP connection.
    #[serde(with = "crate::duration::required")]
    pub tcp_established: Duration,
    /// A TCP connection one side has closed.
    #[serde(with = "crate::duration::required")]
    pub tcp_fin: Duration,
    /// A half-open TCP connection.
    #[serde(with = "crate::duration::required")]
    pub tcp_syn: Duration,
    /// A TCP connection that was reset.
    #[serde(with = "crate::duration::required")]
    pub tcp_close: Duration,
    /// A UDP exchange.
    #[serde(with = "crate::duration::required")]
    pub udp: Duration,
}

impl Default for Layer4Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(900),
            tcp_fin: Duration::from_secs(120),
            tcp_syn: Duration::from_secs(60),
            tcp_close: Duration::from_secs(10),
            udp: Duration::from_secs(300),
        }
    }
}

impl Layer4Timeouts {
    /// These times, with those a service has of its own.
    #[must_use]
    pub fn with(&self, own: &crate::Layer4TimeoutOverrides) -> Self {
        Self {
            tcp_established: own.tcp_established.unwrap_or(self.tcp_established),
            tcp_fin: own.tcp_fin.unwrap_or(self.tcp_fin),
            tcp_syn: own.tcp_syn.unwrap_or(self.tcp_syn),
            tcp_close: own.tcp_close.unwrap_or(self.tcp_close),
            udp: own.udp.unwrap_or(self.udp),
        }
    }
}

/// A certificate, by name. The chain and the key are kept with the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// What services call it.
    pub name: CertificateName,
    /// The host names it is for; needed for ACME.
    pub domains: Vec<String>,
    /// How it is fetched and renewed; none means that it is imported by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
}

/// Where a certificate is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acme {
    /// The authority's directory.
    pub directory: String,
    /// Whom the authority may write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Acme {
    /// The authority used unless told otherwise.
    pub const DIRECTORY: &'static str = "https://acme-v02.api.letsencrypt.org/directory";
}

words! {
    /// What somebody may do.
    pub enum Role("role") {
        /// Look.
        Viewer = "viewer",
        /// Look, and set servers online, draining, halted, and their weights.
        Operator = "operator",
        /// Change the configuration.
        Editor = "editor",
        /// Everything, users included.
        Admin = "admin",
    }
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name they sign in with.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// The only services they may touch; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
}

words! {
    /// How the mail relay is spoken to.
    pub enum MailSecurity("mail security") {
        /// By STARTTLS where the relay offers it.
        Opportunistic = "opportunistic",
        /// By STARTTLS or not at all.
        StartTls = "starttls",
        /// By TLS from the first byte.
        Tls = "tls",
        /// In clear text.
        Off = "off",
    }
}

/// Who is told when a server goes down or the pair changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alerts {
    /// Mail addresses.
    pub email_to: Vec<String>,
    /// The sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_from: Option<String>,
    /// The relay, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<String>,
    /// How it is spoken to.
    pub smtp_security: MailSecurity,
    /// Who signs in there; none signs in nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_user: Option<String>,
    /// The name of the secret that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_secret: Option<String>,
    /// A URL that is called with JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The name of the secret that signs what is sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// Where events go as syslog (RFC 5424 over UDP), `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<String>,
    /// No channel speaks more often than this; what happens meanwhile is told together.
    #[serde(with = "crate::duration::required")]
    pub every: Duration,
    /// A certificate that ends within so many days is told.
    pub certificate_days: u32,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            email_to: Vec::new(),
            email_from: None,
            smtp: None,
            smtp_security: MailSecurity::Opportunistic,
            smtp_user: None,
            smtp_secret: None,
            webhook: None,
            webhook_secret: None,
            syslog: None,
            every: Duration::from_secs(60),
            certificate_days: 21,
        }
    }
}
