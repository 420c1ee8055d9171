//! Packets of connections that have an entry.
use aya_ebpf::programs::XdpContext;
use keel_abi::{
    Connection, Direction, DropReason, FlowKey, IPPROTO_TCP, MODE_NAT, Packet, PersistKey, Server, TcpState,
    connection_flags as flags, next_state, policy, state, tcp_flags,
};

use crate::{
    answer,
    count::{Class, add, drop, shift},
    fresh,
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

/// What an entry's server says about the entry.
enum Standing {
    Good,
    /// The entry is void; the packet begins anew.
    Anew,
    /// The client is to be told with a reset.
    Reset,
}

#[inline(always)]
fn standing(connection: &Connection, server: &Server, proto: u8) -> Standing {
    if server.generation != connection.generation {
        return Standing::Anew;
    }
    if !is_gone(server) {
        return Standing::Good;
    }
    match server.policy {
        // "Out now" is not to be held up; only a removed server's connections may run on.
        policy::HOLD if server.state == state::REMOVED => Standing::Good,
        policy::RESET if proto == IPPROTO_TCP => Standing::Reset,
        _ => Standing::Anew,
    }
}

/// A packet with an entry in the connection table.
#[inline(always)]
pub fn established(ctx: &XdpContext, scratch: &mut Scratch, connection: &mut Connection, now: u64) -> Route {
    let packet = &scratch.packet;
    let id = connection.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    let reverse = connection.flags & flags::REVERSE != 0;
    if server.generation != connection.generation || is_gone(server) {
        let route = gone(ctx, packet, connection, now);
        if route != STAY {
            return route;
        }
    }
    const EVENTFUL: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    if packet.tcp_flags & EVENTFUL != 0 {
        let syn = packet.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        if syn && !reverse && TcpState::from_u8(connection.state).reusable() {
            forget(&packet.key, connection, server);
            return ANEW;
        }
        transition(packet, connection);
    }
    if now.wrapping_sub(connection.seen_ns) >= REFRESH_NS {
        connection.seen_ns = now;
        if connection.flags & (flags::PERSISTENT | flags::REVERSE) != 0 || server.mode == MODE_NAT {
            refresh(ctx, packet, connection, server, now);
        }
    }
    if !reverse {
        return route::server(id);
    }
    scratch.reverse = *connection;
    CLIENT
}

/// The entry's server is still to be used.
const STAY: Route = 1 << 40;

#[inline(always)]
fn is_gone(server: &Server) -> bool {
    matches!(server.state, state::HALT | state::REMOVED | state::FREE)
}

/// A packet whose entry points at a server that was halted or removed.
#[inline(never)]
fn gone(ctx: &XdpContext, packet: &Packet, connection: &Connection, now: u64) -> Route {
    let Some(server) = SERVERS.get(connection.server) else { return ANEW };
    match standing(connection, server, packet.key.proto) {
        Standing::Good => STAY,
        Standing::Anew => {
            forget(&packet.key, connection, server);
            ANEW
        }
        Standing::Reset if connection.flags & flags::REVERSE != 0 => drop(DropReason::ServerGone) as Route,
        Standing::Reset => {
            forget(&packet.key, connection, server);
            answer::tcp_reset(ctx, packet, now) as Route
        }
    }
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

/// SYN, FIN or RST on an established entry. The forward entry keeps the state; the count follows it.
#[inline(never)]
fn transition(packet: &Packet, connection: &mut Connection) {
    if connection.flags & flags::REVERSE == 0 {
        advance(connection, Direction::Forward, packet.tcp_flags);
        return;
    }
    let key = forward_key(&packet.key, connection);
    if let Some(forward) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: a live element; a racing removal leaves it readable until this run ends (RCU).
        let forward = unsafe { &mut *forward };
        advance(forward, Direction::Reverse, packet.tcp_flags);
        connection.state = forward.state;
    }
}

#[inline(always)]
fn advance(connection: &mut Connection, direction: Direction, tcp_flags: u8) {
    let (mine, other) = match direction {
        Direction::Forward => (flags::FIN_CLIENT, flags::FIN_SERVER),
        Direction::Reverse => (flags::FIN_SERVER, flags::FIN_CLIENT),
    };
    let old = TcpState::from_u8(connection.state);
    let new = next_state(old, direction, tcp_flags, connection.flags & other != 0);
    if tcp_flags & tcp_flags::FIN != 0 {
        connection.flags |= mine;
    }
    if new != old {
        shift(connection.server, class(old as u8), class(new as u8));
        connection.state = new as u8;
    }
}

/// What a live connection keeps alive with itself, four times a second at most: its persistence entry, and in NAT
/// the entry for the other direction, which also learns where the client is reached now.
#[inline(never)]
fn refresh(ctx: &XdpContext, packet: &Packet, connection: &Connection, server: &Server, now: u64) {
    if connection.flags & flags::REVERSE != 0 {
        let key = forward_key(&packet.key, connection);
        if let Some(forward) = CONNECTIONS.get_ptr_mut(key) {
            // SAFETY: a live element, see `transition`.
            unsafe { (*forward).seen_ns = now };
        }
        return;
    }
    if server.mode == MODE_NAT {
        let key = send::reply_key(&packet.key, server);
        if let Some(reverse) = CONNECTIONS.get_ptr_mut(key) {
            // SAFETY: a live element, see `transition`.
            let reverse = unsafe { &mut *reverse };
            reverse.seen_ns = now;
            fresh::learn_client(ctx, packet, reverse);
        }
    }
    if connection.flags & flags::PERSISTENT == 0 {
        return;
    }
    let Some(header) = fresh::header(server.service) else { return };
    let prefix = if packet.v6 != 0 { header.prefix6 } else { header.prefix4 };
    let key = PersistKey { client: packet.key.src.masked(prefix), service: server.service };
    if let Some(entry) = PERSISTENCE.get_ptr_mut(key) {
        // SAFETY: a live element, see `transition`.
        let entry = unsafe { &mut *entry };
        if entry.server == connection.server {
            entry.expires_ns = now + header.persist_ns;
        }
    }
}

/// Removes an established entry (and its other direction) and corrects the counts.
#[inline(never)]
pub fn forget(key: &FlowKey, connection: &Connection, server: &Server) {
    if connection.flags & flags::REVERSE != 0 {
        let forward = forward_key(key, connection);
        if let Some(entry) = CONNECTIONS.get_ptr_mut(forward) {
            // SAFETY: a live element, see `transition`.
            let (id, state) = unsafe { ((*entry).server, (*entry).state) };
            if CONNECTIONS.remove(forward).is_ok() {
                add(id, class(state), -1);
            }
        }
        let _ = CONNECTIONS.remove(key);
        return;
    }
    let id = connection.server;
    let state = connection.state;
    if server.mode == MODE_NAT {
        let _ = CONNECTIONS.remove(send::reply_key(key, server));
    }
    // Whoever removes it corrects the count; two at once must not do it twice.
    if CONNECTIONS.remove(key).is_ok() {
        add(id, class(state), -1);
    }
}

/// A client's packet with an entry in the half-open table.
#[inline(never)]
pub fn half_open(packet: &Packet, scratch: &mut Connection, connection: &mut Connection, now: u64) -> Route {
    let id = connection.server;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    if !matches!(standing(connection, server, packet.key.proto), Standing::Good) {
        if HALF_OPEN.remove(packet.key).is_ok() {
            add(id, Class::Pending, -1);
        }
        return ANEW;
    }
    connection.seen_ns = now;
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
            && now.wrapping_sub(connection.created_ns) >= MIDSTREAM_NS;
    }
    // The client's answer to the server's SYN-ACK. A reset instead ends a connection that never was.
    packet.tcp_flags & (tcp_flags::SYN | tcp_flags::RST) == 0
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
    if CONNECTIONS.insert(packet.key, &*entry, 1).is_err() {
        return;
    }
    add(id, class(state), 1);
    if HALF_OPEN.remove(packet.key).is_ok() {
        add(id, Class::Pending, -1);
    }
    if entry.flags & flags::PERSISTENT != 0 {
        persist(packet, server, now);
    }
}

/// The other direction moves first: a forward entry without it would swallow replies.
#[inline(always)]
fn promote_reply(packet: &Packet, server: &Server, state: u8) -> bool {
    let key = send::reply_key(&packet.key, server);
    let Some(half) = HALF_OPEN.get_ptr_mut(key) else { return CONNECTIONS.get_ptr_mut(key).is_some() };
    // SAFETY: a live element, see `transition`.
    let half = unsafe { &mut *half };
    half.state = state;
    if CONNECTIONS.insert(key, &*half, 0).is_err() {
        return false;
    }
    let _ = HALF_OPEN.remove(key);
    true
}

#[inline(always)]
fn persist(packet: &Packet, server: &Server, now: u64) {
    let Some(header) = fresh::header(server.service) else { return };
    let prefix = if packet.v6 != 0 { header.prefix6 } else { header.prefix4 };
    let key = PersistKey { client: packet.key.src.masked(prefix), service: server.service };
    if let Some(new) = PERSISTENCE_NEW.get_ptr_mut(key) {
        // SAFETY: a live element, see `transition`.
        let mut entry = unsafe { *new };
        entry.expires_ns = now + header.persist_ns;
        let _ = PERSISTENCE.insert(key, entry, 0);
        let _ = PERSISTENCE_NEW.remove(key);
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
            // SAFETY: a live element, see `transition`.
            unsafe { (*forward).state = TcpState::Close as u8 };
        }
    }
    scratch.reverse = *connection;
    CLIENT
}
