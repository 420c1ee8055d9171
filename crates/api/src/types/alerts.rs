//! Alerts: how the channels are by which people are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A way of telling people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertChannelKind {
    /// A mail to everybody in `email_to`.
    Email,
    /// JSON to a URL.
    Webhook,
    /// One message for each event, over UDP.
    Syslog,
}

impl AlertChannelKind {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFailure {
    /// When.
    pub at: Timestamp,
    /// Why, in one line.
    pub why: String,
}

/// One channel that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertChannel {
    /// What it is.
    pub channel: AlertChannelKind,
    /// Where it leads; of a webhook no more than scheme, host and port.
    pub to: String,
    /// When a report last left by it.
    pub last_success: Option<Timestamp>,
    /// What went wrong last. It is over if `last_success` is later; if it is the same, some were reached and some not.
    pub last_error: Option<AlertFailure>,
    /// Reports that wait to be sent.
    pub waiting: u64,
    /// Reports that were given up: too old, or too many.
    pub lost: u64,
}

impl AlertChannel {
    /// What is wrong with it now, if something is.
    pub fn trouble(&self) -> Option<&AlertFailure> {
        self.last_error.as_ref().filter(|error| self.last_success.is_none_or(|success| success <= error.at))
    }
}

/// How people are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Every channel that is configured.
    pub channels: Vec<AlertChannel>,
    /// Events that came faster than they could be taken in.
    pub lost_events: u64,
}

/// What came of a test report on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTest {
    /// What it is.
    pub channel: AlertChannelKind,
    /// Where it leads.
    pub to: String,
    /// Whether the report left.
    pub sent: bool,
    /// Why it didn't, or what wasn't as it should be nevertheless: a recipient was refused, but not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}
