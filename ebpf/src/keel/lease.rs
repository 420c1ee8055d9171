//! Leases of connections: the way of a packet past the connection table. `keel_abi::lease` says what they are.
//!
//! The lines are shared by all CPUs. A writer takes a line by making its sequence number odd, and gives it back with the
//! next even one; a reader that finds another number after reading than before has read nothing. Both rely on x86-64
//! showing loads and stores of one CPU in their order (Intel SDM vol. 3 §10.2.2), and on the atomic instructions of the
//! writer being full barriers.
use core::ptr;

use aya_ebpf::programs::XdpContext;
use keel_abi::{
    Connection, FlowKey, Frame, INTERFACE_SLOTS, LEASE_WAYS, Lease, LeaseKey, LeaseSet, MODE_NAT, Mac,
    Packet, Server, connection_flags, flow_hash, lease_flags, runs, ticks,
};

use crate::{
    atomic,
    frame::XdpFrame,
    maps::{CONFIG, INTERFACES, LEASES, SERVERS, Scratch},
    route::{self, ANEW, CLIENT, Route},
};

/// The lines where a flow's lease may lie, and the one to look at first.
#[inline(always)]
fn set_of(key: &FlowKey) -> Option<(*mut LeaseSet, u32)> {
    let config = CONFIG.get(0)?;
    let hash = flow_hash(config.seed, key);
    Some((LEASES.get_ptr_mut(hash & config.lease_mask)?, hash >> 30))
}

/// Way `turn` of a set, counted from `first`.
#[inline(always)]
fn way(set: *mut LeaseSet, first: u32, turn: u32) -> *mut Lease {
    let index = (first + turn) as usize % LEASE_WAYS;
    // SAFETY: below the number of ways.
    unsafe { (&raw mut (*set).ways).cast::<Lease>().add(index) }
}

/// A line's sequence number and end in one word.
#[inline(always)]
fn head(line: *mut Lease) -> u64 {
    // SAFETY: an aligned word of an array element, which lives as long as the program.
    unsafe { ptr::read_volatile(line.cast::<u64>()) }
}

#[inline(always)]
const fn sequence(head: u64) -> u32 {
    head as u32
}

#[inline(always)]
const fn until(head: u64) -> u32 {
    (head >> 32) as u32
}

/// Copies a line if it is the flow's and nobody is writing it.
#[inline(always)]
fn read(line: *mut Lease, key: &LeaseKey) -> Option<Lease> {
    let before = head(line);
    // SAFETY: as in `head`.
    let lease = unsafe { ptr::read_volatile(line) };
    (sequence(before) & 1 == 0 && key.is_of(&lease) && head(line) == before).then_some(lease)
}

/// Where the packet goes by its flow's lease; [`ANEW`] if it has none that runs.
#[inline(never)]
pub fn find(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    let packet = &scratch.packet;
    let Some((set, first)) = set_of(&packet.key) else { return ANEW };
    let key = LeaseKey::new(&packet.key);
    for turn in 0..LEASE_WAYS as u32 {
        if let Some(lease) = read(way(set, first, turn), &key) {
            if !runs(lease.until, ticks(now)) {
                return ANEW;
            }
            return follow(ctx, &mut scratch.reverse, &lease);
        }
    }
    ANEW
}

#[inline(always)]
fn follow(ctx: &XdpContext, reverse: &mut Connection, lease: &Lease) -> Route {
    let Some(server) = SERVERS.get(lease.server) else { return ANEW };
    if server.generation as u8 != lease.generation || server.is_gone() {
        return ANEW;
    }
    if lease.flags & lease_flags::REVERSE == 0 {
        // Where the client is reached may have changed: the connection has to learn it.
        if server.mode == MODE_NAT && XdpFrame::new(ctx).read::<Mac>(6) != Some(lease.dmac) {
            return ANEW;
        }
        return route::server(lease.server);
    }
    let Some(interface) = INTERFACES.get(lease.interface as u32) else { return ANEW };
    if interface.ifindex == 0 {
        return ANEW;
    }
    reverse.server = lease.server;
    reverse.vip = server.vip;
    reverse.vport_be = lease.vport_be;
    reverse.dmac = lease.dmac;
    reverse.smac = interface.mac;
    reverse.ifindex = interface.ifindex;
    reverse.vlan = lease.vlan;
    CLIENT
}

/// Leases the way of a packet of `connection` (a copy) to its flow's next packets.
#[inline(never)]
pub fn grant(ctx: &XdpContext, packet: &Packet, connection: &Connection, now: u64) {
    let Some(server) = SERVERS.get(connection.server) else { return };
    if server.lease == 0 {
        return;
    }
    let Some((set, first)) = set_of(&packet.key) else { return };
    let Some(mut lease) = lease(ctx, packet, connection, server) else { return };
    let now = ticks(now);
    lease.until = now.wrapping_add(server.lease);
    let key = LeaseKey::new(&packet.key);
    let mut free = None;
    for turn in 0..LEASE_WAYS as u32 {
        let line = way(set, first, turn);
        let head = head(line);
        if read(line, &key).is_some() {
            free = Some((line, head));
            break;
        }
        if free.is_none() && !runs(until(head), now) {
            free = Some((line, head));
        }
    }
    if let Some((line, head)) = free {
        write(line, head, lease);
    }
}

/// The lease of a packet's flow, all but its end.
#[inline(always)]
fn lease(ctx: &XdpContext, packet: &Packet, connection: &Connection, server: &Server) -> Option<Lease> {
    let LeaseKey { ends, ports, transport } = LeaseKey::new(&packet.key);
    let mut lease = Lease { ends, ports, flags: transport, server: connection.server, ..Lease::default() };
    lease.generation = server.generation as u8;
    if connection.flags & connection_flags::REVERSE == 0 {
        if server.mode == MODE_NAT {
            lease.dmac = XdpFrame::new(ctx).read::<Mac>(6)?;
        }
        return Some(lease);
    }
    let slot = connection.ifindex % INTERFACE_SLOTS;
    let interface = INTERFACES.get(slot)?;
    // What a lease can't say: a way out of an interface that isn't ours by number, address or virtual address.
    if interface.ifindex != connection.ifindex
        || interface.mac != connection.smac
        || server.vip != connection.vip
    {
        return None;
    }
    lease.flags |= lease_flags::REVERSE;
    lease.vport_be = connection.vport_be;
    lease.dmac = connection.dmac;
    lease.interface = slot as u16;
    lease.vlan = connection.vlan;
    Some(lease)
}

/// Writes a line whose head was `head`, unless another CPU has been faster.
#[inline(always)]
fn write(line: *mut Lease, head: u64, mut lease: Lease) {
    if sequence(head) & 1 != 0 {
        return;
    }
    lease.sequence = sequence(head).wrapping_add(1);
    let taken = (head & !0xffff_ffff) | lease.sequence as u64;
    // SAFETY: an aligned word of an array element, see `head`.
    if unsafe { atomic::exchange_if(line.cast::<u64>(), head, taken) } != head {
        return;
    }
    let done = (lease.until as u64) << 32 | lease.sequence.wrapping_add(1) as u64;
    // SAFETY: this CPU's until the sequence number is even again.
    unsafe {
        let from = (&raw const lease).cast::<u64>();
        let to = line.cast::<u64>();
        for word in 1..size_of::<Lease>() / 8 {
            ptr::write_volatile(to.add(word), ptr::read(from.add(word)));
        }
        atomic::exchange_if(to, taken, done);
    }
}

/// Revokes the lease of a flow whose connection was removed, before another may begin with the same ends.
#[inline(never)]
pub fn revoke(flow: &FlowKey) {
    let Some((set, first)) = set_of(flow) else { return };
    let key = LeaseKey::new(flow);
    for turn in 0..LEASE_WAYS as u32 {
        let line = way(set, first, turn);
        let head = head(line);
        if read(line, &key).is_some() {
            write(line, head, Lease::default());
        }
    }
}
