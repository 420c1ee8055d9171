//! Content rules of an HTTP service: when a request looks like this, do that.

use ipnet::IpNet;
use serde::Serialize;

use crate::name::ServerName;

/// One rule. It matches when every condition matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What people call it.
    pub name: Option<String>,
    /// All of these must hold (or must not, when `not`); empty matches every request.
    pub when: Condition,
    /// Turns the whole condition round.
    pub not: bool,
    /// What happens then.
    pub action: Action,
}

/// What a request must look like. Fields that are none or empty don't matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The host asked for, one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// The path begins like one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path_begins: Vec<String>,
    /// The path ends like one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path_ends: Vec<String>,
    /// The path matches this pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// The method is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// The query contains this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A header has a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderMatch>,
    /// The client is in one of these networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<IpNet>,
}

/// A header and the value it must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: String,
    /// What its value contains; none means that it is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// What happens to a request that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Only these servers of the service may answer it.
    UseServers(Vec<ServerName>),
    /// The client is sent elsewhere.
    Redirect {
        /// Where to.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// The client gets this status and nothing more.
    Respond {
        /// 400 to 599, or 200 and 204.
        status: u16,
    },
    /// A request header is set before the server sees it.
    SetRequestHeader {
        /// The header's name.
        name: String,
        /// Its new value.
        value: String,
    },
    /// A response header is set before the client sees it.
    SetResponseHeader {
        /// The header's name.
        name: String,
        /// Its new value.
        value: String,
    },
}

impl Action {
    /// The spelling of `action` in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::UseServers(_) => "use-servers",
            Self::Redirect { .. } => "redirect",
            Self::Respond { .. } => "respond",
            Self::SetRequestHeader { .. } => "set-request-header",
            Self::SetResponseHeader { .. } => "set-response-header",
        }
    }
}
