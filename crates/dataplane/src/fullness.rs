//! How full the tables are that traffic fills. Reads only.
use crate::{Connections, Dataplane, error::Result, maps::room};

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// The map.
    pub map: &'static str,
    /// Entries that count: in `PERSISTENCE`, those that haven't run out.
    pub entries: u64,
    /// Room.
    pub capacity: u64,
}

/// Per cent from which a table is nearly full.
pub const NEARLY_FULL: u64 = 80;

impl Fill {
    /// Per cent, rounded down.
    pub fn percent(&self) -> u64 {
        self.entries.saturating_mul(100).checked_div(self.capacity).unwrap_or(0)
    }

    /// Whether somebody should know.
    pub fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY_FULL
    }
}

impl Dataplane {
    /// How full `CONNECTIONS`, `HALF_OPEN` and `PERSISTENCE` are, given what a walk of the first two found.
    ///
    /// # Errors
    /// A map can't be described or read.
    pub(crate) fn fullness(&self, found: Connections, now_ns: u64) -> Result<Vec<Fill>> {
        let (connections, half_open) = self.capacities()?;
        let mut clients = 0;
        self.persistence(now_ns, |row| clients += u64::from(row.proved))?;
        Ok(vec![
            Fill { map: "CONNECTIONS", entries: found.established, capacity: connections.into() },
            Fill { map: "HALF_OPEN", entries: found.half_open, capacity: half_open.into() },
            Fill {
                map: "PERSISTENCE",
                entries: clients,
                capacity: room(&self.pins(), "PERSISTENCE")?.into(),
            },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_full_begins_at_80_per_cent() {
        let fill = |entries, capacity| Fill { map: "CONNECTIONS", entries, capacity };
        assert!(!fill(799, 1000).is_nearly_full());
        assert!(fill(800, 1000).is_nearly_full());
        assert_eq!(fill(0, 0).percent(), 0);
        assert_eq!(fill(1100, 1000).percent(), 110);
    }
}
