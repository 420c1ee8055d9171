//! How evenly the rings spread, how little they move, and how far weighted least connections is from the best that was
//! possible. No clock: the same on every machine.

use keel_abi::{Candidates, Choice, Load, Member, TableHeader, choose, maglev, scheduler};
use serde::Serialize;

/// Everything of a section.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    pub(crate) maglev: Vec<Ring>,
    pub(crate) least_connections: Vec<Distance>,
}

/// A ring.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ring {
    pub(crate) servers: u32,
    pub(crate) slots: u32,
    /// The fullest server's share beyond the mean, per cent.
    pub(crate) over_percent: f64,
    /// What the emptiest one lacks, per cent.
    pub(crate) under_percent: f64,
    /// Slots of other servers that move when one leaves, per cent: mean over all who may leave, and the worst.
    pub(crate) moved_percent: f64,
    pub(crate) worst_moved_percent: f64,
}

/// A pool scheduled by weighted least connections.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Distance {
    pub(crate) servers: u32,
    pub(crate) connections: u32,
    /// How many connections of its own the chosen server was ever above the least loaded one, by weight.
    pub(crate) worst_pick: f64,
    /// While connections only came: the most by which a server had more of them than its weight's share.
    pub(crate) most_over: f64,
}

pub(crate) fn measure() -> Section {
    Section {
        maglev: [10, 100, 500].map(ring).to_vec(),
        least_connections: [2, 10, 64].map(distance).to_vec(),
    }
}

fn ring(servers: u32) -> Ring {
    let identity = |n: u32| maglev::identity(&format!("10.0.{}.{} 80", n / 250, n % 250));
    let all: Vec<(u64, u16)> = (0..servers).map(|n| (identity(n), 100)).collect();
    let before = maglev::build(&all, maglev::FULL);
    let mut counts = vec![0u32; all.len()];
    before.iter().for_each(|member| counts[usize::from(*member)] += 1);
    let mean = f64::from(maglev::FULL) / f64::from(servers);
    let share = |count: Option<&u32>| count.map_or(0.0, |count| (f64::from(*count) / mean - 1.0) * 100.0);
    let moved: Vec<f64> = (0..all.len())
        .map(|leaver| {
            let mut left = all.clone();
            left[leaver].1 = 0;
            let after = maglev::build(&left, maglev::FULL);
            let others = before.iter().zip(&after).filter(|(b, _)| usize::from(**b) != leaver);
            let (mut count, mut changed) = (0u32, 0u32);
            for (b, a) in others {
                count += 1;
                changed += u32::from(a != b);
            }
            f64::from(changed) / f64::from(count) * 100.0
        })
        .collect();
    Ring {
        servers,
        slots: maglev::FULL,
        over_percent: share(counts.iter().max()),
        under_percent: -share(counts.iter().min()),
        moved_percent: moved.iter().sum::<f64>() / moved.len() as f64,
        worst_moved_percent: moved.iter().copied().fold(0.0, f64::max),
    }
}

/// A pool without a kernel.
struct Pool {
    header: TableHeader,
    members: Vec<Member>,
    active: Vec<u64>,
}

impl Candidates for Pool {
    fn header(&self) -> &TableHeader {
        &self.header
    }
    fn member(&self, index: u32) -> Option<Member> {
        self.members.get(index as usize).copied()
    }
    fn slot(&self, _: u32) -> Option<u32> {
        None
    }
    fn load(&self, server: u32) -> Option<Load> {
        Some(Load { active: *self.active.get(server as usize)?, ..Load::default() })
    }
    fn mark_overloaded(&self, _: u32, _: bool) {}
    fn advance(&self) -> u32 {
        0
    }
    fn picks(&self, _: u32) -> u64 {
        0
    }
    fn picked(&self, _: u32) {}
    fn catch_up(&self, _: u32, _: u64) {}
    fn level(&self) -> u64 {
        0
    }
    fn reached(&self, _: u64) {}
}

/// Connections come, and from the second half on others go as they please.
fn distance(servers: u32) -> Distance {
    let weight = |n: u32| 1 + (n * 37 % 100) as u16;
    let members: Vec<Member> =
        (0..servers).map(|n| Member { server: n, weight: weight(n), ..Member::default() }).collect();
    let total: f64 = members.iter().map(|m| f64::from(m.weight)).sum();
    let mut pool = Pool { header: header(servers), active: vec![0; members.len()], members };
    let connections = 40_000;
    let (mut worst_pick, mut most_over, mut random) = (0.0f64, 0.0f64, 1u64);
    for n in 1..=connections {
        let Choice::Server(id) = choose(&pool, n) else { continue };
        let load = |id: usize| pool.active[id] as f64 / f64::from(pool.members[id].weight);
        let best = (0..pool.members.len()).map(load).fold(f64::INFINITY, f64::min);
        let own = f64::from(pool.members[id as usize].weight);
        worst_pick = worst_pick.max((load(id as usize) - best) * own);
        pool.active[id as usize] += 1;
        if n <= connections / 2 {
            most_over = most_over.max(pool.active[id as usize] as f64 - own / total * f64::from(n));
        } else {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let leaver = (random >> 33) as usize % pool.active.len();
            pool.active[leaver] = pool.active[leaver].saturating_sub(1);
        }
    }
    Distance { servers, connections, worst_pick, most_over }
}

fn header(members: u32) -> TableHeader {
    let zero = keel_abi::from_bytes::<TableHeader>(&[0; size_of::<TableHeader>()]);
    let header = zero.unwrap_or_else(|| unreachable!("the length is the header's"));
    TableHeader {
        scheduler: scheduler::WLC,
        members,
        ring_slots: 1,
        cost: keel_abi::Cost::of(scheduler::WLC),
        ..header
    }
}
