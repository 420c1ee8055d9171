//! What an HTTP request asks of a server, and which answers are good.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::Tls;
use crate::word::words;

words! {
    /// The method of a check's request.
    pub enum HttpMethod("method") {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// OPTIONS.
        Options = "OPTIONS",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
    }
}

words! {
    /// The version of HTTP that a check speaks.
    pub enum HttpVersion("HTTP version") {
        /// HTTP/1.1.
        V1 = "1.1",
        /// HTTP/2; without TLS with prior knowledge (RFC 9113, 3.3).
        V2 = "2",
    }
}

impl HttpVersion {
    fn is_usual(&self) -> bool {
        *self == Self::V1
    }
}

/// A header of a check's request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Why a text isn't a header.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It has no colon, or a name that isn't one.
    #[error("`{0}` is not a header: write name and value, for example \"X-Probe: yes\"")]
    Shape(String),
    /// It is made by the check itself.
    #[error("`{0}` is written by the check itself: use `host`, `body`, `user` and `secret`")]
    Ours(String),
}

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let shape = || HeaderError::Shape(text.to_owned());
        let (name, value) = text.split_once(':').ok_or_else(shape)?;
        let (name, value) = (name.trim(), value.trim());
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.chars().any(char::is_control) {
            return Err(shape());
        }
        let ours = ["host", "content-length", "transfer-encoding", "connection", "authorization"];
        if ours.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(HeaderError::Ours(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An HTTP request and the answer that is good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HttpCheck {
    /// The request's method.
    pub method: HttpMethod,
    /// The path with its query.
    pub path: String,
    /// The Host header; none means the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Status codes that are good.
    pub expect_status: StatusSet,
    /// Text the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<String>,
    /// A pattern the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_regex: Option<String>,
    /// Status codes that drain the server instead of failing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_on_status: Option<StatusSet>,
    /// Text the body must not contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_body: Option<String>,
    /// A pattern the body must not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_regex: Option<String>,
    /// More headers of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The body of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The version spoken.
    #[serde(skip_serializing_if = "HttpVersion::is_usual")]
    pub version: HttpVersion,
    /// Whether redirects on the same server are followed; else they are answers like others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow_redirects: bool,
    /// How TLS is spoken (https only). The name asked for is `host` unless written.
    #[serde(flatten)]
    pub tls: Tls,
    /// For basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the secret that holds the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: HttpMethod::Get,
            path: "/".to_owned(),
            host: None,
            expect_status: StatusSet::default(),
            expect_body: None,
            expect_regex: None,
            drain_on_status: None,
            refuse_body: None,
            refuse_regex: None,
            headers: Vec::new(),
            body: None,
            version: HttpVersion::V1,
            follow_redirects: false,
            tls: Tls::default(),
            user: None,
            secret: None,
        }
    }
}

/// HTTP status codes, written as `200`, `200-299,401`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusSet(Vec<(u16, u16)>);

/// Why a text isn't a set of status codes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a set of status codes: write codes from 100 to 599, for example \"200\" or \"200-299,401\""
)]
pub struct StatusSetError(String);

impl StatusSet {
    /// Whether the code is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    /// A code that is in both.
    pub fn overlap(&self, other: &Self) -> Option<u16> {
        (100..600).find(|&status| self.contains(status) && other.contains(status))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

impl FromStr for StatusSet {
    type Err = StatusSetError;

    fn from_str(text: &str) -> Result<Self, StatusSetError> {
        let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..600).contains(code));
        let range = |item: &str| {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            Some((code(from)?, code(to)?)).filter(|(from, to)| from <= to)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| StatusSetError(text.to_owned()))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range =
            |&(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
        f.pad(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_sets_are_codes_and_ranges() {
        let set: StatusSet = "200-299, 401".parse().unwrap();
        assert!(set.contains(204) && set.contains(401) && !set.contains(300));
        assert_eq!(set.to_string(), "200-299,401");
        for wrong in ["", "20", "600", "299-200", "2xx", "200,"] {
            assert!(wrong.parse::<StatusSet>().is_err(), "{wrong}");
        }
    }
}
