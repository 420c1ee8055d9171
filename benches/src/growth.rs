//! How a packet's time grows with the number of services that take turns.

use anyhow::{Result, ensure};
use keel_abi::scheduler;
use serde::Serialize;

use crate::effort::Effort;
use crate::fixture::{self, Fixture, Mode, desired};
use crate::frames::{ACK, SYN};
use crate::path::median;
use crate::walk::{Route, Target, Walker};

/// Servers of each service: ten thousand services of these fit.
const SERVERS: u32 = 4;
/// Connections that take turns, spread over the services.
const FLOWS: u32 = 16_384;

/// One number of services.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) services: u32,
    pub(crate) known_ns: f64,
    pub(crate) new_ns: f64,
}

pub(crate) fn measure(effort: &Effort) -> Result<Vec<Cell>> {
    effort.services().into_iter().map(|services| one(effort, services)).collect()
}

fn one(effort: &Effort, services: u32) -> Result<Cell> {
    let mode = Mode::Dr;
    let flows = if effort.quick { 256 } else { FLOWS };
    let all = desired(mode, services, SERVERS, scheduler::WRR);
    let mut fixture = Fixture::with(mode, &all, SERVERS, effort.table())?;
    let mut walker = Walker::load()?;
    walker.measure(&fixture::program()?.fd)?;
    let (syn, ack) = (mode.request(services, SYN), mode.request(services, ACK));
    walker.run(Target::Keel, &[&syn, &ack], Route::in_order(0, flows), flows * 2)?;
    ensure!(fixture.established()? == u64::from(flows), "not all connections are in the table");
    fixture.fit_leases(u64::from(flows))?;
    // A lease begins with a packet that comes a while after its connection.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (mut known, mut new) = (Vec::new(), Vec::new());
    let (route, runs) = (Route::scattered(flows), effort.runs(flows));
    let mut fresh = Route::in_order(1 << 24, 1 << 30);
    for _ in 0..effort.rounds() {
        let walking = walker.run(Target::Bare, &[&ack], route, runs)?.ns;
        known.push(walker.run(Target::Keel, &[&ack], route, runs)?.ns - walking);
        let walking = walker.run(Target::Bare, &[&syn], fresh, runs)?.ns;
        new.push(walker.run(Target::Keel, &[&syn], fresh, runs)?.ns - walking);
        fresh.start += runs;
    }
    fixture.remove()?;
    let cell = Cell { services, known_ns: median(&known), new_ns: median(&new) };
    eprintln!("{services:>6} services: known {:.1} ns, new {:.1} ns", cell.known_ns, cell.new_ns);
    Ok(cell)
}
