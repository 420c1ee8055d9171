//! keeld itself: stopped, killed, started again, replaced.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::BALANCER;
use crate::{Rig, Said, eventually};

const LOG: &str = "/run/keeld.log";

impl Rig {
    /// The running daemon's process.
    pub fn daemon(&self) -> i32 {
        let text = self.read("/run/evenkeel/keeld.pid");
        text.trim().parse().unwrap_or_else(|_| panic!("no process in keeld.pid: `{text}`"))
    }

    /// Ends the daemon by a signal and waits until it is gone.
    pub fn end_daemon(&self, signal: Signal) {
        let pid = self.daemon();
        kill(Pid::from_raw(pid), signal).unwrap();
        eventually("keeld ends", || !is_running(pid));
        let mut daemons = self.daemons.lock().unwrap();
        daemons.iter_mut().filter(|child| child.id().cast_signed() == pid).for_each(|child| {
            child.wait().unwrap();
        });
    }

    /// Where the daemon's program is.
    pub fn program(&self) -> PathBuf {
        self.lab.state().binaries.join("keeld")
    }

    /// Starts a daemon and waits until it answers.
    #[track_caller]
    pub fn start_daemon(&self, program: &Path) {
        let command = ["sh", "-c", &format!("exec \"$0\" >>{LOG} 2>&1"), program.to_str().unwrap()];
        let mut child = self.lab.spawn(BALANCER, &command).unwrap();
        eventually("keeld answers", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("keeld ended with {status}: {}", self.log());
            }
            self.ask(async |client| client.status().await).is_ok()
        });
        self.daemons.lock().unwrap().push(child);
    }

    /// What the daemons started later than the lab have said.
    pub fn log(&self) -> String {
        self.read(LOG)
    }

    /// Runs keeld to its end: `--detach`, or a start that can't work.
    pub fn keeld(&self, arguments: &[&str]) -> Said {
        self.run(BALANCER, &[&["keeld"], arguments].concat())
    }
}

/// A process that ended and is not collected yet is a zombie without other threads; only then are its files closed.
fn is_running(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !zombie || threads > 1
}
