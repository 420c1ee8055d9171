//! How much is measured: everything, or just enough to see that every measurement works.

use std::time::Duration;

/// The amounts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// A smoke test: the figures mean nothing.
    pub(crate) quick: bool,
}

impl Effort {
    fn choose<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The default table.
    pub(crate) fn table(self) -> u32 {
        self.choose(1 << 19, 4096)
    }

    /// Sizes of the connection table, and how many connections are measured in each: the default size, and room for a
    /// million connections of NAT, which have two entries each.
    pub(crate) fn tables(self) -> Vec<(u32, Vec<u32>)> {
        self.choose(
            vec![(1 << 19, vec![1, 4096, 65_536]), (1 << 21, vec![65_536, 1_000_000])],
            vec![(4096, vec![1, 256])],
        )
    }

    /// Runs of a program in one round: each flow at least once.
    pub(crate) fn runs(self, flows: u32) -> u32 {
        self.choose(flows.max(300_000), 2000)
    }

    /// Rounds whose median is taken.
    pub(crate) fn rounds(self) -> usize {
        self.choose(9, 1)
    }

    /// How many services there may be.
    pub(crate) fn services(self) -> Vec<u32> {
        self.choose(vec![1, 100, 1000, 10_000], vec![1, 10])
    }

    /// Services among which one is changed.
    pub(crate) fn changed_among(self) -> u32 {
        self.choose(1000, 20)
    }

    /// Servers that are checked.
    pub(crate) fn checked(self) -> Vec<u32> {
        self.choose(vec![100, 1000, 10_000], vec![5])
    }

    /// Connections that are made by nothing but system calls.
    pub(crate) fn bare_connections(self) -> u32 {
        self.choose(5000, 50)
    }

    /// How long a daemon that checks is left to itself before it is watched.
    pub(crate) fn settled(self) -> Duration {
        self.choose(Duration::from_secs(8), Duration::ZERO)
    }

    /// How long it is watched.
    pub(crate) fn watched(self) -> Duration {
        self.choose(Duration::from_secs(20), Duration::from_secs(5))
    }

    /// Changes whose median is taken.
    pub(crate) fn changes(self) -> u32 {
        self.choose(21, 3)
    }

    /// Frames injected in one round.
    pub(crate) fn frames(self) -> u32 {
        self.choose(1_000_000, 5000)
    }

    /// How long connections are opened in one round.
    pub(crate) fn load(self) -> Duration {
        self.choose(Duration::from_secs(2), Duration::from_secs(1))
    }

    /// Rounds in a lab.
    pub(crate) fn lab_rounds(self) -> usize {
        self.choose(5, 1)
    }
}
