//! Health: what the checks of every server have found, and what they find now.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::service::ServerState;

/// What is known about how a server is, by its checks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthVerdict {
    /// Nothing yet.
    Unknown,
    /// It works.
    Up,
    /// It works and wants no new connections.
    Drain,
    /// It doesn't work.
    Down,
}

impl HealthVerdict {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

/// What one question came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// The server works.
    Good,
    /// It works and wants no new connections.
    Drain,
    /// It doesn't.
    Bad,
    /// This node could not ask: it says nothing about the server.
    Unable,
}

impl CheckOutcome {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Drain => "drain",
            Self::Bad => "bad",
            Self::Unable => "unable",
        }
    }
}

/// The last answer to a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// When it came.
    pub at: Timestamp,
    /// What it was.
    pub outcome: CheckOutcome,
    /// Why: "HTTP 503, expected 200".
    pub reason: String,
    /// How long it took.
    pub milliseconds: f64,
}

/// How far a check is on the way to another verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The verdict that the last answers speak for.
    pub to: HealthVerdict,
    /// Such answers in a row.
    pub have: u32,
    /// How many it takes.
    pub need: u32,
}

/// One check of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckHealth {
    /// Its type: "http".
    pub kind: String,
    /// The named check that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// Where it goes: "192.0.2.11:80".
    pub target: String,
    /// What it says.
    pub verdict: HealthVerdict,
    /// The last answer; none before the first.
    pub last: Option<LastAnswer>,
    /// Until the next question.
    pub next_milliseconds: Option<u64>,
    /// Where it is heading, if somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Questions answered or given up since the daemon started.
    pub asked: u64,
    /// Those of them that weren't good.
    pub failed: u64,
    /// When the certificate that the server shows ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
}

/// A change of a server's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChange {
    /// When.
    pub at: Timestamp,
    /// Before.
    pub from: HealthVerdict,
    /// After.
    pub to: HealthVerdict,
    /// Why.
    pub reason: String,
}

/// The health of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerHealth {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// Its address; none while a name isn't resolved.
    pub ip: Option<IpAddr>,
    /// How it is doing, with what the administrator wants.
    pub state: ServerState,
    /// What its checks say together.
    pub verdict: HealthVerdict,
    /// Why.
    pub reason: String,
    /// Since when; none before the first change.
    pub since: Option<Timestamp>,
    /// How much of its weight it gets, per cent: an agent's wish, a slow start.
    pub share: u16,
    /// Whether it takes new connections.
    pub takes: bool,
    /// Its checks.
    pub checks: Vec<CheckHealth>,
    /// Its last changes, oldest first.
    pub history: Vec<HealthChange>,
}

/// Which servers' health is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthFilter {
    /// Of this service alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// This server of it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// One step of a check that was carried out to be looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestStep {
    /// Since it began.
    pub milliseconds: f64,
    /// What happened.
    pub text: String,
}

/// One check, carried out now. It changes no verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckTest {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// The check's type.
    pub kind: String,
    /// Where it went.
    pub target: String,
    /// What it came to.
    pub outcome: CheckOutcome,
    /// Why.
    pub reason: String,
    /// How long it took.
    pub milliseconds: f64,
    /// How it went.
    pub steps: Vec<TestStep>,
}
