//! Whether the counts of the servers are what the tables hold, and which orders put them right. Counts go wrong by
//! evictions, which nobody is told of, and by one when two CPUs change the state of one connection at once. Decides
//! only; the packet path's own code carries the orders out.
use std::collections::HashMap;

use keel_abi::{ReapRecord, reap_kind};

use crate::{Reading, ServerId};

/// Connections of a server: pending, active, inactive.
pub(crate) type Counts = [i64; 3];

/// Index into [`Counts`].
pub(crate) const PENDING: usize = 0;
/// Index into [`Counts`].
pub(crate) const ACTIVE: usize = 1;
/// Index into [`Counts`].
pub(crate) const INACTIVE: usize = 2;

/// The order that corrects each count.
const KINDS: [u32; 3] = [reap_kind::PENDING, reap_kind::ACTIVE, reap_kind::INACTIVE];

/// By how much counts were too high at the last sweep (too low: negative).
pub(crate) type Drift = HashMap<ServerId, Counts>;

/// What a server had counted at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    counts: Counts,
    /// Connections that were scheduled to it so far.
    begun: u64,
}

impl From<&Reading> for Moment {
    fn from(Reading { load, counters }: &Reading) -> Self {
        // A count that was corrected for more than it held stands below zero.
        let counts = [load.pending, load.active, load.inactive].map(|count| count as i64);
        Self { counts, begun: counters.connections }
    }
}

impl Moment {
    /// Whether a walk found what was counted.
    pub(crate) fn agrees(&self, found: &Counts) -> bool {
        self.counts == *found
    }
}

/// By how much a server's counts are certainly too high: what they differ by from the tables beyond everything that
/// moved during the walk. Each connection that began, ended or changed its state meanwhile may have been counted and not
/// found, or found and not counted; on a server where nothing moved the difference is exact.
pub(crate) fn drift(before: &Moment, after: &Moment, found: &Counts) -> Counts {
    let changed: i64 = (0..3).map(|class| (after.counts[class] - before.counts[class]).abs()).sum();
    // Who began may also have been what ended.
    let moved = changed + 2 * i64::try_from(after.begun.saturating_sub(before.begun)).unwrap_or(i64::MAX / 4);
    [PENDING, ACTIVE, INACTIVE].map(|class| {
        let difference = before.counts[class] - found[class];
        difference.signum() * (difference.abs() - moved).max(0)
    })
}

/// The orders that correct what is wrong now and was at the last sweep, by the smaller of the two; what is corrected is
/// struck off `now`, since it is no argument next time. Many pending connections too many are believed at once: these
/// are the work of evictions, and keep connections from a server that has room.
pub(crate) fn corrections(last: &Drift, now: &mut Drift) -> Vec<ReapRecord> {
    let mut orders = Vec::new();
    for (server, drift) in now.iter_mut() {
        let former = last.get(server).copied().unwrap_or_default();
        for class in [PENDING, ACTIVE, INACTIVE] {
            let sudden = class == PENDING && drift[class] > SLACK;
            let correction = if sudden { drift[class] } else { lasting(former[class], drift[class]) };
            // An order holds 32 bits; whatever is left is for the next sweep.
            let Ok(argument) = i32::try_from(-correction) else { continue };
            if argument == 0 {
                continue;
            }
            drift[class] = 0;
            orders.push(ReapRecord {
                kind: KINDS[class],
                argument: argument as u32,
                server: *server,
                ..ReapRecord::default()
            });
        }
    }
    now.retain(|_, drift| *drift != Counts::default());
    orders
}

/// See [`corrections`].
const SLACK: i64 = 8;

fn lasting(former: i64, now: i64) -> i64 {
    if former.signum() == now.signum() { now.signum() * now.abs().min(former.abs()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use keel_abi::Load;

    use super::*;
    use crate::ServerCounters;

    fn moment(counts: Counts, begun: u64) -> Moment {
        let [pending, active, inactive] = counts.map(|count| count as u64);
        let counters = ServerCounters { connections: begun, ..ServerCounters::default() };
        Moment::from(&Reading { load: Load { pending, active, inactive, overloaded: 0 }, counters })
    }

    #[test]
    fn on_a_quiet_server_the_difference_is_exact_either_way() {
        let quiet = moment([5, 7, -2], 90);
        assert_eq!(drift(&quiet, &quiet, &[4, 9, 0]), [1, -2, -2]);
        assert!(quiet.agrees(&[5, 7, -2]) && !quiet.agrees(&[5, 7, 0]));
    }

    #[test]
    fn what_moved_during_the_walk_is_no_drift() {
        let before = moment([10, 100, 50], 1000);
        // Three began, two were established, one closed: anything within that may be found.
        let after = moment([11, 101, 51], 1003);
        for found in [[10, 100, 50], [8, 103, 51], [13, 98, 52], [2, 109, 41]] {
            assert_eq!(drift(&before, &after, &found), [0, 0, 0], "{found:?}");
        }
        assert_eq!(drift(&before, &after, &[10, 80, 70]), [0, 11, -11]);
        // As many went as came: the counts stand still, and yet every one of them is another's.
        assert_eq!(drift(&before, &moment([10, 100, 50], 1010), &[0, 110, 40]), [0, 0, 0]);
    }

    fn ordered(last: &Drift, now: &mut Drift) -> Vec<(ServerId, u32, i32)> {
        let mut orders: Vec<_> = corrections(last, now)
            .into_iter()
            .map(|order| (order.server, order.kind, order.argument as i32))
            .collect();
        orders.sort_unstable();
        orders
    }

    #[test]
    fn a_difference_is_corrected_once_and_only_when_it_lasts() {
        let mut first = Drift::from([(1, [3, -2, 5]), (2, [-1, 0, 0])]);
        assert_eq!(ordered(&Drift::new(), &mut first), []);
        let mut second = Drift::from([(1, [2, -4, -5])]);
        let orders = [(1, reap_kind::PENDING, -2), (1, reap_kind::ACTIVE, 2)];
        assert_eq!(ordered(&first, &mut second), orders);
        assert_eq!(second, Drift::from([(1, [0, 0, -5])]), "what was corrected is no argument next time");
        let mut third = Drift::from([(1, [0, -2, -1]), (2, [-1, 0, 0])]);
        assert_eq!(ordered(&second, &mut third), [(1, reap_kind::INACTIVE, 1)]);
    }

    #[test]
    fn many_pending_ones_too_many_are_believed_at_once() {
        let mut now = Drift::from([(1, [900, 900, 900]), (2, [-900, 0, 0])]);
        assert_eq!(ordered(&Drift::new(), &mut now), [(1, reap_kind::PENDING, -900)]);
        assert_eq!(now, Drift::from([(1, [0, 900, 900]), (2, [-900, 0, 0])]));
    }

    #[test]
    fn a_difference_beyond_all_reason_is_left_alone() {
        let mut now = Drift::from([(1, [0, i64::MAX, 0])]);
        assert_eq!(ordered(&now.clone(), &mut now), []);
    }
}
