//! A node as the kernel sees it: a network, a mount and a UTS namespace, kept alive by one small process that waits.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{During as _, LabError};
use crate::{mounts, process};

/// Who decides how long a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until the lab is removed.
    Kept,
    /// No longer than the process that made it.
    Owned,
}

/// Makes a node's namespaces and starts the process that holds them (`keel-lab hold`).
pub(crate) fn create(program: &Path, node: &str, lifetime: Lifetime) -> Result<Child, LabError> {
    // Namespaces belong to a thread. What a thread starts inherits them, so no process needs to fork by hand.
    on_a_thread_of_its_own(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .during(|| "making new namespaces".to_owned())?;
        nix::unistd::sethostname(node).during(|| "naming the host".to_owned())?;
        mounts::make_private()?;
        let mut command = Command::new(program);
        command.args(["hold", node]).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        match lifetime {
            Lifetime::Kept => command.stdin(Stdio::null()),
            Lifetime::Owned => command.arg("--owned").stdin(Stdio::piped()),
        };
        command.spawn().during(|| format!("starting {}", program.display()))
    })
    .during(|| format!("making the node {node}"))
}

/// What the holding process does: nothing. With `owned` it watches its input, which ends with its owner, and
/// then takes all that runs in the node with it.
pub fn hold(owned: bool) {
    if owned {
        let mut nothing = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut nothing);
        process::end_others_here(Duration::from_secs(5));
    } else {
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    }
}

/// The namespaces of a node, open: they can't vanish or be mistaken for others while this lives.
#[derive(Debug)]
pub(crate) struct Namespaces {
    files: [(File, CloneFlags); 3],
}

impl Namespaces {
    /// Opens those of a process.
    pub(crate) fn of(pid: u32) -> Result<Self, LabError> {
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            File::open(&path).during(|| format!("opening {path}"))
        };
        let files = [
            (open("net")?, CloneFlags::CLONE_NEWNET),
            (open("uts")?, CloneFlags::CLONE_NEWUTS),
            (open("mnt")?, CloneFlags::CLONE_NEWNS),
        ];
        Ok(Self { files })
    }

    /// Moves the calling thread into the node. The current folder becomes the node's root.
    pub(crate) fn enter(&self) -> Result<(), LabError> {
        // A thread that shares its current folder with others can't change its mount namespace.
        unshare(CloneFlags::CLONE_FS).during(|| "leaving the shared current folder".to_owned())?;
        for (file, kind) in &self.files {
            setns(file, *kind).during(|| "entering the node".to_owned())?;
        }
        Ok(())
    }

    /// Runs something inside the node, on a thread that ends with it. Processes it starts stay in the node.
    pub(crate) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        on_a_thread_of_its_own(|| {
            self.enter()?;
            work()
        })
    }
}

fn on_a_thread_of_its_own<T: Send>(work: impl FnOnce() -> Result<T, LabError> + Send) -> Result<T, LabError> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
