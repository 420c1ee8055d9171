//! What the packet path sees of servers: one whose clients' handshakes come to no end is asked at once.
use std::{
    cell::LazyCell,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use keel_abi::{IPPROTO_TCP, state};
use keel_dataplane::{DesiredService, Reading, ServerId, Slot};
use keel_pool::Handshakes;

use super::Health;
use crate::node::Node;

/// Looking takes no more than a hundredth of one CPU, unless a look in a second takes longer.
const SHARE: u32 = 100;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Where a whole look takes longer than this, there is a short one first: whether any server has handshakes under way.
const COSTLY: Duration = Duration::from_millis(1);
/// Servers that are asked for that reason in a second: a flood of handshakes with all of them at once must not have us
/// ask all of them at once, as often as it likes.
const SUSPECTS: f64 = 64.0;

/// The handshakes of servers that have several under way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    followed: HashMap<ServerId, Handshakes>,
    /// What was read the last time, and when.
    last: Option<(Instant, HashMap<ServerId, Reading>)>,
    /// Not before.
    next: Option<Instant>,
    /// How long the last whole look took.
    took: Duration,
    /// When suspects were given the last time, and how many more there may be.
    given: Option<(Instant, f64)>,
}

/// A count that was corrected for more than it held stands below zero.
fn pending(reading: &Reading) -> u64 {
    Some(reading.load.pending).filter(|pending| *pending <= u64::from(u32::MAX)).unwrap_or_default()
}

impl Traffic {
    /// Takes in what was read at `now`; servers whose handshakes come to no end. `is_seen` says whether what is pending
    /// with a server are handshakes.
    fn take(
        &mut self,
        now: Instant,
        readings: HashMap<ServerId, Reading>,
        is_seen: impl Fn(ServerId) -> bool,
    ) -> HashSet<ServerId> {
        let mut stalled = HashSet::new();
        let mut followed = HashMap::new();
        for (id, reading) in &readings {
            if !Handshakes::is_worth_following(pending(reading)) || !is_seen(*id) {
                continue;
            }
            let mut handshakes = self.followed.remove(id).unwrap_or_else(|| {
                let mut fresh = Handshakes::default();
                if let Some((at, Some(before))) = self.last.as_ref().map(|(at, last)| (*at, last.get(id))) {
                    fresh.stall(at, before.counters.connections, pending(before));
                }
                fresh
            });
            if handshakes.stall(now, reading.counters.connections, pending(reading)) {
                stalled.insert(*id);
            }
            followed.insert(*id, handshakes);
        }
        self.followed = followed;
        self.last = Some((now, readings));
        stalled
    }

    /// Looks no more for a while after a look at `now` that took so long.
    fn rest(&mut self, now: Instant, took: Duration) {
        self.next = Some(now + (took * SHARE).min(LONGEST_PAUSE));
    }

    /// Of so many suspects, how many are asked now.
    fn grant(&mut self, wanted: usize, now: Instant) -> usize {
        let (at, left) = self.given.unwrap_or((now, SUSPECTS));
        let refilled = now.saturating_duration_since(at).as_secs_f64() * SUSPECTS;
        let room = (left + refilled).min(SUSPECTS);
        let granted = wanted.min(room as usize);
        self.given = Some((now, room - granted as f64));
        granted
    }
}

impl Health {
    /// What all servers had counted when their handshakes were looked at last.
    pub(crate) fn last_readings(&self) -> HashMap<ServerId, Reading> {
        self.traffic.last.as_ref().map(|(_, readings)| readings.clone()).unwrap_or_default()
    }
}

impl Node {
    /// Looks at the handshakes of all servers, unless that took long a moment ago.
    pub(crate) fn watch_handshakes(&mut self) {
        let now = Instant::now();
        if self.health.traffic.next.is_some_and(|next| now < next) {
            return;
        }
        // That something can't be read is said by housekeeping.
        let is_quiet = |most| !Handshakes::is_worth_following(most);
        if self.health.traffic.took > COSTLY && self.dataplane.most_pending().is_ok_and(is_quiet) {
            self.health.traffic.followed.clear();
            self.health.traffic.rest(now, now.elapsed());
            return;
        }
        let Ok(readings) = self.dataplane.readings() else { return };
        let shadow = self.dataplane.shadow();
        // What is pending of UDP are clients that have sent one datagram so far, which may be all they want.
        let others: LazyCell<HashSet<Slot>, _> = LazyCell::new(|| {
            let services = shadow.services.iter();
            services.filter(|(key, _)| key.proto != IPPROTO_TCP).map(|(_, slot)| *slot).collect()
        });
        let is_seen = |id| {
            let server = shadow.servers.get(&id).filter(|server| server.state == state::ONLINE);
            server.is_some_and(|server| !others.contains(&server.service))
        };
        let stalled = self.health.traffic.take(now, readings, is_seen);
        self.health.traffic.took = now.elapsed();
        self.health.traffic.rest(now, now.elapsed());
        self.suspect(&stalled);
    }

    /// Servers that clients have failed with are asked at once: some of them, if there are many.
    pub(crate) fn suspect(&mut self, servers: &HashSet<ServerId>) {
        let now = Instant::now();
        let shadow = self.dataplane.shadow();
        // Of those that take no connections it is nothing new.
        let is_online =
            |id: &&ServerId| shadow.servers.get(id).is_some_and(|server| server.state == state::ONLINE);
        let servers: Vec<ServerId> = servers.iter().filter(is_online).copied().collect();
        let granted = self.health.traffic.grant(servers.len(), now);
        if granted == 0 {
            return;
        }
        let slot = |service: &DesiredService| service.keys.iter().find_map(|key| shadow.slot_of(key));
        let services: HashMap<Slot, &DesiredService> =
            (self.in_force.services.iter()).filter_map(|service| Some((slot(service)?, service))).collect();
        let mut board = self.health.shared.board();
        for id in servers.iter().take(granted) {
            let Some(server) = shadow.servers.get(id) else { continue };
            let Some(service) = services.get(&server.service) else { continue };
            let here = (server.addr, server.port_be, server.mode);
            let named = service.servers.iter().find(|known| (known.addr, known.port_be, known.mode) == here);
            if let Some(named) = named {
                board.suspect(&service.name, &named.name, now);
            }
        }
        drop(board);
        self.health.shared.wake();
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
