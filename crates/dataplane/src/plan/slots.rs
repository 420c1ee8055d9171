//! Which service gets which slot. A service that shares a port with a slot of the maps may take it over; where several
//! could, as when a port moves from one service to another, all are settled together, so that as many servers
//! as possible stay what they are to their connections. Doesn't look for free slots.
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use keel_abi::{Addr, PortKey, lookup_order, state};

use crate::{Desired, DesiredService, Shadow, Slot};

/// Index into [`Desired::services`].
type Index = usize;

/// What is kept if a service takes a slot: servers first, ports among equals.
type Worth = i64;

/// One server more is worth more than all ports of both protocols.
const SERVER: Worth = 1 << 20;

/// The slots that services take over, by the service's index.
pub(super) fn inherited(shadow: &Shadow, desired: &Desired) -> HashMap<Index, Slot> {
    let mut heirs = claims(shadow, desired);
    let held = held(shadow);
    for (slot, heirs) in &mut heirs {
        for (index, worth) in heirs {
            *worth += SERVER * kept(&desired.services[*index], held.get(slot));
        }
    }
    Matching::best(&heirs).slot_of
}

type Claims = BTreeMap<Slot, BTreeMap<Index, Worth>>;

/// The ports that services share with slots, whatever blocks they are in: a range that grew is made of other blocks.
fn claims(shadow: &Shadow, desired: &Desired) -> Claims {
    let mut claims = Claims::new();
    let mut claim = |slot: Slot, index: Index, shift: u8| {
        *claims.entry(slot).or_default().entry(index).or_default() += 1 << shift;
    };
    let mut wanted: HashMap<PortKey, Index> = HashMap::new();
    let mut sizes: HashMap<Addr, u32> = HashMap::new();
    for (index, service) in desired.services.iter().enumerate() {
        for key in &service.keys {
            wanted.insert(*key, index);
            *sizes.entry(key.addr).or_default() |= 1 << key.shift;
            for outer in around(key, shadow.addresses.get(&key.addr)) {
                if let Some(slot) = shadow.slot_of(&outer) {
                    claim(slot, index, key.shift);
                }
            }
        }
    }
    for (key, slot) in &shadow.services {
        for outer in around(key, sizes.get(&key.addr)).filter(|outer| outer != key) {
            if let Some(index) = wanted.get(&outer) {
                claim(*slot, *index, key.shift);
            }
        }
    }
    claims
}

/// The block itself and those that it lies in, of the sizes in use.
fn around(key: &PortKey, sizes: Option<&u32>) -> impl Iterator<Item = PortKey> {
    let (key, sizes) = (*key, sizes.copied().unwrap_or(0));
    lookup_order(sizes).filter(move |shift| *shift >= key.shift).map(move |shift| PortKey {
        shift,
        block: key.block >> (shift - key.shift),
        ..key
    })
}

type Ends = HashSet<(Addr, u16, u8)>;

/// The live servers of each slot.
fn held(shadow: &Shadow) -> HashMap<Slot, Ends> {
    let mut held: HashMap<Slot, Ends> = HashMap::new();
    for server in shadow.servers.values().filter(|s| s.state != state::REMOVED) {
        held.entry(server.service).or_default().insert((server.addr, server.port_be, server.mode));
    }
    held
}

/// How many of a slot's servers the service has.
fn kept(service: &DesiredService, held: Option<&Ends>) -> Worth {
    let Some(held) = held else { return 0 };
    let same = |s: &&crate::DesiredServer| held.contains(&(s.addr, s.port_be, s.mode));
    service.servers.iter().filter(same).count() as Worth
}

/// The assignment of slots to services that is worth most. Slots are added one by one; each time, the best change is a
/// chain that begins at the new slot: it takes a service, whose former slot takes another, and so on, until one takes a
/// service that had none or gets none itself (the augmenting paths of the assignment problem).
struct Matching<'a> {
    heirs: &'a Claims,
    slot_of: HashMap<Index, Slot>,
}

/// How a slot became free on the way: by whom its service was taken, and what the chain is worth so far.
#[derive(Clone, Copy)]
struct Reached {
    gain: Worth,
    from: Option<(Slot, Index)>,
}

impl<'a> Matching<'a> {
    fn best(heirs: &'a Claims) -> Self {
        let mut matching = Self { heirs, slot_of: HashMap::new() };
        for slot in heirs.keys() {
            matching.add(*slot);
        }
        matching
    }

    fn add(&mut self, first: Slot) {
        let mut reached = HashMap::from([(first, Reached { gain: 0, from: None })]);
        let mut queue = VecDeque::from([first]);
        // Doing nothing, where the new slot gets no service, is worth nothing.
        let mut best = (0, first, None);
        while let Some(slot) = queue.pop_front() {
            let gain = reached[&slot].gain;
            if gain > best.0 {
                best = (gain, slot, None);
            }
            for (index, worth) in &self.heirs[&slot] {
                let taken = gain + worth;
                match self.slot_of.get(index) {
                    None if taken > best.0 => best = (taken, slot, Some(*index)),
                    None => {}
                    Some(loser) if *loser == slot => {}
                    Some(loser) => {
                        let gain = taken - self.heirs[loser][index];
                        if reached.get(loser).is_none_or(|known| gain > known.gain) {
                            reached.insert(*loser, Reached { gain, from: Some((slot, *index)) });
                            queue.push_back(*loser);
                        }
                    }
                }
            }
        }
        let (_, mut slot, last) = best;
        if let Some(index) = last {
            self.slot_of.insert(index, slot);
        }
        while let Some((winner, index)) = reached[&slot].from {
            self.slot_of.insert(index, winner);
            slot = winner;
        }
    }
}
