//! When each name is to be looked up next. It is told the time and how look-ups ended, and asks nobody itself.
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use super::Asked;

/// A shorter TTL counts as this. Zero is common (service discovery) and means that nobody should keep the answer, which
/// a packet path can't but do. Two seconds are less than any health check takes to notice that a server is gone, and a
/// thousand such names are five hundred questions a second, which one small name server answers.
const SHORTEST: Duration = Duration::from_secs(2);
/// A longer TTL counts as this: some name servers hand out weeks, and an administrator who moves a server doesn't think
/// of that.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long after the first failure a name is asked for again; the pause doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pauses don't get longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Names that have the same TTL drift apart by a tenth of it, and by no more than this.
const SPREAD: Duration = Duration::from_secs(5);
/// Look-ups under way at once. Each has a few sockets.
pub(crate) const AT_ONCE: usize = 32;
/// Of these, how many may be for names whose last look-up failed. They may take seconds to fail again, and names that
/// have answers don't wait for that.
const DOUBTFUL_AT_ONCE: usize = AT_ONCE / 2;

#[derive(Debug)]
struct Entry {
    due: Instant,
    /// Look-ups that failed since the last one that didn't.
    failures: u32,
    under_way: bool,
    /// What is under way began before the name servers changed.
    outdated: bool,
}

impl Entry {
    fn new(due: Instant) -> Self {
        Self { due, failures: 0, under_way: false, outdated: false }
    }

    fn doubtful(&self) -> bool {
        self.failures > 0
    }
}

/// Every name that is followed, with its time.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    entries: BTreeMap<Asked, Entry>,
    spread: RandomState,
}

impl Schedule {
    /// Follows these names and no others; new ones are due at once.
    pub(crate) fn follow(&mut self, wanted: &BTreeSet<Asked>, now: Instant) {
        // A look-up that nobody wants any more still takes its place until it ends.
        self.entries.retain(|asked, entry| entry.under_way || wanted.contains(asked));
        for asked in wanted {
            if !self.entries.contains_key(asked) {
                self.entries.insert(asked.clone(), Entry::new(now));
            }
        }
    }

    /// Makes every name due: who is asked has changed, so no earlier answer means anything. Names that failed before don't
    /// get in the way of the others all the same.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.due = now;
            entry.failures = entry.failures.min(1);
            entry.outdated = entry.under_way;
        }
    }

    /// The names whose look-up begins now, those that have waited longest first.
    pub(crate) fn begin(&mut self, now: Instant) -> Vec<Asked> {
        let under_way = self.entries.values().filter(|entry| entry.under_way);
        let (doubtful, sure): (Vec<_>, Vec<_>) = under_way.partition(|entry| entry.doubtful());
        let (mut doubtful, mut all) = (doubtful.len(), doubtful.len() + sure.len());
        let due = self.entries.iter_mut().filter(|(_, entry)| !entry.under_way && entry.due <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, entry)| entry.due);
        let mut begun = Vec::new();
        for (asked, entry) in due {
            if all == AT_ONCE {
                break;
            }
            if entry.doubtful() && doubtful == DOUBTFUL_AT_ONCE {
                continue;
            }
            all += 1;
            doubtful += usize::from(entry.doubtful());
            entry.under_way = true;
            begun.push(asked.clone());
        }
        begun
    }

    /// A look-up that was begun has ended.
    pub(crate) fn end(&mut self, asked: &Asked) {
        if let Some(entry) = self.entries.get_mut(asked) {
            entry.under_way = false;
        }
    }

    /// What a look-up found out, whoever began it: for how long its answer holds, or nothing if it failed.
    pub(crate) fn note(&mut self, asked: &Asked, ttl: Option<Duration>, now: Instant) {
        let spread = self.spread.hash_one(asked);
        let entry = self.entries.entry(asked.clone()).or_insert_with(|| Entry::new(now));
        if !entry.under_way && std::mem::take(&mut entry.outdated) {
            entry.due = now;
            return;
        }
        entry.failures = if ttl.is_some() { 0 } else { entry.failures.saturating_add(1) };
        let pause = match ttl {
            Some(ttl) => ttl.clamp(SHORTEST, LONGEST),
            None => {
                FIRST_PAUSE.saturating_mul(1 << entry.failures.saturating_sub(1).min(8)).min(LONGEST_PAUSE)
            }
        };
        entry.due = now + pause + spread_of(pause, spread);
    }

    /// When to call [`Self::begin`] again if no look-up ends before: what is due already waits for one to end.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let idle = self.entries.values().filter(|entry| !entry.under_way);
        idle.map(|entry| entry.due).filter(|due| *due > now).min()
    }
}

/// Never earlier, because the answer holds until then; `random` is any number.
fn spread_of(pause: Duration, random: u64) -> Duration {
    (pause / 10).min(SPREAD).mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
