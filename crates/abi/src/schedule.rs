//! Which server a new connection gets. One implementation for the packet path, for `keel explain` and for tests,
//! over a trait that says where members and counts come from.
use crate::{MAX_EXACT_MEMBERS, Member, TableHeader, mix, scheduler};

/// Probes of the ring when the first choice takes no more, and the sample size in pools over 64 servers.
const PROBES: u32 = 8;

/// A server's connections now.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Established.
    pub active: u64,
    /// Finished, waiting out their timers.
    pub inactive: u64,
    /// Not established yet.
    pub pending: u64,
    /// 1 while the server has reached its limit and hasn't been readmitted.
    pub overloaded: u64,
}
const _: () = assert!(size_of::<Load>() == 32);

impl Load {
    /// Connections that count against a limit: those the server works for or is about to.
    #[inline(always)]
    pub const fn open(&self) -> u32 {
        at_least_zero(self.active.wrapping_add(self.pending))
    }

    /// What least-connection schedulers compare: a finished connection weighs 1/256 of an open one.
    #[inline(always)]
    const fn overhead(&self) -> u64 {
        self.open() as u64 * 256 + at_least_zero(self.inactive) as u64
    }
}

/// A count may be corrected for more than it holds; never let it wrap into "enormous".
#[inline(always)]
const fn at_least_zero(count: u64) -> u32 {
    if count > i32::MAX as u64 { 0 } else { count as u32 }
}

/// Whether a member takes one more connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eligibility {
    /// Yes.
    Yes,
    /// Yes, and its overloaded mark goes.
    Readmitted,
    /// No.
    No,
    /// No, and it gets the overloaded mark.
    Filled,
}

/// At `max_connections` a server takes no more until it has fallen below `readmit_connections` (min_connections,
/// or three quarters of the maximum).
#[inline(always)]
pub const fn eligibility(member: &Member, load: &Load) -> Eligibility {
    if member.max_connections == 0 {
        return Eligibility::Yes;
    }
    let open = load.open();
    if load.overloaded != 0 {
        return if open < member.readmit_connections { Eligibility::Readmitted } else { Eligibility::No };
    }
    if open >= member.max_connections { Eligibility::Filled } else { Eligibility::Yes }
}

/// A service's table and its servers' counts.
pub trait Candidates {
    /// The table's header.
    fn header(&self) -> &TableHeader;
    /// Member `index`; called with `index` below `header().members` only.
    fn member(&self, index: u32) -> Option<Member>;
    /// The member index in ring slot `slot`; called with `slot` below `header().ring_slots` only.
    fn slot(&self, slot: u32) -> Option<u32>;
    /// A server's connections.
    fn load(&self, server: u32) -> Option<Load>;
    /// Sets or clears the overloaded mark.
    fn mark_overloaded(&self, server: u32, overloaded: bool);
    /// Returns the round-robin position and advances it.
    fn advance(&self) -> u32;
    /// Connections chosen for member `index` so far; called with `index` below 64 only.
    fn picks(&self, index: u32) -> u64;
    /// One more for member `index`.
    fn picked(&self, index: u32);
}

/// The outcome of scheduling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Index into the servers map.
    Server(u32),
    /// The table has no members.
    NoServer,
    /// All members are at their limits.
    Overloaded,
}

#[inline(always)]
fn admits<C: Candidates>(pool: &C, member: &Member, load: &Load) -> bool {
    match eligibility(member, load) {
        Eligibility::Yes => true,
        Eligibility::No => false,
        Eligibility::Readmitted => {
            pool.mark_overloaded(member.server, false);
            true
        }
        Eligibility::Filled => {
            pool.mark_overloaded(member.server, true);
            false
        }
    }
}

/// What a scheduler minimises, to be divided by the weight.
#[inline(always)]
fn cost<C: Candidates>(pool: &C, how: u32, index: u32, load: &Load) -> u64 {
    match how {
        // Sainte-Laguë: the n-th pick costs 2n+1; each server's share stays within one pick of its weight.
        scheduler::WRR => pool.picks(index) * 2 + 1,
        scheduler::LC | scheduler::WLC => load.overhead(),
        // SED, and NQ when nobody is idle: the delay the new connection itself would see.
        _ => load.open() as u64 + 1,
    }
}

/// Chooses a server for a new connection. `hash` is of what the scheduler hashes (source, destination or flow).
#[inline(always)]
pub fn choose<C: Candidates>(pool: &C, hash: u32) -> Choice {
    let header = pool.header();
    if header.members == 0 {
        return Choice::NoServer;
    }
    let how = header.scheduler;
    if how == scheduler::SH || how == scheduler::DH || how == scheduler::MAGLEV {
        return hashed(pool, hash);
    }
    if header.members > MAX_EXACT_MEMBERS {
        return sampled(pool, how);
    }
    exact(pool, how)
}

/// Looks at every member. Ties go to the one at the turning start position, so idle servers take turns.
#[inline(always)]
fn exact<C: Candidates>(pool: &C, how: u32) -> Choice {
    let members = pool.header().members;
    let start = if how == scheduler::WRR { 0 } else { pool.advance() % members };
    let weighted = how != scheduler::LC;
    let mut best = u32::MAX;
    let mut best_index = 0;
    let mut best_cost = 0u64;
    let mut best_weight = 0u64;
    for i in 0..MAX_EXACT_MEMBERS {
        if i >= members {
            break;
        }
        let mut index = start + i;
        if index >= members {
            index -= members;
        }
        let Some(member) = pool.member(index) else { break };
        let Some(load) = pool.load(member.server) else { continue };
        if !admits(pool, &member, &load) {
            continue;
        }
        if how == scheduler::RR || (how == scheduler::NQ && load.open() == 0) {
            return Choice::Server(member.server);
        }
        let cost = cost(pool, how, index, &load);
        let weight = if weighted { member.weight as u64 } else { 1 };
        if best == u32::MAX || cost * best_weight < best_cost * weight {
            best = member.server;
            best_index = index;
            best_cost = cost;
            best_weight = weight;
        }
    }
    if best == u32::MAX {
        return Choice::Overloaded;
    }
    if how == scheduler::WRR {
        pool.picked(best_index);
    }
    Choice::Server(best)
}

/// Pools over 64 servers: round robin walks the members or, weighted, the ring; the others take the best of eight
/// that the ring draws by weight.
#[inline(always)]
fn sampled<C: Candidates>(pool: &C, how: u32) -> Choice {
    let header = pool.header();
    let position = pool.advance();
    let mut best = u32::MAX;
    let mut best_cost = 0u64;
    let mut best_weight = 0u64;
    for i in 0..PROBES {
        let index = match how {
            scheduler::RR => (position.wrapping_add(i)) % header.members,
            scheduler::WRR => match pool.slot(position.wrapping_add(i) % header.ring_slots) {
                Some(index) => index,
                None => break,
            },
            _ => match pool.slot(probe(position, i) % header.ring_slots) {
                Some(index) => index,
                None => break,
            },
        };
        let Some(member) = pool.member(index) else { break };
        let Some(load) = pool.load(member.server) else { continue };
        if !admits(pool, &member, &load) {
            continue;
        }
        if how == scheduler::RR || how == scheduler::WRR || (how == scheduler::NQ && load.open() == 0) {
            return Choice::Server(member.server);
        }
        let cost = cost(pool, how, 0, &load);
        let weight = if how == scheduler::LC { 1 } else { member.weight as u64 };
        if best == u32::MAX || cost * best_weight < best_cost * weight {
            best = member.server;
            best_cost = cost;
            best_weight = weight;
        }
    }
    if best == u32::MAX { Choice::Overloaded } else { Choice::Server(best) }
}

/// The ring's choice, or, when that server is full, the next of a fixed sequence of other slots.
#[inline(always)]
fn hashed<C: Candidates>(pool: &C, hash: u32) -> Choice {
    let slots = pool.header().ring_slots;
    if slots == 0 {
        return Choice::NoServer;
    }
    for i in 0..PROBES {
        let at = if i == 0 { hash } else { probe(hash, i) };
        let Some(index) = pool.slot(at % slots) else { return Choice::NoServer };
        let Some(member) = pool.member(index) else { return Choice::NoServer };
        if member.max_connections == 0 {
            return Choice::Server(member.server);
        }
        let Some(load) = pool.load(member.server) else { continue };
        if admits(pool, &member, &load) {
            return Choice::Server(member.server);
        }
    }
    Choice::Overloaded
}

/// The ring's choice for a connection that already exists somewhere: limits don't count.
#[inline(always)]
pub fn ring_choice<C: Candidates>(pool: &C, hash: u32) -> Choice {
    let header = pool.header();
    if header.members == 0 || header.ring_slots == 0 {
        return Choice::NoServer;
    }
    match pool.slot(hash % header.ring_slots).and_then(|index| pool.member(index)) {
        Some(member) => Choice::Server(member.server),
        None => Choice::NoServer,
    }
}

#[inline(always)]
fn probe(hash: u32, i: u32) -> u32 {
    (mix(hash as u64, i) >> 24) as u32
}

#[cfg(test)]
mod tests;
