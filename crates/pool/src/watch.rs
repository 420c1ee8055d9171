//! One check of one server over time: from answers to a verdict, and when to ask next.
use std::time::{Duration, Instant};

use keel_model::Health;

use crate::{Outcome, Verdict};

/// How often a check is made and how many answers change a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How often.
    pub interval: Duration,
    /// How often while the verdict may be about to change, and until there is one.
    pub fast_interval: Duration,
    /// Good answers in a row that bring a server up.
    pub rise: u32,
    /// Bad answers in a row that take it down.
    pub fall: u32,
    /// A fall within this time after it came up counts as flapping; zero never does.
    pub flap_window: Duration,
}

impl From<&Health> for Rhythm {
    fn from(health: &Health) -> Self {
        Self {
            interval: health.interval,
            fast_interval: health.fast_interval,
            rise: health.rise,
            fall: health.fall,
            flap_window: health.flap_window,
        }
    }
}

/// How often at least a server is asked about which nothing is known yet: somebody waits for it. When that many answers
/// as may bring a verdict have brought none, it is asked in the fast rhythm.
pub const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// A server that clients have failed with and that then answers badly has its other answers within this time, if they
/// come no faster than [`FIRST_INTERVAL`].
const SUSPECTED: Duration = Duration::from_millis(300);
/// However often a server flapped, it doesn't need more than `rise` doubled so many times.
pub const MOST_DOUBLINGS: u32 = 5;

/// A check of a server: what it has found so far. It is told the time and the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    rhythm: Rhythm,
    verdict: Verdict,
    /// Answers in a row that were good; good or drain; drain or bad; bad.
    good: u32,
    alive: u32,
    poor: u32,
    bad: u32,
    /// How often `rise` is doubled at the moment.
    doublings: u32,
    up_since: Option<Instant>,
    /// When it was asked last, and how that shifts the next time.
    asked: Instant,
    jitter: i8,
    next: Instant,
    /// Questions so far, as many as matter.
    questions: u32,
    /// A failure was seen in traffic, and no answer since has spoken against it.
    suspected: bool,
    /// When the next such failure may bring a question forward.
    believes_from: Option<Instant>,
}

impl Watch {
    /// Nothing is known yet; the first check is due at `first`.
    pub fn new(rhythm: Rhythm, first: Instant) -> Self {
        Self::resumed(rhythm, Verdict::Unknown, first)
    }

    /// Goes on from a verdict that was reached before.
    pub fn resumed(rhythm: Rhythm, verdict: Verdict, first: Instant) -> Self {
        Self {
            rhythm,
            verdict,
            good: 0,
            alive: 0,
            poor: 0,
            bad: 0,
            doublings: 0,
            up_since: None,
            asked: first,
            jitter: 0,
            next: first,
            questions: 0,
            suspected: false,
            believes_from: None,
        }
    }

    /// The verdict now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When to ask next.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Good answers in a row that it needs to come up now: `rise`, doubled for each fall soon after it came up.
    pub fn rise_needed(&self) -> u32 {
        self.rhythm.rise.saturating_mul(1 << self.doublings)
    }

    /// How far it is on the way to another verdict: answers in a row that speak for it, and how many it takes.
    pub fn progress(&self) -> Option<(Verdict, u32, u32)> {
        let (rise, fall) = (self.rise_needed(), self.rhythm.fall);
        match self.verdict {
            Verdict::Up if self.poor > 0 => Some((Verdict::Down, self.poor, fall)),
            Verdict::Down | Verdict::Drain | Verdict::Unknown if self.good > 0 => {
                Some((Verdict::Up, self.good, rise))
            }
            Verdict::Drain | Verdict::Unknown if self.bad > 0 => Some((Verdict::Down, self.bad, fall)),
            _ => None,
        }
    }

    /// The rhythm was changed; what is known stays.
    pub fn set_rhythm(&mut self, rhythm: Rhythm, now: Instant) {
        if rhythm != self.rhythm {
            self.rhythm = rhythm;
            self.next = self.next.min(now + self.pause());
        }
    }

    /// Connections to the server failed in traffic: if it is up it is asked at once, at most once in a fast interval, as
    /// clients that give up look the same and must not set the pace. A bad answer has the next ones follow quickly: two
    /// witnesses are agreed.
    pub fn suspect(&mut self, now: Instant) {
        if self.verdict != Verdict::Up {
            return;
        }
        self.suspected = true;
        let believed = self.believes_from.filter(|from| *from > now).unwrap_or_else(|| {
            self.believes_from = Some(now + self.rhythm.fast_interval);
            now
        });
        self.next = self.next.min(believed);
    }

    /// The last question couldn't be asked, so nothing is concluded; the next one is no more urgent than others.
    pub fn unable(&mut self, now: Instant) {
        self.suspected = false;
        self.next = (self.asked + self.shifted(self.rhythm.interval)).max(now);
    }

    /// A question has been sent at `asked`; the next is due in the rhythm of now. `jitter`, from -128 to 127, shifts it
    /// by up to a tenth, so that checks that began together drift apart.
    pub fn asked(&mut self, asked: Instant, jitter: i8) {
        (self.asked, self.jitter) = (asked, jitter);
        self.questions = self.questions.saturating_add(1);
        self.next = self.asked + self.shifted(self.pause());
    }

    /// The answer to the last question. True if the verdict has changed.
    pub fn answered(&mut self, outcome: Outcome, now: Instant) -> bool {
        let count = |counter: &mut u32, hit| *counter = if hit { counter.saturating_add(1) } else { 0 };
        count(&mut self.good, outcome == Outcome::Good);
        count(&mut self.alive, outcome != Outcome::Bad);
        count(&mut self.poor, outcome != Outcome::Good);
        count(&mut self.bad, outcome == Outcome::Bad);
        self.calm_down(now);
        let verdict = self.judge();
        let changed = verdict != self.verdict;
        if changed {
            self.change(verdict, now);
        }
        self.suspected &= verdict == Verdict::Up;
        self.next = (self.asked + self.shifted(self.pause())).max(now);
        // A good answer is asked for once more soon, and then it is over.
        self.suspected &= outcome == Outcome::Bad;
        changed
    }

    fn judge(&self) -> Verdict {
        let (rise, fall) = (self.rise_needed(), self.rhythm.fall);
        if self.bad >= fall {
            return Verdict::Down;
        }
        if self.good >= rise {
            return Verdict::Up;
        }
        match self.verdict {
            // Poor answers, but not all of them bad: enough for no new connections, too little to break the others.
            Verdict::Up if self.poor >= fall => Verdict::Drain,
            Verdict::Down | Verdict::Unknown if self.alive >= rise => Verdict::Drain,
            unchanged => unchanged,
        }
    }

    fn change(&mut self, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Up {
            self.up_since = Some(now);
        } else if let Some(since) = self.up_since.take()
            && now.saturating_duration_since(since) < self.rhythm.flap_window
        {
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        }
        self.verdict = verdict;
    }

    /// Whoever has stayed up for the window needs no more than `rise` the next time.
    fn calm_down(&mut self, now: Instant) {
        let stayed = self
            .up_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.rhythm.flap_window);
        if stayed || self.rhythm.flap_window.is_zero() {
            self.doublings = 0;
        }
    }

    /// Whether the last answers all spoke for the verdict.
    fn is_steady(&self) -> bool {
        match self.verdict {
            Verdict::Unknown => false,
            Verdict::Up => self.poor == 0,
            Verdict::Drain => self.good == 0 && self.bad == 0,
            // One that flaps is not looked at faster: that would undo what the doubling is for.
            Verdict::Down => self.alive == 0 || self.doublings > 0,
        }
    }

    fn shifted(&self, pause: Duration) -> Duration {
        let shift = pause / 10 * u32::from(self.jitter.unsigned_abs()) / 128;
        if self.jitter < 0 { pause - shift } else { pause + shift }
    }

    fn pause(&self) -> Duration {
        if self.verdict == Verdict::Unknown && self.questions < self.rhythm.rise.max(self.rhythm.fall) {
            return self.rhythm.fast_interval.min(FIRST_INTERVAL);
        }
        if self.suspected && self.bad > 0 {
            let pause = SUSPECTED / self.rhythm.fall.saturating_sub(1).max(1);
            return pause.max(FIRST_INTERVAL).min(self.rhythm.fast_interval);
        }
        let fast = self.suspected || !self.is_steady();
        if fast { self.rhythm.fast_interval } else { self.rhythm.interval }
    }
}

/// When the first checks of so many new servers begin: spread so that they never fire together, soon for a few of them.
/// `random` is one number for each, any.
pub fn first_check(count: usize, interval: Duration, random: u32, now: Instant) -> Instant {
    /// Two thousand first checks in a second.
    const EACH: Duration = Duration::from_micros(500);
    let spread = EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(interval);
    now + spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
