//! What can happen, and to whom.
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The node that saw it.
    pub node: String,
    /// To whom it happened.
    pub subject: Subject,
    /// Whether that is bad.
    pub severity: Severity,
    /// Why, in words: "connection refused", "ends in 12 days", "now active". Cut to 400 bytes.
    pub text: String,
}

/// To whom something happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A virtual service as a whole.
    Service {
        /// Its name.
        service: String,
    },
    /// One server of a service.
    Server {
        /// The service's name.
        service: String,
        /// The server's.
        server: String,
    },
    /// A certificate.
    Certificate {
        /// Its name.
        certificate: String,
    },
    /// A node of the pair.
    Node {
        /// Its name.
        node: String,
    },
}

/// Whether something is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It began to be bad, or is bad in another way.
    Problem,
    /// It is good again.
    Recovered,
    /// Neither: somebody wants to know nevertheless.
    Notice,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service } => write!(f, "service {service}"),
            Self::Server { service, server } => write!(f, "{service}/{server}"),
            Self::Certificate { certificate } => write!(f, "certificate {certificate}"),
            Self::Node { node } => write!(f, "node {node}"),
        }
    }
}

impl Subject {
    /// "up", or what is said of what neither goes up nor down.
    pub(crate) fn state(&self, severity: Severity) -> &'static str {
        match (self, severity) {
            (_, Severity::Notice) => "told",
            (Self::Server { .. } | Self::Service { .. }, Severity::Problem) => "down",
            (Self::Server { .. } | Self::Service { .. }, Severity::Recovered) => "up",
            (Self::Certificate { .. } | Self::Node { .. }, Severity::Problem) => "in trouble",
            (Self::Certificate { .. } | Self::Node { .. }, Severity::Recovered) => "fine",
        }
    }
}

impl Severity {
    /// The word that begins a line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Problem => "PROBLEM",
            Self::Recovered => "RECOVERED",
            Self::Notice => "NOTICE",
        }
    }
}
