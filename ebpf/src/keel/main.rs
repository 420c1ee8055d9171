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
mod maps;
mod reap;
mod reply;
mod send;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, helpers::bpf_ktime_get_coarse_ns, macros::xdp, programs::XdpContext};
use keel_abi::{DropReason, FragmentPart, Frame, INTERFACE_SLOTS, Packet, Parsed, ROLE_ACTIVE, parse};

use crate::{
    count::{drop, pass},
    frame::XdpFrame,
    maps::{ADDRESSES, CONFIG, CONNECTIONS, INTERFACES},
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
    let frame = XdpFrame::new(ctx);
    let mut packet = Packet::default();
    let parsed = parse(&frame, &mut packet);
    if parsed == Parsed::Other {
        return pass();
    }
    if !for_us(ctx, &frame) {
        return pass();
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    match parsed {
        Parsed::Transport => transport(ctx, &mut packet, now),
        Parsed::IcmpError => errors::route(ctx, &packet, now),
        _ => malformed(&packet),
    }
}

/// Frames a switch floods, or that a bridge hands to every port, are addressed to somebody else: forwarding them
/// would double packets and, with the peer or a server doing the same, make a loop.
#[inline(always)]
fn for_us(ctx: &XdpContext, frame: &XdpFrame) -> bool {
    let ifindex = ctx.ingress_ifindex() as u32;
    match (INTERFACES.get(ifindex % INTERFACE_SLOTS), frame.read::<[u16; 3]>(0)) {
        (Some(ours), Some(to)) => {
            let mac = ours.mac;
            let word = |i: usize| u16::from_ne_bytes([mac[i], mac[i + 1]]);
            ours.ifindex == ifindex && word(0) == to[0] && word(2) == to[1] && word(4) == to[2]
        }
        _ => false,
    }
}

#[inline(always)]
fn transport(ctx: &XdpContext, packet: &mut Packet, now: u64) -> u32 {
    if packet.fragment != FragmentPart::Whole as u8 {
        return fragment(ctx, packet, now);
    }
    flow(ctx, packet, now)
}

#[inline(always)]
fn flow(ctx: &XdpContext, packet: &mut Packet, now: u64) -> u32 {
    match CONNECTIONS.get_ptr_mut(packet.key) {
        // SAFETY: a live element; a racing removal leaves it readable until this run ends (RCU).
        Some(connection) => known::established(ctx, packet, unsafe { &mut *connection }, now),
        None => fresh::unknown(ctx, packet, now),
    }
}

/// Fragments are rare: their own copy of the flow's code is not worth its instructions, so the connection is found
/// by the slow way round.
#[inline(never)]
fn fragment(ctx: &XdpContext, packet: &mut Packet, now: u64) -> u32 {
    if packet.fragment == FragmentPart::Later as u8 {
        if !fragments::complete(packet, now) {
            return if is_virtual(packet) { drop(DropReason::FragmentUnknown) } else { pass() };
        }
    } else if is_virtual(packet) || fresh::nat_server(&packet.key).is_some() {
        fragments::note(packet, now);
    }
    flow(ctx, packet, now)
}

#[inline(always)]
fn is_virtual(packet: &Packet) -> bool {
    ADDRESSES.get_ptr(packet.key.dst).is_some()
}

#[inline(never)]
fn malformed(packet: &Packet) -> u32 {
    if is_virtual(packet) { drop(DropReason::Malformed) } else { pass() }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
