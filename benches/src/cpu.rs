//! CPU time, exact to the nanosecond where the kernel's scheduler keeps it so: of the calling thread with what interrupts it, of all
//! that runs in a lab, of the whole machine.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::room;

/// Ticks of `/proc/stat` in a second (`USER_HZ`, the same on every machine).
const TICKS: f64 = 100.0;
/// Above this share of one CPU the machine is not quiet.
const NOISE: f64 = 0.15;

/// CPU seconds of the calling thread, on the last CPU, and of the kernel's thread for packets there. A thread that injects packets does the work
/// for them itself, in interrupts of its own making, which the kernel counts as the thread's.
pub(crate) fn of_packets() -> Result<f64> {
    Ok(run_time("thread-self")? + of_packet_threads(&format!("ksoftirqd/{}", room::last_cpu()))?)
}

/// CPU seconds of everything in the network namespaces `inside`, of the programs that this process has run to their end,
/// and of the kernel's threads for packets. Packets are mostly handled in the time of who sent them.
pub(crate) fn of_lab(inside: &[PathBuf]) -> Result<f64> {
    let mut seconds = of_packet_threads("ksoftirqd/")? + of_ended_children()?;
    for pid in processes()? {
        // A process may end while it is looked at, and some don't let themselves be looked at.
        let Ok(at) = fs::read_link(format!("/proc/{pid}/ns/net")) else { continue };
        if !inside.contains(&at) {
            continue;
        }
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            seconds += run_time(&format!("{pid}/task/{}", task.file_name().display())).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

/// The calling thread's network namespace.
pub(crate) fn namespace() -> std::io::Result<PathBuf> {
    fs::read_link("/proc/thread-self/ns/net")
}

/// Children that were waited for (proc(5): cutime and cstime of stat).
fn of_ended_children() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("reading the times of children")?;
    let fields = fields.split_whitespace().skip(13).take(2);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// Every process of the machine.
pub(crate) fn processes() -> Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// The kernel's threads for packets whose names begin like this.
fn of_packet_threads(begin: &str) -> Result<f64> {
    let mut seconds = 0.0;
    for pid in processes()? {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with(begin) {
            seconds += run_time(&pid.to_string())?;
        }
    }
    Ok(seconds)
}

/// CPU seconds of a task, from `/proc/…/schedstat`.
pub(crate) fn run_time(process: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let ns: Option<f64> = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Ok(ns.context("reading schedstat")? / 1e9)
}

/// CPU seconds of the whole machine in which it was not idle.
fn of_machine() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = fields.iter().take(7).enumerate().filter(|(i, _)| *i != 3 && *i != 4);
    Ok(busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS)
}

/// Waits until nobody else uses the machine much, for a while. Returns the share of one CPU that others still use.
pub(crate) fn quiet(patience: Duration) -> Result<f64> {
    let deadline = Instant::now() + patience;
    loop {
        let before = of_machine()?;
        std::thread::sleep(Duration::from_millis(400));
        let share = (of_machine()? - before) / 0.4;
        if share < NOISE || Instant::now() > deadline {
            return Ok(share);
        }
    }
}
