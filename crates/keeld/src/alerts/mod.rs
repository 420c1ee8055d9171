//! Telling people: what of the node's state is worth it, and the channels by which they are told. Sending is a task of
//! its own that never holds the node, and the node never waits for it.
mod view;
mod watched;

pub(crate) use view::test;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use keel_alert::{Alerter, Event, Files, Severity, Subject, authorities};
use keel_model::{AdminState, Server, Service};
use keel_pool::{Membership, Outlook, Verdict, members};
use tokio::{task::JoinHandle, time::timeout};
use tracing::warn;

use self::watched::{Condition, Watched};
use crate::{
    clock,
    daemon::Shared,
    names::{NOT_YET, Trouble},
    node::{Node, secrets},
};

/// How long what is under way may take when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the node holds for telling people.
#[derive(Debug)]
pub(crate) struct Alerts {
    /// None once the daemon stops.
    alerter: Option<Alerter>,
    worker: Option<JoinHandle<()>>,
    config_dir: PathBuf,
    /// Services and their servers.
    services: Watched,
    certificates: Watched,
}

/// Something that people want to know.
type News = (Subject, Severity, String);

impl Alerts {
    /// Nobody is told anything before [`Node::configure_alerts`].
    pub(crate) fn open(config_dir: &Path) -> Self {
        let nothing = |_: &str| Ok(None);
        let files = Files { secret: &nothing, secrets: PathBuf::new(), authorities: Vec::new() };
        let (alerter, worker) = Alerter::new(&keel_model::Alerts::default(), &files);
        Self {
            alerter: Some(alerter),
            worker: Some(tokio::spawn(worker.run())),
            config_dir: config_dir.to_owned(),
            services: Watched::default(),
            certificates: Watched::default(),
        }
    }

    /// Whether reports leave at all.
    fn works(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| !worker.is_finished())
    }
}

/// Tells what is gathered still, as far as it can be told at once.
pub(crate) async fn finish(node: &Shared) {
    let last = async {
        let (alerter, worker) = {
            let alerts = &mut node.lock().await.alerts;
            (alerts.alerter.take(), alerts.worker.take())
        };
        drop(alerter);
        if let Some(worker) = worker {
            let _ = worker.await;
        }
    };
    if timeout(LAST_WORDS, last).await.is_err() {
        warn!("stopping without having sent every alert");
    }
}

impl Node {
    /// Tells whom the configuration names from now on. Secrets and authorities are read anew.
    pub(crate) fn configure_alerts(&self) {
        let Some(alerter) = &self.alerts.alerter else { return };
        let config_dir = &self.alerts.config_dir;
        let secret = secrets(config_dir);
        let files = Files {
            secret: &secret,
            secrets: config_dir.join("secrets"),
            authorities: authorities(&config_dir.join("ca")),
        };
        alerter.configure(&self.cluster.alerts, &files);
    }

    /// Looks at how everything is without telling anybody: what an earlier process knew was told by it.
    pub(crate) fn begin_to_watch(&mut self) {
        let mut services = std::mem::take(&mut self.alerts.services);
        let _ = self.look_at_services(&mut services);
        self.alerts.services = services;
    }

    /// Tells what has happened to services, servers and their certificates since the last call.
    pub(crate) fn tell_changes(&mut self) {
        let mut services = std::mem::take(&mut self.alerts.services);
        let (news, gone) = self.look_at_services(&mut services);
        self.alerts.services = services;
        self.tell(news, gone);
        self.tell_certificates();
    }

    /// Tells which certificates that servers show end soon.
    pub(crate) fn tell_certificates(&mut self) {
        let mut certificates = std::mem::take(&mut self.alerts.certificates);
        let (news, gone) = self.look_at_certificates(&mut certificates, clock::now());
        self.alerts.certificates = certificates;
        self.tell(news, gone);
    }

    fn tell(&self, news: Vec<News>, gone: bool) {
        let Some(alerter) = &self.alerts.alerter else { return };
        let node = self.config.hostname.as_str();
        for (subject, severity, text) in news {
            alerter.tell(Event { at: clock::now(), node: node.to_owned(), subject, severity, text });
        }
        if gone {
            let Alerts { services, certificates, .. } = &self.alerts;
            let watched: HashSet<Subject> =
                services.subjects().chain(certificates.subjects()).cloned().collect();
            alerter.keep_only(
                move |subject| matches!(subject, Subject::Node { .. }) || watched.contains(subject),
                node,
            );
        }
    }

    /// News of services and servers, and whether some that were in trouble are watched no longer. What is taken out by
    /// hand isn't watched: whoever did that knows.
    fn look_at_services(&self, watched: &mut Watched) -> (Vec<News>, bool) {
        let mut news = Vec::new();
        watched.begin();
        for service in self.cluster.services.iter().filter(|service| service.enabled) {
            let outlook = self.outlook(service);
            for (i, server) in service.servers.iter().enumerate().filter(|(_, server)| counts(server)) {
                let ip = self.address_of(service, server);
                let verdict = outlook.verdicts.get(i).copied().unwrap_or(Verdict::Unknown);
                let condition = self.server_condition(service, server, ip, verdict);
                let (service_name, name) = (service.name.to_string(), server.name.to_string());
                let subject = Subject::Server { service: service_name, server: name };
                if let Some(severity) = watched.see(&subject, condition) {
                    let reason = self.server_state(service, server, ip).1;
                    let reason = if reason.is_empty() { reachable(severity).to_owned() } else { reason };
                    news.push((subject, severity, reason));
                }
            }
            if service.servers.iter().any(counts) {
                let membership = members(service, &outlook);
                let subject = Subject::Service { service: service.name.to_string() };
                if let Some(severity) = watched.see(&subject, service_condition(&membership, &outlook)) {
                    news.push((subject, severity, service_words(service, &membership, &outlook)));
                }
            }
        }
        let gone = watched.end();
        (news, gone)
    }

    fn server_condition(
        &self,
        service: &Service,
        server: &Server,
        ip: Option<IpAddr>,
        verdict: Verdict,
    ) -> Condition {
        let waits = |trouble| matches!(trouble, Some(Trouble::Unresolved(why)) if why == NOT_YET);
        if ip.is_none() && waits(self.names.trouble(service, server)) {
            return Condition::Unknown;
        }
        match verdict {
            Verdict::Unknown => Condition::Unknown,
            Verdict::Up => Condition::Fine,
            Verdict::Drain => Condition::Drains,
            Verdict::Down => Condition::Bad,
        }
    }

    fn look_at_certificates(&self, watched: &mut Watched, now: Timestamp) -> (Vec<News>, bool) {
        let mut news = Vec::new();
        watched.begin();
        let days = self.cluster.alerts.certificate_days;
        let seen = if days == 0 { BTreeMap::new() } else { self.health.certificates() };
        for (certificate, ends) in seen {
            let subject = Subject::Certificate { certificate };
            let condition = ends.map_or(Condition::Unknown, |ends| certificate_condition(ends, now, days));
            if let Some(severity) = watched.see(&subject, condition) {
                let words = ends.map_or_else(String::new, |ends| certificate_words(ends, now));
                news.push((subject, severity, words));
            }
        }
        let gone = watched.end();
        (news, gone)
    }
}

/// Whether a server is meant to take connections.
fn counts(server: &Server) -> bool {
    server.state == AdminState::Online && server.weight > 0
}

/// What is said of a server that nothing checks.
fn reachable(severity: Severity) -> &'static str {
    match severity {
        Severity::Recovered => "it can be reached again",
        Severity::Problem | Severity::Notice => "it can't be reached",
    }
}

fn service_condition(membership: &Membership, outlook: &Outlook) -> Condition {
    if membership.panic {
        return Condition::Panics;
    }
    let mut verdicts = membership.takes.iter().zip(&outlook.verdicts).filter(|(takes, _)| **takes);
    match verdicts.next() {
        None => Condition::Bad,
        Some((_, Verdict::Unknown)) => Condition::Unknown,
        Some((_, Verdict::Up | Verdict::Drain | Verdict::Down)) => Condition::Fine,
    }
}

/// "1 of 4 servers is up: all are used, whatever their checks say".
fn service_words(service: &Service, membership: &Membership, outlook: &Outlook) -> String {
    let group = membership.alarm;
    let all = service
        .servers
        .iter()
        .zip(&outlook.verdicts)
        .filter(|(server, _)| counts(server) && group.is_none_or(|group| server.priority == group));
    let (mut count, mut up) = (0, 0);
    for (_, verdict) in all {
        count += 1;
        up += usize::from(*verdict == Verdict::Up);
    }
    let verb = if up == 1 { "is" } else { "are" };
    let servers = if count == 1 { "server" } else { "servers" };
    let consequence = if membership.panic {
        let least = service.panic_threshold;
        format!("less than {least} %, so all are used, whatever their checks say")
    } else if membership.takes.contains(&true) {
        "it takes connections".to_owned()
    } else if let Some(fallback) = service.fallback.filter(|_| membership.fallback) {
        format!("the fallback {fallback} answers")
    } else {
        "nobody answers".to_owned()
    };
    format!("{up} of {count} {servers} {verb} up: {consequence}")
}

/// Whole days until a certificate ends, less than none if it has.
fn days_left(ends: Timestamp, now: Timestamp) -> i64 {
    ends.duration_since(now).as_secs().div_euclid(86_400)
}

fn certificate_condition(ends: Timestamp, now: Timestamp, days: u32) -> Condition {
    if days_left(ends, now) < i64::from(days) { Condition::Bad } else { Condition::Fine }
}

fn certificate_words(ends: Timestamp, now: Timestamp) -> String {
    let date = ends.strftime("%Y-%m-%d %H:%M UTC");
    match days_left(ends, now) {
        ..0 => format!("it ended on {date}"),
        0 => format!("it ends within a day, on {date}"),
        1 => format!("it ends in a day, on {date}"),
        days => format!("it ends in {days} days, on {date}"),
    }
}

#[cfg(test)]
mod tests;
