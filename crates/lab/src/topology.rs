//! The topologies by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the lab is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// One balancer; servers beside it on the front network.
    OneArm,
    /// One balancer; servers on a network behind it, whose gateway it is.
    TwoArm,
    /// One balancer; servers behind another hop of the router.
    Tunnel,
    /// Two balancers; servers on both networks, so that every mode can be shown.
    Pair,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OneArm, Self::TwoArm, Self::Tunnel, Self::Pair];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneArm => "one-arm",
            Self::TwoArm => "two-arm",
            Self::Tunnel => "tunnel",
            Self::Pair => "pair",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|topology| topology.name() == text);
        found.ok_or_else(|| format!("there is no topology `{text}`; there are {names}"))
    }
}
