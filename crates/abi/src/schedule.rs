//! Which server a new connection gets. One implementation for the packet path, for `keel explain` and for tests,
//! over a trait that says where members and counts come from.
use crate::{Cost, MAX_EXACT_MEMBERS, Member, TableHeader, mix, scheduler};

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
    /// Member `index`, which was away while others were chosen, has `picks` from now on.
    fn catch_up(&self, index: u32, picks: u64);
    /// How far weighted round robin has come, as last written. Not asked for where [`Candidates::advance`] is: both
    /// may live in the header's `counter`.
    fn level(&self) -> u64;
    /// Writes the level.
    fn reached(&self, level: u64);
    /// Gives back what it gets. The packet path takes it through memory of a map on the way: the verifier forgets what
    /// it knew of it, and so looks at each turn of the loop once, not once for each way through the turns before.
    #[inline(always)]
    fn park(&self, best: Best) -> Best {
        best
    }
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
    let eligibility = eligibility(member, load);
    let takes = matches!(eligibility, Eligibility::Yes | Eligibility::Readmitted);
    if matches!(eligibility, Eligibility::Readmitted | Eligibility::Filled) {
        pool.mark_overloaded(member.server, !takes);
    }
    takes
}

impl Cost {
    #[inline(always)]
    fn enough(&self, load: &Load) -> bool {
        self.eager == 2 || (self.eager == 1 && load.open() == 0)
    }

    #[inline(always)]
    fn of_member(&self, load: &Load, picks: u64) -> u64 {
        self.overhead as u64 * load.overhead()
            + self.delay as u64 * (load.open() as u64 + 1)
            + self.picks as u64 * (picks * 2 + 1)
    }
}

/// Fraction bits of a level.
const LEVEL_BITS: u32 = 16;

/// How far weighted round robin has come: half of what its last choice cost, by weight, rounded down. Who was there all
/// the time is at this level or above.
#[inline(always)]
const fn level(best: &Best) -> u64 {
    (best.cost << (LEVEL_BITS - 1)) / best.weight
}

/// The fewest picks with which a member is at a level: never more than somebody has who was there all the time.
#[inline(always)]
const fn picks_at(level: u64, weight: u64) -> u64 {
    let just_below_half = (1 << (LEVEL_BITS - 1)) - 1;
    let (whole, fraction) = (level >> LEVEL_BITS, level & ((1 << LEVEL_BITS) - 1));
    whole * weight + ((fraction * weight + just_below_half) >> LEVEL_BITS)
}

/// Chooses a server for a new connection. `hash` is of what the scheduler hashes (source, destination or flow).
///
/// Sizes are read once and passed on: the header is memory that others may write, and a divisor that was tested must
/// still be the one that divides.
#[inline(always)]
pub fn choose<C: Candidates>(pool: &C, hash: u32) -> Choice {
    let header = pool.header();
    let (how, members, slots) = (header.scheduler, header.members, header.ring_slots);
    if members == 0 || slots == 0 {
        return Choice::NoServer;
    }
    let hashes = how == scheduler::SH || how == scheduler::DH || how == scheduler::MAGLEV;
    if hashes {
        let choice = hashed(pool, hash, slots);
        if choice != Choice::Overloaded || members > MAX_EXACT_MEMBERS {
            return choice;
        }
    }
    if members > MAX_EXACT_MEMBERS {
        return sampled(pool, how, members, slots);
    }
    // A hashing scheduler gets here when its ring led to full servers only: the next in line that has room, counted from
    // where the hash points, so that a client still finds the same one again.
    let start = match how {
        scheduler::WRR => 0,
        _ if hashes => hash % members,
        _ => pool.advance() % members,
    };
    exact(pool, start)
}

/// The cheapest server seen so far.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Best {
    server: u32,
    index: u32,
    cost: u64,
    weight: u64,
}

impl Best {
    /// Any real one is better: its cost over its weight is infinite.
    const NONE: Self = Self { server: u32::MAX, index: 0, cost: 1, weight: 0 };

    #[inline(always)]
    fn offer(&mut self, other: Self) {
        if other.cost * self.weight < self.cost * other.weight {
            *self = other;
        }
    }

    #[inline(always)]
    const fn choice(&self) -> Choice {
        if self.weight == 0 { Choice::Overloaded } else { Choice::Server(self.server) }
    }
}

/// Looks at every member. Ties go to the one at the turning start position, so idle servers take turns.
#[inline(always)]
fn exact<C: Candidates>(pool: &C, start: u32) -> Choice {
    let members = pool.header().members;
    let costs = &pool.header().cost;
    let reached = pool.level();
    // What led here is forgotten together with the start.
    let mut best = pool.park(Best { index: start, ..Best::NONE });
    let start = best.index;
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
        if costs.enough(&load) {
            return Choice::Server(member.server);
        }
        // Who was full while the others were chosen joins them where they are, instead of getting everything until it
        // has as many as they have.
        let picks = pool.picks(index).max(picks_at(reached, member.weight as u64));
        let cost = costs.of_member(&load, picks);
        best.offer(Best { server: member.server, index, cost, weight: member.weight as u64 });
        best = pool.park(best);
    }
    if costs.picks != 0 && best.weight != 0 {
        pool.reached(level(&best));
        if pool.picks(best.index) < best.cost / 2 {
            pool.catch_up(best.index, best.cost / 2);
        }
        pool.picked(best.index);
    }
    best.choice()
}

/// Pools over 64 servers: round robin walks the members or, weighted, the ring; the others take the best of eight
/// that the ring draws by weight.
#[inline(always)]
fn sampled<C: Candidates>(pool: &C, how: u32, members: u32, slots: u32) -> Choice {
    if members == 0 || slots == 0 {
        return Choice::NoServer;
    }
    let position = pool.advance();
    let costs = &pool.header().cost;
    let mut best = pool.park(Best::NONE);
    for i in 0..PROBES {
        let index = match how {
            scheduler::RR => position.wrapping_add(i) % members,
            _ => {
                let at = if how == scheduler::WRR { position.wrapping_add(i) } else { probe(position, i) };
                let Some(index) = pool.slot(at % slots) else { break };
                index
            }
        };
        let Some(member) = pool.member(index) else { break };
        let Some(load) = pool.load(member.server) else { continue };
        if !admits(pool, &member, &load) {
            continue;
        }
        if how == scheduler::WRR || costs.enough(&load) {
            return Choice::Server(member.server);
        }
        let cost = costs.of_member(&load, 0);
        best.offer(Best { server: member.server, index, cost, weight: member.weight as u64 });
        best = pool.park(best);
    }
    best.choice()
}

/// The ring's choice, or, when that server is full, the next of a fixed sequence of other slots.
#[inline(always)]
fn hashed<C: Candidates>(pool: &C, hash: u32, slots: u32) -> Choice {
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
    let slots = pool.header().ring_slots;
    if slots == 0 {
        return Choice::NoServer;
    }
    match pool.slot(hash % slots).and_then(|index| pool.member(index)) {
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
