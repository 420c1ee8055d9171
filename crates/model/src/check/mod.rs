//! What is asked of a server to learn whether it works.

mod dialogue;
mod http;

use std::fmt;

use serde::Serialize;

pub use self::dialogue::{TcpCheck, Turn, TurnError, UdpCheck};
pub use self::http::{Header, HeaderError, HttpCheck, HttpMethod, HttpVersion, StatusSet, StatusSetError};
use crate::word::words;

/// One kind of check with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// None: a server counts as up.
    Off,
    /// An ICMP echo is answered.
    Ping,
    /// A TCP connection opens.
    Connect,
    /// A TCP connection opens, and what is sent gets the expected answer.
    Tcp(TcpCheck),
    /// A datagram gets the expected answer, or at least no refusal.
    Udp(UdpCheck),
    /// A TLS handshake succeeds.
    Tls(TlsCheck),
    /// An HTTP request gets the expected answer.
    Http(HttpCheck),
    /// The same over TLS.
    Https(HttpCheck),
    /// A DNS question is answered.
    Dns(DnsCheck),
    /// A mail server greets and answers EHLO.
    Smtp(SmtpCheck),
    /// An IMAP server greets.
    Imap(LoginCheck),
    /// A POP3 server greets.
    Pop3(LoginCheck),
    /// An FTP server greets.
    Ftp(LoginCheck),
    /// A directory answers a bind.
    Ldap(LdapCheck),
    /// A MySQL server greets, or accepts a login.
    Mysql(LoginCheck),
    /// A PostgreSQL server answers, or accepts a login.
    Pgsql(LoginCheck),
    /// A Redis server answers PING.
    Redis(LoginCheck),
    /// A RADIUS server answers.
    Radius(RadiusCheck),
    /// A SIP server answers OPTIONS.
    Sip(SipCheck),
    /// A news server greets.
    Nntp(LoginCheck),
    /// A remote-desktop server negotiates.
    Rdp(RdpCheck),
    /// A gRPC server says that it serves.
    Grpc(GrpcCheck),
    /// A script of the administrator ends with 0.
    Script(ScriptCheck),
    /// The feedback agent on the server reports its state and load.
    Agent(AgentCheck),
}

impl Check {
    /// The spelling of `type` in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ping => "ping",
            Self::Connect => "connect",
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::Dns(_) => "dns",
            Self::Smtp(_) => "smtp",
            Self::Imap(_) => "imap",
            Self::Pop3(_) => "pop3",
            Self::Ftp(_) => "ftp",
            Self::Ldap(_) => "ldap",
            Self::Mysql(_) => "mysql",
            Self::Pgsql(_) => "pgsql",
            Self::Redis(_) => "redis",
            Self::Radius(_) => "radius",
            Self::Sip(_) => "sip",
            Self::Nntp(_) => "nntp",
            Self::Rdp(_) => "rdp",
            Self::Grpc(_) => "grpc",
            Self::Script(_) => "script",
            Self::Agent(_) => "agent",
        }
    }

    /// Whether it asks the port that is checked, and nothing else, over TCP or UDP.
    pub fn has_a_port(&self) -> bool {
        match self {
            Self::Connect
            | Self::Tcp(_)
            | Self::Udp(_)
            | Self::Tls(_)
            | Self::Http(_)
            | Self::Https(_)
            | Self::Dns(_)
            | Self::Smtp(_)
            | Self::Imap(_)
            | Self::Pop3(_)
            | Self::Ftp(_)
            | Self::Ldap(_)
            | Self::Mysql(_)
            | Self::Pgsql(_)
            | Self::Redis(_)
            | Self::Radius(_)
            | Self::Sip(_)
            | Self::Nntp(_)
            | Self::Rdp(_)
            | Self::Grpc(_) => true,
            Self::Off | Self::Ping | Self::Script(_) | Self::Agent(_) => false,
        }
    }

    /// Whether silence counts as a good answer.
    pub fn is_content_with_silence(&self) -> bool {
        matches!(self, Self::Udp(udp) if udp.expect.is_none() && udp.expect_regex.is_none())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How TLS is spoken with a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Tls {
    /// Whether it is spoken at all, from the first byte, or from where the protocol changes over (mysql, pgsql).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// Whether the protocol is asked to change over to it (smtp, imap, pop3, ftp, ldap, nntp).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub starttls: bool,
    /// Whether the certificate must be trusted and fit the name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
    /// The file in the folder of authorities that is trusted instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name asked for and checked; none asks for none and checks the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A TLS handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TlsCheck {
    /// How; `tls` is always on.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A remote-desktop server (MS-RDPBCGR, 1.3.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RdpCheck {
    /// The user of the routing cookie (`mstshash`); none sends no cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

words! {
    /// The type of record a DNS check asks for.
    pub enum DnsRecord("record type") {
        /// IPv4 address.
        A = "A",
        /// IPv6 address.
        Aaaa = "AAAA",
        /// Mail exchanger.
        Mx = "MX",
        /// Name server.
        Ns = "NS",
        /// Start of authority.
        Soa = "SOA",
        /// Text.
        Txt = "TXT",
        /// Service location.
        Srv = "SRV",
        /// Name of an address.
        Ptr = "PTR",
        /// Alias.
        Cname = "CNAME",
    }
}

/// A DNS question.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DnsCheck {
    /// The name asked for.
    pub query: String,
    /// The type asked for.
    pub record: DnsRecord,
    /// Text one of the answers must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Whether it is asked over TCP.
    #[serde(rename = "over_tcp", skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
}

/// A mail server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SmtpCheck {
    /// The name we say hello with; none means the hostname.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// How TLS is spoken.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A protocol that greets, and where a login may be tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LoginCheck {
    /// Who signs in; none means that the greeting is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the secret that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The database (mysql, pgsql).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Whether it must accept writes: the primary of a replicated pair (mysql, pgsql, redis).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
    /// How TLS is spoken.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct LdapCheck {
    /// Who binds; none binds anonymously.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// The name of the secret that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// An entry that must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_dn: Option<String>,
    /// How TLS is spoken.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A RADIUS server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RadiusCheck {
    /// Who signs in.
    pub user: String,
    /// The name of the secret that holds the user's password.
    pub secret: String,
    /// The name of the secret shared with the server.
    pub shared_secret: String,
}

/// A SIP server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SipCheck {
    /// Whether OPTIONS goes over UDP (else TCP).
    pub udp: bool,
    /// Who is asked for; none means the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// A gRPC server (grpc.health.v1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct GrpcCheck {
    /// The service asked for; empty means the server as a whole.
    pub service: String,
    /// The authority sent; none means the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How TLS is spoken.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A script of the administrator: called with VIP, VIP port, server, server port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ScriptCheck {
    /// The script's file name in the folder of checks; never a path.
    pub script: String,
    /// Arguments after the four it always gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// The feedback agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AgentCheck {
    /// Where it listens.
    pub agent_port: u16,
    /// What is sent to it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// The path that is asked for by HTTP; none means that it speaks as soon as the connection is open.
    #[serde(rename = "agent_path", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl AgentCheck {
    /// The agent's port, unless told otherwise.
    pub const PORT: u16 = 3333;
}

impl Default for AgentCheck {
    fn default() -> Self {
        Self { agent_port: Self::PORT, send: None, path: None }
    }
}
