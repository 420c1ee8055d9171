//! How much of the leases' map is in use. Few connections spread over a large map miss the processor's caches as often
//! as many do: the part in use follows their number.
use keel_abi::{Config, MarkKeys, sets_for};

use crate::{
    Dataplane, DataplaneError, LeaseSets,
    error::{Context, Result},
    maps::Maps,
};

/// Between two changes. Lines that a change puts out of reach may come back with the next one; all leases in them have
/// ended by then (`keel_abi::lease_ticks`).
const APART_NS: u64 = 30_000_000_000;

/// Where the part in use stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Sets in use, a power of two.
    pub sets: LeaseSets,
    /// When that was last changed; none as long as that isn't known.
    pub changed_ns: Option<u64>,
}

/// What to do for so many connections at `now_ns`, in a map of `limit` sets.
#[must_use]
pub fn fit(now: Fit, connections: u64, limit: LeaseSets, now_ns: u64) -> Fit {
    let Some(changed_ns) = now.changed_ns else { return Fit { changed_ns: Some(now_ns), ..now } };
    let wanted = sets_for(connections, limit);
    // Down only when there are far too many, so that traffic which comes and goes doesn't move them all the time.
    let moves = wanted > now.sets || wanted <= now.sets / 4;
    if !moves || now_ns.saturating_sub(changed_ns) < APART_NS {
        return now;
    }
    Fit { sets: wanted, changed_ns: Some(now_ns) }
}

/// The part in use at the beginning.
pub(crate) const FIRST: LeaseSets = sets_for(0, LeaseSets::MAX);

/// Gives new tables their random keys: see [`MarkKeys`].
pub(crate) fn give_keys(maps: &mut Maps) -> Result<()> {
    let keys = maps.mark_keys.get(&0, 0).context("reading", "MARK_KEYS")?;
    if keys != MarkKeys::default() {
        return Ok(());
    }
    let mut keys = MarkKeys::default();
    for key in keys.0.iter_mut().flat_map(|row| &mut row.0) {
        *key = getrandom::u64().map_err(|source| DataplaneError::Random { source })?;
    }
    maps.mark_keys.set(0, keys, 0).context("writing", "MARK_KEYS")
}

impl Dataplane {
    /// Fits the part of the leases' map that is in use to the number of established connections.
    ///
    /// # Errors
    /// The settings can't be written.
    pub fn fit_leases(&mut self, connections: u64, now_ns: u64) -> Result<()> {
        let config = self.config()?;
        let now = Fit { sets: config.lease_mask + 1, changed_ns: self.leases_changed_ns };
        let then = fit(now, connections, self.lease_sets, now_ns);
        self.leases_changed_ns = then.changed_ns;
        if then.sets == now.sets {
            return Ok(());
        }
        let config = Config { lease_mask: then.sets - 1, ..config };
        self.maps.config.set(0, config, 0).context("writing the settings", "CONFIG")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_follows_the_entries_up_at_once_and_down_late_but_never_twice_in_thirty_seconds() {
        let start = Fit { sets: 1024, changed_ns: None };
        let known = fit(start, 1_000_000, 1 << 17, 5 * SECOND);
        assert_eq!(
            known,
            Fit { sets: 1024, changed_ns: Some(5 * SECOND) },
            "an earlier process may have changed it"
        );
        assert_eq!(fit(known, 1_000_000, 1 << 17, 34 * SECOND), known);
        let up = fit(known, 50_000, 1 << 17, 35 * SECOND);
        assert_eq!(up, Fit { sets: 65_536, changed_ns: Some(35 * SECOND) });
        assert_eq!(fit(up, 1_000_000, 1 << 17, 64 * SECOND), up);
        assert_eq!(fit(up, 1_000_000, 1 << 17, 65 * SECOND).sets, 1 << 17, "the map has no more");
        assert_eq!(fit(up, 20_000, 1 << 17, 99 * SECOND), up);
        assert_eq!(fit(up, 10_000, 1 << 17, 99 * SECOND).sets, 16_384);
        assert_eq!(fit(up, 0, 1 << 17, 99 * SECOND).sets, 4096);
    }
}
