//! Packets of connections that have an entry.
use core::mem::offset_of;

use aya_ebpf::{bindings::xdp_action::XDP_TX, programs::XdpContext};
use keel_abi::{
    Connection, Direction, DropReason, FlowKey, IPPROTO_TCP, MODE_NAT, Packet, PersistKey, PersistValue,
    ResetTo, Server, Standing, TableHeader, TcpState, connection_flags as flags, next_state, tcp_flags,
};

use crate::{
    answer, atomic,
    count::{Class, add, drop, refused, shift},
    fresh, lease,
    maps::{CONNECTIONS, HALF_OPEN, PERSISTENCE, PERSISTENCE_NEW, SERVERS, Scratch},
    route::{self, ANEW, CLIENT, Route},
    send,
};

/// An entry is touched at most four times a second: idle limits are whole seconds.
pub const REFRESH_NS: u64 = 250_000_000;

/// A connection scheduled without a SYN proves itself by living this long.
const MIDSTREAM_NS: u64 = 1_000_000_000;

/// The count an established entry is in.
#[inline(always)]
pub fn class(state: u8) -> Class {
    if TcpState::from_u8(state).is_active() { Class::Active } else { Class::Inactive }
}

/// A packet with an entry in the connection table.
#[inline(always)]
pub fn established(ctx: &XdpContext, scratch: &mut Scratch, connection: &mut Connection, now: u64) -> Route {
    let id = connection.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    let reverse = connection.flags & flags::REVERSE != 0;
    if server.generation != connection.generation || server.is_gone() {
        let route = gone(ctx, scratch, connection, now);
        if route != STAY {
            return route;
        }
    }
    let packet = &scratch.packet;
    if packet.tcp_flags & EVENTFUL != 0 {
        if is_first(packet) && !reverse && TcpState::from_u8(connection.state).reusable() {
            forget(&packet.key, connection, server);
            return ANEW;
        }
        transition(packet, connection, server);
    }
    if now.saturating_sub(connection.seen_ns) >= REFRESH_NS {
        connection.seen_ns = now;
        if connection.flags & (flags::PERSISTENT | flags::REVERSE) != 0 || server.mode == MODE_NAT {
            refresh(ctx, packet, connection, server, now);
        }
    }
    scratch.reverse = *connection;
    if packet.tcp_flags & EVENTFUL == 0 && TcpState::from_u8(scratch.reverse.state).is_active() {
        lease::grant(ctx, packet, &scratch.reverse, now);
        // Who removed the connection in the meantime has found no lease to revoke.
        if CONNECTIONS.get_ptr(packet.key).is_none() {
            lease::revoke(&packet.key);
        }
    }
    if reverse { CLIENT } else { route::server(id) }
}

/// Flags that may change a connection's state.
pub const EVENTFUL: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;

/// A SYN without ACK: the first packet of a connection.
#[inline(always)]
fn is_first(packet: &Packet) -> bool {
    packet.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}

/// The entry's server is still to be used.
const STAY: Route = 1 << 40;

/// A packet whose entry points at a server that was halted or removed.
#[inline(never)]
fn gone(ctx: &XdpContext, scratch: &mut Scratch, connection: &Connection, now: u64) -> Route {
    let Some(server) = SERVERS.get(connection.server) else { return ANEW };
    let packet = &mut scratch.packet;
    let standing = server.standing(connection.generation, packet.key.proto);
    if standing == Standing::Good {
        return STAY;
    }
    if connection.flags & flags::REVERSE != 0 && server.generation == connection.generation {
        // What a server that is out still says reaches nobody. A client that only listens would wait for it for ever:
        // it is told at once.
        if packet.key.proto != IPPROTO_TCP {
            return drop(DropReason::ServerGone) as Route;
        }
        scratch.reverse = *connection;
        let verdict = answer::tcp_reset(ctx, packet, ResetTo::Receiver, now);
        if verdict != XDP_TX {
            return verdict as Route;
        }
        forget(&packet.key, &scratch.reverse, server);
        return CLIENT;
    }
    forget(&packet.key, connection, server);
    // A client that begins anew gets a server, not a reset.
    if standing == Standing::Reset && !is_first(packet) {
        return answer::tcp_reset(ctx, packet, ResetTo::Sender, now) as Route;
    }
    ANEW
}

/// A packet without an entry in either table, unless another CPU has moved the entry from the half-open table between
/// the looks at the two. It goes where its connection goes; without a second look it would be given a server as if the
/// entry were lost.
#[inline(never)]
pub fn moved(packet: &Packet) -> Route {
    if packet.key.proto == IPPROTO_TCP && is_first(packet) {
        return ANEW;
    }
    let Some(entry) = CONNECTIONS.get_ptr_mut(packet.key) else { return ANEW };
    // SAFETY: a live element, see `reply_entry`.
    let entry = unsafe { &mut *entry };
    let id = entry.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    if server.standing(entry.generation, packet.key.proto) != Standing::Good {
        return ANEW;
    }
    if packet.tcp_flags & EVENTFUL != 0 {
        transition(packet, entry, server);
    }
    route::server(id)
}

/// The forward key of the connection whose reverse key is `key`.
#[inline(always)]
fn forward_key(key: &FlowKey, connection: &Connection) -> FlowKey {
    FlowKey {
        src: key.dst,
        dst: connection.vip,
        sport_be: key.dport_be,
        dport_be: connection.vport_be,
        proto: key.proto,
        pad: [0; 3],
    }
}

/// The entry for replies to the connection with forward key `key`, if it is that connection's.
#[inline(always)]
fn reply_entry<'a>(key: &FlowKey, server: &Server) -> Option<&'a mut Connection> {
    let entry = CONNECTIONS.get_ptr_mut(send::reply_key(key, server))?;
    // SAFETY: a live element; a racing removal leaves it readable until this run ends (RCU).
    let entry = unsafe { &mut *entry };
    if entry.replies_to(key) { Some(entry) } else { None }
}

/// SYN, FIN or RST on an established entry. The forward entry keeps the state, the other one a copy; the count follows.
#[inline(never)]
fn transition(packet: &Packet, connection: &mut Connection, server: &Server) {
    if connection.flags & flags::REVERSE == 0 {
        advance(connection, Direction::Forward, packet.tcp_flags);
        if server.mode == MODE_NAT
            && let Some(reverse) = reply_entry(&packet.key, server)
        {
            copy_state(connection, reverse);
        }
        return;
    }
    let key = forward_key(&packet.key, connection);
    if let Some(forward) = CONNECTIONS.get_ptr_mut(key) {
        advance(forward, Direction::Reverse, packet.tcp_flags);
        copy_state(forward, connection);
    }
}

/// Looks at an entry before a change of state is given up: as many CPUs may change it at the same moment, each once or
/// twice. A change that is given up for all that is the next packet's.
const TRIES: u32 = 8;

/// The word of an entry in which its state and flags are, state lowest.
#[inline(always)]
fn state_word(entry: *mut Connection) -> *mut u64 {
    const { assert!(offset_of!(Connection, state) % 8 == 0) };
    const { assert!(offset_of!(Connection, flags) == offset_of!(Connection, state) + 1) };
    // SAFETY: `entry` points at a live map element; taking a field's address reads nothing.
    unsafe { (&raw mut (*entry).state).cast::<u64>() }
}

/// A state word's bits of the state, and where its flags begin.
const STATE: u64 = 0xff;
const FLAGS_AT: u32 = 8;

/// Changes a forward entry's state by a packet. Both directions come on different CPUs, and each change is counted once.
#[inline(always)]
fn advance(entry: *mut Connection, direction: Direction, tcp_flags: u8) {
    let (mine, other) = match direction {
        Direction::Forward => (flags::FIN_CLIENT, flags::FIN_SERVER),
        Direction::Reverse => (flags::FIN_SERVER, flags::FIN_CLIENT),
    };
    let fin = if tcp_flags & tcp_flags::FIN != 0 { mine } else { 0 };
    let word = state_word(entry);
    for _ in 0..TRIES {
        // SAFETY: an aligned word of a live map element, here and below.
        let before = unsafe { word.read_volatile() };
        let old = TcpState::from_u8(before as u8);
        let new = next_state(old, direction, tcp_flags, (before >> FLAGS_AT) as u8 & other != 0);
        let after = (before & !STATE) | new as u64 | (fin as u64) << FLAGS_AT;
        if after == before {
            return;
        }
        if unsafe { atomic::exchange_if(word, before, after) } == before {
            // SAFETY: as above.
            shift(unsafe { (*entry).server }, class(old as u8), class(new as u8));
            return;
        }
    }
}

/// Gives the other direction's entry the forward entry's state, the newest one: whoever changes it copies it afterwards,
/// and looks again when the copy is there.
#[inline(always)]
fn copy_state(forward: *mut Connection, to: *mut Connection) {
    let (from, to) = (state_word(forward), state_word(to));
    for _ in 0..TRIES {
        // SAFETY: aligned words of live map elements, here and below.
        let (state, before) = unsafe { (from.read_volatile() & STATE, to.read_volatile()) };
        if before & STATE == state {
            return;
        }
        unsafe { atomic::exchange_if(to, before, (before & !STATE) | state) };
    }
}

/// What a live connection keeps alive with itself, four times a second at most: its persistence entry, and in NAT
/// the entry for the other direction, which also learns where the client is reached now.
#[inline(never)]
fn refresh(ctx: &XdpContext, packet: &Packet, connection: &Connection, server: &Server, now: u64) {
    if connection.flags & flags::REVERSE != 0 {
        let key = forward_key(&packet.key, connection);
        if let Some(forward) = CONNECTIONS.get_ptr_mut(key) {
            // SAFETY: a live element, see `reply_entry`.
            unsafe { (*forward).seen_ns = now };
        }
        return;
    }
    if server.mode == MODE_NAT
        && let Some(reverse) = reply_entry(&packet.key, server)
    {
        reverse.seen_ns = now;
        let before = (reverse.dmac, reverse.vlan, reverse.ifindex);
        fresh::learn_client(ctx, packet, reverse);
        if before != (reverse.dmac, reverse.vlan, reverse.ifindex) {
            lease::revoke(&send::reply_key(&packet.key, server));
        }
    }
    if connection.flags & flags::PERSISTENT == 0 {
        return;
    }
    let Some(header) = fresh::header(server.service) else { return };
    let prefix = if packet.v6 != 0 { header.prefix6 } else { header.prefix4 };
    let key = PersistKey { client: packet.key.src.masked(prefix), service: server.service };
    if let Some(entry) = PERSISTENCE.get_ptr_mut(key) {
        // SAFETY: a live element, see `reply_entry`.
        prolong(unsafe { &mut *entry }, connection.server, header, now);
    }
}

/// Removes an established entry (and its other direction) and corrects the counts.
#[inline(never)]
pub fn forget(key: &FlowKey, connection: &Connection, server: &Server) {
    if connection.flags & flags::REVERSE != 0 {
        let forward = forward_key(key, connection);
        if let Some(entry) = CONNECTIONS.get_ptr_mut(forward) {
            // SAFETY: a live element, see `reply_entry`.
            remove_counted(&forward, unsafe { &*entry }, server);
        }
        let _ = CONNECTIONS.remove(key);
        lease::revoke(key);
        return;
    }
    // The entry for replies may be another connection's by now: same client and server, another virtual service.
    if server.mode == MODE_NAT && reply_entry(key, server).is_some() {
        let reply = send::reply_key(key, server);
        let _ = CONNECTIONS.remove(reply);
        lease::revoke(&reply);
    }
    remove_counted(key, connection, server);
}

/// Whoever removes a forward entry corrects the count; two at once must not do it twice. The counts of a slot that has
/// another server by now are not the entry's.
#[inline(always)]
fn remove_counted(key: &FlowKey, connection: &Connection, server: &Server) {
    let (id, generation, state) = (connection.server, connection.generation, connection.state);
    if CONNECTIONS.remove(key).is_ok() && server.generation == generation {
        add(id, class(state), -1);
    }
    lease::revoke(key);
}

/// Takes one off the pending count of an entry's server, unless its slot has another server by now.
#[inline(always)]
pub fn not_pending(id: u32, generation: u32) {
    if SERVERS.get(id).is_some_and(|server| server.generation == generation) {
        add(id, Class::Pending, -1);
    }
}

/// Removes a client's entry from the half-open table.
#[inline(always)]
pub fn discard(packet: &Packet, entry: &Connection) {
    // Copied first: a removed element may be another connection's at once.
    let (id, generation) = (entry.server, entry.generation);
    if HALF_OPEN.remove(packet.key).is_ok() {
        not_pending(id, generation);
    }
}

/// A client's packet with an entry in the half-open table.
#[inline(never)]
pub fn half_open(packet: &Packet, scratch: &mut Connection, connection: &mut Connection, now: u64) -> Route {
    let id = connection.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    if server.standing(connection.generation, packet.key.proto) != Standing::Good {
        discard(packet, connection);
        return ANEW;
    }
    connection.seen_ns = now;
    if packet.tcp_flags & tcp_flags::RST != 0 {
        connection.state = TcpState::Close as u8;
    }
    if proves(packet, connection, now) {
        *scratch = *connection;
        promote(packet, scratch, now);
    }
    route::server(id)
}

/// Whether this packet shows that the connection is real.
#[inline(always)]
fn proves(packet: &Packet, connection: &Connection, now: u64) -> bool {
    if packet.key.proto != IPPROTO_TCP {
        return true;
    }
    if connection.flags & flags::MIDSTREAM != 0 {
        return packet.tcp_flags & tcp_flags::RST == 0
            && now.saturating_sub(connection.created_ns) >= MIDSTREAM_NS;
    }
    // The client's answer to the server's SYN-ACK. A reset instead ends a connection that never was, and later
    // fragments show no flags at all.
    packet.tcp_flags & (tcp_flags::SYN | tcp_flags::RST | tcp_flags::ACK) == tcp_flags::ACK
}

/// Moves a proved connection to the table nothing is evicted from. If that table is full it stays where it is.
/// `entry` is a copy to work on.
#[inline(never)]
fn promote(packet: &Packet, entry: &mut Connection, now: u64) {
    let Some(server) = SERVERS.get(entry.server) else { return };
    let next = next_state(TcpState::SynRecv, Direction::Forward, packet.tcp_flags, false);
    let state = if packet.key.proto == IPPROTO_TCP { next } else { TcpState::Established } as u8;
    entry.state = state;
    if packet.tcp_flags & tcp_flags::FIN != 0 {
        entry.flags |= flags::FIN_CLIENT;
    }
    if server.mode == MODE_NAT && !promote_reply(packet, server, state) {
        return;
    }
    let id = entry.server;
    if let Err(error) = CONNECTIONS.insert(packet.key, &*entry, 1) {
        refused(error.into());
        return;
    }
    add(id, class(state), 1);
    if HALF_OPEN.remove(packet.key).is_ok() {
        add(id, Class::Pending, -1);
    }
    if entry.flags & flags::PERSISTENT != 0 {
        persist(packet, id, server, now);
    }
}

/// The other direction moves first: a forward entry without it would swallow replies.
#[inline(always)]
fn promote_reply(packet: &Packet, server: &Server, state: u8) -> bool {
    let key = send::reply_key(&packet.key, server);
    let Some(half) = HALF_OPEN.get_ptr_mut(key) else { return CONNECTIONS.get_ptr_mut(key).is_some() };
    // SAFETY: a live element, see `reply_entry`.
    let half = unsafe { &mut *half };
    half.state = state;
    if let Err(error) = CONNECTIONS.insert(key, &*half, 0) {
        refused(error.into());
        return false;
    }
    let _ = HALF_OPEN.remove(key);
    true
}

/// The client of a connection that has proved itself sticks to its server, unless another of its connections was
/// faster.
#[inline(always)]
fn persist(packet: &Packet, id: u32, server: &Server, now: u64) {
    let Some(header) = fresh::header(server.service) else { return };
    let prefix = if packet.v6 != 0 { header.prefix6 } else { header.prefix4 };
    let key = PersistKey { client: packet.key.src.masked(prefix), service: server.service };
    // SAFETY: read at once, not kept.
    let holder = fresh::sticks_to(unsafe { PERSISTENCE.get(key) }, now);
    if holder == fresh::NOBODY || holder == id {
        let value =
            PersistValue { server: id, generation: server.generation, expires_ns: now + header.persist_ns };
        let _ = PERSISTENCE.insert(key, value, 0);
    }
    let _ = PERSISTENCE_NEW.remove(key);
}

/// Activity of a client on the server it sticks to.
#[inline(always)]
fn prolong(entry: &mut PersistValue, id: u32, header: &TableHeader, now: u64) {
    if entry.server == id {
        entry.expires_ns = now + header.persist_ns;
    }
}

/// A server's packet with an entry in the half-open table (NAT).
#[inline(never)]
pub fn half_open_reply(scratch: &mut Scratch, connection: &mut Connection, now: u64) -> Route {
    let packet = &scratch.packet;
    connection.seen_ns = now;
    connection.flags |= flags::ANSWERED;
    if packet.tcp_flags & tcp_flags::RST != 0 {
        connection.state = TcpState::Close as u8;
        let key = forward_key(&packet.key, connection);
        if let Some(forward) = HALF_OPEN.get_ptr_mut(key) {
            // SAFETY: a live element, see `reply_entry`.
            unsafe { (*forward).state = TcpState::Close as u8 };
        }
    }
    scratch.reverse = *connection;
    CLIENT
}
