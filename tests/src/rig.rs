//! A lab with an appliance in it, and what an administrator does with it.

use std::io::Write as _;
use std::process::Child;
use std::sync::Mutex;

use keel_api::{Client, ClientError, Committed, HealthFilter, Intent, ServerState, ServiceStatus, Status};
use keel_lab::{Lab, LabError, Options, Topology};
use tokio::runtime::{Builder, Runtime};

use crate::eventually;
use crate::turns::Turn;

/// The balancer that the tests talk to.
pub(crate) const BALANCER: &str = "lb1";
pub(crate) const CLIENT: &str = "client";

/// A lab with an appliance, removed when it is dropped.
#[derive(Debug)]
pub struct Rig {
    /// Daemons that were started later than the lab; ended with it.
    pub(crate) daemons: Mutex<Vec<Child>>,
    /// The lab. Before the turn, so that it is gone when the next one comes up.
    pub lab: Lab,
    _turn: Turn,
}

/// What a program answered.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its error output.
    pub err: String,
}

impl Said {
    /// The output of a program that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// The error output of a program that failed with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:#?}");
        self.err
    }
}

impl From<std::process::Output> for Said {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

impl Rig {
    /// A lab beside at most one other.
    pub fn up(test: &str, topology: Topology) -> Self {
        Self::in_turn(test, topology, Turn::shared())
    }

    /// A lab with no other beside it, for tests under load.
    pub fn alone(test: &str, topology: Topology) -> Self {
        Self::in_turn(test, topology, Turn::alone())
    }

    fn in_turn(test: &str, topology: Topology, turn: Turn) -> Self {
        let prefix = format!("{test}-{}", std::process::id());
        let options = Options { prefix, ..Options::default() };
        let lab = Lab::up(topology, &options).unwrap();
        assert!(lab.state().appliance, "there is no keeld beside keel-lab: build it with `make build`");
        let rig = Self { daemons: Mutex::default(), lab, _turn: turn };
        eventually("keeld answers", || rig.ask(async |client| client.status().await).is_ok());
        rig
    }

    /// Runs a program in a node.
    pub fn run(&self, node: &str, command: &[&str]) -> Said {
        self.lab.exec(node, command).unwrap().into()
    }

    /// Runs `keel` on the balancer.
    pub fn keel(&self, arguments: &[&str]) -> Said {
        self.run(BALANCER, &[&["keel"], arguments].concat())
    }

    /// The same with an input.
    pub fn keel_fed(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.lab.spawn(BALANCER, &[&["keel"], arguments].concat()).unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Talks to the balancer's control socket.
    ///
    /// # Errors
    /// What the daemon refuses, or that it can't be reached.
    pub fn ask<T: Send>(
        &self,
        call: impl AsyncFnOnce(Client) -> Result<T, ClientError> + Send,
    ) -> Result<T, ClientError> {
        let client = Client::in_run_dir("/run/evenkeel".as_ref());
        self.inside(BALANCER, || runtime().block_on(call(client)))
    }

    /// Runs code inside a node; what it returns is its own affair.
    pub fn inside<T: Send>(&self, node: &str, work: impl FnOnce() -> T + Send) -> T {
        self.lab.within(node, || Ok::<T, LabError>(work())).unwrap()
    }

    /// Puts a configuration in force, as it is.
    #[track_caller]
    pub fn apply_only(&self, text: &str) -> Committed {
        self.ask(async |client| client.apply(text, &intent()).await)
            .unwrap_or_else(|error| panic!("{error:#?}"))
    }

    /// Puts a configuration in force and waits until the way to every server that is reachable is known.
    #[track_caller]
    pub fn apply(&self, text: &str) -> Committed {
        let done = self.apply_only(text);
        self.settle();
        done
    }

    /// Waits until the way to every server is known, and how it is.
    pub fn settle(&self) {
        eventually("every server's way and health are known, and in force", || {
            let takes = self.ask(async |client| client.health(&HealthFilter::default()).await).unwrap();
            let services = self.services();
            let servers = services.iter().flat_map(|s| s.servers.iter().map(move |server| (s, server)));
            servers.zip(takes).all(|((service, server), health)| {
                let reached = server.neighbour.as_ref().is_some_and(|n| n.mac.is_some());
                let known = server.state != ServerState::Checking;
                let in_force = service.layer == 7 || health.takes == (server.effective_weight > 0);
                reached && known && in_force
            })
        });
    }

    /// The node's status.
    pub fn status(&self) -> Status {
        self.ask(async |client| client.status().await).unwrap()
    }

    /// All services as they do.
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.ask(async |client| client.services().await).unwrap()
    }

    /// One service as it does.
    pub fn service(&self, name: &str) -> ServiceStatus {
        self.ask(async |client| client.service(name).await).unwrap()
    }

    /// The running revision.
    pub fn revision(&self) -> u64 {
        self.status().revision
    }

    /// Packets dropped for a reason so far.
    pub fn dropped(&self, reason: &str) -> u64 {
        let drops = self.ask(async |client| client.drops().await).unwrap();
        drops.drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.packets).sum()
    }

    /// Reads a file of the balancer; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        self.inside(BALANCER, || std::fs::read_to_string(path).unwrap_or_default())
    }

    /// Writes a file of the balancer.
    pub fn write(&self, path: &str, text: &str) {
        self.inside(BALANCER, || std::fs::write(path, text)).unwrap();
    }
}

/// The reason that the tests give for their changes.
pub(crate) fn intent() -> Intent {
    Intent { why: "a test".to_owned(), ..Intent::default() }
}

/// What runs sockets on the calling thread, so that they are in its namespace.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
