//! A place of its own for measurements without a lab: a network and a mount namespace that end with their thread, a bpf
//! file system in it, one CPU.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;

/// Where the bpf file system is, seen from inside.
const BPF: &str = "/sys/fs/bpf";

/// Runs `work` in a room of its own.
pub(crate) fn inside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let furnished = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("making namespaces needs root")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("bpf"), BPF, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a bpf file system")?;
        pin_to_last_cpu()?;
        work()
    };
    thread::scope(|scope| match scope.spawn(furnished).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Where the dataplane may pin, in this room or in a node of a lab.
pub(crate) fn pins() -> PathBuf {
    PathBuf::from(BPF).join("evenkeel")
}

/// Keeps the calling thread on the machine's last CPU: the first one has most of the interrupts.
pub(crate) fn pin_to_last_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(last_cpu())?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one CPU")
}

/// Its number.
pub(crate) fn last_cpu() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    // "0-7" or "0-3,5": the last number is the last CPU.
    text.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse().ok()).unwrap_or(0)
}
