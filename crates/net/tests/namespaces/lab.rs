//! Network namespaces and the cables between them. A namespace goes when its last handle does, cables with it.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keel_net::{AddressOptions, Link, Netlink, Route};
use nix::sched::{CloneFlags, setns, unshare};

/// How long anything in a lab may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace with `lo` up.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.run(async || ip("link set lo up"));
        namespace
    }

    /// Runs a future on a thread and a runtime of its own inside the namespace.
    pub(crate) fn run<T: Send>(&self, job: impl AsyncFnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(job())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Joins two namespaces by a cable, an interface of these names at each end, both up.
    pub(crate) fn cable(&self, name: &str, other: &Self, other_name: &str) {
        let other_path = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.run(async || {
            ip(&format!("link add {name} type veth peer name {other_name} netns {other_path}"))
        });
        self.run(async || ip(&format!("link set {name} up")));
        other.run(async || ip(&format!("link set {other_name} up")));
    }

    /// Gives an interface an address that works at once.
    pub(crate) fn address(&self, interface: &str, address: &str) {
        self.run(async || {
            let netlink = Netlink::connect().unwrap();
            let link = netlink.link(interface).await.unwrap();
            let options = AddressOptions { no_dad: true, ..AddressOptions::default() };
            netlink.add_address(&link, address.parse().unwrap(), options).await.unwrap();
        });
    }

    pub(crate) fn link(&self, interface: &str) -> Link {
        self.run(async || Netlink::connect().unwrap().link(interface).await.unwrap())
    }
}

/// Two namespaces, `eth0` in each, addressed `.1` and `.2` (`::1` and `::2`).
pub(crate) fn pair() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::new(), Namespace::new());
    left.cable("eth0", &right, "eth0");
    for (namespace, host) in [(&left, 1), (&right, 2)] {
        namespace.address("eth0", &format!("10.0.0.{host}/24"));
        namespace.address("eth0", &format!("fd00:10::{host}/64"));
    }
    (left, right)
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("`ip` (apt-get install iproute2)");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The routes that somebody chose: the kernel adds link-local and multicast ones in its own time.
pub(crate) fn without_link_local(mut routes: Vec<Route>) -> Vec<Route> {
    let kernels: [ipnet::IpNet; 2] = ["fe80::/10", "ff00::/8"].map(|net| net.parse().unwrap());
    routes.retain(|route| !kernels.iter().any(|net| net.contains(&route.to)));
    routes
}

/// Tries until it is so, or panics with what was waited for.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
