//! Changing one thing among many services, building tables, and what it all takes in memory.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use keel_abi::{Addr, IPPROTO_TCP, PortKey, maglev, scheduler, state};
use keel_dataplane::{Dataplane, Desired, Options, TableSpec};
use serde::Serialize;

use crate::effort::Effort;
use crate::fixture::{self, Fixture, Mode, desired, nth, sizes};
use crate::path::median;
use crate::room;

/// Servers of each service.
pub(crate) const SERVERS: u32 = 10;

/// How long something takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Timing {
    pub(crate) what: String,
    /// Writes to the kernel's maps.
    pub(crate) writes: Option<usize>,
    /// Median.
    pub(crate) ms: f64,
    pub(crate) most_ms: f64,
}

/// What a map takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    pub(crate) map: &'static str,
    pub(crate) entries: u32,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_entry: f64,
}

/// Everything of a section.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    pub(crate) services: u32,
    pub(crate) servers_each: u32,
    pub(crate) changes: Vec<Timing>,
    /// The same through `keel` and `keeld`.
    pub(crate) whole: Vec<Timing>,
    pub(crate) tables: Vec<Timing>,
    pub(crate) memory: Vec<Memory>,
}

pub(crate) fn measure(effort: &Effort, whole: Vec<Timing>) -> Result<Section> {
    let services = effort.changed_among();
    Ok(Section {
        services,
        servers_each: SERVERS,
        changes: changes(effort, services)?,
        whole,
        tables: tables(effort),
        memory: memory(effort)?,
    })
}

/// Services whose servers are all different.
fn everything(services: u32) -> Desired {
    let mut all = desired(Mode::Nat, services, SERVERS, scheduler::WLC);
    for (n, service) in all.services.iter_mut().enumerate() {
        for (i, server) in service.servers.iter_mut().enumerate() {
            server.addr = nth(Mode::Nat.server(), n as u32 * SERVERS + i as u32).into();
        }
    }
    all
}

/// Makes the `n`th version of what is wanted.
type Edit<'a> = &'a dyn Fn(&mut Desired, u32);

fn changes(effort: &Effort, services: u32) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    let all = everything(services);
    let options = Options { bpf_dir: room::pins(), sizes: sizes(effort.table()) };
    let (mut dataplane, _) = Dataplane::open(&options)?;
    let started = Instant::now();
    let writes = dataplane.apply(&all)?;
    timings.push(timing("all services, onto an empty dataplane", Some(writes), &[milliseconds(started)]));

    let middle = services as usize / 2;
    let mut one = |what: &str, with: &dyn Fn(u32) -> Desired, back: &Desired| -> Result<()> {
        let (mut samples, mut writes) = (Vec::new(), 0);
        for n in 0..effort.changes() {
            let changed = with(n);
            let started = Instant::now();
            writes = dataplane.apply(&changed)?;
            samples.push(milliseconds(started));
            dataplane.apply(back)?;
        }
        timings.push(timing(what, Some(writes), &samples));
        Ok(())
    };
    let weight = |d: &mut Desired, n: u32| d.services[middle].servers[3].weight = 1 + n as u16;
    let drain = |d: &mut Desired, _: u32| {
        let server = &mut d.services[middle].servers[3];
        (server.state, server.member) = (state::DRAIN, false);
    };
    let scheduler = |d: &mut Desired, _: u32| d.services[middle].scheduler = scheduler::MAGLEV;
    let fewer = |d: &mut Desired, _: u32| drop(d.services[middle].servers.pop());
    let more = |d: &mut Desired, _: u32| {
        let mut new = d.services[middle].clone();
        let addr = Addr::from(nth(Mode::Dr.vip(), 1 << 16));
        new.keys = vec![PortKey { addr, block: 81, proto: IPPROTO_TCP, shift: 0 }];
        d.services.push(new);
    };
    let edits: [(&str, Edit<'_>); 5] = [
        ("a server's weight", &weight),
        ("a server drains", &drain),
        ("another scheduler (Maglev, 65,537 slots)", &scheduler),
        ("a server goes", &fewer),
        ("a service comes", &more),
    ];
    one("nothing", &|_| all.clone(), &all)?;
    for (what, edit) in edits {
        let with = |n: u32| {
            let mut changed = all.clone();
            edit(&mut changed, n);
            changed
        };
        one(what, &with, &all)?;
    }
    drop(dataplane);
    let mut samples = Vec::new();
    for _ in 0..effort.changes().min(5) {
        let started = Instant::now();
        drop(Dataplane::open(&options)?);
        samples.push(milliseconds(started));
    }
    timings.push(timing("a new process adopts it all (load, verify, read the maps)", None, &samples));
    Dataplane::detach_all(&room::pins())?;
    Ok(timings)
}

/// Building tables, without the kernel.
fn tables(effort: &Effort) -> Vec<Timing> {
    let cases =
        [(10, scheduler::WLC), (10, scheduler::MAGLEV), (100, scheduler::MAGLEV), (500, scheduler::MAGLEV)];
    let build = |(servers, how): (u32, u32)| {
        let member = |n: u32| {
            (
                maglev::identity(&n.to_string()),
                keel_abi::Member { server: n, weight: 100, ..Default::default() },
            )
        };
        let spec =
            TableSpec { scheduler: how, members: (0..servers).map(member).collect(), ..TableSpec::default() };
        let samples: Vec<f64> = (0..effort.changes())
            .map(|_| {
                let started = Instant::now();
                std::hint::black_box(spec.chunks());
                milliseconds(started)
            })
            .collect();
        timing(&format!("{servers} servers, a ring of {} slots", spec.ring_slots()), None, &samples)
    };
    cases.into_iter().map(build).collect()
}

fn memory(effort: &Effort) -> Result<Vec<Memory>> {
    let fixture = Fixture::new(Mode::Nat, effort.table())?;
    let maps = [
        "CONNECTIONS",
        "LEASES",
        "HALF_OPEN",
        "PERSISTENCE",
        "FRAGMENTS",
        "SERVERS",
        "LOADS",
        "STATS",
        "PATHS",
    ];
    let found = maps.into_iter().map(memory_of).collect();
    fixture.remove()?;
    found
}

/// What the kernel says a map takes, all of it.
fn memory_of(map: &'static str) -> Result<Memory> {
    let data: MapData = fixture::pinned(map)?;
    let entries = data.info()?.max_entries();
    let fd = data.fd().as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{fd}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes: u64 =
        line.and_then(|bytes| bytes.trim().parse().ok()).context("the kernel doesn't say memlock")?;
    Ok(Memory { map, entries, bytes, bytes_per_entry: bytes as f64 / f64::from(entries) })
}

pub(crate) fn timing(what: &str, writes: Option<usize>, samples: &[f64]) -> Timing {
    let most_ms = samples.iter().copied().fold(0.0, f64::max);
    let timing = Timing { what: what.to_owned(), writes, ms: median(samples), most_ms };
    eprintln!("{:60} {:8.2} ms, {} writes", timing.what, timing.ms, writes.unwrap_or(0));
    timing
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
