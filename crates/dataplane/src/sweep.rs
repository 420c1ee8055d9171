//! Housekeeping: connections idle for too long go, servers nobody uses any more give their slot back, and the counts
//! that evictions in the half-open table left too high are corrected. The removals themselves are done by the packet
//! path's own code (`keel_reap`), which looks at each entry again before it goes.
use std::collections::{HashMap, HashSet};

use aya::programs::{Program, TestRun, TestRunOptions};
use keel_abi::{
    Connection, FlowKey, IPPROTO_TCP, REAP_BATCH, REAP_ETHERTYPE, ReapRecord, TcpState, as_bytes,
    connection_flags as flags, policy, reap_kind, state, timeout_class,
};

use crate::{
    Dataplane, DataplaneError, ServerId,
    connections::{Connections, TableKind},
    error::Result,
};

/// Idle seconds per class.
pub type Timeouts = [u32; keel_abi::TIMEOUT_CLASSES];

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries found.
    pub found: Connections,
    /// Connections removed.
    pub removed: u64,
    /// Slots of removed servers given back.
    pub released: Vec<ServerId>,
    /// Per server: TCP connections that have been waiting for the handshake's end for more than three seconds.
    pub stuck: HashMap<ServerId, Stuck>,
}

/// Handshakes that don't come to an end: the mark of an unsolved ARP problem (DR, TUN) or a wrong gateway (NAT).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stuck {
    /// How many.
    pub connections: u64,
    /// Of these, how many the server answered through us (NAT).
    pub answered: u64,
}

/// A handshake older than this is stuck: the client has sent its SYN three times (RFC 6298, 1 s + 2 s).
const STUCK_NS: u64 = 3_000_000_000;

impl Dataplane {
    /// Walks both tables once. `now_ns` is `CLOCK_MONOTONIC_COARSE`.
    ///
    /// # Errors
    /// A table can't be read or the housekeeping program can't be run.
    pub fn sweep(&mut self, now_ns: u64) -> Result<Swept> {
        let before: HashMap<ServerId, u64> = self.pending_counts()?;
        let mut survey = Survey::default();
        let servers = &self.shadow.servers;
        for kind in TableKind::BOTH {
            self.walk(kind, |key, entry| survey.look(kind, key, entry, servers.get(&entry.server), now_ns))?;
        }
        let removed = survey.doomed.len() as u64;
        let mut orders = survey.doomed;
        orders.extend(survey.halves);
        let mut excess = excess(&before, &survey.pending);
        let corrections = corrections(&self.excess, &excess);
        // What is corrected now is no argument next time.
        excess.retain(|server, _| corrections.iter().all(|order| order.server != *server));
        self.excess = excess;
        orders.extend(corrections);
        for batch in orders.chunks(REAP_BATCH) {
            self.reap(batch)?;
        }
        self.fit_leases(survey.found.established, now_ns)?;
        let free: Vec<ServerId> = self
            .shadow
            .servers
            .iter()
            .filter(|(id, s)| s.state == state::REMOVED && !survey.used.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in &free {
            self.release(*id)?;
        }
        Ok(Swept { found: survey.found, removed, released: free, stuck: survey.stuck })
    }

    fn pending_counts(&self) -> Result<HashMap<ServerId, u64>> {
        self.shadow.servers.keys().map(|id| Ok((*id, self.load(*id)?.pending))).collect()
    }

    fn reap(&self, records: &[ReapRecord]) -> Result<()> {
        let mut frame = vec![0u8; 14];
        frame[12..14].copy_from_slice(&REAP_ETHERTYPE.to_be_bytes());
        for i in 0..REAP_BATCH {
            let record = records.get(i).copied().unwrap_or_default();
            frame.extend_from_slice(as_bytes(&record));
        }
        let Some(Program::Xdp(program)) = self.ebpf.program("keel_reap") else {
            return Err(DataplaneError::Missing { kind: "program", name: "keel_reap" });
        };
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
        let failed = |source| DataplaneError::Run { program: "keel_reap", source };
        let done = program.test_run(options).map_err(failed)?;
        debug_assert_eq!(done.return_value, XDP_PASS, "an order was malformed");
        Ok(())
    }
}

const XDP_PASS: u32 = 2;

#[derive(Default)]
struct Survey {
    found: Connections,
    doomed: Vec<ReapRecord>,
    /// Entries for replies whose connection is idle, or gone without them.
    halves: Vec<ReapRecord>,
    pending: HashMap<ServerId, u64>,
    used: HashSet<ServerId>,
    stuck: HashMap<ServerId, Stuck>,
}

impl Survey {
    fn look(
        &mut self,
        kind: TableKind,
        key: &FlowKey,
        entry: &Connection,
        server: Option<&keel_abi::Server>,
        now_ns: u64,
    ) {
        let half = kind == TableKind::HalfOpen;
        *(if half { &mut self.found.half_open } else { &mut self.found.established }) += 1;
        let reverse = entry.flags & flags::REVERSE != 0;
        let server = server.filter(|s| s.generation == entry.generation);
        let idle_ns = now_ns.saturating_sub(entry.seen_ns);
        let limit = idle_limit(key, entry, server);
        let doomed = idle_ns >= u64::from(limit) * 1_000_000_000;
        let order = ReapRecord { key: *key, kind: reap_kind::EXPIRE, argument: limit, server: 0, pad: 0 };
        if half && reverse {
            if entry.flags & flags::ANSWERED != 0 && is_stuck(key, entry, now_ns) {
                self.stuck.entry(entry.server).or_default().answered += 1;
            }
            return;
        }
        if reverse {
            // Busy whenever its connection is. Nothing is evicted from this table: one whose connection could not be
            // established has to go by itself.
            if doomed {
                self.halves.push(order);
            }
            return;
        }
        if half && server.is_some() {
            *self.pending.entry(entry.server).or_default() += 1;
        }
        if doomed {
            self.doomed.push(order);
            return;
        }
        self.used.insert(entry.server);
        if half && is_stuck(key, entry, now_ns) {
            self.stuck.entry(entry.server).or_default().connections += 1;
        }
    }
}

/// The connections of a removed server are kept this long after their last packet, so that each of them gets its
/// reset or its new server when it speaks again.
const GRACE: u32 = 60;

/// Seconds after which an entry goes.
fn idle_limit(key: &FlowKey, entry: &Connection, server: Option<&keel_abi::Server>) -> u32 {
    let Some(server) = server else { return GRACE };
    let limit = server.timeouts[class_of(key, entry) as usize];
    let orphan = server.state == state::REMOVED && server.policy != policy::HOLD;
    if orphan { limit.min(GRACE) } else { limit }
}

fn is_stuck(key: &FlowKey, entry: &Connection, now_ns: u64) -> bool {
    key.proto == IPPROTO_TCP
        && TcpState::from_u8(entry.state) == TcpState::SynRecv
        && now_ns.saturating_sub(entry.created_ns) > STUCK_NS
}

fn class_of(key: &FlowKey, entry: &Connection) -> u32 {
    if key.proto == IPPROTO_TCP { TcpState::from_u8(entry.state).timeout_class() } else { timeout_class::UDP }
}

/// How many more pending connections were counted than found. Counted before the walk: a connection that began
/// meanwhile is found but was not counted.
fn excess(before: &HashMap<ServerId, u64>, found: &HashMap<ServerId, u64>) -> HashMap<ServerId, i32> {
    before
        .iter()
        .filter_map(|(server, counted)| {
            let found = found.get(server).copied().unwrap_or(0);
            let excess = i32::try_from(counted.checked_sub(found)?).ok().filter(|excess| *excess > 0)?;
            Some((*server, excess))
        })
        .collect()
}

/// Orders that bring the pending counts down. Connections that left the table during the walk look like an excess too:
/// a few are believed only when the last walk found as many.
fn corrections(last: &HashMap<ServerId, i32>, excess: &HashMap<ServerId, i32>) -> Vec<ReapRecord> {
    excess
        .iter()
        .map(|(server, now)| {
            let lasting = last.get(server).copied().unwrap_or(0).min(*now);
            (*server, if *now > SLACK { *now } else { lasting })
        })
        .filter(|(_, correction)| *correction > 0)
        .map(|(server, correction)| ReapRecord {
            kind: reap_kind::PENDING,
            argument: (-correction) as u32,
            server,
            ..Default::default()
        })
        .collect()
}

/// See [`corrections`].
const SLACK: i32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_go_down_only_and_small_ones_wait_for_a_second_look() {
        let before = HashMap::from([(1, 1000), (2, 10), (3, 5)]);
        let found = HashMap::from([(1, 100), (2, 7), (3, 50)]);
        let first = excess(&before, &found);
        assert_eq!(first, HashMap::from([(1, 900), (2, 3)]));
        let orders = corrections(&HashMap::new(), &first);
        assert_eq!(orders.len(), 1);
        assert_eq!((orders[0].server, orders[0].argument as i32), (1, -900));
        let second = HashMap::from([(2, 2)]);
        let orders = corrections(&first, &second);
        assert_eq!(orders.len(), 1);
        assert_eq!((orders[0].server, orders[0].argument as i32), (2, -2));
    }
}
