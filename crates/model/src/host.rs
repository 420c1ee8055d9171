//! Where a real server is: an address, or a host name that is followed when DNS changes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address or a host name (lower case, without the final dot).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// A fixed address.
    Ip(IpAddr),
    /// A name that is resolved, and resolved again when its time to live is over.
    Name(String),
}

/// Why a text is neither an address nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// Nothing was written.
    #[error("no address was written: write an IPv4 or IPv6 address or a host name")]
    Empty,
    /// An address followed by a port.
    #[error("`{0}` has a port: write the address alone and the port under `port`")]
    HasPort(String),
    /// An address followed by a prefix length.
    #[error("`{0}` has a prefix length: write the address alone")]
    HasPrefix(String),
    /// Looks like an address, but isn't one.
    #[error("`{0}` is not an address: an IPv4 address has four numbers from 0 to 255")]
    NotAnAddress(String),
    /// Not a host name either.
    #[error("`{0}` is neither an address nor a host name: {1}")]
    NotAName(String, &'static str),
}

impl Host {
    /// The address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let written = || text.to_owned();
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        if text.parse::<ipnet::IpNet>().is_ok() {
            return Err(HostError::HasPrefix(written()));
        }
        if text.parse::<std::net::SocketAddr>().is_ok() {
            return Err(HostError::HasPort(written()));
        }
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(HostError::NotAnAddress(written()));
        }
        match name_fault(text) {
            None => Ok(Self::Name(text.trim_end_matches('.').to_ascii_lowercase())),
            Some(fault) => Err(HostError::NotAName(written(), fault)),
        }
    }
}

/// Why a text isn't a host name (RFC 1123 §2.1), if it isn't.
pub(crate) fn name_fault(text: &str) -> Option<&'static str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() {
        return Some("nothing was written");
    }
    if name.len() > 253 {
        return Some("a host name has at most 253 characters");
    }
    for label in name.split('.') {
        match label.as_bytes() {
            [] => return Some("two dots follow each other, or it starts with one"),
            [b'-', ..] | [.., b'-'] => return Some("a part can't start or end with `-`"),
            bytes if bytes.len() > 63 => return Some("each part between dots has at most 63 characters"),
            bytes if !bytes.iter().copied().all(legal) => {
                return Some("use letters, digits, `-` and `.` only");
            }
            _ => {}
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    last.bytes()
        .all(|b| b.is_ascii_digit())
        .then_some("its last part is a number, so it reads as a broken address")
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => fmt::Display::fmt(ip, f),
            Self::Name(name) => f.pad(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!("10.0.0.1".parse(), Ok(Host::Ip([10, 0, 0, 1].into())));
        assert_eq!("Web-1.Example.ORG.".parse(), Ok(Host::Name("web-1.example.org".to_owned())));
        assert!(matches!("fd00::1".parse(), Ok(Host::Ip(IpAddr::V6(_)))));
    }

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<Host>().unwrap_err();
        assert!(matches!(error("10.0.0.300"), HostError::NotAnAddress(_)));
        assert!(matches!(error("10.0.0.1:80"), HostError::HasPort(_)));
        assert!(matches!(error("10.0.0.1/24"), HostError::HasPrefix(_)));
        for wrong in ["-a.example", "a..b", "under_score", "a b", "host.123", "ex!", "[::1"] {
            assert!(matches!(error(wrong), HostError::NotAName(..)), "{wrong}");
        }
    }
}
