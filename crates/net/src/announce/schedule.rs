//! When to announce: a burst at once, another five seconds later, then slowly for good. Told the time, owns no timer.

use std::time::{Duration, Instant};

const BURST: u32 = 5;
const BURST_GAP: Duration = Duration::from_millis(200);
/// From the start of the first burst to the start of the second.
const SECOND_BURST_AFTER: Duration = Duration::from_secs(5);
const SLOW_GAP: Duration = Duration::from_secs(60);

/// The times at which one address is announced after it moved here.
///
/// Five announcements 200 ms apart, the same again 5 s after the start, then one every 60 s. A late caller gets one
/// announcement and the gaps that follow it, never a volley of missed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    sent: u32,
    next: Instant,
}

impl Schedule {
    /// Starts with the first announcement due at once.
    pub fn start(now: Instant) -> Self {
        Self { sent: 0, next: now }
    }

    /// When to ask [`Self::due`] again.
    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// True if an announcement is to be sent now; counts it as sent.
    pub fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.sent = self.sent.saturating_add(1);
        self.next = now + gap_after(self.sent);
        true
    }

    /// True once only the slow repetition is left.
    pub fn is_settled(&self) -> bool {
        self.sent >= 2 * BURST
    }
}

fn gap_after(sent: u32) -> Duration {
    if sent == BURST {
        SECOND_BURST_AFTER - BURST_GAP * (BURST - 1)
    } else if sent < 2 * BURST {
        BURST_GAP
    } else {
        SLOW_GAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(count: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut schedule = Schedule::start(start);
        let mut sent = Vec::new();
        while sent.len() < count {
            let now = schedule.deadline();
            assert!(schedule.due(now));
            sent.push((now - start).as_millis() as u64);
        }
        sent
    }

    #[test]
    fn a_burst_then_another_then_slowly() {
        assert_eq!(
            offsets(13),
            [0, 200, 400, 600, 800, 5000, 5200, 5400, 5600, 5800, 65_800, 125_800, 185_800]
        );
    }

    #[test]
    fn nothing_is_due_early() {
        let start = Instant::now();
        let mut schedule = Schedule::start(start);
        assert!(schedule.due(start));
        assert!(!schedule.due(start));
        assert!(!schedule.due(start + Duration::from_millis(199)));
        assert!(schedule.due(start + Duration::from_millis(200)));
    }

    #[test]
    fn a_late_caller_sends_no_volley() {
        let start = Instant::now();
        let mut schedule = Schedule::start(start);
        let late = start + Duration::from_secs(3600);
        assert!(schedule.due(late));
        assert!(!schedule.due(late));
        assert_eq!(schedule.deadline(), late + BURST_GAP);
    }
}
