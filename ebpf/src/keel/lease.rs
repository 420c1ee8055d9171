//! Leases of connections: the way of a packet past the connection table. `keel_abi::lease` says what they are.
//!
//! All CPUs share them. A writer takes one by making its sequence number odd, and gives it back with the next even one; a
//! reader that finds another first word after reading than before has read nothing. Both rely on x86-64 showing loads and
//! stores of one CPU in their order (Intel SDM vol. 3 §10.2.2), and on the atomic instructions of the writer being full
//! barriers.
use core::{arch::asm, ptr};

use aya_ebpf::programs::XdpContext;
use keel_abi::{
    Connection, FlowKey, Frame, INTERFACE_SLOTS, LEASE_WAYS, Lease, LeaseHead, LeaseMark, LeaseSet, MODE_NAT,
    Mac, MarkRow, Packet, Server, connection_flags, runs, ticks,
};

use crate::{
    atomic,
    frame::XdpFrame,
    maps::{CONFIG, INTERFACES, LEASES, MARK_KEYS, SERVERS, Scratch},
    route::{self, ANEW, CLIENT, Route},
};

/// The ways where a flow's lease may lie, and its mark.
#[inline(always)]
fn set_of(key: &FlowKey) -> Option<(*mut LeaseSet, LeaseMark)> {
    let [first, second, third] = &MARK_KEYS.get(0)?.0;
    let mark = LeaseMark([word(first, key), word(second, key), word(third, key)]);
    Some((LEASES.get_ptr_mut(mark.set(CONFIG.get(0)?.lease_mask))?, mark))
}

/// In a function of its own: the compiler would keep the words of the key for the next word of the mark, on the stack, which
/// has no room for them.
#[inline(never)]
fn word(row: &MarkRow, key: &FlowKey) -> u32 {
    row.word(key)
}

/// The way of a set to look at in this turn.
#[inline(always)]
fn way(set: *mut LeaseSet, mark: &LeaseMark, turn: u32) -> *mut Lease {
    // SAFETY: `LeaseMark::way` is below the number of ways.
    unsafe { (&raw mut (*set).ways).cast::<Lease>().add(mark.way(turn)) }
}

#[inline(always)]
fn head(lease: *mut Lease) -> LeaseHead {
    // SAFETY: an aligned word of an array element, which lives as long as the program.
    LeaseHead(unsafe { ptr::read_volatile(lease.cast::<u64>()) })
}

/// Copies a lease if it is the flow's and nobody is writing it.
#[inline(always)]
fn read(from: *mut Lease, mark: &LeaseMark) -> Option<Lease> {
    let before = head(from);
    // SAFETY: as in `head`.
    let lease = unsafe { ptr::read_volatile(from) };
    is_of(from, before, mark).then_some(Lease { head: before, ..lease })
}

/// Whether a lease is the flow's and nobody is writing it; its first word was `before`.
#[inline(always)]
fn is_of(lease: *mut Lease, before: LeaseHead, mark: &LeaseMark) -> bool {
    // SAFETY: as in `head`.
    let found = unsafe { ptr::read_volatile(&raw const (*lease).mark) };
    !before.is_taken() && found == *mark && head(lease) == before
}

/// Where the packet goes by its flow's lease; [`ANEW`] if it has none that runs.
#[inline(never)]
pub fn find(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    let Some((set, mark)) = set_of(&scratch.packet.key) else { return ANEW };
    for turn in 0..LEASE_WAYS as u32 {
        if let Some(lease) = read(way(set, &mark, turn), &mark) {
            if !runs(lease.head.until(), ticks(now)) {
                return ANEW;
            }
            return follow(ctx, &scratch.packet, &mut scratch.reverse, &lease);
        }
    }
    ANEW
}

/// Whether the client is reached as before. If not, its connection has to learn it.
#[inline(always)]
fn comes_the_same_way(ctx: &XdpContext, packet: &Packet, lease: &Lease) -> bool {
    XdpFrame::new(ctx).read::<Mac>(6) == Some(lease.dmac)
        && ctx.ingress_ifindex() as u32 % INTERFACE_SLOTS == lease.head.interface()
        && packet.vlan == [lease.vlan, 0]
}

#[inline(always)]
fn follow(ctx: &XdpContext, packet: &Packet, reverse: &mut Connection, lease: &Lease) -> Route {
    let id = lease.server as u32;
    let Some(server) = SERVERS.get(id) else { return ANEW };
    if server.generation as u8 != lease.head.generation() || server.is_gone() {
        return ANEW;
    }
    if !lease.head.is_reverse() {
        if server.mode == MODE_NAT && !comes_the_same_way(ctx, packet, lease) {
            return ANEW;
        }
        return route::server(id);
    }
    let Some(interface) = INTERFACES.get(lease.head.interface()) else { return ANEW };
    if interface.ifindex == 0 {
        return ANEW;
    }
    reverse.server = id;
    reverse.vip = server.vip;
    reverse.vport_be = lease.vport_be;
    reverse.dmac = lease.dmac;
    reverse.smac = interface.mac;
    reverse.ifindex = interface.ifindex;
    reverse.vlan = [lease.vlan, 0];
    CLIENT
}

/// Leases the way of a packet of `connection` (a copy) to its flow's next packets. False if it could not.
#[inline(never)]
pub fn grant(ctx: &XdpContext, packet: &Packet, connection: &Connection, now: u64) -> bool {
    let Some(server) = SERVERS.get(connection.server) else { return false };
    if server.lease == 0 || server.is_gone() {
        return false;
    }
    let Some((set, mark)) = set_of(&packet.key) else { return false };
    let Some(lease) = lease(ctx, packet, mark, connection, server) else { return false };
    let now = ticks(now);
    let mut free = None;
    for turn in 0..LEASE_WAYS as u32 {
        let place = way(set, &mark, turn);
        let head = head(place);
        if is_of(place, head, &mark) {
            free = Some((place, head));
            break;
        }
        if free.is_none() && (head.until() == NEVER || !runs(head.until(), now)) {
            free = Some((place, head));
        }
    }
    let Some((place, head)) = free else { return false };
    write(place, head, lease, now.wrapping_add(server.lease));
    true
}

/// The end of a lease that never was.
const NEVER: u32 = 0;

/// The lease of a flow, all but its end. None for what a lease can't say: a way out of an interface that isn't ours by
/// number, address or virtual address, or with two VLAN tags.
#[inline(always)]
fn lease(
    ctx: &XdpContext,
    packet: &Packet,
    mark: LeaseMark,
    connection: &Connection,
    server: &Server,
) -> Option<Lease> {
    let generation = server.generation as u8;
    let mut lease = Lease { mark, server: connection.server as u16, ..Lease::default() };
    if connection.flags & connection_flags::REVERSE == 0 {
        let slot = ctx.ingress_ifindex() as u32 % INTERFACE_SLOTS;
        lease.head = LeaseHead::forward(generation, slot);
        if server.mode == MODE_NAT {
            lease.dmac = XdpFrame::new(ctx).read::<Mac>(6)?;
            lease.vlan = packet.vlan[0];
            if packet.vlan[1] != 0 {
                return None;
            }
        }
        return Some(lease);
    }
    let slot = connection.ifindex % INTERFACE_SLOTS;
    let interface = INTERFACES.get(slot)?;
    if interface.ifindex != connection.ifindex
        || interface.mac != connection.smac
        || server.vip != connection.vip
        || connection.vlan[1] != 0
    {
        return None;
    }
    lease.head = LeaseHead::reverse(generation, slot);
    lease.vport_be = connection.vport_be;
    lease.dmac = connection.dmac;
    lease.vlan = connection.vlan[0];
    Some(lease)
}

/// Writes a lease in the place of one whose first word was `head`, unless another CPU has been faster.
#[inline(always)]
fn write(to: *mut Lease, head: LeaseHead, lease: Lease, until: u32) {
    if head.is_taken() {
        return;
    }
    let sequence = head.sequence();
    let taken = head.with(head.until(), sequence.wrapping_add(1)).0;
    let word = to.cast::<u64>();
    // SAFETY: an aligned word of an array element, see `head`.
    if unsafe { atomic::exchange_if(word, head.0, taken) } != head.0 {
        return;
    }
    let done = lease.head.with(until, sequence.wrapping_add(2)).0;
    // SAFETY: this CPU's until the sequence number is even again.
    unsafe {
        let from = (&raw const lease).cast::<u64>();
        for i in 1..size_of::<Lease>() / 8 {
            ptr::write_volatile(word.add(i), ptr::read(from.add(i)));
        }
        atomic::exchange_if(word, taken, done);
    }
}

/// Revokes the lease of a flow, before what it says is no longer so: its connection is removed, closes, or is reached
/// another way. Returns the tick at which it would have ended.
#[inline(never)]
pub fn revoke(flow: &FlowKey) -> u32 {
    let mut until = NEVER;
    let Some((set, mark)) = set_of(flow) else { return until };
    let mut turn = 0;
    while turn < LEASE_WAYS as u32 {
        let place = way(set, &mark, turn);
        let head = head(place);
        if is_of(place, head, &mark) {
            until = head.until();
            write(place, head, Lease::default(), NEVER);
        }
        turn = not_unrolled(turn) + 1;
    }
    until
}

/// The same number, of which the compiler knows nothing: a loop that it doesn't unroll keeps less on the stack.
#[inline(always)]
fn not_unrolled(mut turn: u32) -> u32 {
    // SAFETY: copies a register onto itself.
    unsafe {
        asm!("{turn} = {turn}", turn = inout(reg) turn, options(pure, nomem, nostack, preserves_flags))
    };
    turn
}

/// Revokes the lease of a flow. True if it was still running.
#[inline(always)]
pub fn cut_short(flow: &FlowKey, now: u64) -> bool {
    let until = revoke(flow);
    until != NEVER && runs(until, ticks(now))
}
