//! What is said to a server in a protocol of its own, and what it must answer.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::Tls;

/// Send and expect over TCP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TcpCheck {
    /// What is sent once the connection is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Text the answer must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// A pattern the answer must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_regex: Option<String>,
    /// Several turns, instead of the above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dialogue: Vec<Turn>,
    /// Whether it speaks TLS.
    #[serde(flatten)]
    pub tls: Tls,
}

/// A datagram and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct UdpCheck {
    /// What is sent; none sends one empty datagram.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// Text the answer must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// A pattern the answer must match. With neither this nor `expect`, silence is good, and only a refusal isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_regex: Option<String>,
}

/// One turn of a dialogue, written as `send TEXT`, `expect TEXT` or `match PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Turn {
    /// We say this.
    Send(String),
    /// What comes must contain this.
    Expect(String),
    /// What comes must match this pattern.
    Match(String),
}

/// Why a text isn't a turn.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TurnError {
    /// It begins with no verb.
    #[error("`{0}` is no turn of a dialogue: write \"send TEXT\", \"expect TEXT\" or \"match PATTERN\"")]
    Verb(String),
    /// The pattern isn't one.
    #[error("`{pattern}` is not a pattern: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl FromStr for Turn {
    type Err = TurnError;

    fn from_str(text: &str) -> Result<Self, TurnError> {
        let verb = || TurnError::Verb(text.escape_debug().to_string());
        let (word, rest) = text.split_once(' ').ok_or_else(verb)?;
        match word {
            _ if rest.is_empty() => Err(verb()),
            "send" => Ok(Self::Send(rest.to_owned())),
            "expect" => Ok(Self::Expect(rest.to_owned())),
            "match" => match crate::load::pattern_fault(rest) {
                None => Ok(Self::Match(rest.to_owned())),
                Some(cause) => Err(TurnError::Pattern { pattern: rest.to_owned(), cause }),
            },
            _ => Err(verb()),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(text) => write!(f, "send {text}"),
            Self::Expect(text) => write!(f, "expect {text}"),
            Self::Match(pattern) => write!(f, "match {pattern}"),
        }
    }
}

impl Serialize for Turn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
