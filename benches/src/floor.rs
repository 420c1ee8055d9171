//! What this machine asks for one look into a table of the kernel's, by the number of flows that take turns: the least
//! that any balancer which remembers connections in such a table can take here.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::effort::Effort;
use crate::fixture::Mode;
use crate::frames::ACK;
use crate::path::median;
use crate::walk::{Route, Target, Walker};

/// The tables, and what they are.
const TABLES: [(&str, &str, &str); 5] = [
    ("look_direct", "DIRECT", "array indexed by the flow's hash, lines of 64 bytes"),
    ("look_hash", "HASH", "hash table, elements of 152 bytes"),
    ("look_lru", "LRU", "the same, evicting the least recently used"),
    ("look_lean", "LEAN", "hash table, elements of 128 bytes"),
    ("look_loose", "LOOSE", "the same, each element allocated by itself"),
];

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) table: &'static str,
    pub(crate) entries: u32,
    pub(crate) flows: u32,
    /// Median, walking taken off.
    pub(crate) net_ns: f64,
}

pub(crate) fn measure(effort: &Effort) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (program, map, table) in TABLES {
        for (entries, flows) in effort.tables() {
            let mut walker = Walker::with_table(map, entries)?;
            walker.measure_own(program)?;
            for flows in flows {
                let net_ns = look(&mut walker, effort, flows)?;
                eprintln!("{table:56} {entries:>9} {flows:>9} flows {net_ns:7.1} ns");
                cells.push(Cell { table, entries, flows, net_ns });
            }
        }
    }
    Ok(cells)
}

fn look(walker: &mut Walker, effort: &Effort, flows: u32) -> Result<f64> {
    let template = Mode::Dr.request(1, ACK);
    walker.run(Target::Keel, &[&template], Route::in_order(0, flows), flows)?;
    let (route, runs) = (Route::scattered(flows), effort.runs(flows));
    let mut samples = Vec::new();
    for _ in 0..effort.rounds() {
        let walking = walker.run(Target::Bare, &[&template], route, runs)?.ns;
        let done = walker.run(Target::Keel, &[&template], route, runs)?;
        ensure!(done.verdict == 3, "the verdict is {}", done.verdict);
        samples.push(done.ns - walking);
    }
    Ok(median(&samples))
}
