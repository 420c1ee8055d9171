//! What is told at once: as a title, as plain text, as JSON.
use std::{collections::HashMap, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    Severity, Subject,
    text::{counted, lasted, shown},
};

/// Entries kept at most.
const ENTRIES: usize = 1000;
/// The version of the JSON.
const VERSION: u8 = 1;

/// What happened to one subject since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it last changed.
    pub at: Timestamp,
    /// When it first changed: earlier than `at` if it did so more than once.
    pub since: Timestamp,
    /// To whom it happened.
    pub subject: Subject,
    /// How it is now.
    pub severity: Severity,
    /// Why, as it was said last.
    pub text: String,
    /// What the last problem was, if it recovered from one since the last report.
    pub cause: Option<String>,
    /// How many events this stands for.
    pub changes: u64,
}

impl Told {
    /// "connection refused", or "14 changes, now up: HTTP 200 (was down: connection refused)".
    #[must_use]
    pub fn words(&self) -> String {
        if self.changes == 1 {
            return self.text.clone();
        }
        if self.severity == Severity::Notice {
            return format!("{} ({} times)", self.text, self.changes);
        }
        let mut words =
            format!("{} changes, now {}: {}", self.changes, self.subject.state(self.severity), self.text);
        if let (Severity::Recovered, Some(cause)) = (self.severity, &self.cause) {
            let _ = write!(words, " (was {}: {cause})", self.subject.state(Severity::Problem));
        }
        words
    }

    /// Takes what happened to the same subject later.
    fn then(&mut self, later: Self) {
        let earlier = (self.severity == Severity::Problem).then(|| std::mem::take(&mut self.text));
        *self = Self {
            since: self.since,
            changes: self.changes.saturating_add(later.changes),
            cause: later.cause.clone().or(earlier).or_else(|| self.cause.take()),
            ..later
        };
    }

    fn is_notice(&self) -> bool {
        self.severity == Severity::Notice
    }
}

/// Entries in the order in which they last changed: one for each subject that went up or down, one for each notice.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// With the number of the event that it tells last.
    entries: Vec<(u64, Told)>,
    /// Where a subject's entry is; notices apart.
    places: HashMap<(Subject, bool), usize>,
    count: u64,
    /// Events that there was no room for.
    more: u64,
}

impl Gathered {
    pub(crate) fn add(&mut self, told: Told) {
        self.count += 1;
        let key = (told.subject.clone(), told.is_notice());
        let place = self.places.get(&key).copied();
        let same = place.and_then(|place| self.entries.get_mut(place)).filter(|(_, entry)| {
            // Different notices are different news, as long as there is room for them.
            !told.is_notice() || entry.text == told.text
        });
        if let Some((count, entry)) = same {
            *count = self.count;
            entry.then(told);
        } else if self.entries.len() < ENTRIES {
            self.places.insert(key, self.entries.len());
            self.entries.push((self.count, told));
        } else if let Some((count, entry)) = place.and_then(|place| self.entries.get_mut(place)) {
            *count = self.count;
            entry.then(told);
        } else {
            self.more = self.more.saturating_add(told.changes);
        }
    }

    pub(crate) fn missed(&mut self, count: u64) {
        self.more = self.more.saturating_add(count);
    }

    /// The entries in order, and how many events didn't fit.
    pub(crate) fn finish(mut self) -> (Vec<Told>, u64) {
        self.entries.sort_by_key(|(count, _)| *count);
        (self.entries.into_iter().map(|(_, told)| told).collect(), self.more)
    }
}

/// What is told at once.
///
/// As JSON (which stays as it is within a `version`; fields may be added):
///
/// ```json
/// {
///   "version": 1,
///   "node": "lb1",
///   "title": "[lb1] Problem: web/rs1 is down",
///   "all_clear": false,
///   "trouble_seconds": null,
///   "more": 0,
///   "open": [{"kind": "server", "service": "web", "server": "rs1"}],
///   "open_count": 1,
///   "events": [{
///     "at": "2026-11-21T23:06:18Z",
///     "since": "2026-11-21T23:06:18Z",
///     "subject": {"kind": "server", "service": "web", "server": "rs1"},
///     "severity": "problem",
///     "changes": 1,
///     "text": "connection refused"
///   }]
/// }
/// ```
///
/// `subject.kind` is `service` (with `service`), `server` (with `service`, `server`), `certificate` (with
/// `certificate`) or `node` (with `node`). `severity` is `problem`, `recovered` or `notice`: how the subject is after
/// `changes` changes between `since` and `at`. `more` counts events that there was no room for. `open` names up to
/// 100 that are in trouble, `open_count` says how many are. `trouble_seconds` is how long the trouble lasted that
/// `all_clear` ends.
///
/// A webhook gets it as the body of a POST. `X-Evenkeel-Timestamp` is the second at which it was sent (Unix time). With a
/// secret, `X-Evenkeel-Signature` is `sha256=` and the hexadecimal HMAC-SHA256, keyed with the secret, of that timestamp
/// as text, a full stop and the body: a receiver that compares it and refuses old timestamps can be told neither lies nor
/// old news. Whatever isn't answered with 2xx is sent again, joined with what happened since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node that tells it.
    pub node: String,
    /// What happened, in order.
    pub events: Vec<Told>,
    /// How many more events there was no room for.
    pub more: u64,
    /// Who is in trouble now: 100 at most.
    pub open: Vec<Subject>,
    /// How many are.
    pub open_count: usize,
    /// Everything that was told as a problem has recovered; how long the trouble lasted.
    pub all_clear: Option<Duration>,
}

impl Report {
    /// A report that only shows that it arrives.
    #[must_use]
    pub fn test(node: &str, at: Timestamp) -> Self {
        let node = shown(node, 255);
        let told = Told {
            at,
            since: at,
            subject: Subject::Node { node: node.clone() },
            severity: Severity::Notice,
            text: "this is a test: alerts arrive".to_owned(),
            cause: None,
            changes: 1,
        };
        Self { node, events: vec![told], more: 0, open: Vec::new(), open_count: 0, all_clear: None }
    }

    /// One report in place of several that follow each other.
    pub(crate) fn join<'r>(reports: impl IntoIterator<Item = &'r Self>) -> Option<Self> {
        let mut gathered = Gathered::default();
        let mut last = None;
        let mut more: u64 = 0;
        for report in reports {
            report.events.iter().cloned().for_each(|told| gathered.add(told));
            more = more.saturating_add(report.more);
            last = Some(report);
        }
        let last = last?;
        let (events, unfit) = gathered.finish();
        Some(Self { events, more: more.saturating_add(unfit), ..last.clone() })
    }

    /// How many events it stands for.
    pub(crate) fn weight(&self) -> u64 {
        self.events.iter().fold(self.more, |sum, told| sum.saturating_add(told.changes))
    }

    /// `[lb1] Problem: 3 servers down in 2 services`, `[lb1] All clear after 12 min`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("[{}] {}", self.node, shown(&self.headline(), 150))
    }

    fn headline(&self) -> String {
        if let Some(time) = self.all_clear {
            return format!("All clear after {}", lasted(time));
        }
        let bad = self.affected(Severity::Problem);
        if !bad.is_empty() {
            return format!("Problem: {}", summary(&bad, Severity::Problem));
        }
        let good = self.affected(Severity::Recovered);
        if !good.is_empty() {
            let still = match self.open_count {
                0 => String::new(),
                count => format!(", still {count} in trouble"),
            };
            return format!("Recovered: {}{still}", summary(&good, Severity::Recovered));
        }
        match self.events.as_slice() {
            [told] => format!("{}: {}", told.subject, told.words()),
            several => counted(several.len() as u64, "notice", "notices"),
        }
    }

    fn affected(&self, severity: Severity) -> Vec<&Subject> {
        self.events.iter().filter(|told| told.severity == severity).map(|told| &told.subject).collect()
    }

    /// The body of a mail.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        for told in &self.events {
            let at = told.at.strftime("%Y-%m-%d %H:%M:%S UTC");
            let _ = writeln!(text, "{at}  {:<9}  {}: {}", told.severity.word(), told.subject, told.words());
        }
        if self.more > 0 {
            let _ = writeln!(text, "... and {} more that there is no room for here.", self.more);
        }
        if !self.open.is_empty() {
            let _ = writeln!(text, "\nIn trouble now: {}", self.open_count);
            for subject in &self.open {
                let _ = writeln!(text, "  {subject}");
            }
            let unnamed = self.open_count.saturating_sub(self.open.len());
            if unnamed > 0 {
                let _ = writeln!(text, "  ... and {unnamed} more");
            }
        }
        let _ = writeln!(text, "\nSent by Evenkeel on {}.", self.node);
        text
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serializer.serialize_struct("Report", 9)?;
        json.serialize_field("version", &VERSION)?;
        json.serialize_field("node", &self.node)?;
        json.serialize_field("title", &self.title())?;
        json.serialize_field("all_clear", &self.all_clear.is_some())?;
        json.serialize_field("trouble_seconds", &self.all_clear.map(|time| time.as_secs()))?;
        json.serialize_field("more", &self.more)?;
        json.serialize_field("open", &self.open)?;
        json.serialize_field("open_count", &self.open_count)?;
        json.serialize_field("events", &self.events)?;
        json.end()
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serializer.serialize_struct("Told", 6)?;
        json.serialize_field("at", &self.at)?;
        json.serialize_field("since", &self.since)?;
        json.serialize_field("subject", &self.subject)?;
        json.serialize_field("severity", &self.severity)?;
        json.serialize_field("changes", &self.changes)?;
        json.serialize_field("text", &self.words())?;
        json.end()
    }
}

/// "web/rs1 is down", "3 servers down in 2 services, certificate www in trouble".
fn summary(subjects: &[&Subject], severity: Severity) -> String {
    if let [only] = subjects {
        return format!("{only} is {}", only.state(severity));
    }
    let of = |wanted: fn(&Subject) -> bool| -> Vec<&Subject> {
        subjects.iter().copied().filter(|subject| wanted(subject)).collect()
    };
    let servers = of(|subject| matches!(subject, Subject::Server { .. }));
    let mut services: Vec<&str> = servers.iter().map(|subject| service_of(subject)).collect();
    services.sort_unstable();
    services.dedup();
    let kinds = [
        (of(|subject| matches!(subject, Subject::Node { .. })), "nodes"),
        (of(|subject| matches!(subject, Subject::Service { .. })), "services"),
        (servers, "servers"),
        (of(|subject| matches!(subject, Subject::Certificate { .. })), "certificates"),
    ];
    let mut parts = Vec::new();
    for (found, many) in kinds {
        let Some(first) = found.first() else { continue };
        let state = first.state(severity);
        parts.push(match (found.len(), many, services.as_slice()) {
            (1, _, _) => format!("{first} {state}"),
            (count, "servers", [service]) => format!("{count} servers {state} in service {service}"),
            (count, "servers", services) => format!("{count} servers {state} in {} services", services.len()),
            (count, many, _) => format!("{count} {many} {state}"),
        });
    }
    parts.join(", ")
}

fn service_of(subject: &Subject) -> &str {
    match subject {
        Subject::Server { service, .. } | Subject::Service { service } => service,
        Subject::Certificate { .. } | Subject::Node { .. } => "",
    }
}
