//! Packets that come from a NAT server and have no established entry.
use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::bpf_fib_lookup, programs::XdpContext};
use keel_abi::{Connection, Packet, connection_flags as flags, mac};

use crate::{
    count::pass,
    fresh, known,
    maps::{CONNECTIONS, HALF_OPEN, Scratch},
    route::{CLIENT, Route},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FIB_SUCCESS: i64 = 0;

/// A packet for an address that isn't virtual. If it comes from the listening end of a NAT server it is a reply:
/// its connection is half open, or has lost its entry (or never had one: one-packet scheduling), and then the end
/// alone tells the virtual service, if it belongs to only one.
#[inline(never)]
pub fn unknown(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    let Some(end) = fresh::nat_server(&scratch.packet.key) else { return pass() as Route };
    if let Some(half) = HALF_OPEN.get_ptr_mut(&scratch.packet.key) {
        // SAFETY: a live element, see the head of `known`.
        let half = unsafe { &mut *half };
        if half.flags & flags::REVERSE != 0 {
            return known::half_open_reply(scratch, half, now);
        }
    }
    // Between the first look at the connection table and the one above, another CPU may have moved the entry over.
    if let Some(moved) = CONNECTIONS.get_ptr(&scratch.packet.key) {
        // SAFETY: copied at once.
        let moved: Connection = unsafe { *moved };
        if moved.flags & flags::REVERSE != 0 {
            scratch.reverse = moved;
            return CLIENT;
        }
    }
    if end.ambiguous != 0 {
        return pass() as Route;
    }
    let Scratch { packet, reverse, .. } = scratch;
    let vport_be = if end.vport_be == 0 { packet.key.sport_be } else { end.vport_be };
    *reverse = Connection { server: end.server, vip: end.vip, vport_be, ..Connection::default() };
    if !route(ctx, packet, reverse) {
        return pass() as Route;
    }
    CLIENT
}

/// Asks the kernel's routing table for the way to the client. False if it has none (yet): the kernel will find the
/// neighbour by itself when the packet is passed up, and the client's retry succeeds.
#[inline(always)]
fn route(ctx: &XdpContext, packet: &Packet, connection: &mut Connection) -> bool {
    // SAFETY: plain integers; zero is a valid value for every field.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.ifindex = ctx.ingress_ifindex() as u32;
    fib.l4_protocol = packet.key.proto;
    fib.__bindgen_anon_1.tot_len = packet.ip_len;
    if packet.v6 != 0 {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = connection.vip.0;
        fib.__bindgen_anon_4.ipv6_dst = packet.key.dst.0;
    } else {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = connection.vip.v4_word();
        fib.__bindgen_anon_4.ipv4_dst = packet.key.dst.v4_word();
    }
    // SAFETY: a helper call with a struct on our stack.
    let found = unsafe { bpf_fib_lookup(ctx.ctx.cast(), &raw mut fib, size_of::<FibLookup>() as i32, 0) };
    if found != FIB_SUCCESS {
        return false;
    }
    connection.dmac = mac(fib.dmac);
    connection.smac = mac(fib.smac);
    connection.ifindex = fib.ifindex;
    true
}
