//! What it costs to know how servers are: CPU time, memory and descriptors of a daemon that checks so many of them.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keel_lab::{Lab, Options, Topology};
use serde::Serialize;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::balancer::{NODE, command};
use crate::cpu;
use crate::effort::Effort;

const FILE: &str = "/run/bench.toml";
/// The network of the servers, all of which are one machine: its web server answers at every address.
const SERVERS: &str = "198.19.0.0/16";
const MACHINE: &str = "rs1";
/// Servers of a service at most.
const EACH: u32 = 100;
/// How long the first verdicts may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// One kind of check of so many servers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) check: &'static str,
    pub(crate) servers: u32,
    /// Answers in a second.
    pub(crate) per_second: f64,
    /// Of one CPU: the thread that checks, and the whole daemon.
    pub(crate) thread_percent: f64,
    pub(crate) daemon_percent: f64,
    /// CPU microseconds of the thread for each check.
    pub(crate) each_us: f64,
    /// The same for a loop that makes such connections one after the other by bare system calls.
    pub(crate) bare_us: Option<f64>,
    /// Megabytes that are resident, and descriptors when the window begins and when it ends.
    pub(crate) megabytes: f64,
    pub(crate) descriptors: [usize; 2],
}

/// Measures each in a lab of its own, so that memory is its own too.
pub(crate) fn measure(effort: &Effort) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (check, most) in [("connect", u32::MAX), ("http", u32::MAX), ("https", 1000)] {
        for servers in effort.checked().into_iter().filter(|servers| *servers <= most) {
            let prefix = format!("bench-h-{}", std::process::id());
            let options = Options { prefix, servers: 1, appliance: true, binaries: None, keep: false };
            let lab = Lab::up(Topology::OneArm, &options)?;
            let cell = in_lab(&lab, effort, check, servers);
            cells.push(cell.with_context(|| format!("{servers} servers with {check}"))?);
            lab.down()?;
        }
    }
    Ok(cells)
}

fn in_lab(lab: &Lab, effort: &Effort, check: &'static str, servers: u32) -> Result<Cell> {
    command(lab, MACHINE, &["ip", "route", "add", "local", SERVERS, "dev", "lo"])?;
    command(lab, NODE, &["ip", "route", "add", SERVERS, "via", "192.168.2.101"])?;
    let text = configuration(check, servers);
    lab.within(NODE, || Ok(fs::write(FILE, &text)))?.with_context(|| format!("writing {FILE}"))?;
    command(lab, NODE, &["keel", "apply", FILE])?;
    let began = Instant::now();
    while asked(lab)?.1 < servers as usize {
        ensure!(began.elapsed() < PATIENCE, "not all servers are up within {PATIENCE:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    // What the first round and the questions before have stirred up.
    std::thread::sleep(effort.settled());
    let daemon = Daemon::of(lab)?;
    let bare_before = bare(lab, effort, check)?;
    let (before, at) = (asked(lab)?.0, Instant::now());
    let (thread, whole, open) = (daemon.thread()?, daemon.whole()?, daemon.descriptors()?);
    let window = Instant::now();
    std::thread::sleep(effort.watched());
    let (thread, whole) = (daemon.thread()? - thread, daemon.whole()? - whole);
    let seconds = window.elapsed().as_secs_f64();
    let descriptors = [open, daemon.descriptors()?];
    let megabytes = daemon.megabytes()?;
    let per_second = (asked(lab)?.0 - before) as f64 / at.elapsed().as_secs_f64();
    // A machine's speed changes within minutes.
    let bare_us = bare_before.zip(bare(lab, effort, check)?).map(|(before, after)| (before + after) / 2.0);
    Ok(Cell {
        check,
        servers,
        per_second,
        thread_percent: thread / seconds * 100.0,
        daemon_percent: whole / seconds * 100.0,
        each_us: thread / seconds / per_second * 1e6,
        bare_us,
        megabytes,
        descriptors,
    })
}

/// What the kernel takes for such a connection, with the part of the other side's that is done in the time of who sends.
fn bare(lab: &Lab, effort: &Effort, check: &str) -> Result<Option<f64>> {
    let request: &[u8] = match check {
        "connect" => b"",
        "http" => b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        _ => return Ok(None),
    };
    let count = effort.bare_connections();
    let to = |n: u32| SocketAddr::from(([198, 19, 0, 1 + (n % 250) as u8], 80));
    let run = || -> Result<f64> {
        let before = cpu::run_time("thread-self")?;
        let mut answer = [0; 4096];
        for n in 0..count {
            // The packets that a check sends, no others: what ends the handshake goes with the request, if at all, and the
            // connection is reset when the answer's head is there.
            let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_tcp_quickack(false)?;
            socket.connect_timeout(&to(n).into(), Duration::from_secs(2))?;
            if !request.is_empty() {
                socket.write_all(request)?;
                ensure!(socket.read(&mut answer)? > 0, "no answer to a bare request");
            }
        }
        Ok((cpu::run_time("thread-self")? - before) / f64::from(count) * 1e6)
    };
    lab.within(NODE, || Ok(run()))?.map(Some)
}

fn configuration(check: &str, servers: u32) -> String {
    let port = if check == "https" { 443 } else { 80 };
    let mut text = String::new();
    for service in 0..servers.div_ceil(EACH) {
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"198.18.0.{}\"\nports = \"{port}\"\nmode = \"nat\"\n\
             [service.health]\ntype = \"{check}\"\ninterval = \"4s\"\n",
            1 + service,
        );
        for server in service * EACH..servers.min((service + 1) * EACH) {
            let (high, low) = (server / 250, 1 + server % 250);
            let _ =
                write!(text, "[[service.server]]\nname = \"r{server}\"\naddress = \"198.19.{high}.{low}\"\n");
        }
    }
    text
}

/// Answers so far, and how many servers are up.
fn asked(lab: &Lab) -> Result<(u64, usize)> {
    let output = lab.exec(NODE, &["keel", "health", "--json"])?;
    ensure!(output.status.success(), "keel health: {}", String::from_utf8_lossy(&output.stderr).trim());
    let servers: Vec<Value> = serde_json::from_slice(&output.stdout).context("reading `keel health`")?;
    let checks = servers.iter().filter_map(|server| server["checks"].as_array()).flatten();
    let up = servers.iter().filter(|server| server["verdict"] == "up").count();
    Ok((checks.filter_map(|check| check["asked"].as_u64()).sum(), up))
}

/// The process that checks, and its thread for it.
struct Daemon {
    pid: u32,
    thread: String,
}

impl Daemon {
    fn of(lab: &Lab) -> Result<Self> {
        let namespace = lab.within(NODE, || Ok(cpu::namespace()))?.context("reading a node's namespace")?;
        for pid in cpu::processes()? {
            if fs::read_link(format!("/proc/{pid}/ns/net")).ok().as_ref() != Some(&namespace) {
                continue;
            }
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                if fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "health\n") {
                    return Ok(Self { pid, thread: task.file_name().display().to_string() });
                }
            }
        }
        anyhow::bail!("no process of {NODE} has a thread called health")
    }

    fn thread(&self) -> Result<f64> {
        cpu::run_time(&format!("{}/task/{}", self.pid, self.thread))
    }

    fn whole(&self) -> Result<f64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid))?.flatten();
        Ok(tasks
            .filter_map(|t| cpu::run_time(&format!("{}/task/{}", self.pid, t.file_name().display())).ok())
            .sum())
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    fn megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes / 1024.0)
    }
}
