//! The layer-4 packet path: parse, known connection, service, schedule, remember, rewrite, send. One program for both
//! families and all modes, driven by maps that `keeld` fills; it forwards with or without `keeld`.
//!
//! It makes no decision that host tests don't make too: parsing, checksums, states and scheduling are `keel-abi`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod answer;
mod atomic;
mod count;
mod errors;
mod fragments;
mod frame;
mod fresh;
mod known;
mod lease;
mod maps;
mod reap;
mod reply;
mod route;
mod send;

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS, helpers::bpf_ktime_get_coarse_ns, macros::xdp, programs::XdpContext,
};
use keel_abi::{DropReason, FragmentPart, Frame, INTERFACE_SLOTS, Mac, Packet, Parsed, ROLE_ACTIVE, parse};

use crate::{
    count::{drop, pass},
    frame::XdpFrame,
    maps::{ADDRESSES, CONFIG, CONNECTIONS, INTERFACES, SCRATCH, Scratch},
    route::{ANEW, CLIENT, Route, as_server},
};

/// Attached to every interface that carries clients or servers.
#[xdp]
pub fn keel(ctx: XdpContext) -> u32 {
    match CONFIG.get(0) {
        Some(config) if config.role == ROLE_ACTIVE => packet(&ctx),
        _ => XDP_PASS,
    }
}

/// Run by `keeld` with orders, never attached.
#[xdp]
pub fn keel_reap(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    reap::work(&ctx, now)
}

#[inline(always)]
fn packet(ctx: &XdpContext) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: this CPU's own slot, not preempted by another run of the program.
    let scratch = unsafe { &mut *scratch };
    let frame = XdpFrame::new(ctx);
    let parsed = parse(&frame, &mut scratch.packet);
    if parsed == Parsed::Other || !for_us(ctx, &frame) {
        return pass();
    }
    scratch.inner.l3 = 0;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let route = match parsed {
        Parsed::Transport => transport(ctx, scratch, now),
        Parsed::IcmpError => errors::route(ctx, scratch, now),
        _ => malformed(&scratch.packet),
    };
    if let Some(id) = as_server(route) {
        return send::to_server(ctx, scratch, id, now);
    }
    if route == CLIENT {
        return send::to_client(ctx, scratch, now);
    }
    route as u32
}

/// Frames a switch floods, or that a bridge hands to every port, are addressed to somebody else: forwarding them
/// would double packets and, with the peer or a server doing the same, make a loop.
#[inline(always)]
fn for_us(ctx: &XdpContext, frame: &XdpFrame) -> bool {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(ours) = INTERFACES.get(ifindex % INTERFACE_SLOTS) else { return false };
    let Some(to) = frame.read::<Mac>(0) else { return false };
    ours.ifindex == ifindex && ours.mac == to
}

#[inline(always)]
fn transport(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    if scratch.packet.fragment != FragmentPart::Whole as u8 {
        let done = fragment(&mut scratch.packet, now);
        if done != ANEW {
            return done;
        }
    }
    if scratch.packet.tcp_flags & known::EVENTFUL == 0 {
        let route = lease::find(ctx, scratch, now);
        if route != ANEW {
            return route;
        }
    }
    if let Some(connection) = CONNECTIONS.get_ptr_mut(&scratch.packet.key) {
        // SAFETY: a live element, see the head of `known`.
        let route = known::established(ctx, scratch, unsafe { &mut *connection }, now);
        if route != ANEW {
            return route;
        }
    }
    fresh::unknown(ctx, scratch, now)
}

/// Gives a later fragment its ports, remembers those of a first one. [`ANEW`] if it can go on from there.
#[inline(never)]
fn fragment(packet: &mut Packet, now: u64) -> Route {
    if packet.fragment == FragmentPart::Later as u8 {
        if !fragments::complete(packet, now) {
            return if is_virtual(packet) { drop(DropReason::FragmentUnknown) } else { pass() } as Route;
        }
    } else if is_virtual(packet) || fresh::nat_server(&packet.key).is_some() {
        fragments::note(packet, now);
    }
    ANEW
}

#[inline(always)]
fn is_virtual(packet: &Packet) -> bool {
    ADDRESSES.get_ptr(&packet.key.dst).is_some()
}

#[inline(never)]
fn malformed(packet: &Packet) -> Route {
    if is_virtual(packet) { drop(DropReason::Malformed) as Route } else { pass() as Route }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
