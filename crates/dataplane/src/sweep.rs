//! Housekeeping: connections idle for too long go, servers nobody uses any more give their slot back, and counts that
//! have drifted from what the tables hold are corrected (`recount`). The removals themselves are done by the packet
//! path's own code (`keel_reap`), which looks at each entry again before it goes.
use std::collections::{HashMap, HashSet};

use aya::programs::{Program, TestRun, TestRunOptions};
use keel_abi::{
    Connection, FlowKey, IPPROTO_TCP, REAP_BATCH, REAP_ETHERTYPE, ReapRecord, TcpState, as_bytes,
    connection_flags as flags, policy, reap_kind, state, timeout_class,
};

use crate::{
    Dataplane, DataplaneError, Fill, Reading, ServerId,
    connections::{Connections, TableKind},
    error::Result,
    recount::{self, ACTIVE, Counts, Drift, INACTIVE, Moment, PENDING},
};

/// Idle seconds per class.
pub type Timeouts = [u32; keel_abi::TIMEOUT_CLASSES];

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries found.
    pub found: Connections,
    /// How full the tables were, before anything was removed.
    pub fullness: Vec<Fill>,
    /// Connections that looked idle: removed, unless the packet path knew better.
    pub removed: u64,
    /// Slots of removed servers given back.
    pub released: Vec<ServerId>,
    /// What every server had counted when it began.
    pub readings: HashMap<ServerId, Reading>,
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
        let before = self.readings()?;
        let mut survey = Survey::default();
        let servers = &self.shadow.servers;
        for kind in TableKind::BOTH {
            self.walk(kind, |key, entry| survey.look(kind, key, entry, servers.get(&entry.server), now_ns))?;
        }
        let removed = survey.doomed.len() as u64;
        let mut orders = survey.doomed;
        orders.extend(survey.halves);
        let mut drift = self.drift(&before, &survey.counts)?;
        orders.extend(recount::corrections(&self.drift, &mut drift));
        self.drift = drift;
        for batch in orders.chunks(REAP_BATCH) {
            self.reap(batch)?;
        }
        self.fit_leases(survey.connections, now_ns)?;
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
        let fullness = self.fullness(survey.found, now_ns)?;
        Ok(Swept {
            found: survey.found,
            fullness,
            removed,
            released: free,
            readings: before,
            stuck: survey.stuck,
        })
    }

    /// What the counts of before a walk differ by from what it found.
    fn drift(&self, before: &HashMap<ServerId, Reading>, found: &HashMap<ServerId, Counts>) -> Result<Drift> {
        let mut drift = Drift::new();
        for (id, before) in before {
            let before = Moment::from(before);
            let found = found.get(id).copied().unwrap_or_default();
            if !before.agrees(&found) {
                let after = Reading { load: self.load(*id)?, counters: self.server_counters(*id)? };
                drift.insert(*id, recount::drift(&before, &Moment::from(&after), &found));
            }
        }
        Ok(drift)
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
    /// Established ones; in NAT one has two entries.
    connections: u64,
    doomed: Vec<ReapRecord>,
    /// Entries for replies whose connection is idle, or gone without them.
    halves: Vec<ReapRecord>,
    counts: HashMap<ServerId, Counts>,
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
        self.connections += u64::from(!half && !reverse);
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
            // Whether its connection is idle too, the packet path looks. Nothing is evicted from this table: one whose
            // connection could not be established has to go by itself.
            if doomed {
                self.halves.push(order);
            }
            return;
        }
        if server.is_some() {
            self.counts.entry(entry.server).or_default()[class_of_count(half, entry.state)] += 1;
        }
        // Also if it is to go: it may speak again before it does.
        self.used.insert(entry.server);
        if doomed {
            self.doomed.push(order);
            return;
        }
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

/// The count that an entry of a client is in.
fn class_of_count(half: bool, tcp_state: u8) -> usize {
    match TcpState::from_u8(tcp_state).is_active() {
        _ if half => PENDING,
        true => ACTIVE,
        false => INACTIVE,
    }
}
