//! Packets per CPU second of the balancers in a lab. Frames are injected at the switch's port of the balancer and dropped
//! at the same port when they come back, so that nobody else works; what injecting costs is measured with a program that drops
//! everything on the balancer's interface, and taken off.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use keel_lab::Lab;
use serde::Serialize;

use crate::balancer::{self, Balancer, DEVICE, NODE, PORT, SWITCH, UDP_PORT};
use crate::effort::Effort;
use crate::frames::Template;
use crate::path::median;
use crate::walk::{Route, Walker};
use crate::{cpu, room};

/// Flows that take turns.
const FLOWS: u32 = 4096;

/// One balancer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) balancer: &'static str,
    /// CPU nanoseconds per packet with injecting and dropping.
    pub(crate) gross_ns: f64,
    /// Injecting alone.
    pub(crate) generator_ns: f64,
    /// The difference: the balancer, the way out of its interface, and the drop.
    pub(crate) net_ns: f64,
    /// Packets that the balancer carries in a second of one CPU.
    pub(crate) packets_per_cpu_second: f64,
    /// Of all packets, how many came out, per cent.
    pub(crate) delivered_percent: f64,
}

pub(crate) fn measure(lab: &Lab, effort: &Effort) -> Result<Vec<Cell>> {
    let mut walker = Walker::load()?;
    let _sink = replace_port_program(lab, "sink", &mut walker)?;
    let all = [Balancer::Relay, Balancer::Forwarding, Balancer::Nftables].into_iter();
    let all: Vec<Balancer> = all.chain(balancer::MODES.map(Balancer::Keel)).collect();
    let mut generator = Vec::new();
    let mut gross = vec![Vec::new(); all.len()];
    let mut delivered = vec![Vec::new(); all.len()];
    for _ in 0..effort.lab_rounds() {
        generator.push(alone(lab, &mut walker, effort)?);
        for (i, which) in all.iter().enumerate() {
            let installed = balancer::install(lab, *which)?;
            let (ns, percent) =
                through(lab, &mut walker, *which, effort).with_context(|| which.name().to_owned())?;
            installed.remove()?;
            gross[i].push(ns);
            delivered[i].push(percent);
        }
    }
    let generator_ns = median(&generator);
    let cell = |(i, which): (usize, &Balancer)| {
        let gross_ns = median(&gross[i]);
        let net_ns = gross_ns - generator_ns;
        Cell {
            balancer: which.name(),
            gross_ns,
            generator_ns,
            net_ns,
            packets_per_cpu_second: 1e9 / net_ns,
            delivered_percent: median(&delivered[i]),
        }
    };
    let cells: Vec<Cell> = all.iter().enumerate().map(cell).collect();
    for cell in &cells {
        eprintln!("{:30} {:8.1} ns, {:5.1} % delivered", cell.balancer, cell.net_ns, cell.delivered_percent);
    }
    Ok(cells)
}

/// CPU nanoseconds per packet that is injected and dropped at once.
fn alone(lab: &Lab, walker: &mut Walker, effort: &Effort) -> Result<f64> {
    balancer::command(lab, NODE, &["ethtool", "-K", DEVICE, "gro", "off"])?;
    let link = lab.within(NODE, || {
        Ok((|| {
            let program = walker.attachable("nothing")?;
            let id = program.attach(DEVICE, XdpMode::Driver)?;
            Ok::<_, anyhow::Error>(program.take_link(id)?)
        })())
    })??;
    let ns = inject(lab, walker, Balancer::Direct, effort)?.0;
    drop(link);
    Ok(ns)
}

/// CPU nanoseconds per packet that goes through the balancer, and the per cent that came out.
fn through(lab: &Lab, walker: &mut Walker, which: Balancer, effort: &Effort) -> Result<(f64, f64)> {
    let before = walker.sunk()?;
    // Once so that connections are known and the kernel's tables are filled, and then for the record.
    inject(lab, walker, which, &Effort { quick: true })?;
    // Neighbours may have had to be found.
    std::thread::sleep(Duration::from_millis(200));
    let between = walker.sunk()?;
    let (ns, frames) = inject(lab, walker, which, effort)?;
    let arrived = walker.sunk()? - between;
    ensure!(between > before, "nothing came out of the balancer");
    Ok((ns, arrived as f64 / f64::from(frames) * 100.0))
}

fn inject(lab: &Lab, walker: &mut Walker, which: Balancer, effort: &Effort) -> Result<(f64, u32)> {
    let (to, from) = (balancer::mac_of(lab, NODE)?, balancer::mac_of(lab, "router")?);
    let template = Template::udp(which.address().into(), UDP_PORT).between(to, from);
    let frames = effort.frames().max(FLOWS * 3);
    lab.within(SWITCH, || Ok(inject_here(walker, &template, frames)))?.map(|ns| (ns, frames))
}

/// Inside the switch.
fn inject_here(walker: &mut Walker, template: &Template, frames: u32) -> Result<f64> {
    room::pin_to_last_cpu()?;
    let port = nix::net::if_::if_nametoindex(PORT)?;
    let before = cpu::of_packets()?;
    walker.inject(template, Route::scattered(FLOWS), port, frames)?;
    Ok((cpu::of_packets()? - before) * 1e9 / f64::from(frames))
}

/// Puts a program of ours on the switch's port in place of the lab's.
fn replace_port_program(lab: &Lab, name: &str, walker: &mut Walker) -> Result<aya::programs::xdp::XdpLink> {
    lab.within(SWITCH, || {
        Ok((|| {
            // The lab's program goes with its pin, but not at once.
            let _ = std::fs::remove_file(format!("/sys/fs/bpf/lab/{PORT}"));
            let program = walker.attachable(name)?;
            let deadline = Instant::now() + Duration::from_secs(5);
            let id = loop {
                match program.attach(PORT, XdpMode::Driver) {
                    Ok(id) => break id,
                    Err(error) if Instant::now() > deadline => {
                        return Err(error).context("attaching to the switch's port");
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            };
            Ok::<_, anyhow::Error>(program.take_link(id)?)
        })())
    })?
}
