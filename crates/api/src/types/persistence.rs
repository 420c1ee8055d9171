//! The persistence table: which client sticks to which server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::connections::ConnectionFilter;

/// Which clients to list or to forget. Everything is optional; what is given must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistenceFilter {
    /// Only clients of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only this client, or the network that it is remembered as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// At most this many rows, as for connections. Forgetting knows no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the last page ended: its `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl PersistenceFilter {
    /// The number of rows to answer with.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(ConnectionFilter::DEFAULT_LIMIT).clamp(1, ConnectionFilter::MAX_LIMIT)
    }
}

/// A client that sticks to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistentClient {
    /// The service.
    pub service: String,
    /// The client, or its network where the service takes one for a client: "192.0.2.0/24".
    pub client: String,
    /// Its server; none while the server is being removed.
    pub server: Option<String>,
    /// When it is free again if nothing more comes from it.
    pub expires_seconds: u64,
    /// False until a connection of it is known to be real.
    pub proved: bool,
}

/// A page of the persistence table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistencePage {
    /// The rows.
    pub clients: Vec<PersistentClient>,
    /// Pass as `cursor` to go on; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All that match.
    pub total: u64,
}

/// How many clients were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Entries that are gone.
    pub clients: u64,
}
