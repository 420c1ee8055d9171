//! When people are told what: at once after a quiet time, then at most one report in a while, and nothing lost.
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{Event, Report, Severity, Subject, Told, report::Gathered, text::shown};

/// Ten servers of one rack don't fail in the same millisecond, and make one mail nevertheless.
const GATHER: Duration = Duration::from_secs(1);
/// Bytes of an event's text at most.
const TEXT: usize = 400;
/// Bytes of a name at most: the configuration's are shorter.
const NAME: usize = 255;
/// How many subjects in trouble are followed. More are told, but the all-clear doesn't wait for them.
const FOLLOWED: usize = 20_000;
/// How many that are in trouble a report names.
const OPEN: usize = 100;

/// Gathers events until it is time to tell them. It has no clock and sends nothing: whoever drives it hands every
/// event to [`Digest::happened`] and calls [`Digest::take`] when [`Digest::due`] has come.
///
/// - The first event after a quiet time is due a second later, with what happens within that second.
/// - After a report, the next is due no sooner than `every` later; what happens meanwhile is told together, in order.
/// - A subject that changes more than once between two reports is told once, with how it is now and how often it changed.
/// - When everything that was told as a problem has recovered, the report says so ("all clear") and how long it took.
/// - It keeps 1,000 entries at most; what doesn't fit is counted.
#[derive(Debug)]
pub struct Digest {
    every: Duration,
    gathered: Gathered,
    nodes: Vec<String>,
    /// When the first of what is gathered happened.
    first: Option<Instant>,
    /// When the last report was taken.
    last: Option<Instant>,
    /// Who is in trouble.
    trouble: HashSet<Subject>,
    /// Since when anybody is, and when the last of them recovered.
    began: Option<Instant>,
    recovered: Option<Instant>,
    /// Whether any of this trouble was told.
    told: bool,
}

impl Digest {
    /// A digest that reports no more often than `every`.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            gathered: Gathered::default(),
            nodes: Vec::new(),
            first: None,
            last: None,
            trouble: HashSet::new(),
            began: None,
            recovered: None,
            told: false,
        }
    }

    /// Changes how often it reports.
    pub fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// Something happened.
    pub fn happened(&mut self, event: Event, now: Instant) {
        match event.severity {
            Severity::Problem => self.worse(&event.subject, now),
            Severity::Recovered => self.better(&event.subject, now),
            Severity::Notice => {}
        }
        let node = shown(&event.node, NAME);
        if self.nodes.len() < 2 && !self.nodes.contains(&node) {
            self.nodes.push(node);
        }
        self.gathered.add(Told {
            at: event.at,
            since: event.at,
            subject: event.subject,
            severity: event.severity,
            text: shown(&event.text, TEXT),
            cause: None,
            changes: 1,
        });
        self.first.get_or_insert(now);
    }

    fn worse(&mut self, subject: &Subject, now: Instant) {
        self.began.get_or_insert(now);
        self.recovered = None;
        if self.trouble.len() < FOLLOWED && !self.trouble.contains(subject) {
            self.trouble.insert(subject.clone());
        }
    }

    fn better(&mut self, subject: &Subject, now: Instant) {
        if self.trouble.remove(subject) && self.trouble.is_empty() {
            self.recovered = Some(now);
        }
    }

    /// Forgets those in trouble that nobody watches any more, so that the all-clear doesn't wait for them for ever. That
    /// they are gone is told as a notice, in the name of `node`.
    pub fn keep_only(
        &mut self,
        watched: impl Fn(&Subject) -> bool,
        node: &str,
        at: jiff::Timestamp,
        now: Instant,
    ) {
        let mut gone: Vec<Subject> =
            self.trouble.iter().filter(|subject| !watched(subject)).cloned().collect();
        gone.sort_unstable();
        for subject in gone {
            self.better(&subject, now);
            let text = "no longer watched".to_owned();
            self.happened(
                Event { at, node: node.to_owned(), subject, severity: Severity::Notice, text },
                now,
            );
        }
    }

    /// Events happened that nobody heard of: they are counted.
    pub fn missed(&mut self, count: u64) {
        self.gathered.missed(count);
    }

    /// When a report will be due, if nothing happens until then.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let gathered = self.first? + GATHER;
        Some(self.last.map_or(gathered, |last| gathered.max(last + self.every)))
    }

    /// The report that is due now, if one is.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> Option<Report> {
        if self.due()? <= now { self.flush(now) } else { None }
    }

    /// What there is to tell, due or not.
    #[must_use]
    pub fn flush(&mut self, now: Instant) -> Option<Report> {
        self.first.take()?;
        self.last = Some(now);
        let (events, more) = std::mem::take(&mut self.gathered).finish();
        let mut open: Vec<Subject> = self.trouble.iter().cloned().collect();
        open.sort_unstable();
        let open_count = open.len();
        open.truncate(OPEN);
        Some(Report {
            node: std::mem::take(&mut self.nodes).join(", "),
            events,
            more,
            open,
            open_count,
            all_clear: self.settle(),
        })
    }

    /// Remembers that the trouble was told; if there is none left, says how long it lasted.
    fn settle(&mut self) -> Option<Duration> {
        if !self.trouble.is_empty() {
            self.told = true;
            return None;
        }
        let began = self.began.take();
        let ended = self.recovered.take();
        // What recovered before anybody was told needs no all-clear: its entry says both.
        let told = std::mem::replace(&mut self.told, false);
        began.zip(ended).filter(|_| told).map(|(began, ended)| ended.saturating_duration_since(began))
    }
}
