//! What the packet path sees of servers: one whose clients' handshakes come to no end is asked at once.
use std::{
    cell::LazyCell,
    collections::{HashMap, HashSet},
    time::Instant,
};

use keel_abi::IPPROTO_TCP;
use keel_dataplane::{Reading, ServerId, Slot};
use keel_pool::Handshakes;

use crate::node::Node;

/// Looking takes no more than a hundredth of one CPU.
const SHARE: u32 = 100;

/// The handshakes of servers that have several under way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    followed: HashMap<ServerId, Handshakes>,
    /// What was read the last time, and when.
    last: Option<(Instant, HashMap<ServerId, Reading>)>,
    /// Not before.
    next: Option<Instant>,
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
            if !Handshakes::is_worth_following(reading.load.pending) || !is_seen(*id) {
                continue;
            }
            let mut handshakes = self.followed.remove(id).unwrap_or_else(|| {
                let mut fresh = Handshakes::default();
                if let Some((at, Some(before))) = self.last.as_ref().map(|(at, last)| (*at, last.get(id))) {
                    fresh.stall(at, before.counters.connections, before.load.pending);
                }
                fresh
            });
            if handshakes.stall(now, reading.counters.connections, reading.load.pending) {
                stalled.insert(*id);
            }
            followed.insert(*id, handshakes);
        }
        self.followed = followed;
        self.last = Some((now, readings));
        stalled
    }
}

impl Node {
    /// Looks at the handshakes of all servers, unless that took long a moment ago.
    pub(crate) fn watch_handshakes(&mut self) {
        let now = Instant::now();
        if self.health.traffic.next.is_some_and(|next| now < next) {
            return;
        }
        // That they can't be read is said by housekeeping.
        if let Ok(readings) = self.dataplane.readings() {
            let shadow = self.dataplane.shadow();
            // What is pending of UDP are clients that have sent one datagram so far, which may be all they want.
            let others: LazyCell<HashSet<Slot>, _> = LazyCell::new(|| {
                let services = shadow.services.iter();
                services.filter(|(key, _)| key.proto != IPPROTO_TCP).map(|(_, slot)| *slot).collect()
            });
            let is_seen =
                |id| shadow.servers.get(&id).is_some_and(|server| !others.contains(&server.service));
            let stalled = self.health.traffic.take(now, readings, is_seen);
            self.suspect(stalled);
        }
        self.health.traffic.next = Some(now + now.elapsed() * SHARE);
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
