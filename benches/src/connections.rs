//! Connections per CPU second of the balancers in a lab: many short ones, and requests on ones that stay. What the
//! clients, the router and the servers need is measured with nothing in between, and taken off.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use keel_lab::Lab;
use serde::Serialize;

use crate::balancer::{self, Balancer};
use crate::cpu;
use crate::effort::Effort;
use crate::path::median;

/// Connections at a time.
const PARALLEL: &str = "32";

/// One balancer under one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) balancer: &'static str,
    /// What the clients do.
    pub(crate) load: &'static str,
    /// CPU microseconds of the whole lab for each connection or request.
    pub(crate) gross_us: f64,
    /// The same without a balancer.
    pub(crate) without_us: f64,
    /// The difference.
    pub(crate) net_us: f64,
    /// The difference round by round, least and most.
    pub(crate) least_us: f64,
    pub(crate) most_us: f64,
    /// What the balancer's CPU time is enough for in a second of one CPU.
    pub(crate) per_cpu_second: f64,
    /// Requests in a second of the clock, which the two CPUs of everybody limit.
    pub(crate) per_second: f64,
}

/// A load.
struct Load {
    name: &'static str,
    header: Option<&'static str>,
}

const LOADS: [Load; 2] = [
    Load { name: "a connection for each request", header: Some("Connection: close") },
    Load { name: "requests on kept connections", header: None },
];

/// What `wrk` says.
struct Answer {
    requests: f64,
    per_second: f64,
}

pub(crate) fn measure(lab: &Lab, effort: &Effort) -> Result<Vec<Cell>> {
    let fixed = [
        Balancer::Direct,
        Balancer::Relay,
        Balancer::Forwarding,
        Balancer::ForwardingBothWays,
        Balancer::Nftables,
        Balancer::Haproxy,
    ];
    let all: Vec<Balancer> = fixed.into_iter().chain(balancer::MODES.map(Balancer::Keel)).collect();
    let nodes = lab.state().nodes.iter().map(|node| Ok(lab.within(&node.name, || Ok(cpu::namespace()))??));
    let inside: Vec<PathBuf> = nodes.collect::<Result<_>>()?;
    let mut cells = Vec::new();
    for load in &LOADS {
        let mut cost = vec![Vec::new(); all.len()];
        let mut speed = vec![Vec::new(); all.len()];
        for _ in 0..effort.lab_rounds() {
            // The first run of a round is slow, whoever it is of: the memory that the last one gave back isn't there at once.
            let installed = balancer::install(lab, Balancer::Direct, balancer::ALL_SERVERS)?;
            wrk(lab, Balancer::Direct, load, effort.load().as_secs())?;
            installed.remove()?;
            for (i, which) in all.iter().enumerate() {
                let installed = balancer::install(lab, *which, balancer::ALL_SERVERS)?;
                let (us, rate) =
                    one(lab, &inside, *which, load, effort).with_context(|| which.name().to_owned())?;
                installed.remove()?;
                cost[i].push(us);
                speed[i].push(rate);
            }
        }
        for (i, which) in all.iter().enumerate() {
            let net: Vec<f64> =
                cost[i].iter().zip(&cost[0]).map(|(gross, without)| gross - without).collect();
            let (gross_us, without_us) = (median(&cost[i]), median(&cost[0]));
            let cell = Cell {
                balancer: which.name(),
                load: load.name,
                gross_us,
                without_us,
                net_us: gross_us - without_us,
                least_us: net.iter().copied().fold(f64::INFINITY, f64::min),
                most_us: net.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                per_cpu_second: 1e6 / (gross_us - without_us),
                per_second: median(&speed[i]),
            };
            eprintln!("{:30} {:30} {:7.2} us", cell.balancer, cell.load, cell.net_us);
            cells.push(cell);
        }
    }
    Ok(cells)
}

/// CPU microseconds of the lab per request, and requests per second.
fn one(lab: &Lab, inside: &[PathBuf], which: Balancer, load: &Load, effort: &Effort) -> Result<(f64, f64)> {
    wrk(lab, which, load, 1)?;
    let before = cpu::of_lab(inside)?;
    let answer = wrk(lab, which, load, effort.load().as_secs())?;
    let used = cpu::of_lab(inside)? - before;
    Ok((used * 1e6 / answer.requests, answer.per_second))
}

fn wrk(lab: &Lab, which: Balancer, load: &Load, seconds: u64) -> Result<Answer> {
    let (url, duration) = (format!("http://{}/", which.address()), format!("{seconds}s"));
    let mut words = vec!["wrk", "-t", "1", "-c", PARALLEL, "-d", &duration];
    if let Some(header) = load.header {
        words.extend(["-H", header]);
    }
    words.push(&url);
    let output = lab.exec("client", &words)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr).trim());
    ensure!(!text.contains("Non-2xx"), "wrk: {text}");
    read(&text).with_context(|| format!("wrk said: {text}"))
}

/// "  12345 requests in 3.00s, 1.85MB read", "Requests/sec:   4115.11".
fn read(text: &str) -> Option<Answer> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let requests =
        text.lines().map(words).find(|words| words.get(1).is_some_and(|word| word == "requests"))?;
    let rate =
        text.lines().map(words).find(|words| words.first().is_some_and(|word| word == "Requests/sec:"))?;
    Some(Answer { requests: requests.first()?.parse().ok()?, per_second: rate.get(1)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_writes() {
        let answer =
            read("  2 threads\n  12345 requests in 3.00s, 1.85MB read\nRequests/sec:   4115.11\n").unwrap();
        assert_eq!((answer.requests, answer.per_second), (12345.0, 4115.11));
        assert!(read("unable to connect").is_none());
    }
}
