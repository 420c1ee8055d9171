//! Processes as `/proc` shows them: who is in a namespace, who is still the one that was started, and their end.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process that can't be mistaken for a later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn now(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.zombie)
    }
}

struct Stat {
    zombie: bool,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; state and the rest follow.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { zombie: fields.first()? == &"Z", started: fields.get(19)?.parse().ok()? })
}

/// The numbers that identify a process's namespaces while they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) net: u64,
    pub(crate) mnt: u64,
}

impl Place {
    /// Where a process is: its number, or `self`.
    pub(crate) fn of(process: &str) -> Option<Self> {
        let number = |kind: &str| Some(fs::metadata(format!("/proc/{process}/ns/{kind}")).ok()?.ino());
        Some(Self { net: number("net")?, mnt: number("mnt")? })
    }
}

/// Ends every process in a place and waits until they are gone. Says who is left at the deadline.
///
/// A number is given again once its namespace is gone: unless the caller holds it open (`held`), only a process that
/// is in both namespaces is taken to belong there.
pub(crate) fn end_all_in(place: Place, held: bool, patience: Duration) -> Result<(), Vec<u32>> {
    // Never the caller's own namespace, whatever a state file says.
    if Place::of("self").is_none_or(|own| own.net == place.net) {
        return Ok(());
    }
    end_until_gone(|| living_where(|at| at.net == place.net && (held || at.mnt == place.mnt)), patience)
}

/// Ends whatever else runs in the caller's network namespace, unless that is the machine's own.
pub(crate) fn end_others_here(patience: Duration) {
    let (Some(here), Some(machine)) = (Place::of("self"), Place::of("1")) else { return };
    if here.net == machine.net {
        return;
    }
    let me = std::process::id();
    let others = || living_where(|at| at.net == here.net).into_iter().filter(|pid| *pid != me).collect();
    // Nobody is left to tell if one stays.
    let _ = end_until_gone(others, patience);
}

fn end_until_gone(list: impl Fn() -> Vec<u32>, patience: Duration) -> Result<(), Vec<u32>> {
    let deadline = Instant::now() + patience;
    loop {
        let left = list();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(left);
        }
        for pid in left {
            // Gone in the meantime is as good.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn living_where(is_there: impl Fn(Place) -> bool) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| Place::of(&pid.to_string()).is_some_and(&is_there))
        .filter(|pid| stat(*pid).is_some_and(|stat| !stat.zombie))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let me = Process::now(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
    }

    #[test]
    fn the_callers_own_namespace_is_never_emptied() {
        let own = Place::of("self").unwrap();
        assert!(living_where(|at| at == own).contains(&std::process::id()));
        assert_eq!(end_all_in(own, true, Duration::ZERO), Ok(()));
    }
}
