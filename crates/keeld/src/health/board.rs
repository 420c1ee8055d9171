//! What is known about every server's health, and what is to be asked next. It is told the time and the answers, and
//! asks nobody itself.
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use keel_model::{Health, Require, Through};
use keel_pool::{Outcome, Verdict, Watch, combine, first_check, next_step, ramp};
use keel_probe::{Answer, Place, Question, Via};

use super::record::{Change, Record};

/// Changes of each server that are remembered.
const HISTORY: usize = 32;

/// A server as the configuration wants it checked.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) service: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) address: IpAddr,
    pub(crate) require: Require,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) checks: Vec<WantedCheck>,
}

/// One of its checks.
#[derive(Debug, Clone)]
pub(crate) struct WantedCheck {
    pub(crate) health: Arc<Health>,
    /// The check made ready, or why it can't be carried out.
    pub(crate) question: Result<Arc<Question>, Arc<str>>,
    pub(crate) place: Place,
}

/// A question that is due.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) question: Arc<Question>,
    pub(crate) place: Place,
}

/// The last answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) at: Timestamp,
    /// None if this node could not ask.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reason: String,
    pub(crate) took: Duration,
}

/// One check of one server.
#[derive(Debug)]
pub(crate) struct Checked {
    id: u64,
    pub(crate) wanted: WantedCheck,
    pub(crate) watch: Watch,
    asking: bool,
    pub(crate) last: Option<Last>,
    pub(crate) asked: u64,
    pub(crate) failed: u64,
    pub(crate) certificate_ends: Option<Timestamp>,
    /// What an agent asks for, per cent of the server's weight.
    share: Option<u16>,
}

impl Checked {
    /// What is to be said of it.
    pub(crate) fn reason(&self) -> &str {
        match (&self.wanted.question, &self.last) {
            (Err(why), _) => why,
            (Ok(_), Some(last)) => &last.reason,
            (Ok(_), None) => "not checked yet",
        }
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) service: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) address: IpAddr,
    require: Require,
    slow_start: Option<Duration>,
    pub(crate) checks: Vec<Checked>,
    pub(crate) verdict: Verdict,
    /// Of the check that decided.
    pub(crate) reason: String,
    pub(crate) since: Option<Timestamp>,
    /// It was down since it was up last.
    was_down: bool,
    /// When it came up after having been down, if it was to start slowly then.
    risen: Option<Instant>,
    /// What its agent asked for before this process, until its checks have answered.
    former_share: Option<u16>,
    pub(crate) history: VecDeque<Change>,
}

impl Known {
    fn new(wanted: &Wanted, former: Option<Record>, now: Instant) -> Self {
        let mut known = Self {
            service: wanted.service.clone(),
            server: wanted.server.clone(),
            address: wanted.address,
            require: wanted.require,
            slow_start: wanted.slow_start,
            checks: Vec::new(),
            verdict: Verdict::Unknown,
            reason: "not checked yet".to_owned(),
            since: None,
            was_down: false,
            risen: None,
            former_share: None,
            history: VecDeque::new(),
        };
        let Some(record) = former else { return known };
        let mut rose = false;
        for change in &record.history {
            match change.to.into() {
                Verdict::Up => (rose, known.was_down) = (known.was_down, false),
                Verdict::Down => (rose, known.was_down) = (false, true),
                Verdict::Drain | Verdict::Unknown => rose = false,
            }
        }
        known.verdict = record.verdict.into();
        if let (true, Verdict::Up, Some(since), Some(_)) =
            (rose, known.verdict, record.since, wanted.slow_start)
        {
            let ago = Timestamp::now().duration_since(since);
            known.risen = ago.try_into().ok().and_then(|ago| now.checked_sub(ago));
        }
        known.former_share = record.share;
        (known.reason, known.since, known.history) = (record.reason, record.since, record.history.into());
        known
    }

    /// How much of its weight it gets, per cent.
    pub(crate) fn share(&self, now: Instant) -> u16 {
        let wish = u32::from(self.wish().unwrap_or(100));
        let ramp = match (self.slow_start, self.risen) {
            (Some(slow), Some(risen)) => ramp(slow, now.saturating_duration_since(risen)),
            _ => 100,
        };
        u16::try_from((wish * u32::from(ramp)).div_ceil(100)).unwrap_or(u16::MAX)
    }

    /// What its agents ask for: the least.
    fn wish(&self) -> Option<u16> {
        let asked = self.checks.iter().filter_map(|check| check.share).min();
        asked.or_else(|| self.former_share.filter(|_| self.checks.iter().any(|check| check.last.is_none())))
    }

    /// Whether its next answers may say something.
    pub(super) fn can_be_asked(&self) -> bool {
        self.checks.iter().all(|check| {
            let unable = check.last.as_ref().is_some_and(|last| last.outcome.is_none());
            check.wanted.question.is_ok() && !unable
        })
    }

    /// When its share grows next, with the number of a check to find it by.
    fn next_step(&self, now: Instant) -> Option<(Instant, u64)> {
        let at = next_step(self.slow_start?, self.risen?, now)?;
        Some((at, self.checks.first()?.id))
    }

    /// Puts its checks together; true if the verdict has changed.
    fn judge(&mut self, now: Instant, at: Timestamp) -> bool {
        let verdicts = self.checks.iter().map(|check| check.watch.verdict());
        let Some((decides, verdict)) = combine(self.require, verdicts) else { return false };
        let before = self.verdict;
        // While nothing changes, a server that is up has the words of its last answer, and one that is down too.
        let decides = &self.checks[decides];
        let says = decides.last.is_some() || decides.wanted.question.is_err();
        if (verdict != Verdict::Unknown || before == Verdict::Unknown) && (says || verdict != before) {
            self.reason = decides.reason().to_owned();
        }
        if verdict == before {
            return false;
        }
        self.risen = None;
        match verdict {
            Verdict::Up => {
                self.risen = (self.was_down && self.slow_start.is_some()).then_some(now);
                self.was_down = false;
            }
            Verdict::Down => self.was_down = true,
            Verdict::Drain | Verdict::Unknown => {}
        }
        self.verdict = verdict;
        self.since = Some(at);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Change {
            at,
            from: before.into(),
            to: verdict.into(),
            reason: self.reason.clone(),
        });
        true
    }
}

/// A server's change of verdict, for the log and for alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) service: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) from: Verdict,
    pub(crate) to: Verdict,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// All servers that are checked.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// In no order. Answers come for one after the other: each is found by its number, without comparing names.
    servers: Vec<Known>,
    /// Where a server of a service is.
    numbers: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
    /// Where a check is: its server, its number there.
    places: HashMap<u64, (usize, usize)>,
    due: BTreeSet<(Instant, u64)>,
    /// When a server's share grows, by one of its checks.
    steps: BTreeSet<(Instant, u64)>,
    next_id: u64,
    /// From before this process.
    former: HashMap<(String, String), Record>,
    news: Vec<News>,
    /// A verdict or a share has changed since [`Board::take_changes`].
    changed: bool,
}

impl Board {
    /// Starts with what an earlier process knew.
    pub(crate) fn new(former: Vec<Record>) -> Self {
        let former =
            former.into_iter().map(|record| ((record.service.clone(), record.server.clone()), record));
        Self { former: former.collect(), ..Self::default() }
    }

    /// Makes the servers and checks what the configuration says. What is known about those that stay is kept.
    /// Of servers that aren't wanted now although the configuration names them, what an earlier process knew is kept: their
    /// names may have no address yet.
    pub(crate) fn configure(
        &mut self,
        wanted: Vec<Wanted>,
        is_named: impl Fn(&str, &str) -> bool,
        now: Instant,
        random: &mut dyn FnMut() -> u32,
    ) {
        let before = std::mem::take(&mut self.servers).into_iter();
        let mut before: HashMap<_, _> =
            before.map(|known| ((known.service.clone(), known.server.clone()), known)).collect();
        self.numbers.clear();
        self.places.clear();
        self.due.clear();
        self.steps.clear();
        let count = wanted.iter().map(|server| server.checks.len()).sum();
        for server in wanted {
            let known = before.remove(&(server.service.clone(), server.server.clone()));
            let known = known.filter(|known| known.address == server.address);
            let known = self.renew(known, server, count, now, random);
            self.servers.push(known);
        }
        for (number, known) in self.servers.iter().enumerate() {
            self.numbers.entry(known.service.clone()).or_default().insert(known.server.clone(), number);
            for (index, check) in known.checks.iter().enumerate() {
                self.places.insert(check.id, (number, index));
                if !check.asking && check.wanted.question.is_ok() {
                    self.due.insert((check.watch.due(), check.id));
                }
            }
            self.steps.extend(known.next_step(now));
        }
        self.former.retain(|(service, server), _| is_named(service, server));
        self.changed = true;
    }

    /// The way of a server's checks through the virtual address.
    pub(crate) fn set_way(&mut self, service: &str, server: &str, via: Option<Via>) {
        let known = self.server_mut(service, server);
        for check in known.into_iter().flat_map(|known| &mut known.checks) {
            if check.wanted.health.through == Through::Vip {
                check.wanted.place.via = via;
            }
        }
    }

    fn renew(
        &mut self,
        known: Option<Known>,
        wanted: Wanted,
        count: usize,
        now: Instant,
        random: &mut dyn FnMut() -> u32,
    ) -> Known {
        let former = self.former.remove(&(wanted.service.to_string(), wanted.server.to_string()));
        let former = former.filter(|record| record.address == wanted.address);
        let mut known = known.unwrap_or_else(|| Known::new(&wanted, former, now));
        (known.require, known.slow_start) = (wanted.require, wanted.slow_start);
        let verdict = known.verdict;
        let mut old: Vec<Option<Checked>> = std::mem::take(&mut known.checks).into_iter().map(Some).collect();
        for check in wanted.checks {
            let rhythm = (&*check.health).into();
            let same = |old: &&mut Option<Checked>| {
                old.as_ref().is_some_and(|old| {
                    old.wanted.health.check == check.health.check && old.wanted.place.is_at(&check.place)
                })
            };
            let kept = old.iter_mut().find(same).and_then(Option::take);
            let interval = check.health.interval;
            known.checks.push(match kept {
                Some(mut kept) => {
                    kept.watch.set_rhythm(rhythm, now);
                    Checked { wanted: check, ..kept }
                }
                None => {
                    self.next_id += 1;
                    let first = first_check(count, interval, random(), now);
                    Checked {
                        id: self.next_id,
                        watch: Watch::resumed(rhythm, verdict, first),
                        wanted: check,
                        asking: false,
                        last: None,
                        asked: 0,
                        failed: 0,
                        certificate_ends: None,
                        share: None,
                    }
                }
            });
        }
        if known.checks.is_empty() {
            known.verdict = Verdict::Up;
        } else {
            // Fewer checks, or others, may mean another verdict at once.
            known.judge(now, Timestamp::now());
        }
        known
    }

    /// The questions that are due, at most so many. `jitter` is asked once for each.
    pub(crate) fn take_due(&mut self, now: Instant, most: usize, jitter: &mut dyn FnMut() -> i8) -> Vec<Job> {
        let mut jobs = Vec::new();
        while jobs.len() < most
            && let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(check) = self.check_mut(id) else { continue };
            let Ok(question) = check.wanted.question.clone() else { continue };
            check.watch.asked(now, jitter());
            check.asking = true;
            jobs.push(Job { id, question, place: check.wanted.place });
        }
        jobs
    }

    /// When something is due next: a question, or a step of a slow start.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let question = self.due.first().map(|(at, _)| *at);
        question.into_iter().chain(self.steps.first().map(|(at, _)| *at)).min()
    }

    /// Notes that shares grow.
    pub(crate) fn take_steps(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.steps.first()
            && at <= now
        {
            self.steps.pop_first();
            self.changed = true;
            if let Some((number, _)) = self.places.get(&id)
                && let Some(known) = self.servers.get(*number)
            {
                self.steps.extend(known.next_step(now));
            }
        }
    }

    /// The answer to a question.
    pub(crate) fn answered(&mut self, id: u64, answer: Answer, now: Instant, at: Timestamp) {
        let Some((number, index)) = self.places.get(&id).copied() else { return };
        let Some(known) = self.servers.get_mut(number) else { return };
        let wish = known.wish();
        let Some(check) = known.checks.get_mut(index) else { return };
        check.asking = false;
        check.asked += 1;
        check.failed += u64::from(answer.outcome != Some(Outcome::Good));
        check.certificate_ends = answer.certificate_ends.or(check.certificate_ends);
        match answer.outcome {
            Some(outcome) => {
                check.watch.answered(outcome, now);
            }
            None => check.watch.unable(now),
        }
        check.share = answer.share.or(check.share);
        check.last = Some(Last { at, outcome: answer.outcome, reason: answer.reason, took: answer.took });
        self.due.insert((check.watch.due(), id));
        self.changed |= known.wish() != wish;
        let from = known.verdict;
        if known.judge(now, at) {
            self.changed = true;
            self.steps.extend(known.next_step(now));
            let (service, server) = (known.service.clone(), known.server.clone());
            let (to, reason) = (known.verdict, known.reason.clone());
            self.news.push(News { service, server, from, to, reason, at });
        }
    }

    /// A connection to a server failed in traffic: it is asked at once.
    pub(crate) fn suspect(&mut self, service: &str, server: &str, now: Instant) {
        let Some(number) = self.number(service, server) else { return };
        let checks = self.servers.get_mut(number).into_iter().flat_map(|known| &mut known.checks);
        for check in checks.filter(|check| !check.asking && check.wanted.question.is_ok()) {
            self.due.remove(&(check.watch.due(), check.id));
            check.watch.suspect(now);
            self.due.insert((check.watch.due(), check.id));
        }
    }

    /// Whether [`Board::take_changes`] would give something.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// What has happened since the last call: none if neither a verdict nor a share has changed.
    pub(crate) fn take_changes(&mut self) -> Option<Vec<News>> {
        std::mem::take(&mut self.changed).then(|| std::mem::take(&mut self.news))
    }

    /// What is known about a server.
    pub(crate) fn server(&self, service: &str, server: &str) -> Option<&Known> {
        self.servers.get(self.number(service, server)?)
    }

    fn server_mut(&mut self, service: &str, server: &str) -> Option<&mut Known> {
        let number = self.number(service, server)?;
        self.servers.get_mut(number)
    }

    fn number(&self, service: &str, server: &str) -> Option<usize> {
        self.numbers.get(service)?.get(server).copied()
    }

    /// Every server, with service and name.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, &str, &Known)> {
        self.servers.iter().map(|known| (&*known.service, &*known.server, known))
    }

    /// What the next process should know.
    pub(crate) fn records(&self) -> Vec<Record> {
        let record = |(service, server, known): (&str, &str, &Known)| Record {
            service: service.to_owned(),
            server: server.to_owned(),
            address: known.address,
            verdict: known.verdict.into(),
            since: known.since,
            reason: known.reason.clone(),
            share: known.wish(),
            history: known.history.iter().cloned().collect(),
        };
        let checked = self.known().filter(|(.., known)| !known.checks.is_empty()).map(record);
        let mut records: Vec<_> = checked.chain(self.former.values().cloned()).collect();
        records.sort_by(|a, b| (&a.service, &a.server).cmp(&(&b.service, &b.server)));
        records
    }

    fn check_mut(&mut self, id: u64) -> Option<&mut Checked> {
        let (number, index) = self.places.get(&id)?;
        self.servers.get_mut(*number)?.checks.get_mut(*index)
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
