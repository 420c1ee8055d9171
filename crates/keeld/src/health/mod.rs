//! Health checks: what is asked of which server, by the configuration; what follows from the answers.
mod board;
mod choice;
mod engine;
mod record;
mod stamp;
mod traffic;
mod view;
mod way;

pub(crate) use choice::Choice;
pub(crate) use view::test;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use keel_model::{Check, Failback, Health as Checks, Problem, Server, Service, Through};
use keel_pool::{Outlook, Verdict, members};
use keel_probe::{Asker, Files, Pinger, Place, Question, ReadSecret, ScriptRunner, Via};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};
use tracing::{info, warn};

use self::{
    board::{Board, Wanted, WantedCheck},
    engine::{Random, Shared},
    record::File,
    stamp::Stamp,
    traffic::Traffic,
};
use crate::{
    daemon,
    interfaces::chain,
    names::Trouble,
    node::{Node, secrets},
};

/// Changes that come within this time are put in force together.
const TOGETHER: Duration = Duration::from_millis(20);
/// However long it took to put changes in force, the next ones wait no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// The file in the state folder.
const FILE: &str = "health.json";

/// What the node holds of its servers' health.
#[derive(Debug)]
pub(crate) struct Health {
    shared: Arc<Shared>,
    file: Arc<Mutex<File>>,
    /// It is being written.
    saving: Option<JoinHandle<()>>,
    /// The priority group that takes connections, where a service holds it.
    groups: BTreeMap<String, u16>,
    /// Something has changed since the file was written.
    unsaved: bool,
    config_dir: PathBuf,
    scripts: Option<ScriptRunner>,
    /// Checks made ready. Those that refer to nothing outside are made once.
    ready: Ready,
    /// What the files that checks refer to were like when they were read.
    files: Stamp,
    /// Some checks refer to files.
    refers: bool,
    /// Checks that can't be carried out, with the service's name.
    problems: Vec<(String, String)>,
    traffic: Traffic,
}

impl Health {
    /// Starts with what an earlier process wrote down. Nothing is asked before [`Health::start`].
    pub(crate) fn open(config_dir: PathBuf, state_dir: &std::path::Path, line: Option<UnixStream>) -> Self {
        let (file, records) = File::open(state_dir.join(FILE));
        Self {
            shared: Shared::new(Board::new(records.servers)),
            file: Arc::new(Mutex::new(file)),
            saving: None,
            groups: records.groups,
            unsaved: false,
            config_dir,
            scripts: line.and_then(runner),
            ready: Ready::new(),
            files: Stamp::default(),
            refers: false,
            problems: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    /// Begins to ask. What is returned comes to its end if that does, which it never should.
    pub(crate) fn start(&self) -> std::io::Result<oneshot::Receiver<Infallible>> {
        let scripts = self.scripts.clone();
        engine::start(self.shared.clone(), || Asker { pinger: pinger(), scripts, ..Asker::default() })
    }

    /// How many checks there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.board().known().map(|(.., known)| known.checks.len()).sum()
    }

    /// Checks that can't be carried out: the service's name, and why.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems.iter().map(|(service, why)| (service.as_str(), why.as_str()))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// What is known about a server that is checked.
    fn verdict(board: &Board, service: &Service, server: &Server) -> Verdict {
        board
            .server(service.name.as_str(), server.name.as_str())
            .map_or(Verdict::Unknown, |known| known.verdict)
    }
}

/// A group that is held and that nothing is known about is waited for only if that will change: some of its servers can be
/// asked.
fn is_worth_waiting_for(board: &Board, service: &Service, group: u16) -> bool {
    let mut servers = service.servers.iter().filter(|server| server.priority == group);
    servers.any(|server| {
        let known = board.server(service.name.as_str(), server.name.as_str());
        known.is_none_or(|known| match known.verdict {
            Verdict::Up => true,
            Verdict::Unknown => known.can_be_asked(),
            Verdict::Drain | Verdict::Down => false,
        })
    })
}

fn runner(line: UnixStream) -> Option<ScriptRunner> {
    let ready = line.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(line));
    ready
        .map_err(|error| warn!("checks of type script can't be carried out: {error}"))
        .ok()
        .map(ScriptRunner::new)
}

fn pinger() -> Option<Pinger> {
    match Pinger::open() {
        Ok(pinger) => Some(pinger),
        Err(error) => {
            warn!("checks of type ping can't be carried out: {error}");
            None
        }
    }
}

/// Whether a check refers to a file that may change.
fn refers(check: &Checks) -> bool {
    let Ok(text) = serde_json::to_value(check) else { return true };
    ["secret", "shared_secret", "ca", "script"].iter().any(|key| text.get(key).is_some())
        || check.uses.is_some()
}

/// Checks by service and number, with what is asked.
type Ready = HashMap<(String, usize), (Arc<Checks>, Arc<Question>)>;

/// What is asked, or why nothing can be.
type Made = Result<Arc<Question>, Arc<str>>;

/// What checks refer to.
fn files<'a>(config_dir: &Path, secret: &'a ReadSecret<'a>) -> Files<'a> {
    Files {
        secret,
        secrets: config_dir.join("secrets"),
        authorities: config_dir.join("ca"),
        scripts: config_dir.join("checks"),
    }
}

/// A service's checks with what is asked. Those of before that refer to no file stay.
fn prepare(service: &Service, files: &Files<'_>, former: &mut Ready) -> Vec<(Arc<Checks>, Made)> {
    let prepare = |(number, health): (usize, &Checks)| {
        let same = former.remove(&(service.name.to_string(), number));
        if let Some((health, question)) = same.filter(|(old, _)| **old == *health && !refers(health)) {
            return (health, Ok(question));
        }
        let made = Question::new(health, files);
        (Arc::new(health.clone()), made.map(Arc::new).map_err(|error| chain(&error).into()))
    };
    service.health.checks().enumerate().map(prepare).collect()
}

fn unable(why: &str) -> Arc<str> {
    format!("cannot check: {why}").into()
}

/// Where a check of a server goes.
fn place(service: &Service, server: &Server, address: IpAddr, check: &Checks, via: Option<Via>) -> Place {
    let vip_port = service.ports.ranges().next().map_or(0, |(first, _)| first);
    let port = server.port.unwrap_or(vip_port);
    let asked = match check.through {
        Through::Vip => service.address,
        Through::Server => check.address.unwrap_or(address),
    };
    Place {
        address: asked,
        port: check.port.unwrap_or(port),
        vip: service.address,
        vip_port,
        server: SocketAddr::new(address, port),
        via: via.filter(|_| check.through == Through::Vip),
    }
}

impl Node {
    /// How a service's servers are.
    pub(crate) fn outlook(&self, service: &Service) -> Outlook {
        let board = self.health.shared.board();
        let now = Instant::now();
        let verdict = |server: &Server| self.verdict_of(&board, service, server);
        let share = |server: &Server| {
            board.server(service.name.as_str(), server.name.as_str()).map_or(100, |known| known.share(now))
        };
        let held = self.health.groups.get(service.name.as_str()).copied();
        Outlook {
            verdicts: service.servers.iter().map(verdict).collect(),
            shares: service.servers.iter().map(share).collect(),
            held,
            unaskable: held.is_some_and(|group| !is_worth_waiting_for(&board, service, group)),
        }
    }

    /// What its checks say, unless packets can't reach it anyway.
    fn verdict_of(&self, board: &Board, service: &Service, server: &Server) -> Verdict {
        let Some(ip) = self.address_of(service, server) else { return Verdict::Down };
        let taken = matches!(self.names.trouble(service, server), Some(Trouble::Taken { .. }));
        if taken || service.as_layer4().is_some() && self.unreachable.contains(&ip) {
            return Verdict::Down;
        }
        if service.health.check == Check::Off {
            return Verdict::Up;
        }
        Health::verdict(board, service, server)
    }

    /// Has checked what the configuration says. What can't be is kept for [`Node::health_problems`].
    pub(crate) fn configure_health(&mut self) {
        let secret = secrets(&self.health.config_dir);
        let files = files(&self.health.config_dir, &secret);
        // Before they are read: what changes meanwhile is read again.
        self.health.files = Stamp::of(&self.health.config_dir);
        let mut enabled = self.cluster.services.iter().filter(|service| service.enabled);
        self.health.refers = enabled.any(|service| service.health.checks().any(refers));
        let mut former = std::mem::take(&mut self.health.ready);
        let mut wanted = Vec::new();
        let (mut ready, mut problems) = (Ready::new(), Vec::new());
        for service in self.cluster.services.iter().filter(|service| service.enabled) {
            if service.health.check == Check::Off {
                continue;
            }
            let checks = prepare(service, &files, &mut former);
            for (number, (health, made)) in checks.iter().enumerate() {
                match made {
                    Ok(question) => {
                        let key = (service.name.to_string(), number);
                        ready.insert(key, (health.clone(), question.clone()));
                    }
                    Err(why) => problems.push((service.name.to_string(), why.to_string())),
                }
            }
            let name: Arc<str> = service.name.as_str().into();
            for server in &service.servers {
                let Some(address) = self.address_of(service, server) else { continue };
                let via = self.way_to(service, address);
                let checks = checks.iter().map(|(health, made)| WantedCheck {
                    place: place(service, server, address, health, via),
                    health: health.clone(),
                    question: made.clone().map_err(|why| unable(&why)),
                });
                wanted.push(Wanted {
                    service: name.clone(),
                    server: server.name.as_str().into(),
                    address,
                    require: service.health.require,
                    slow_start: service.slow_start,
                    checks: checks.collect(),
                });
            }
        }
        (self.health.ready, self.health.problems) = (ready, problems);
        let mut random = Random::new();
        let enabled = self.cluster.services.iter().filter(|service| service.enabled);
        let named: HashSet<(&str, &str)> = enabled
            .flat_map(|service| {
                service.servers.iter().map(|server| (service.name.as_str(), server.name.as_str()))
            })
            .collect();
        let is_named = |service: &str, server: &str| named.contains(&(service, server));
        self.health.shared.board().configure(wanted, is_named, Instant::now(), &mut || random.next());
        self.health.shared.wake();
    }

    /// Reads secrets, authorities and scripts anew if one of their files has changed.
    pub(crate) fn follow_files(&mut self) {
        if self.health.refers && Stamp::of(&self.health.config_dir) != self.health.files {
            info!("files that health checks refer to have changed and are read anew");
            self.configure_health();
        }
    }

    /// Why some checks can't be carried out.
    pub(crate) fn health_problems(&self) -> impl Iterator<Item = Problem> + '_ {
        let place = |name: &str| self.cluster.services.iter().position(|service| service.name == *name);
        self.health.problems().map(move |(service, why)| {
            let path = place(service).map_or_else(String::new, |index| format!("service[{index}].health"));
            Problem::warning(path, format!("the servers of {service} can't be checked: {why}"))
        })
    }

    /// Puts in force what the checks have found.
    pub(crate) async fn apply_health(&mut self) {
        let Some(news) = self.health.shared.board().take_changes() else { return };
        for one in &news {
            info!(
                service = &*one.service,
                server = &*one.server,
                from = ?one.from,
                to = ?one.to,
                "{}",
                one.reason
            );
        }
        self.health.unsaved = true;
        self.hold_groups();
        self.apply_services().await;
        self.tell_changes();
    }

    /// Writes down what is known, if that may have changed and it isn't being written already: of ten thousand servers it
    /// takes a while, so nobody waits for it.
    pub(crate) fn save_health(&mut self) {
        let health = &mut self.health;
        if !health.unsaved || health.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        health.unsaved = false;
        let (file, records, groups) =
            (health.file.clone(), health.shared.board().records(), health.groups.clone());
        health.saving = Some(spawn_blocking(move || {
            file.lock().unwrap_or_else(PoisonError::into_inner).save(records, &groups);
        }));
    }

    /// The same, and waits until it is done.
    pub(crate) async fn save_health_now(&mut self) {
        for _ in 0..2 {
            if let Some(saving) = self.health.saving.take() {
                let _ = saving.await;
            }
            self.save_health();
        }
        if let Some(saving) = self.health.saving.take() {
            let _ = saving.await;
        }
    }

    /// Notes the priority groups that services hold.
    pub(crate) fn hold_groups(&mut self) {
        let manual: Vec<_> =
            self.cluster.services.iter().filter(|s| s.enabled && s.failback == Failback::Manual).collect();
        let known: BTreeSet<&str> = manual.iter().map(|service| service.name.as_str()).collect();
        let found: Vec<(String, u16)> = (manual.iter())
            .filter_map(|service| {
                Some((service.name.to_string(), members(service, &self.outlook(service)).holds?))
            })
            .collect();
        let gone: Vec<String> =
            self.health.groups.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.health.groups.remove(&name);
        }
        let mut moved = false;
        for (name, group) in found {
            let before = self.health.groups.insert(name.clone(), group);
            moved |= before != Some(group);
            if before.is_some_and(|before| before != group) {
                info!(
                    service = name,
                    group, "another priority group takes connections, and stays until told otherwise"
                );
            }
        }
        if moved {
            // A kill a moment later mustn't bring it back.
            self.health.unsaved = true;
            self.save_health();
        }
    }

    /// Lets the lowest priority group that is up take connections again.
    pub(crate) async fn fail_back(&mut self, service: &str) {
        self.health.groups.remove(service);
        self.hold_groups();
        self.apply_services().await;
        self.health.unsaved = true;
        self.save_health_now().await;
    }
}

/// Puts changes in force as they come, and leaves the node at least as much time for everything else as that takes: when
/// thousands of servers fail at once, each change of all tables takes a while.
pub(crate) async fn follow(node: daemon::Shared) {
    let shared = node.lock().await.health.shared.clone();
    let mut rest = TOGETHER;
    loop {
        shared.changed.notified().await;
        tokio::time::sleep(rest).await;
        let mut node = node.lock().await;
        let began = Instant::now();
        node.apply_health().await;
        rest = began.elapsed().clamp(TOGETHER, LONGEST_REST);
    }
}
