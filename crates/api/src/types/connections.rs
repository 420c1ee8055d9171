//! The connection table, a page at a time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::explain::Protocol;

/// Where a connection is in its life, as far as the balancer can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionState {
    /// The client's SYN was forwarded and nothing more came back from the client.
    SynRecv,
    /// Both sides talk.
    Established,
    /// One side has said goodbye.
    FinWait,
    /// Both sides have said goodbye.
    TimeWait,
    /// Reset, about to be forgotten.
    Close,
    /// A UDP flow; UDP has no states.
    Udp,
}

impl ConnectionState {
    /// All of them, in the order of a connection's life.
    pub const ALL: [Self; 6] =
        [Self::SynRecv, Self::Established, Self::FinWait, Self::TimeWait, Self::Close, Self::Udp];

    /// The word people know: `SYN_RECV`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for ConnectionState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_uppercase().replace('-', "_");
        Self::ALL.into_iter().find(|state| state.as_str() == wanted).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            format!("\"{text}\" is no connection state; use one of {}", known.join(", "))
        })
    }
}

/// Something worth knowing about one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionFlag {
    /// Its server was chosen by persistence.
    Persistent,
    /// It goes to the fallback server.
    Fallback,
    /// It was picked up in the middle, without its SYN.
    MidStream,
    /// It came from the other node of the pair.
    Synced,
    /// Its server is draining.
    Draining,
}

impl ConnectionFlag {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Fallback => "fallback",
            Self::MidStream => "mid-stream",
            Self::Synced => "synced",
            Self::Draining => "draining",
        }
    }
}

/// Which connections to list. Everything is optional; what is given must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionFilter {
    /// Only this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only this server of it, or of any service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only this client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Only this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ConnectionState>,
    /// At most this many rows; [`ConnectionFilter::DEFAULT_LIMIT`] when not given, never more than
    /// [`ConnectionFilter::MAX_LIMIT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the last page ended: its `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl ConnectionFilter {
    /// Rows of a page when the caller does not say.
    pub const DEFAULT_LIMIT: usize = 100;
    /// Rows of a page at most.
    pub const MAX_LIMIT: usize = 10_000;

    /// The number of rows to answer with.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).clamp(1, Self::MAX_LIMIT)
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client.
    pub client: SocketAddr,
    /// The virtual address it talks to.
    pub vip: SocketAddr,
    /// The real server and the port there.
    pub real: SocketAddr,
    /// The service.
    pub service: String,
    /// The server's name; none when it has been removed from the configuration.
    pub server: Option<String>,
    /// Where it is in its life.
    pub state: ConnectionState,
    /// Since its first packet; none where the table does not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Since its last packet.
    pub idle_seconds: u64,
    /// When it is forgotten if nothing more comes.
    pub expires_seconds: u64,
    /// What else is worth knowing.
    #[serde(default)]
    pub flags: Vec<ConnectionFlag>,
}

/// A page of the connection table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPage {
    /// The rows.
    pub connections: Vec<Connection>,
    /// Pass as `cursor` to go on; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All connections in the table, whether they match or not.
    pub total: u64,
}
