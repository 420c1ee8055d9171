//! What is asked of a server to learn whether it works.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

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
            Self::Grpc(_) => "grpc",
            Self::Script(_) => "script",
            Self::Agent(_) => "agent",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Send and expect over TCP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TcpCheck {
    /// What is sent once the connection is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Text the answer must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// A pattern the answer must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_regex: Option<String>,
}

words! {
    /// The method of a check's request.
    pub enum HttpMethod("method") {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// OPTIONS.
        Options = "OPTIONS",
    }
}

/// An HTTP request and the answer that is good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HttpCheck {
    /// The request's method.
    pub method: HttpMethod,
    /// The path with its query.
    pub path: String,
    /// The Host header; none means the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Status codes that are good.
    pub expect_status: StatusSet,
    /// Text the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<String>,
    /// A pattern the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_regex: Option<String>,
    /// Status codes that drain the server instead of failing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_on_status: Option<StatusSet>,
    /// Whether the certificate must be trusted (https only).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
    /// The name asked for in TLS (https only); none means `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// For basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the secret that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: HttpMethod::Get,
            path: "/".to_owned(),
            host: None,
            expect_status: StatusSet::default(),
            expect_body: None,
            expect_regex: None,
            drain_on_status: None,
            verify: false,
            server_name: None,
            user: None,
            secret: None,
        }
    }
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
}

/// A mail server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct SmtpCheck {
    /// The name we say hello with; none means the hostname.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
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
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The authority sent; none means the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
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
}

impl AgentCheck {
    /// The agent's port, unless told otherwise.
    pub const PORT: u16 = 3333;
}

impl Default for AgentCheck {
    fn default() -> Self {
        Self { agent_port: Self::PORT, send: None }
    }
}

/// HTTP status codes, written as `200`, `200-299,401`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusSet(Vec<(u16, u16)>);

/// Why a text isn't a set of status codes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a set of status codes: write codes from 100 to 599, for example \"200\" or \"200-299,401\""
)]
pub struct StatusSetError(String);

impl StatusSet {
    /// Whether the code is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    /// A code that is in both.
    pub fn overlap(&self, other: &Self) -> Option<u16> {
        (100..600).find(|&status| self.contains(status) && other.contains(status))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

impl FromStr for StatusSet {
    type Err = StatusSetError;

    fn from_str(text: &str) -> Result<Self, StatusSetError> {
        let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..600).contains(code));
        let range = |item: &str| {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            Some((code(from)?, code(to)?)).filter(|(from, to)| from <= to)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| StatusSetError(text.to_owned()))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range =
            |&(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
        f.pad(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_sets_are_codes_and_ranges() {
        let set: StatusSet = "200-299, 401".parse().unwrap();
        assert!(set.contains(204) && set.contains(401) && !set.contains(300));
        assert_eq!(set.to_string(), "200-299,401");
        for wrong in ["", "20", "600", "299-200", "2xx", "200,"] {
            assert!(wrong.parse::<StatusSet>().is_err(), "{wrong}");
        }
    }
}
