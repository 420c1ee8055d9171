//! A machine of its own for a daemon: namespaces, folders, one cable to the world. All of it goes with the value.

use std::{
    fs::{self, File},
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use keel_api::{Client, ClientError, Committed, Intent, ServiceStatus, Status};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Small tables: the sizes are no test's subject.
pub(crate) const SMALL: &str =
    "[layer4]\nconnections = 1024\nhalf_open = 1024\npersistence_entries = 1024\nfragments = 1024\n";

/// A process that does nothing but hold namespaces.
struct Holder(Child);

impl Holder {
    fn new() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--propagation", "private", "sleep", "infinity"]);
        let child = unshare.stdin(Stdio::null()).spawn().expect("`unshare` (apt-get install util-linux)");
        let holder = Self(child);
        // Until it has become `sleep` it is still in our own namespaces.
        let path = format!("/proc/{}/comm", holder.0.id());
        eventually("the namespaces are made", || {
            fs::read_to_string(&path).is_ok_and(|name| name == "sleep\n")
        });
        holder
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--net", "--mount", "-t", &self.0.id().to_string(), "--"]).args(words);
        nsenter
    }

    #[track_caller]
    fn run(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.command(&words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Holder {
    /// Runs code on a thread in these namespaces' network.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `eth0` has 10.0.0.21/24 and fd00:10::21/64; at the other end of its cable is [`Machine::world`] with `.1` and `::1`.
pub(crate) struct Machine {
    daemon: Option<Child>,
    here: Holder,
    world: Holder,
    folder: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let (here, world) = (Holder::new(), Holder::new());
        let machine = Self { daemon: None, here, world, folder: tempfile::tempdir().unwrap() };
        for name in ["etc", "bpf"] {
            fs::create_dir(machine.path(name)).unwrap();
        }
        machine.write("etc/cluster.toml", SMALL);
        machine.write(
            "etc/node.toml",
            "[[interface]]\nname = \"eth0\"\naddresses = [\"10.0.0.21/24\", \"fd00:10::21/64\"]\n",
        );
        machine.run(&format!("mount -t bpf bpf {}", machine.path("bpf").display()));
        machine.stand_in("/etc/hosts", "hosts", "127.0.0.1 localhost\n");
        machine.stand_in(
            "/etc/resolv.conf",
            "resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
        );
        machine.run("ip link set lo up");
        let world = machine.world.0.id();
        machine.run(&format!("ip link add eth0 type veth peer name eth0 netns {world}"));
        for holder in [&machine.here, &machine.world] {
            holder.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0");
        }
        for words in [
            "ip address add 10.0.0.1/24 dev eth0",
            "ip address add fd00:10::1/64 dev eth0",
            "ip link set eth0 up",
        ] {
            machine.world.run(words);
        }
        machine
    }

    /// Plugs in `eth1`, whose cable leads nowhere.
    pub(crate) fn plug_in_another_card(&self) {
        self.run("ip link add eth1 type veth peer name peer1");
        self.run("ip link set peer1 up");
    }

    /// Puts a file of the test's own in place of the machine's.
    pub(crate) fn stand_in(&self, of: &str, name: &str, text: &str) {
        self.write(name, text);
        self.run(&format!("mount --bind {} {of}", self.path(name).display()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in place: some are mounted.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a secret of the configuration.
    pub(crate) fn keep_secret(&self, name: &str, secret: &str) {
        let folder = self.path("etc/secrets");
        fs::create_dir_all(&folder).unwrap();
        self.write(&format!("etc/secrets/{name}"), secret);
        for (path, mode) in [(folder.clone(), 0o700), (folder.join(name), 0o600)] {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs a command here and returns what it prints.
    #[track_caller]
    pub(crate) fn run(&self, words: &str) -> String {
        self.here.run(words)
    }

    /// Runs a command at the other end of the cable.
    #[track_caller]
    pub(crate) fn world(&self, words: &str) -> String {
        self.world.run(words)
    }

    /// Runs code on a thread in this machine's network.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.here.within(work)
    }

    /// The same at the other end of the cable.
    pub(crate) fn in_the_world<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.world.within(work)
    }

    /// A name server that takes questions and never answers.
    pub(crate) fn mute_name_server(&self) -> UdpSocket {
        self.within(|| UdpSocket::bind("127.0.0.1:53").unwrap())
    }

    /// The daemon's command line with more words, to be started in any way.
    pub(crate) fn keeld(&self, prefix: &[&str], more: &[&str]) -> Command {
        let folders = [
            ("--config-dir", "etc"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--bpf-dir", "bpf/ek"),
        ];
        let mut command = self.here.command(prefix);
        command.arg(env!("CARGO_BIN_EXE_keeld"));
        for (option, name) in folders {
            command.arg(option).arg(self.path(name));
        }
        command.args(more);
        command
    }

    /// Starts the daemon and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.start_by(&[]);
    }

    /// The same by way of another program.
    #[track_caller]
    pub(crate) fn start_by(&mut self, prefix: &[&str]) {
        assert!(self.daemon.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let daemon = self.keeld(prefix, &[]).stderr(log).spawn().unwrap();
        let daemon = self.daemon.insert(daemon);
        let client = Client::in_run_dir(&self.folder.path().join("run"));
        let log = self.folder.path().join("log");
        eventually("keeld answers", || {
            if let Some(status) = daemon.try_wait().unwrap() {
                panic!("keeld ended with {status}: {}", fs::read_to_string(&log).unwrap());
            }
            block_on(client.status()).is_ok()
        });
    }

    /// Ends the daemon and waits until it is gone.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(daemon.id().cast_signed()), signal).unwrap();
        let started = Instant::now();
        while daemon.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "keeld doesn't end: {}", self.read("log"));
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn restart(&mut self) {
        self.end(Signal::SIGTERM);
        self.start();
    }

    /// The running daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// `keeld --detach`.
    pub(crate) fn detach(&self) -> Output {
        self.keeld(&[], &["--detach"]).output().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::in_run_dir(&self.path("run"))
    }

    /// Talks to the daemon.
    pub(crate) fn ask<T>(
        &self,
        call: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        block_on(call(self.client()))
    }

    #[track_caller]
    pub(crate) fn apply(&self, text: &str) -> Committed {
        let done = self.ask(async |client| client.apply(text, &Intent::default()).await);
        done.unwrap_or_else(|error| panic!("{error:#?}"))
    }

    pub(crate) fn status(&self) -> Status {
        self.ask(async |client| client.status().await).unwrap()
    }

    pub(crate) fn services(&self) -> Vec<ServiceStatus> {
        self.ask(async |client| client.services().await).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let _ = std::io::Write::write_all(&mut std::io::stderr(), log.as_bytes());
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Tries until it is so, or panics with what was waited for.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A file's permission bits.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
