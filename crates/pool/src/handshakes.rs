//! Whether the handshakes of a server's clients come to an end, from two counts that are looked at again and again: what
//! the packet path can tell of a server without seeing its answers.
use std::{collections::VecDeque, time::Duration, time::Instant};

/// A handshake should have come to its end by then: most clients are nearer than that, and one from farther away costs a
/// question too many.
const HELD: Duration = Duration::from_millis(200);
/// Looked back so far.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer handshakes than this say nothing: clients that give up look the same.
const FEW: u64 = 3;

/// The handshakes with one server over the last second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handshakes {
    counts: VecDeque<Counts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    at: Instant,
    begun: u64,
    pending: u64,
}

impl Handshakes {
    /// Takes in how many connections have begun since the server has its slot, and for how many of them the handshake
    /// hasn't come to its end at `now`. True if of those begun within some time during the last second, and at least
    /// 200 ms ago, three or more are still waiting, and these are at least half of them or none has come to its end for
    /// 200 ms: clients that wait for it begin no others.
    ///
    /// It looks at differences only, so handshakes that are never going to end, those of a flood for example, say nothing
    /// for longer than a second after they began. Where three or more were under way at a look, those that hang are
    /// seen only beyond as many. Whoever looks less often than every 200 ms has it look back farther: it
    /// always compares three looks.
    pub fn stall(&mut self, now: Instant, begun: u64, pending: u64) -> bool {
        // Another server has the slot.
        if self.counts.back().is_some_and(|last| last.begun > begun) {
            self.counts.clear();
        }
        while self.counts.len() > 2
            && self.counts.front().is_some_and(|first| now.saturating_duration_since(first.at) > WINDOW)
        {
            self.counts.pop_front();
        }
        let held = self.counts.partition_point(|counts| now.saturating_duration_since(counts.at) >= HELD);
        let mut earlier = self.counts.iter().take(held);
        let stalled = earlier.next_back().is_some_and(|last| {
            // All that began since may be on their way.
            let old = pending.saturating_sub(begun - last.begun);
            let none_ended = begun.saturating_sub(pending) <= last.begun.saturating_sub(last.pending);
            earlier.any(|first| {
                // A few that were waiting then may have been on their way.
                let standing = if Self::is_worth_following(first.pending) { first.pending } else { 0 };
                let waiting = old.saturating_sub(standing);
                waiting >= FEW && (none_ended || waiting * 2 >= last.begun - first.begun)
            })
        });
        self.counts.push_back(Counts { at: now, begun, pending });
        stalled
    }

    /// Whether it may say something soon: of a server with fewer handshakes under way only the last look is needed.
    pub fn is_worth_following(pending: u64) -> bool {
        pending >= FEW
    }
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;
