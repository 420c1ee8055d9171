//! Ethernet addresses. No other link layer is spoken.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address, written `02:00:0a:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The all-ones broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The six bytes in transmission order.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// True for `00:00:00:00:00:00`, which loopback and unresolved neighbours report.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl TryFrom<&[u8]> for MacAddr {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

/// The text is not six hexadecimal bytes separated by colons or dashes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address; write it like 02:00:0a:00:00:01")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let wrong = || ParseMacError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2 && !p.starts_with('+')).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(octets)) }
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let mac = MacAddr([0x02, 0, 0x0a, 0, 0xff, 1]);
        assert_eq!(mac.to_string(), "02:00:0a:00:ff:01");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02-00-0A-00-FF-01".parse(), Ok(mac));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "02:00:0a:00:ff",
            "02:00:0a:00:ff:01:02",
            "2:0:a:0:ff:1",
            "02:00:0a:00:ff:zz",
            "+2:00:0a:00:ff:01",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }
}
