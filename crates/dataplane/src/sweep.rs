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
        orders.extend(corrections(&before, &survey.pending));
        for batch in orders.chunks(REAP_BATCH) {
            self.reap(batch)?;
        }
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
        if half && reverse {
            if entry.flags & flags::ANSWERED != 0 && is_stuck(key, entry, now_ns) {
                self.stuck.entry(entry.server).or_default().answered += 1;
            }
            return;
        }
        if reverse {
            return;
        }
        let idle_ns = now_ns.saturating_sub(entry.seen_ns);
        let limit = server.map_or(0, |s| s.timeouts[class_of(key, entry) as usize]);
        let orphan = server.is_none_or(|s| s.state == state::REMOVED && s.policy != policy::HOLD);
        let doomed = orphan && idle_ns > GRACE_NS || idle_ns >= u64::from(limit) * 1_000_000_000;
        if doomed {
            let argument = if orphan { GRACE_NS / 1_000_000_000 } else { u64::from(limit) } as u32;
            self.doomed.push(ReapRecord { key: *key, kind: reap_kind::EXPIRE, argument, server: 0, pad: 0 });
            return;
        }
        self.used.insert(entry.server);
        if half {
            *self.pending.entry(entry.server).or_default() += 1;
            if is_stuck(key, entry, now_ns) {
                self.stuck.entry(entry.server).or_default().connections += 1;
            }
        }
    }
}

/// The connections of a removed server are kept this long after their last packet, so that each of them gets its
/// reset or its new server when it speaks again.
const GRACE_NS: u64 = 60_000_000_000;

fn is_stuck(key: &FlowKey, entry: &Connection, now_ns: u64) -> bool {
    key.proto == IPPROTO_TCP
        && TcpState::from_u8(entry.state) == TcpState::SynRecv
        && now_ns.saturating_sub(entry.created_ns) > STUCK_NS
}

fn class_of(key: &FlowKey, entry: &Connection) -> u32 {
    if key.proto == IPPROTO_TCP { TcpState::from_u8(entry.state).timeout_class() } else { timeout_class::UDP }
}

/// Orders that bring the pending counts down to what was found. Only downwards, and only for what was already counted
/// before the walk: a connection that began meanwhile must not be discounted.
fn corrections(before: &HashMap<ServerId, u64>, found: &HashMap<ServerId, u64>) -> Vec<ReapRecord> {
    before
        .iter()
        .filter_map(|(server, counted)| {
            let found = found.get(server).copied().unwrap_or(0);
            let excess = i32::try_from(counted.checked_sub(found)?).ok().filter(|excess| *excess > SLACK)?;
            Some(ReapRecord {
                kind: reap_kind::PENDING,
                argument: (-excess) as u32,
                server: *server,
                ..Default::default()
            })
        })
        .collect()
}

/// Connections that were counted before the walk and left the table during it look like an excess; a handful of them
/// is left to the next sweep.
const SLACK: i32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_go_down_only_and_ignore_small_differences() {
        let before = HashMap::from([(1, 1000), (2, 10), (3, 5)]);
        let found = HashMap::from([(1, 100), (2, 9), (3, 50)]);
        let orders = corrections(&before, &found);
        assert_eq!(orders.len(), 1);
        assert_eq!((orders[0].server, orders[0].argument as i32), (1, -900));
    }
}
