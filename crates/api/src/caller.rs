//! Who is asking, and what they may do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a caller may do; each role may do everything the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look, touch nothing.
    Viewer,
    /// Also take servers out and bring them back: drain, halt, online, weight.
    Operator,
    /// Also change the configuration.
    Editor,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Admin => "admin",
        })
    }
}

/// The way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The unix socket, by its peer credentials.
    Socket,
    /// The web interface.
    Web,
    /// The daemon itself, for example a rollback nobody confirmed in time.
    Daemon,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Web => "web",
            Self::Daemon => "daemon",
        })
    }
}

/// Somebody whose identity has been established.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The name written into the history.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// How they came in.
    pub via: Via,
}
