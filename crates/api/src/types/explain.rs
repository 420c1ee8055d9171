//! Where a given client would go, and why.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The packet to explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port, when it matters and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// The virtual address.
    pub vip: IpAddr,
    /// The virtual port.
    pub vip_port: u16,
    /// TCP unless said otherwise.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What would happen to the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It belongs to a connection in the table and follows it.
    Known,
    /// Persistence remembers the client.
    Persistent,
    /// The scheduler would choose now.
    Scheduled,
    /// No server can take it: the fallback answers.
    Fallback,
    /// It would be dropped.
    Dropped,
    /// No service listens there: the packet is left to the host.
    NotAService,
}

impl Verdict {
    /// Whether some server gets the packet.
    pub const fn is_forwarded(self) -> bool {
        matches!(self, Self::Known | Self::Persistent | Self::Scheduled | Self::Fallback)
    }
}

/// The answer, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What would happen.
    pub verdict: Verdict,
    /// The answer in one sentence: "goes to IIS1 (192.168.1.110:80), by persistence".
    pub summary: String,
    /// What was looked at, in order, one sentence each.
    pub steps: Vec<String>,
    /// The service that matched.
    pub service: Option<String>,
    /// The server that gets it.
    pub server: Option<String>,
    /// Why that one, in one sentence.
    pub why: String,
    /// Whether another client port could give another server: the scheduler hashes ports.
    pub depends_on_port: bool,
    /// What to do, when the answer is a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
