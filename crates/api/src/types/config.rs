//! Configuration as text: revisions, the candidate, problems, differences.

use jiff::Timestamp;
use keel_model::Problem;
use serde::{Deserialize, Serialize};

/// The configuration of one revision; its number is also the `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// The revision this is.
    pub revision: u64,
    /// cluster.toml, comments and all.
    pub text: String,
}

/// A configuration sent to be validated, kept as the candidate or applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// cluster.toml.
    pub text: String,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Whether it could run: no problem is an error.
    pub valid: bool,
    /// All problems, in the order of the text.
    pub problems: Vec<Problem>,
}

impl Validation {
    /// The verdict on these problems.
    pub fn of(problems: Vec<Problem>) -> Self {
        Self { valid: !problems.iter().any(Problem::is_error), problems }
    }
}

/// A configuration being worked on, not in force yet. There is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The revision that ran when work on it began.
    pub base: u64,
    /// cluster.toml as it would be.
    pub text: String,
    /// Who saved it last.
    pub user: String,
    /// When.
    pub saved: Timestamp,
    /// What is wrong with it so far; a candidate may be kept with errors, not committed.
    pub problems: Vec<Problem>,
}

/// Which two configurations to compare. Nothing given: the running one with the candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffQuery {
    /// The older revision; the running one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The newer revision; the candidate when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// What differs between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The older side in words: "revision 11".
    pub from: String,
    /// The newer side in words: "revision 12", "the candidate".
    pub to: String,
    /// One sentence per change of meaning. Empty when only comments or layout differ.
    pub changes: Vec<String>,
    /// The unified diff of the two texts. Empty when they are the same.
    pub unified: String,
}

/// A commit that goes back by itself unless confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingConfirm {
    /// The revision that waits to be confirmed.
    pub revision: u64,
    /// The revision that comes back otherwise.
    pub falls_back_to: u64,
    /// When that happens.
    pub deadline: Timestamp,
    /// The time left at the moment of the answer.
    pub seconds_left: u64,
    /// Who committed.
    pub user: String,
}

/// The outcome of anything that changes the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The revision that runs now.
    pub revision: u64,
    /// The revision that ran before; the same when nothing had to change.
    pub previous: u64,
    /// One sentence per change. Empty when nothing had to change.
    pub changes: Vec<String>,
    /// Warnings about the configuration now in force.
    #[serde(default)]
    pub warnings: Vec<Problem>,
    /// Set when the change goes back by itself unless confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_confirm: Option<PendingConfirm>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number; numbers only grow.
    pub revision: u64,
    /// When it was committed.
    pub committed: Timestamp,
    /// Who committed it.
    pub user: String,
    /// How they came in: "socket", "web", "daemon".
    pub via: String,
    /// Why, in the committer's words.
    pub why: String,
    /// One sentence per change against the revision before.
    pub changes: Vec<String>,
    /// Whether it is the one in force.
    pub running: bool,
    /// Whether it still waits to be confirmed.
    #[serde(default)]
    pub unconfirmed: bool,
}

/// Settings in the spelling of cluster.toml, as key and value: `scheduler` = `"wlc"`,
/// `health.interval` = `"4s"`. A null removes the key, which gives it its default again.
pub type Fields = serde_json::Map<String, serde_json::Value>;

/// A service to add.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Everything else about it: `address`, `ports`, `protocol`, `mode`, …
    #[serde(default)]
    pub fields: Fields,
    /// Its first servers.
    #[serde(default)]
    pub servers: Vec<NewServer>,
}

/// A server to add to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewServer {
    /// Its name, unique within the service.
    pub name: String,
    /// Everything else about it: `address`, `port`, `weight`, …
    #[serde(default)]
    pub fields: Fields,
}
