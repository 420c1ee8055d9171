//! Health as administrators see it, and checks that are carried out to be looked at.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use keel_api::{
    ApiError, CheckHealth, CheckOutcome, CheckTest, HealthChange, HealthFilter, HealthVerdict, LastAnswer,
    Progress, ServerHealth, TestStep,
};
use keel_model::{Check, Health as Checks, Server, Service, Through};
use keel_pool::{Outcome, Verdict, members};
use keel_probe::{Answer, Asker, Trace, ask};
use tokio::task::JoinSet;

use super::{
    Health,
    board::{Checked, Job, Known},
    files, pinger, place, prepare,
    record::{Change, Word},
    unable,
};
use crate::{
    daemon::Shared,
    node::{Node, secrets},
};

/// Tests under way at once.
const TESTS: usize = 64;

fn verdict(verdict: Verdict) -> HealthVerdict {
    match verdict {
        Verdict::Unknown => HealthVerdict::Unknown,
        Verdict::Up => HealthVerdict::Up,
        Verdict::Drain => HealthVerdict::Drain,
        Verdict::Down => HealthVerdict::Down,
    }
}

fn word(word: Word) -> HealthVerdict {
    verdict(word.into())
}

fn outcome(outcome: Option<Outcome>) -> CheckOutcome {
    match outcome {
        None => CheckOutcome::Unable,
        Some(Outcome::Good) => CheckOutcome::Good,
        Some(Outcome::Drain) => CheckOutcome::Drain,
        Some(Outcome::Bad) => CheckOutcome::Bad,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Where a check goes, as people write it.
fn target(health: &Checks, place: &keel_probe::Place) -> String {
    if health.through == Through::Vip {
        return format!("{} at {}", place.socket(), place.server.ip());
    }
    match &health.check {
        Check::Off => "-".to_owned(),
        Check::Ping => place.address.to_string(),
        Check::Agent(agent) => place.at_port(agent.agent_port).to_string(),
        Check::Script(script) => script.script.clone(),
        _ => place.socket().to_string(),
    }
}

fn change(change: &Change) -> HealthChange {
    HealthChange {
        at: change.at,
        from: word(change.from),
        to: word(change.to),
        reason: change.reason.clone(),
    }
}

fn check_health(check: &Checked, now: Instant) -> CheckHealth {
    let Checked { wanted, watch, last, .. } = check;
    let ready = wanted.question.is_ok();
    CheckHealth {
        kind: wanted.health.check.as_str().to_owned(),
        named: wanted.health.uses.as_ref().map(ToString::to_string),
        target: target(&wanted.health, &wanted.place),
        verdict: verdict(watch.verdict()),
        last: last.as_ref().map(|last| LastAnswer {
            at: last.at,
            outcome: outcome(last.outcome),
            reason: last.reason.clone(),
            milliseconds: milliseconds(last.took),
        }),
        next_milliseconds: ready
            .then(|| watch.due().saturating_duration_since(now).as_millis().try_into().unwrap_or(u64::MAX)),
        progress: watch.progress().map(|(to, have, need)| Progress { to: verdict(to), have, need }),
        asked: check.asked,
        failed: check.failed,
        certificate_ends: check.certificate_ends,
    }
}

/// What is counted of a check.
#[derive(Debug)]
pub(crate) struct CheckCounts {
    pub(crate) service: String,
    pub(crate) server: String,
    /// The how manieth of its service.
    pub(crate) number: usize,
    pub(crate) kind: &'static str,
    pub(crate) target: String,
    pub(crate) asked: u64,
    pub(crate) failed: u64,
    pub(crate) took: Option<Duration>,
    pub(crate) certificate_ends: Option<Timestamp>,
}

impl Health {
    /// The certificates that servers have shown: where, and when the first that was shown there ends.
    /// None where nobody has been asked yet.
    pub(crate) fn certificates(&self) -> BTreeMap<String, Option<Timestamp>> {
        let board = self.shared.board();
        let mut shown = BTreeMap::new();
        for (service, server, known) in board.known() {
            for check in &known.checks {
                if check.certificate_ends.is_none() && check.asked > 0 {
                    continue;
                }
                let target = target(&check.wanted.health, &check.wanted.place);
                let first = shown.entry(format!("of {service}/{server} at {target}")).or_insert(None);
                *first = [*first, check.certificate_ends].into_iter().flatten().min();
            }
        }
        shown
    }

    /// The counts of every check.
    pub(crate) fn counts(&self) -> Vec<CheckCounts> {
        let board = self.shared.board();
        let of = |(service, server, known): (&str, &str, &Known)| -> Vec<CheckCounts> {
            let checks = known.checks.iter().enumerate();
            let counts = checks.map(|(place, check)| CheckCounts {
                service: service.to_owned(),
                server: server.to_owned(),
                number: place + 1,
                kind: check.wanted.health.check.as_str(),
                target: target(&check.wanted.health, &check.wanted.place),
                asked: check.asked,
                failed: check.failed,
                took: check.last.as_ref().map(|last| last.took),
                certificate_ends: check.certificate_ends,
            });
            counts.collect()
        };
        board.known().flat_map(of).collect()
    }
}

impl Node {
    /// What the checks have found.
    pub(crate) fn health_report(&self, filter: &HealthFilter) -> Result<Vec<ServerHealth>, ApiError> {
        let mut report = Vec::new();
        for service in self.filtered(filter)? {
            let takes = members(service, &self.outlook(service)).takes;
            for (server, takes) in service.servers.iter().zip(takes) {
                if filter.server.as_deref().is_none_or(|name| name == server.name.as_str()) {
                    report.push(self.server_health(service, server, takes));
                }
            }
        }
        Ok(report)
    }

    /// The services that are meant; an error names those there are if one isn't.
    fn filtered(&self, filter: &HealthFilter) -> Result<Vec<&Service>, ApiError> {
        let Some(name) = filter.service.as_deref() else { return Ok(self.cluster.services.iter().collect()) };
        let names = self.cluster.services.iter().map(|service| service.name.as_str());
        let service =
            self.cluster.service(name).ok_or_else(|| ApiError::not_found("service", name, names))?;
        if let Some(server) = filter.server.as_deref()
            && !service.servers.iter().any(|known| known.name == *server)
        {
            return Err(ApiError::not_found(
                "server",
                server,
                service.servers.iter().map(|s| s.name.as_str()),
            ));
        }
        Ok(vec![service])
    }

    fn server_health(&self, service: &Service, server: &Server, takes: bool) -> ServerHealth {
        let now = Instant::now();
        let ip = self.address_of(service, server);
        let (state, reason) = self.server_state(service, server, ip);
        let board = self.health.shared.board();
        let known = board.server(service.name.as_str(), server.name.as_str());
        ServerHealth {
            service: service.name.to_string(),
            server: server.name.to_string(),
            ip,
            state,
            verdict: verdict(self.verdict_of(&board, service, server)),
            reason,
            since: known.and_then(|known| known.since),
            share: known.map_or(100, |known| known.share(now)),
            takes: takes && service.enabled,
            checks: known.map_or_else(Vec::new, |known| {
                known.checks.iter().map(|check| check_health(check, now)).collect()
            }),
            history: known.map_or_else(Vec::new, |known| known.history.iter().map(change).collect()),
        }
    }

    /// What its checks say about a server, in words, and since when; none if nothing checks it.
    pub(crate) fn checked(
        &self,
        service: &Service,
        server: &Server,
    ) -> Option<(Verdict, String, Option<Timestamp>)> {
        let board = self.health.shared.board();
        let known: &Known = board.server(service.name.as_str(), server.name.as_str())?;
        Some((known.verdict, known.reason.clone(), known.since))
    }

    /// The questions of the servers that are meant, with what is to be said about those that can't be asked. Those of
    /// services that are switched off, which nobody asks otherwise, are made ready for it.
    fn questions(&self, filter: &HealthFilter) -> Result<Vec<Test>, ApiError> {
        let mut tests = Vec::new();
        let secret = secrets(&self.health.config_dir);
        let files = files(&self.health.config_dir, &secret);
        let mut ready = self.health.ready.clone();
        for service in self.filtered(filter)? {
            let checks = match service.health.check {
                Check::Off => Vec::new(),
                _ => prepare(service, &files, &mut ready),
            };
            let meant =
                |server: &&Server| filter.server.as_deref().is_none_or(|name| name == server.name.as_str());
            for server in service.servers.iter().filter(meant) {
                let address = self.address_of(service, server);
                for (health, made) in &checks {
                    let place = address.map(|address| {
                        place(service, server, address, health, self.way_to(service, address))
                    });
                    tests.push(Test {
                        service: service.name.to_string(),
                        server: server.name.to_string(),
                        kind: health.check.as_str().to_owned(),
                        target: place
                            .map_or_else(|| server.address.to_string(), |place| target(health, &place)),
                        job: match (made, place) {
                            (Ok(_), Some(_)) if !service.enabled && health.through == Through::Vip => {
                                Err(unable(
                                    "the way through the VIP is looked for when the service is switched on",
                                ))
                            }
                            (Err(why), _) => Err(unable(why)),
                            (Ok(_), None) => Err(unable(&self.nameless(service, server))),
                            (Ok(question), Some(place)) => {
                                Ok(Job { id: 0, question: question.clone(), place })
                            }
                        },
                    });
                }
            }
        }
        Ok(tests)
    }
}

/// A check that is to be carried out.
struct Test {
    service: String,
    server: String,
    kind: String,
    target: String,
    job: Result<Job, std::sync::Arc<str>>,
}

impl Test {
    async fn carry_out(self, asker: std::sync::Arc<Asker>) -> CheckTest {
        let (answer, steps) = match &self.job {
            Ok(job) => {
                let mut trace = Trace::full();
                let answer = ask(&job.question, &job.place, &asker, &mut trace).await;
                (answer, trace.into_steps())
            }
            Err(why) => (Answer::unable(&**why), Vec::new()),
        };
        CheckTest {
            service: self.service,
            server: self.server,
            kind: self.kind,
            target: self.target,
            outcome: outcome(answer.outcome),
            reason: answer.reason,
            milliseconds: milliseconds(answer.took),
            steps: steps
                .into_iter()
                .map(|step| TestStep { milliseconds: milliseconds(step.at), text: step.text })
                .collect(),
        }
    }
}

/// Carries checks out now, in the order of the file. The node isn't locked meanwhile, and no verdict changes.
pub(crate) async fn test(node: &Shared, filter: &HealthFilter) -> Result<Vec<CheckTest>, ApiError> {
    let (tests, asker) = {
        let mut node = node.lock().await;
        // Somebody who has just written a secret wants it tried.
        node.follow_files();
        (
            node.questions(filter)?,
            Asker { pinger: pinger(), scripts: node.health.scripts.clone(), ..Asker::default() },
        )
    };
    let asker = std::sync::Arc::new(asker);
    let mut done: Vec<Option<CheckTest>> = tests.iter().map(|_| None).collect();
    let mut waiting = tests.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < TESTS
            && let Some((number, test)) = waiting.next()
        {
            let asker = asker.clone();
            running.spawn(async move { (number, test.carry_out(asker).await) });
        }
        match running.join_next().await {
            None => break,
            Some(Ok((number, test))) => done[number] = Some(test),
            Some(Err(error)) => return Err(ApiError::internal(&error)),
        }
    }
    Ok(done.into_iter().flatten().collect())
}
