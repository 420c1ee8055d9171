//! CPU time: of the calling thread with what interrupts it, and of the whole machine.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Ticks of `/proc/stat` in a second (`USER_HZ`, the same on every machine).
const TICKS: f64 = 100.0;
/// Above this share of one CPU the machine is not quiet.
const NOISE: f64 = 0.15;

/// CPU seconds of the calling thread and of the kernel's threads for packets. A thread that injects packets does the work
/// for them itself, in interrupts of its own making, which the kernel counts as the thread's.
pub(crate) fn of_packets() -> Result<f64> {
    let mut ns = run_time("thread-self")?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) =
            entry.file_name().to_str().filter(|name| name.parse::<u32>().is_ok()).map(str::to_owned)
        else {
            continue;
        };
        // A process may end while it is looked at.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            ns += run_time(&pid)?;
        }
    }
    Ok(ns as f64 / 1e9)
}

fn run_time(process: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).context("reading schedstat")
}

/// CPU seconds of the whole machine in which it was not idle.
pub(crate) fn of_machine() -> Result<f64> {
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
