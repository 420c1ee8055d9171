//! A non-empty set of ports, written as `80,443,8000-8010`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Ports a service listens on: sorted, merged ranges, never empty, never port 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSet(Vec<(u16, u16)>);

/// Why a text isn't a set of ports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortSetError {
    /// Nothing was written.
    #[error("no port was written: write for example \"80\", \"80,443\" or \"8000-8010\"")]
    Empty,
    /// Two commas in a row, or one at an end.
    #[error("there is a comma with no port beside it: write for example \"80,443\"")]
    EmptyItem,
    /// A part that isn't a number.
    #[error("`{0}` is not a port: write numbers from 1 to 65535, for example \"80,443,8000-8010\"")]
    NotAPort(String),
    /// Port 0, or one past the last.
    #[error("port {0} does not exist: ports go from 1 to 65535")]
    OutOfRange(String),
    /// A range that ends before it starts.
    #[error("the range {from}-{to} ends before it starts: write {to}-{from}")]
    Reversed {
        /// What was written first.
        from: u16,
        /// What was written second.
        to: u16,
    },
}

impl PortSet {
    /// The set of exactly one port; none when it is 0.
    pub fn single(port: u16) -> Option<Self> {
        Self::from_ranges([(port, port)]).ok()
    }

    /// The set of the given ranges, both ends included.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> Result<Self, PortSetError> {
        let mut sorted: Vec<(u16, u16)> = ranges.into_iter().collect();
        for &(from, to) in &sorted {
            if from == 0 {
                return Err(PortSetError::OutOfRange("0".to_owned()));
            }
            if from > to {
                return Err(PortSetError::Reversed { from, to });
            }
        }
        sorted.sort_unstable();
        if sorted.is_empty() { Err(PortSetError::Empty) } else { Ok(Self(merge(&sorted))) }
    }

    /// The ranges in ascending order, both ends included; neighbours are merged.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    /// Every single port, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(|&(from, to)| from..=to)
    }

    /// How many ports the set has; never 0.
    #[expect(clippy::len_without_is_empty, reason = "the set is never empty")]
    pub fn len(&self) -> usize {
        self.0.iter().map(|&(from, to)| usize::from(to - from) + 1).sum()
    }

    /// The port, when there is exactly one.
    pub fn only(&self) -> Option<u16> {
        match self.0.as_slice() {
            [(from, to)] if from == to => Some(*from),
            _ => None,
        }
    }

    /// The lowest port.
    pub fn first(&self) -> u16 {
        self.0[0].0
    }

    /// Whether the port is one of the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&port))
    }

    /// The lowest port that is in both sets.
    pub fn overlap(&self, other: &Self) -> Option<u16> {
        let both = |a: (u16, u16), b: (u16, u16)| (a.0.max(b.0) <= a.1.min(b.1)).then(|| a.0.max(b.0));
        self.ranges().flat_map(|a| other.ranges().filter_map(move |b| both(a, b))).min()
    }
}

fn merge(sorted: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
    for &(from, to) in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn port(text: &str) -> Result<u16, PortSetError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(PortSetError::NotAPort(text.to_owned()));
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(PortSetError::OutOfRange(text.to_owned())),
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, PortSetError> {
        if text.trim().is_empty() {
            return Err(PortSetError::Empty);
        }
        let range = |item: &str| match item.trim() {
            "" => Err(PortSetError::EmptyItem),
            item => match item.split_once('-') {
                Some((from, to)) => Ok((port(from.trim())?, port(to.trim())?)),
                None => port(item).map(|port| (port, port)),
            },
        };
        let ranges: Vec<_> = text.split(',').map(range).collect::<Result<_, _>>()?;
        Self::from_ranges(ranges)
    }
}

impl TryFrom<String> for PortSet {
    type Error = PortSetError;

    fn try_from(text: String) -> Result<Self, PortSetError> {
        text.parse()
    }
}

impl From<PortSet> for String {
    fn from(ports: PortSet) -> Self {
        ports.to_string()
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range =
            |&(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
        f.pad(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_and_merged() {
        let ports: PortSet = " 8000-8010, 443,80, 81 ,8005-8020".parse().unwrap();
        assert_eq!(ports.to_string(), "80-81,443,8000-8020");
        assert_eq!(ports.len(), 24);
        assert!(ports.contains(8020) && !ports.contains(8021) && !ports.contains(79));
        assert_eq!(ports.first(), 80);
    }

    #[test]
    fn only_is_the_port_of_a_set_of_one() {
        assert_eq!("443".parse::<PortSet>().unwrap().only(), Some(443));
        assert_eq!("443-444".parse::<PortSet>().unwrap().only(), None);
        assert_eq!(PortSet::single(0), None);
    }

    #[test]
    fn wrong_ports_say_which_and_why() {
        let error = |text: &str| text.parse::<PortSet>().unwrap_err();
        assert_eq!(error(" "), PortSetError::Empty);
        assert_eq!(error("80,"), PortSetError::EmptyItem);
        assert_eq!(error("0"), PortSetError::OutOfRange("0".to_owned()));
        assert_eq!(error("65536"), PortSetError::OutOfRange("65536".to_owned()));
        assert_eq!(error("http"), PortSetError::NotAPort("http".to_owned()));
        assert_eq!(error("+80"), PortSetError::NotAPort("+80".to_owned()));
        assert_eq!(error("90-80"), PortSetError::Reversed { from: 90, to: 80 });
    }

    #[test]
    fn overlap_is_the_lowest_shared_port() {
        let ports = |text: &str| text.parse::<PortSet>().unwrap();
        assert_eq!(ports("80,443").overlap(&ports("400-500")), Some(443));
        assert_eq!(ports("80").overlap(&ports("81")), None);
    }
}
