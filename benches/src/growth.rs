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
    /// All flows are of one of them.
    pub(crate) one: Costs,
    /// Flows of all of them take turns.
    pub(crate) all: Costs,
}

/// Net nanoseconds for a packet.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Costs {
    pub(crate) known_ns: f64,
    pub(crate) new_ns: f64,
}

pub(crate) fn measure(effort: &Effort) -> Result<Vec<Cell>> {
    let cell = |services| {
        let (one, all) = (costs(effort, services, 1)?, costs(effort, services, services)?);
        eprintln!(
            "{services:>6} services: known {:.1} and {:.1} ns, new {:.1} and {:.1} ns",
            one.known_ns, all.known_ns, one.new_ns, all.new_ns
        );
        Ok(Cell { services, one, all })
    };
    effort.services().into_iter().map(cell).collect()
}

/// Among so many services, of which so many have flows.
fn costs(effort: &Effort, services: u32, busy: u32) -> Result<Costs> {
    let mode = Mode::Dr;
    let flows = if effort.quick { 256 } else { FLOWS };
    let all = desired(mode, services, SERVERS, scheduler::WRR);
    let mut fixture = Fixture::with(mode, &all, SERVERS, effort.table())?;
    let mut walker = Walker::load()?;
    walker.measure(&fixture::program()?.fd)?;
    let (syn, ack) = (mode.request(busy, SYN), mode.request(busy, ACK));
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
    Ok(Costs { known_ns: median(&known), new_ns: median(&new) })
}
