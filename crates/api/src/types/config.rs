//! Configuration as text: revisions, the candidate, problems, differences.

use jiff::Timestamp;
use keel_model::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ApiError, Result};

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

/// Settings in the spelling of cluster.toml, as key and value: `"scheduler": "wlc"`,
/// `"health.interval": "4s"`. A table may be given as an object instead of dotted keys, a number or
/// a flag as text. Null takes the key out, which gives it its default again.
pub type Fields = serde_json::Map<String, serde_json::Value>;

/// Fields as the configuration crate's edits want them: dotted keys, each with its value as text, or
/// none to take the key out.
pub fn settings(fields: &Fields) -> Result<Vec<(String, Option<String>)>> {
    let mut settings = Vec::with_capacity(fields.len());
    flatten("", fields, &mut settings)?;
    Ok(settings)
}

fn flatten(prefix: &str, fields: &Fields, settings: &mut Vec<(String, Option<String>)>) -> Result<()> {
    for (key, value) in fields {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(&format!("{key}."), inner, settings)?,
            Value::Null => settings.push((key, None)),
            Value::Array(items) => {
                let words = items.iter().map(|item| plain(&key, item)).collect::<Result<Vec<_>>>()?;
                settings.push((key, Some(words.join(","))));
            }
            value => settings.push((key.clone(), Some(plain(&key, value)?))),
        }
    }
    Ok(())
}

fn plain(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(ApiError::bad_request(format!(
            "`{key}` cannot be set in one step: set the keys in it one by one"
        ))),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_dotted_keys_with_text() {
        let json = serde_json::json!({
            "enabled": false, "health": { "type": "http", "rise": 2 }, "panic_threshold": null,
            "ports": "80", "timeouts.udp": "30s", "words": ["a", "b"]
        });
        let fields = json.as_object().unwrap();
        let expected = [
            ("enabled", Some("false")),
            ("health.rise", Some("2")),
            ("health.type", Some("http")),
            ("panic_threshold", None),
            ("ports", Some("80")),
            ("timeouts.udp", Some("30s")),
            ("words", Some("a,b")),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(settings(fields).unwrap(), expected);
        let nested = serde_json::json!({ "rule": [{ "action": "use" }] });
        assert!(settings(nested.as_object().unwrap()).is_err());
    }
}
