//! How a service decides whether its servers can do their work.

use std::time::Duration;

use serde::Serialize;

use crate::check::Check;
use crate::layer4::Protocol4;
use crate::name::CheckName;

/// A check and its rhythm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The named check this came from, if the service refers to one.
    pub uses: Option<CheckName>,
    /// What is asked of a server.
    pub check: Check,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many good answers in a row bring a server up.
    pub rise: u32,
    /// So many bad answers in a row take it down.
    pub fall: u32,
    /// The port that is checked; none means the port the server serves on.
    pub port: Option<u16>,
}

impl Health {
    /// How often a server is checked.
    pub const INTERVAL: Duration = Duration::from_secs(4);
    /// How long an answer may take.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// Good answers that bring a server up.
    pub const RISE: u32 = 2;
    /// Bad answers that take it down.
    pub const FALL: u32 = 3;

    /// This check in the default rhythm.
    pub fn new(check: Check) -> Self {
        Self {
            uses: None,
            check,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            rise: Self::RISE,
            fall: Self::FALL,
            port: None,
        }
    }

    /// What is checked when nothing is written: that a connection opens, or that the host answers for UDP alone.
    pub fn default_for(protocol: Protocol4) -> Self {
        Self::new(if protocol.has_tcp() { Check::Connect } else { Check::Ping })
    }
}

/// A check with a name, for several services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedHealth {
    /// What services call it.
    pub name: CheckName,
    /// The check and its rhythm.
    #[serde(flatten)]
    pub health: Health,
}
