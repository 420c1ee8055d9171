//! Packets without an entry: whose they are, which server they get, what is remembered of it.
use aya_ebpf::{btf_maps::Array, programs::XdpContext};
use keel_abi::{
    Best, CHUNK_BYTES, Candidates, Choice, Chunk, Config, Connection, DropReason, FlowKey, FragmentPart,
    Frame, IPPROTO_TCP, Load, MEMBERS_PER_CHUNK, MODE_NAT, Member, NatServerKey, NatServerValue, Packet,
    PersistKey, PersistValue, PortKey, RING_SLOTS_PER_CHUNK, TableHeader, TcpState, choose,
    connection_flags as flags, persistent_client, ring_choice, ring_hash, service_flags, state, tcp_flags,
};

use crate::{
    answer, atomic,
    count::{Class, add, drop, pass, stats, totals},
    frame::XdpFrame,
    known, lease,
    maps::{
        ADDRESSES, CONFIG, CONNECTIONS, HALF_OPEN, LOADS, NAT_SERVERS, PERSISTENCE, PERSISTENCE_NEW, SERVERS,
        SERVICES, Scratch, TABLES,
    },
    reply,
    route::{self, ANEW, Route},
    send,
};

type Table = Array<Chunk, 1, { 1 << 12 }>;

/// A packet without an entry in the connection table.
#[inline(never)]
pub fn unknown(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    let packet = &scratch.packet;
    let Some(config) = CONFIG.get(0) else { return pass() as Route };
    // SAFETY: read once, not kept.
    let Some(sizes) = (unsafe { ADDRESSES.get(&packet.key.dst) }) else {
        if config.nat == 0 {
            return pass() as Route;
        }
        return reply::unknown(ctx, scratch, now);
    };
    let sizes = *sizes;
    if let Some(half) = HALF_OPEN.get_ptr_mut(&packet.key) {
        // SAFETY: a live element, see the head of `known`.
        let half = unsafe { &mut *half };
        let route = known::half_open(packet, &mut scratch.entry, half, now);
        if route != ANEW {
            return route;
        }
    }
    let route = known::moved(packet);
    if route != ANEW {
        return route;
    }
    match service_of(&packet.key, sizes) {
        Some(service) => begin(ctx, scratch, service, now),
        None => pass() as Route,
    }
}

/// The service that claims a destination: its block of ports in one of the sizes in use.
#[inline(always)]
pub fn service_of(key: &FlowKey, sizes: u32) -> Option<u32> {
    let port = u16::from_be(key.dport_be);
    for shift in 0..16u8 {
        if sizes & (1 << shift) == 0 {
            continue;
        }
        let lookup = PortKey { addr: key.dst, block: port >> shift, proto: key.proto, shift };
        // SAFETY: read once, not kept.
        if let Some(service) = unsafe { SERVICES.get(lookup) } {
            return Some(*service);
        }
    }
    None
}

/// The header of a service's table.
#[inline(always)]
pub fn header<'a>(service: u32) -> Option<&'a TableHeader> {
    let chunk = TABLES.get_value(service, &0)?;
    // SAFETY: chunk 0 of every table is a TableHeader, and a chunk is larger and aligned to 8; elements of an array
    // live until the program ends.
    Some(unsafe { &*core::ptr::from_ref(chunk).cast::<TableHeader>() })
}

/// A service's table for the scheduler.
struct Pool<'a> {
    table: &'a Table,
    header: &'a TableHeader,
    /// The first 64 members.
    members: &'a [Member; MEMBERS_PER_CHUNK],
    /// Where the scheduler's favourite is parked: in [`Scratch`].
    parked: *mut Best,
}

impl<'a> Pool<'a> {
    #[inline(always)]
    fn new(service: u32, parked: *mut Best) -> Option<Self> {
        let table = TABLES.get(service)?;
        let header = table.get_ptr(0)?.cast::<TableHeader>();
        let members = table.get_ptr(1)?.cast::<[Member; MEMBERS_PER_CHUNK]>();
        const { assert!(size_of::<[Member; MEMBERS_PER_CHUNK]>() == CHUNK_BYTES) };
        // SAFETY: as in `header`; chunk 1 holds 64 members, userspace makes every table at least two chunks long.
        unsafe { Some(Self { table, header: &*header, members: &*members, parked }) }
    }
}

impl Candidates for Pool<'_> {
    #[inline(always)]
    fn header(&self) -> &TableHeader {
        self.header
    }

    #[inline(always)]
    fn member(&self, index: u32) -> Option<Member> {
        let at = index as usize % MEMBERS_PER_CHUNK;
        if index < MEMBERS_PER_CHUNK as u32 {
            return Some(self.members[at]);
        }
        let chunk = self.table.get_ptr(1 + index / MEMBERS_PER_CHUNK as u32)?.cast::<Member>();
        // SAFETY: `at` is below the 64 members a chunk holds.
        Some(unsafe { *chunk.add(at) })
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<u32> {
        let chunk =
            self.table.get_ptr(self.header.ring_chunk + slot / RING_SLOTS_PER_CHUNK as u32)?.cast::<u16>();
        // SAFETY: the remainder is below the 512 slots a chunk holds.
        Some(unsafe { *chunk.add(slot as usize % RING_SLOTS_PER_CHUNK) } as u32)
    }

    #[inline(always)]
    fn load(&self, server: u32) -> Option<Load> {
        LOADS.get(server).copied()
    }

    #[inline(always)]
    fn mark_overloaded(&self, server: u32, overloaded: bool) {
        if let Some(load) = LOADS.get_ptr_mut(server) {
            // SAFETY: an aligned word of an array element; last writer wins.
            unsafe { (*load).overloaded = overloaded as u64 };
        }
    }

    #[inline(always)]
    fn advance(&self) -> u32 {
        let counter = (&raw const self.header.counter).cast_mut();
        // SAFETY: an aligned word of an array element, changed by atomics only.
        unsafe { atomic::increment(counter) as u32 }
    }

    #[inline(always)]
    fn picks(&self, index: u32) -> u64 {
        self.header.picks[index as usize % MEMBERS_PER_CHUNK]
    }

    #[inline(always)]
    fn picked(&self, index: u32) {
        let picks = (&raw const self.header.picks).cast::<u64>().cast_mut();
        // SAFETY: as in `advance`; the index is below the array's length.
        unsafe { atomic::add(picks.add(index as usize % MEMBERS_PER_CHUNK), 1) };
    }

    #[inline(always)]
    fn catch_up(&self, index: u32, count: u64) {
        let picks = (&raw const self.header.picks).cast::<u64>().cast_mut();
        // SAFETY: as in `picked`. Two CPUs at once write much the same; what one adds meanwhile may be lost.
        unsafe { picks.add(index as usize % MEMBERS_PER_CHUNK).write_volatile(count) };
    }

    #[inline(always)]
    fn level(&self) -> u64 {
        self.header.counter
    }

    #[inline(always)]
    fn reached(&self, level: u64) {
        let counter = (&raw const self.header.counter).cast_mut();
        // SAFETY: an aligned word of an array element; last writer wins.
        unsafe { counter.write_volatile(level) };
    }

    #[inline(always)]
    fn park(&self, best: Best) -> Best {
        // SAFETY: this CPU's own slot of the scratch map, to which nobody holds a reference.
        unsafe {
            self.parked.write_volatile(best);
            self.parked.read_volatile()
        }
    }
}

/// What is known about a flow that begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// A SYN or the first packet of a UDP flow.
    New,
    /// TCP without an entry: it may have been established at the peer, or its entry was lost.
    Midstream,
    /// A reset or FIN without an entry: the ring's server gets it, nothing is remembered.
    Stray,
}

#[inline(always)]
fn beginning(packet: &Packet) -> Beginning {
    if packet.key.proto != IPPROTO_TCP {
        return Beginning::New;
    }
    let ends = packet.tcp_flags & (tcp_flags::RST | tcp_flags::FIN) != 0;
    match (packet.tcp_flags & tcp_flags::SYN != 0, ends || packet.tcp_flags & tcp_flags::ACK == 0) {
        (true, _) if packet.tcp_flags & tcp_flags::ACK == 0 && !ends => Beginning::New,
        (true, _) | (false, true) => Beginning::Stray,
        (false, false) => Beginning::Midstream,
    }
}

/// True while more flows begin on this CPU than can be genuine.
#[inline(always)]
fn flooded(config: &Config, now: u64) -> bool {
    let Some(totals) = totals() else { return false };
    answer::turn_window(totals, now);
    totals.window_flows += 1;
    totals.window_flows > config.flood_per_second
}

/// Which server a packet without an entry gets, and how that was found.
///
/// Handed over in the scratch map: the verifier then walks what follows once, not once for each way to the decision.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Decision {
    /// The server, if `outcome` is [`CHOSEN`].
    pub server: u32,
    /// [`CHOSEN`], [`NO_SERVER`] or [`OVERLOADED`].
    pub outcome: u32,
    /// 1 if the client sticks to it.
    pub sticky: u32,
    /// 1 while more flows begin than can be genuine.
    pub flood: u32,
}

const CHOSEN: u32 = 0;
const NO_SERVER: u32 = 1;
const OVERLOADED: u32 = 2;

/// Decides. In a function of its own, so that nothing of the caller's work is alive across the scheduler's loops: the
/// verifier would walk them once for each combination.
#[inline(never)]
fn decide(scratch: &mut Scratch, service: u32, now: u64) -> bool {
    let Some(pool) = Pool::new(service, &raw mut scratch.best) else { return false };
    let Some(config) = CONFIG.get(0) else { return false };
    let Scratch { packet, decision, .. } = scratch;
    let one_packet = pool.header.flags & service_flags::ONE_PACKET != 0;
    decision.sticky = 0;
    decision.flood = (!one_packet && flooded(config, now)) as u32;
    if pool.header.flags & service_flags::PERSISTENT != 0 {
        let id = sticking(pool.header, &packet.key, service, now);
        if id != NOBODY {
            decision.sticky = 1;
            settle(decision, Choice::Server(id));
            return true;
        }
    }
    let hash = ring_hash(pool.header, &packet.key, config);
    // In a flood the ring alone decides, so that a connection whose entry is lost finds its server again; and for
    // fragments of which nothing is remembered, so that they meet again.
    let by_ring = beginning(packet) != Beginning::New
        || decision.flood != 0
        || (one_packet && packet.fragment != FragmentPart::Whole as u8);
    let choice = if by_ring { ring_choice(&pool, hash) } else { choose(&pool, hash) };
    settle(decision, choice);
    true
}

#[inline(always)]
fn settle(decision: &mut Decision, choice: Choice) {
    (decision.outcome, decision.server) = match choice {
        Choice::Server(id) => (CHOSEN, id),
        Choice::NoServer => (NO_SERVER, 0),
        Choice::Overloaded => (OVERLOADED, 0),
    };
}

/// Schedules a packet of `service` that has no entry.
#[inline(never)]
fn begin(ctx: &XdpContext, scratch: &mut Scratch, service: u32, now: u64) -> Route {
    if !decide(scratch, service, now) {
        return drop(DropReason::Internal) as Route;
    }
    let decision = scratch.decision;
    match decision.outcome {
        CHOSEN => {}
        NO_SERVER if scratch.packet.key.proto == IPPROTO_TCP && answered_here(service) => {
            return pass() as Route;
        }
        NO_SERVER => return drop(DropReason::NoServer) as Route,
        _ => return drop(DropReason::Overloaded) as Route,
    }
    let mut id = decision.server;
    let Some(header) = header(service) else { return drop(DropReason::Internal) as Route };
    let kind = beginning(&scratch.packet);
    let one_packet = header.flags & service_flags::ONE_PACKET != 0;
    let persistent = header.flags & service_flags::PERSISTENT != 0;
    let flood = decision.flood != 0;
    if persistent && kind != Beginning::Stray && !one_packet && decision.sticky == 0 && !flood {
        id = stick(header, &scratch.packet.key, id, now);
    }
    let Some(server) = SERVERS.get(id) else { return drop(DropReason::Internal) as Route };
    if kind != Beginning::Stray && !one_packet && (!flood || server.mode == MODE_NAT) {
        let mut marks = 0;
        if kind == Beginning::Midstream {
            marks |= flags::MIDSTREAM;
        }
        if persistent {
            marks |= flags::PERSISTENT;
        }
        match remember(ctx, scratch, id, marks, now) {
            CONFLICT => return drop(DropReason::NatConflict) as Route,
            // Counted where it was begun.
            BEGUN => return route::server(scratch.entry.server),
            _ => {}
        }
    }
    if kind == Beginning::New
        && let Some(stats) = stats(id)
    {
        stats.connections += 1;
    }
    route::server(id)
}

/// Whether this node's own fallback answers a service's clients now.
#[inline(always)]
fn answered_here(service: u32) -> bool {
    header(service).is_some_and(|header| header.flags & service_flags::ANSWERED_HERE != 0)
}

/// No server.
pub const NOBODY: u32 = u32::MAX;

/// Creates an entry or replaces it (linux/bpf.h).
pub const BPF_ANY: u64 = 0;
/// Fails where there is an entry already, with [`EEXIST`].
pub const BPF_NOEXIST: u64 = 1;
/// errno-base.h.
pub const EEXIST: i32 = -17;

/// Remembers a persistent client's server until its connection is established, and returns it. Where another CPU has just
/// done so for another connection of the same client, that server is the client's.
#[inline(never)]
fn stick(header: &TableHeader, flow: &FlowKey, id: u32, now: u64) -> u32 {
    let Some(server) = SERVERS.get(id) else { return id };
    let key = PersistKey { client: persistent_client(header, flow), service: server.service };
    let value =
        PersistValue { server: id, generation: server.generation, expires_ns: now + header.persist_ns };
    if PERSISTENCE_NEW.insert(key, value, BPF_NOEXIST).is_ok() {
        return id;
    }
    // SAFETY: read at once, not kept.
    let other = sticks_to(unsafe { PERSISTENCE_NEW.get(key) }, now);
    if other != NOBODY {
        return other;
    }
    let _ = PERSISTENCE_NEW.insert(key, value, BPF_ANY);
    id
}

/// The server a client sticks to, one that is online or draining, or [`NOBODY`].
#[inline(never)]
fn sticking(header: &TableHeader, flow: &FlowKey, service: u32, now: u64) -> u32 {
    let key = PersistKey { client: persistent_client(header, flow), service };
    // SAFETY: read at once, not kept.
    let server = sticks_to(unsafe { PERSISTENCE.get(key) }, now);
    if server != NOBODY {
        return server;
    }
    // SAFETY: as above.
    sticks_to(unsafe { PERSISTENCE_NEW.get(key) }, now)
}

#[inline(always)]
pub fn sticks_to(entry: Option<&PersistValue>, now: u64) -> u32 {
    let Some(entry) = entry else { return NOBODY };
    let Some(server) = SERVERS.get(entry.server) else { return NOBODY };
    let usable =
        server.generation == entry.generation && matches!(server.state, state::ONLINE | state::DRAIN);
    if usable && now < entry.expires_ns { entry.server } else { NOBODY }
}

/// The flow is remembered, or there is no room to.
const REMEMBERED: u32 = 0;
/// Another CPU has begun it meanwhile: its entry is in [`Scratch::entry`].
const BEGUN: u32 = 1;
/// Another connection already receives replies of that shape.
const CONFLICT: u32 = 2;

/// Writes the entry with `marks` among its flags, and for NAT the one for the replies.
///
/// Of several CPUs with packets of one flow, the first one's server is the flow's: its entry is there before anything else
/// is written.
#[inline(never)]
fn remember(ctx: &XdpContext, scratch: &mut Scratch, id: u32, marks: u8, now: u64) -> u32 {
    let Some(server) = SERVERS.get(id) else { return CONFLICT };
    let Scratch { packet, entry, reverse, key, .. } = scratch;
    *entry = Connection { seen_ns: now, created_ns: now, server: id, ..Connection::default() };
    entry.generation = server.generation;
    entry.flags = marks;
    let handshake = packet.key.proto == IPPROTO_TCP && marks & flags::MIDSTREAM == 0;
    entry.state = if handshake { TcpState::SynRecv } else { TcpState::Established } as u8;
    let written = HALF_OPEN.insert(&packet.key, &*entry, BPF_NOEXIST);
    if written == Err(EEXIST)
        && let Some(other) = HALF_OPEN.get_ptr(&packet.key)
    {
        // SAFETY: a live element, copied at once.
        *entry = unsafe { *other };
        return BEGUN;
    }
    if written.is_ok() {
        add(id, Class::Pending, 1);
        // Or it has even moved its entry on, since this CPU looked for one.
        if let Some(other) = CONNECTIONS.get_ptr(&packet.key) {
            // SAFETY: a live element, copied at once.
            *reverse = unsafe { *other };
            if !TcpState::from_u8(reverse.state).reusable() {
                known::discard(packet, entry);
                *entry = *reverse;
                return BEGUN;
            }
        }
    }
    if server.mode == MODE_NAT {
        *reverse = *entry;
        *key = send::reply_key(&packet.key, server);
        if !expect_reply(ctx, packet, key, reverse) {
            if written.is_ok() {
                known::discard(packet, entry);
            }
            return CONFLICT;
        }
    }
    REMEMBERED
}

/// Whether an entry for replies may be replaced: it is this connection's own, or its connection is over.
#[inline(always)]
fn gives_way(other: &Connection, packet: &Packet) -> bool {
    other.replies_to(&packet.key) || TcpState::from_u8(other.state).reusable()
}

#[inline(never)]
fn expect_reply(ctx: &XdpContext, packet: &Packet, key: &FlowKey, reverse: &mut Connection) -> bool {
    if let Some(other) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: a live element, see the head of `known`.
        if !gives_way(unsafe { &*other }, packet) {
            return false;
        }
        let _ = CONNECTIONS.remove(key);
        lease::revoke(key);
    }
    let mut exists = BPF_NOEXIST;
    if let Some(other) = HALF_OPEN.get_ptr_mut(key) {
        // SAFETY: as above.
        if !gives_way(unsafe { &*other }, packet) {
            return false;
        }
        exists = BPF_ANY;
    }
    reverse.flags |= flags::REVERSE;
    reverse.vip = packet.key.dst;
    reverse.vport_be = packet.key.dport_be;
    learn_client(ctx, packet, reverse);
    HALF_OPEN.insert(key, &*reverse, exists).is_ok()
}

/// Notes where the client's packet came from: replies go back the same way.
#[inline(always)]
pub fn learn_client(ctx: &XdpContext, packet: &Packet, reverse: &mut Connection) {
    let frame = XdpFrame::new(ctx);
    if let Some([d0, d1, d2, s0, s1, s2]) = frame.read::<[u16; 6]>(0) {
        reverse.dmac = [s0, s1, s2];
        reverse.smac = [d0, d1, d2];
    }
    reverse.vlan = packet.vlan;
    reverse.ifindex = ctx.ingress_ifindex() as u32;
}

/// The end of a NAT server a packet comes from.
#[inline(always)]
pub fn nat_end(key: &FlowKey) -> NatServerKey {
    NatServerKey { addr: key.src, port_be: key.sport_be, proto: key.proto, pad: 0 }
}

/// The NAT server a packet comes from: by its port, or by its address alone where a service has very many ports.
#[inline(always)]
pub fn nat_server<'a>(key: &FlowKey) -> Option<&'a NatServerValue> {
    let mut end = nat_end(key);
    // SAFETY: a live element, see the head of `known`; only `keeld` writes it.
    if let Some(value) = unsafe { NAT_SERVERS.get(end) } {
        return Some(value);
    }
    end.port_be = 0;
    // SAFETY: as above.
    unsafe { NAT_SERVERS.get(end) }
}

/// Where the ring puts a flow of `service`.
#[inline(always)]
pub fn ring_server(service: u32, key: &FlowKey, config: &Config, parked: *mut Best) -> Choice {
    match Pool::new(service, parked) {
        Some(pool) => ring_choice(&pool, ring_hash(pool.header, key, config)),
        None => Choice::NoServer,
    }
}
