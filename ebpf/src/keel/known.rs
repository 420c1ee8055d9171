//! Packets of connections that have an entry.
//!
//! Elements of the tables are allocated once, with the table: a pointer to one is valid as long as the program runs. But one
//! that another CPU has removed may be another flow's at once. What matters is copied, and looked up again before it is acted
//! upon; what may go wrong in the instant that is left is one packet's way, one entry's time, or a count that the sweep
//! corrects.
use core::mem::offset_of;

use aya_ebpf::{bindings::xdp_action::XDP_TX, programs::XdpContext};
use keel_abi::{
    Connection, Direction, DropReason, FlowKey, IPPROTO_TCP, MODE_NAT, Packet, PersistKey, PersistValue,
    ResetTo, Server, Standing, TableHeader, TcpState, connection_flags as flags, next_state, state,
    tcp_flags,
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
    touch(ctx, &scratch.packet, &mut scratch.reverse, connection, now);
    if reverse { CLIENT } else { route::server(id) }
}

/// Notes that an entry is in use, what its packet tells, and leases its way. `copy` has room for a copy of it.
#[inline(never)]
fn touch(ctx: &XdpContext, packet: &Packet, copy: &mut Connection, connection: &mut Connection, now: u64) {
    let Some(server) = SERVERS.get(connection.server) else { return };
    let due = now.saturating_sub(connection.seen_ns) >= REFRESH_NS;
    if due {
        connection.seen_ns = now;
        if connection.flags & flags::REVERSE == 0
            && (connection.flags & flags::PERSISTENT != 0 || server.mode == MODE_NAT)
        {
            refresh(ctx, packet, connection, server, now);
        }
    }
    *copy = *connection;
    // Not for every packet: one that tells nothing must not hide those that would, short connections need no lease, and
    // where there is no room for one it isn't looked for all the time.
    if due {
        let_out(ctx, packet, copy, now);
    }
}

/// Leases the way of a packet's flow, of whose entry this is a copy, unless the packet may change the connection or it is
/// closing.
#[inline(always)]
fn let_out(ctx: &XdpContext, packet: &Packet, copy: &Connection, now: u64) {
    if packet.tcp_flags & EVENTFUL != 0 || !TcpState::from_u8(copy.state).is_active() {
        return;
    }
    // Whoever changed or removed the connection in the meantime has found no lease to revoke.
    if lease::grant(ctx, packet, copy, now) && !still(&packet.key, copy) {
        lease::revoke(&packet.key);
    }
}

/// Whether a flow's entry still says what this copy of it says.
#[inline(always)]
fn still(key: &FlowKey, copy: &Connection) -> bool {
    let Some(entry) = CONNECTIONS.get_ptr(key) else { return false };
    // SAFETY: a live element, see the head of this file.
    let entry = unsafe { &*entry };
    entry.created_ns == copy.created_ns
        && entry.server == copy.server
        && entry.generation == copy.generation
        && entry.state == copy.state
        && entry.ifindex == copy.ifindex
        && entry.dmac == copy.dmac
        && entry.vlan == copy.vlan
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
/// the looks at the two, or while this one was about to. It goes where its connection goes; without a second look it would
/// be given a server as if the entry were lost.
#[inline(never)]
pub fn moved(packet: &Packet) -> Route {
    if packet.key.proto == IPPROTO_TCP && is_first(packet) {
        return ANEW;
    }
    let Some(entry) = CONNECTIONS.get_ptr_mut(&packet.key) else { return ANEW };
    // SAFETY: a live element, see the head of this file.
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
    // SAFETY: a live element, see the head of this file.
    let entry = unsafe { &mut *entry };
    if entry.replies_to(key) { Some(entry) } else { None }
}

/// The forward entry of the connection whose entry for replies this is, if it is that connection's: the client's port may
/// have begun another one since, with another server.
#[inline(always)]
fn forward_entry<'a>(key: &FlowKey, reverse: &Connection) -> Option<&'a mut Connection> {
    let entry = CONNECTIONS.get_ptr_mut(key)?;
    // SAFETY: a live element, see the head of this file.
    let entry = unsafe { &mut *entry };
    belongs(entry, reverse).then_some(entry)
}

#[inline(always)]
fn belongs(forward: &Connection, reverse: &Connection) -> bool {
    forward.flags & flags::REVERSE == 0
        && forward.server == reverse.server
        && forward.generation == reverse.generation
}

/// SYN, FIN or RST on an established entry. The forward entry keeps the state, the other one a copy; the count follows.
///
/// Packets of a connection that is closing go by its entry, and their leases are revoked: its idle time is short, and a lease
/// would hide that it is used.
#[inline(never)]
fn transition(packet: &Packet, connection: &mut Connection, server: &Server) {
    let reverse = connection.flags & flags::REVERSE != 0;
    let nat = reverse || server.mode == MODE_NAT;
    let key =
        if reverse { forward_key(&packet.key, connection) } else { send::reply_key(&packet.key, server) };
    let other = if nat { CONNECTIONS.get_ptr_mut(key) } else { None };
    // SAFETY: a live element, see the head of this file.
    let other = other.map(|other| unsafe { &mut *other });
    if reverse {
        if let Some(forward) = other
            && belongs(forward, connection)
        {
            advance(forward, Direction::Reverse, packet.tcp_flags);
            copy_state(forward, connection);
        }
    } else {
        advance(connection, Direction::Forward, packet.tcp_flags);
        if let Some(reply) = other
            && reply.replies_to(&packet.key)
        {
            copy_state(connection, reply);
        }
    }
    if !TcpState::from_u8(connection.state).is_active() {
        lease::revoke(&packet.key);
        if nat {
            lease::revoke(&key);
        }
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

/// What a client's packets keep alive beside their connection, four times a second at most: its persistence entry, and in
/// NAT the way to the client, which the other direction's entry holds.
#[inline(never)]
fn refresh(ctx: &XdpContext, packet: &Packet, connection: &Connection, server: &Server, now: u64) {
    if server.mode == MODE_NAT
        && let Some(reverse) = reply_entry(&packet.key, server)
    {
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
        // SAFETY: a live element, see the head of this file.
        prolong(unsafe { &mut *entry }, connection.server, header, now);
    }
}

/// When a connection was last busy, either way. A lease that still runs may have hidden it: it is revoked, and the connection
/// counts as busy.
#[inline(always)]
pub fn last_seen(key: &FlowKey, connection: &Connection, server: &Server, now: u64) -> u64 {
    let mut seen_ns = connection.seen_ns;
    let mut hidden = lease::cut_short(key, now);
    if connection.flags & flags::REVERSE != 0 {
        let other = forward_key(key, connection);
        if let Some(forward) = forward_entry(&other, connection) {
            seen_ns = seen_ns.max(forward.seen_ns);
            hidden |= lease::cut_short(&other, now);
        }
    } else if server.mode == MODE_NAT
        && let Some(reverse) = reply_entry(key, server)
    {
        seen_ns = seen_ns.max(reverse.seen_ns);
        hidden |= lease::cut_short(&send::reply_key(key, server), now);
    }
    if hidden { now } else { seen_ns }
}

/// Removes an established entry (and its other direction) and corrects the counts.
#[inline(never)]
pub fn forget(key: &FlowKey, connection: &Connection, server: &Server) {
    if connection.flags & flags::REVERSE != 0 {
        let forward = forward_key(key, connection);
        if let Some(entry) = forward_entry(&forward, connection) {
            remove_counted(&forward, entry, server);
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

/// Removes a client's entry, of which this is a copy, from the half-open table, unless another CPU has put another one in
/// its place.
#[inline(always)]
pub fn discard(packet: &Packet, copy: &Connection) {
    let Some(entry) = HALF_OPEN.get_ptr(&packet.key) else { return };
    // SAFETY: a live element, see the head of this file.
    let entry = unsafe { &*entry };
    if entry.created_ns == copy.created_ns
        && entry.server == copy.server
        && HALF_OPEN.remove(&packet.key).is_ok()
    {
        not_pending(copy.server, copy.generation);
    }
}

/// A client's packet with an entry in the half-open table. `copy` has room for a copy of it to work on.
#[inline(never)]
pub fn half_open(packet: &Packet, copy: &mut Connection, connection: &mut Connection, now: u64) -> Route {
    *copy = *connection;
    let id = copy.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    // A handshake with a server that has failed since begins anew with another one, and so does a later connection from
    // the same port: in DR its refusal isn't seen here.
    let again = is_first(packet) && (TcpState::from_u8(copy.state).reusable() || server.state == state::DOWN);
    if again || server.standing(copy.generation, packet.key.proto) != Standing::Good {
        discard(packet, copy);
        return ANEW;
    }
    connection.seen_ns = now;
    copy.seen_ns = now;
    if packet.tcp_flags & tcp_flags::RST != 0 {
        connection.state = TcpState::Close as u8;
        copy.state = TcpState::Close as u8;
    }
    if proves(packet, copy, now) && !promote(packet, copy, now) {
        return ANEW;
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
/// `entry` is a copy to work on. False if another CPU was faster: the entry is to be looked for there.
#[inline(never)]
fn promote(packet: &Packet, entry: &mut Connection, now: u64) -> bool {
    let Some(server) = SERVERS.get(entry.server) else { return true };
    let next = next_state(TcpState::SynRecv, Direction::Forward, packet.tcp_flags, false);
    let state = if packet.key.proto == IPPROTO_TCP { next } else { TcpState::Established } as u8;
    entry.state = state;
    if packet.tcp_flags & tcp_flags::FIN != 0 {
        entry.flags |= flags::FIN_CLIENT;
    }
    if server.mode == MODE_NAT && !promote_reply(packet, server, state) {
        return true;
    }
    let id = entry.server;
    if let Err(error) = CONNECTIONS.insert(&packet.key, &*entry, fresh::BPF_NOEXIST) {
        refused(error.into());
        return error != fresh::EEXIST;
    }
    add(id, class(state), 1);
    if HALF_OPEN.remove(&packet.key).is_ok() {
        add(id, Class::Pending, -1);
    }
    if entry.flags & flags::PERSISTENT != 0 {
        persist(packet, id, server, now);
    }
    true
}

/// The other direction moves first: a forward entry without it would swallow replies. False if there is none of this
/// connection, or no room for it.
#[inline(always)]
fn promote_reply(packet: &Packet, server: &Server, state: u8) -> bool {
    let key = send::reply_key(&packet.key, server);
    let Some(half) = HALF_OPEN.get_ptr_mut(key) else { return reply_entry(&packet.key, server).is_some() };
    // SAFETY: a live element, see the head of this file.
    let half = unsafe { &mut *half };
    if !half.replies_to(&packet.key) {
        return false;
    }
    half.state = state;
    if let Err(error) = CONNECTIONS.insert(key, &*half, fresh::BPF_ANY) {
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
            // SAFETY: a live element, see the head of this file.
            let forward = unsafe { &mut *forward };
            if belongs(forward, connection) {
                forward.state = TcpState::Close as u8;
            }
        }
    }
    scratch.reverse = *connection;
    CLIENT
}
