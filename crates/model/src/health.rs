//! How a service decides whether its servers can do their work.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::check::Check;
use crate::layer4::Protocol4;
use crate::name::CheckName;
use crate::word::words;

words! {
    /// Which way a check goes.
    pub enum Through("way of a check") {
        /// To the server's own address.
        Server = "server",
        /// To the virtual address at this server, in the way the packet path sends (DR and TUN).
        Vip = "vip",
    }
}

words! {
    /// How several checks make one verdict.
    pub enum Require("way to combine checks") {
        /// Every check must find the server up.
        All = "all",
        /// One is enough.
        Any = "any",
    }
}

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
    /// How often while a verdict is about to change.
    pub fast_interval: Duration,
    /// A server that goes down again within this time after it came up needs twice as many good answers the next time,
    /// and so on; zero never does.
    pub flap_window: Duration,
    /// The port that is checked; none means the port the server serves on.
    pub port: Option<u16>,
    /// The address that is checked; none means the server's.
    pub address: Option<IpAddr>,
    /// Which way the check goes.
    pub through: Through,
    /// How the checks of `also` and this one make one verdict.
    pub require: Require,
    /// Further checks of the same servers, which have none themselves.
    pub also: Vec<Health>,
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
    /// How often at most while a verdict is about to change.
    pub const FAST_INTERVAL: Duration = Duration::from_secs(1);
    /// How long a server must stay up for its next fall to count as the first.
    pub const FLAP_WINDOW: Duration = Duration::from_secs(60);

    /// This check in the default rhythm.
    pub fn new(check: Check) -> Self {
        Self {
            uses: None,
            check,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            rise: Self::RISE,
            fall: Self::FALL,
            fast_interval: Self::FAST_INTERVAL,
            flap_window: Self::FLAP_WINDOW,
            port: None,
            address: None,
            through: Through::Server,
            require: Require::All,
            also: Vec::new(),
        }
    }

    /// This check and the further ones.
    pub fn checks(&self) -> impl Iterator<Item = &Self> + Clone {
        std::iter::once(self).chain(&self.also)
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
