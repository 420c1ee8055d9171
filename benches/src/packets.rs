//! Packets and connections per CPU second of the balancers in a lab, without the costs of hosts. Frames are injected at the
//! switch's port of the balancer and dropped at the same port when they come back, so that nobody else works; what injecting
//! costs is measured with a program that drops everything on the balancer's interface, and taken off.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use aya::programs::xdp::XdpLink;
use keel_abi::MODE_NAT;
use keel_lab::Lab;
use serde::Serialize;

use crate::balancer::{self, Balancer, DEVICE, NODE, PORT, SWITCH, TCP_PORT, UDP_PORT};
use crate::effort::Effort;
use crate::frames::Template;
use crate::path::median;
use crate::walk::{Route, Walker};
use crate::{cpu, room};

/// Flows that take turns, where they are known.
const FLOWS: u32 = 4096;

/// Connections that are open at the same time. More than the kernel takes out of an interface's queue at once: it looks at all
/// of that before it notes a connection, and a SYN's answer never arrives with the SYN.
const BLOCK: u32 = 1024;

/// What is injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// Datagrams of known flows.
    Datagrams,
    /// Whole TCP connections with a request and an answer, each new: eight packets, or the five that clients send where answers
    /// go past the balancer.
    Connections,
}

/// One balancer under one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) load: Load,
    pub(crate) balancer: &'static str,
    /// Packets that pass the balancer for each datagram or connection.
    pub(crate) packets: usize,
    /// CPU nanoseconds for each, with injecting and dropping.
    pub(crate) gross_ns: f64,
    /// Injecting alone.
    pub(crate) generator_ns: f64,
    /// The difference: the balancer, the way out of its interface, and the drop.
    pub(crate) net_ns: f64,
    /// Datagrams or connections that the balancer carries in a second of one CPU.
    pub(crate) per_cpu_second: f64,
    /// Of all packets, how many came out, per cent.
    pub(crate) delivered_percent: f64,
}

/// One measurement: a load on a balancer.
struct Case {
    load: Load,
    which: Balancer,
    frames: Vec<Template>,
}

impl Case {
    fn new(lab: &Lab, load: Load, which: Balancer) -> Result<Self> {
        let (to, from) = (balancer::mac_of(lab, NODE)?, balancer::mac_of(lab, "router")?);
        let frames = match load {
            Load::Datagrams => vec![Template::udp(which.address().into(), UDP_PORT)],
            Load::Connections => {
                Template::exchange(which.address(), balancer::first_server(), TCP_PORT, which.is_gateway())
            }
        };
        let frames = frames.into_iter().map(|frame| frame.between(to, from)).collect();
        Ok(Self { load, which, frames })
    }

    /// How many datagrams or connections, and which.
    fn route(&self, effort: &Effort, round: u32) -> (Route, u32) {
        let count = (effort.frames() / self.frames.len() as u32).max(FLOWS * 3) / BLOCK * BLOCK;
        match self.load {
            Load::Datagrams => (Route::scattered(FLOWS), count),
            Load::Connections => (Route::in_blocks(round * count, u32::MAX >> 1, BLOCK), count),
        }
    }
}

pub(crate) fn measure(lab: &Lab, effort: &Effort) -> Result<Vec<Cell>> {
    let mut walker = Walker::load()?;
    let _sink = replace_port_program(lab, "sink", &mut walker)?;
    let mut cells = Vec::new();
    for load in [Load::Datagrams, Load::Connections] {
        let mut all = vec![Balancer::Relay, Balancer::Forwarding, Balancer::Nftables];
        if load == Load::Connections {
            all.insert(2, Balancer::ForwardingBothWays);
        }
        all.extend(balancer::MODES.map(Balancer::Keel));
        for cell in compare(lab, effort, &mut walker, load, &all)? {
            let Cell { balancer, net_ns, delivered_percent, .. } = &cell;
            eprintln!("{balancer:30} {load:?} {net_ns:8.1} ns, {delivered_percent:5.1} % delivered");
            cells.push(cell);
        }
    }
    Ok(cells)
}

fn compare(
    lab: &Lab,
    effort: &Effort,
    walker: &mut Walker,
    load: Load,
    all: &[Balancer],
) -> Result<Vec<Cell>> {
    let cases: Vec<Case> = all.iter().map(|which| Case::new(lab, load, *which)).collect::<Result<_>>()?;
    let mut gross = vec![Vec::new(); all.len()];
    let mut generator = gross.clone();
    let mut delivered = gross.clone();
    for round in 0..effort.lab_rounds() {
        let round = round as u32 + 1;
        // As many packets for each as the balancers get: the frames of the first with one way, and of NAT.
        let one = alone(lab, walker, &cases[0], effort, round)?;
        let nat = cases.iter().find(|case| case.which == Balancer::Keel(MODE_NAT));
        let both = match nat {
            Some(case) if case.frames.len() > 1 => alone(lab, walker, case, effort, round)?,
            _ => one,
        };
        for (i, case) in cases.iter().enumerate() {
            let installed = balancer::install(lab, case.which, 1)?;
            let (ns, percent) =
                through(lab, walker, case, effort, round).with_context(|| case.which.name().to_owned())?;
            installed.remove()?;
            gross[i].push(ns);
            delivered[i].push(percent);
            generator[i].push(if case.which.is_gateway() { both } else { one });
        }
    }
    let cell = |(i, case): (usize, &Case)| {
        let (gross_ns, generator_ns) = (median(&gross[i]), median(&generator[i]));
        Cell {
            load,
            balancer: case.which.name(),
            packets: case.frames.len(),
            gross_ns,
            generator_ns,
            net_ns: gross_ns - generator_ns,
            per_cpu_second: 1e9 / (gross_ns - generator_ns),
            delivered_percent: median(&delivered[i]),
        }
    };
    Ok(cases.iter().enumerate().map(cell).collect())
}

/// CPU nanoseconds for what is injected and dropped at once.
fn alone(lab: &Lab, walker: &mut Walker, case: &Case, effort: &Effort, round: u32) -> Result<f64> {
    balancer::command(lab, NODE, &["ethtool", "-K", DEVICE, "gro", "off"])?;
    let link = lab.within(NODE, || Ok(attach(walker, "nothing", DEVICE)))??;
    let (ns, _) = inject(lab, walker, case, case.route(effort, round))?;
    drop(link);
    Ok(ns)
}

/// CPU nanoseconds for each through the balancer, and the per cent of packets that came out.
fn through(lab: &Lab, walker: &mut Walker, case: &Case, effort: &Effort, round: u32) -> Result<(f64, f64)> {
    let before = walker.sunk()?;
    // Once so that flows are known and the kernel's tables are filled, and then for the record.
    inject(lab, walker, case, case.route(&Effort { quick: true }, 0))?;
    // Neighbours may have had to be found.
    std::thread::sleep(Duration::from_millis(200));
    let between = walker.sunk()?;
    ensure!(between > before, "nothing came out of the balancer");
    let (ns, packets) = inject(lab, walker, case, case.route(effort, round))?;
    let arrived = walker.sunk()? - between;
    Ok((ns, arrived as f64 / f64::from(packets) * 100.0))
}

/// CPU nanoseconds for each datagram or connection, and the number of packets.
fn inject(lab: &Lab, walker: &mut Walker, case: &Case, (route, count): (Route, u32)) -> Result<(f64, u32)> {
    let packets = count * case.frames.len() as u32;
    let frames: Vec<&Template> = case.frames.iter().collect();
    let seconds = lab.within(SWITCH, || Ok(inject_here(walker, &frames, route, packets)))??;
    Ok((seconds * 1e9 / f64::from(count), packets))
}

/// Inside the switch.
fn inject_here(walker: &mut Walker, frames: &[&Template], route: Route, packets: u32) -> Result<f64> {
    room::pin_to_last_cpu()?;
    let port = nix::net::if_::if_nametoindex(PORT)?;
    let before = cpu::of_packets()?;
    walker.inject(frames, route, port, packets)?;
    Ok(cpu::of_packets()? - before)
}

/// Puts a program of ours on the switch's port in place of the lab's.
fn replace_port_program(lab: &Lab, name: &str, walker: &mut Walker) -> Result<XdpLink> {
    lab.within(SWITCH, || {
        // The lab's program goes with its pin, but not at once.
        let _ = std::fs::remove_file(format!("/sys/fs/bpf/lab/{PORT}"));
        Ok(attach(walker, name, PORT))
    })?
}

/// Puts a program of ours on an interface that another may just be leaving.
fn attach(walker: &mut Walker, name: &str, device: &str) -> Result<XdpLink> {
    let program = walker.attachable(name)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match program.attach(device, XdpMode::Driver) {
            Ok(id) => return Ok(program.take_link(id)?),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("attaching {name} to {device}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
