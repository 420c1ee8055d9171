//! Where and with what was measured.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, the versions and the time.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) evenkeel: String,
    pub(crate) haproxy: String,
    pub(crate) nftables: String,
    pub(crate) wrk: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let of = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let kib: u64 = of("/proc/meminfo", "MemTotal")
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            cpu: of("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            evenkeel: env!("CARGO_PKG_VERSION").to_owned(),
            haproxy: version("haproxy", "-v", 2),
            nftables: version("nft", "-v", 1),
            wrk: version("wrk", "-v", 1),
        }
    }
}

/// The word of that number in the first line that a program says about itself.
fn version(program: &str, flag: &str, word: usize) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "missing".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace().nth(word).unwrap_or("unknown").to_owned()
}
