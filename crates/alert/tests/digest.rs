//! The laws of the digest.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use keel_alert::{Digest, Event, Report, Severity, Subject};
use proptest::prelude::*;

const GATHER: Duration = Duration::from_secs(1);

fn server(number: usize) -> Subject {
    Subject::Server { service: format!("web{}", number % 2), server: format!("rs{number}") }
}

fn event(after: Duration, subject: Subject, severity: Severity) -> Event {
    let at = Timestamp::UNIX_EPOCH + SignedDuration::try_from(after).unwrap();
    Event { at, node: "lb1".to_owned(), subject, severity, text: format!("{severity:?}") }
}

/// A digest, the time, and what it has reported.
struct Driven {
    digest: Digest,
    start: Instant,
    now: Duration,
    reports: Vec<(Duration, Report)>,
}

impl Driven {
    fn new(every: u64) -> Self {
        let digest = Digest::new(Duration::from_secs(every));
        Self { digest, start: Instant::now(), now: Duration::ZERO, reports: Vec::new() }
    }

    /// Time goes on, and reports are taken as they fall due.
    fn until(&mut self, then: Duration) {
        while let Some(due) = self.digest.due().filter(|due| *due <= self.start + then) {
            assert_eq!(self.digest.take(due - Duration::from_millis(1)), None, "not before it is due");
            self.reports.push((due - self.start, self.digest.take(due).unwrap()));
        }
        self.now = then;
    }

    fn after(&mut self, gap: Duration, subject: Subject, severity: Severity) {
        self.until(self.now + gap);
        self.digest.happened(event(self.now, subject, severity), self.start + self.now);
    }

    fn titles(&self) -> Vec<String> {
        self.reports.iter().map(|(_, report)| report.title()).collect()
    }
}

fn weight(report: &Report) -> u64 {
    report.more + report.events.iter().map(|told| told.changes).sum::<u64>()
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![Just(Severity::Problem), Just(Severity::Recovered), Just(Severity::Notice)]
}

fn gap() -> impl Strategy<Value = Duration> {
    prop_oneof![0..500_u64, 0..5_000_u64, 0..200_000_u64].prop_map(Duration::from_millis)
}

/// What the all-clear should say, worked out anew from all events up to each report.
#[derive(Default)]
struct Expected {
    open: HashSet<Subject>,
    told: bool,
    began: Option<Duration>,
    ended: Duration,
}

impl Expected {
    fn happened(&mut self, at: Duration, subject: &Subject, severity: Severity) {
        match severity {
            Severity::Problem => {
                self.began.get_or_insert(at);
                self.open.insert(subject.clone());
            }
            Severity::Recovered => {
                if self.open.remove(subject) && self.open.is_empty() {
                    self.ended = at;
                }
            }
            Severity::Notice => {}
        }
    }

    fn reported(&mut self) -> Option<Duration> {
        if !self.open.is_empty() {
            self.told = true;
            return None;
        }
        let began = self.began.take()?;
        std::mem::take(&mut self.told).then(|| self.ended - began)
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_nothing_is_late_and_nobody_is_called_too_often(
        every in 1..120_u64,
        steps in prop::collection::vec((gap(), 0..6_usize, severity()), 1..80),
    ) {
        let mut driven = Driven::new(every);
        let mut happened = Vec::new();
        for (gap, number, severity) in steps {
            driven.after(gap, server(number), severity);
            happened.push((driven.now, server(number), severity));
        }
        driven.until(driven.now + Duration::from_secs(300));
        let every = Duration::from_secs(every);
        let told: u64 = driven.reports.iter().map(|(_, report)| weight(report)).sum();
        prop_assert_eq!(told, happened.len() as u64, "nothing is lost");
        for pair in driven.reports.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= every, "not too often");
        }
        let mut waiting = happened.iter().peekable();
        let mut expected = Expected::default();
        let mut before: Option<Duration> = None;
        for (at, report) in &driven.reports {
            let mut now_is = HashMap::new();
            let mut first = None;
            while let Some((when, subject, severity)) = waiting.next_if(|(when, ..)| when < at) {
                first.get_or_insert(*when);
                prop_assert!(*at - *when <= every.max(GATHER), "not too late");
                expected.happened(*when, subject, *severity);
                if *severity != Severity::Notice {
                    now_is.insert(subject.clone(), *severity);
                }
            }
            if before.is_none_or(|before| first.unwrap() >= before + every) {
                prop_assert_eq!(*at, first.unwrap() + GATHER, "at once after a quiet time");
            }
            before = Some(*at);
            prop_assert!(report.events.is_sorted_by_key(|told| told.at), "in order");
            let states: Vec<_> = report.events.iter().filter(|told| told.severity != Severity::Notice).collect();
            prop_assert_eq!(states.len(), now_is.len(), "each once");
            for told in states {
                prop_assert_eq!(Some(&told.severity), now_is.get(&told.subject), "as it is now");
            }
            let open: HashSet<Subject> = report.open.iter().cloned().collect();
            prop_assert_eq!(&open, &expected.open);
            prop_assert_eq!(report.open_count, open.len());
            prop_assert_eq!(report.all_clear, expected.reported());
        }
    }
}

#[test]
fn servers_of_one_rack_make_one_mail_and_the_all_clear_says_how_long_it_took() {
    let mut driven = Driven::new(60);
    for number in 0..3 {
        driven.after(Duration::from_millis(200), server(number), Severity::Problem);
    }
    for number in 0..3 {
        driven.after(Duration::from_secs(241), server(number), Severity::Recovered);
    }
    driven.until(driven.now + GATHER);
    assert_eq!(
        driven.titles(),
        [
            "[lb1] Problem: 3 servers down in 2 services",
            "[lb1] Recovered: web0/rs0 is up, still 2 in trouble",
            "[lb1] Recovered: web1/rs1 is up, still 1 in trouble",
            "[lb1] All clear after 12 min",
        ]
    );
    assert_eq!(
        driven.reports[2].1.text(),
        "Recovered: web1/rs1 is up, still 1 in trouble\n\n\
         1970-01-01 00:08:02 UTC  RECOVERED  web1/rs1: Recovered\n\n\
         In trouble now: 1\n  web0/rs2\n\n\
         Sent by Evenkeel on lb1.\n"
    );
}

#[test]
fn who_goes_up_and_down_is_told_once_with_how_often() {
    let mut driven = Driven::new(60);
    driven.after(Duration::ZERO, server(1), Severity::Notice);
    driven.until(GATHER);
    for _ in 0..7 {
        driven.after(Duration::from_secs(1), server(1), Severity::Problem);
        driven.after(Duration::from_secs(1), server(1), Severity::Recovered);
    }
    driven.until(Duration::from_secs(100));
    let (_, report) = &driven.reports[1];
    assert_eq!(report.title(), "[lb1] Recovered: web1/rs1 is up");
    assert_eq!(report.events.len(), 1);
    assert_eq!(report.events[0].words(), "14 changes, now up: Recovered (was down: Problem)");
    assert_eq!(report.all_clear, None, "nobody was told of a problem");
}

#[test]
fn however_much_happens_little_is_kept_and_all_is_counted() {
    let mut driven = Driven::new(60);
    for number in 0..30_000 {
        driven.after(Duration::ZERO, server(number), Severity::Problem);
    }
    driven.until(GATHER);
    let (_, report) = &driven.reports[0];
    assert_eq!((report.events.len(), report.more), (1000, 29_000));
    assert_eq!((report.open.len(), report.open_count), (100, 20_000));
    assert!(report.text().contains("and 29000 more"), "{}", report.text());
}

#[test]
fn what_is_no_longer_watched_holds_up_no_all_clear() {
    let mut driven = Driven::new(60);
    driven.after(Duration::ZERO, server(1), Severity::Problem);
    driven.after(Duration::ZERO, server(2), Severity::Problem);
    driven.after(Duration::from_secs(100), server(1), Severity::Recovered);
    let now = driven.start + driven.now;
    driven.digest.keep_only(|subject| *subject == server(1), "lb1", Timestamp::UNIX_EPOCH, now);
    driven.until(driven.now + GATHER);
    assert_eq!(driven.titles()[1], "[lb1] All clear after 1 min");
    assert!(driven.reports[1].1.text().contains("web0/rs2: no longer watched"));
}

#[test]
fn the_json_is_as_documented() {
    let mut driven = Driven::new(60);
    driven.after(Duration::from_millis(1500), server(1), Severity::Problem);
    driven.until(Duration::from_secs(3));
    let json = serde_json::to_value(&driven.reports[0].1).unwrap();
    let expected = serde_json::json!({
        "version": 1,
        "node": "lb1",
        "title": "[lb1] Problem: web1/rs1 is down",
        "all_clear": false,
        "trouble_seconds": null,
        "more": 0,
        "open": [{"kind": "server", "service": "web1", "server": "rs1"}],
        "open_count": 1,
        "events": [{
            "at": "1970-01-01T00:00:01.5Z",
            "since": "1970-01-01T00:00:01.5Z",
            "subject": {"kind": "server", "service": "web1", "server": "rs1"},
            "severity": "problem",
            "changes": 1,
            "text": "Problem",
        }],
    });
    assert_eq!(json, expected);
}

#[test]
fn titles_name_what_is_worst() {
    let title = |events: &[(Subject, Severity)]| {
        let mut driven = Driven::new(60);
        for (subject, severity) in events {
            driven.after(Duration::ZERO, subject.clone(), *severity);
        }
        driven.until(GATHER);
        driven.titles().remove(0)
    };
    let service = Subject::Service { service: "web".to_owned() };
    let certificate = Subject::Certificate { certificate: "www".to_owned() };
    let node = Subject::Node { node: "lb2".to_owned() };
    assert_eq!(
        title(&[
            (server(2), Severity::Problem),
            (server(4), Severity::Problem),
            (service.clone(), Severity::Problem),
            (certificate.clone(), Severity::Recovered)
        ]),
        "[lb1] Problem: service web down, 2 servers down in service web0"
    );
    assert_eq!(title(&[(certificate, Severity::Problem)]), "[lb1] Problem: certificate www is in trouble");
    assert_eq!(title(&[(node.clone(), Severity::Notice)]), "[lb1] node lb2: Notice");
    assert_eq!(title(&[(node, Severity::Notice), (service, Severity::Notice)]), "[lb1] 2 notices");
}
