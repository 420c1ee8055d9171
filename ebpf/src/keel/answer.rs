//! Packets this node makes itself, all out of the packet that provoked them and back the way it came: ICMP errors
//! and TCP resets. Rate-limited per CPU, because whoever provokes them is not trusted.
use aya_ebpf::{
    bindings::xdp_action::XDP_TX,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use keel_abi::{
    DropReason, Frame, FrameMut, IcmpKind, Mac, Packet, ResetTo, set_ethernet, write_icmp_error,
    write_tcp_reset,
};

use crate::{
    count::{drop, totals},
    frame::XdpFrame,
    maps::CONFIG,
};

const WINDOW_NS: u64 = 1_000_000_000;

/// Starts a new one-second window when the old one is over.
#[inline(always)]
pub fn turn_window(totals: &mut keel_abi::TrafficStats, now: u64) {
    if now.wrapping_sub(totals.window_ns) >= WINDOW_NS {
        totals.window_ns = now;
        totals.window_flows = 0;
        totals.window_answers = 0;
    }
}

#[inline(always)]
fn allowed(now: u64) -> bool {
    let (Some(totals), Some(config)) = (totals(), CONFIG.get(0)) else { return false };
    turn_window(totals, now);
    if totals.window_answers >= config.icmp_per_second {
        return false;
    }
    totals.window_answers += 1;
    totals.answered += 1;
    true
}

/// Cuts the frame behind `length` bytes.
#[inline(always)]
fn cut(ctx: &XdpContext, length: usize) -> bool {
    let now = XdpFrame::new(ctx).len();
    // SAFETY: a helper call on the live context; callers make the frame anew afterwards.
    now >= length && unsafe { bpf_xdp_adjust_tail(ctx.ctx, length as i32 - now as i32) } == 0
}

/// Answers a packet that doesn't fit with the size that does. Counts as a drop either way.
#[inline(never)]
pub fn too_big(ctx: &XdpContext, packet: &Packet, mtu: u16, now: u64) -> u32 {
    icmp_error(ctx, packet, IcmpKind::TooBig(mtu), drop(DropReason::TooBig), now)
}

/// Answers a packet whose time to live ends here. Counts as a drop either way.
#[inline(never)]
pub fn ttl_expired(ctx: &XdpContext, packet: &Packet, now: u64) -> u32 {
    icmp_error(ctx, packet, IcmpKind::TimeExceeded, drop(DropReason::TtlExpired), now)
}

#[inline(always)]
fn icmp_error(ctx: &XdpContext, packet: &Packet, kind: IcmpKind, verdict: u32, now: u64) -> u32 {
    let v6 = packet.v6 != 0;
    let l3 = packet.l3 as usize & 0x1f;
    // Never about an ICMP error (RFC 1122 §3.2.2) or a later fragment; never with a quote that isn't all there.
    if packet.fragment == 2
        || packet.key.proto == keel_abi::IPPROTO_ICMP
        || packet.key.proto == keel_abi::IPPROTO_ICMPV6
    {
        return verdict;
    }
    if !allowed(now) || !cut(ctx, l3 + IcmpKind::quote(v6)) {
        return verdict;
    }
    let frame = XdpFrame::new(ctx);
    let Some(client) = frame.read::<Mac>(6) else { return verdict };
    let Some(ours) = frame.read::<Mac>(0) else { return verdict };
    // SAFETY: a helper call on the live context; the frame is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(IcmpKind::room(v6) as i32)) } != 0 {
        return verdict;
    }
    let mut frame = XdpFrame::new(ctx);
    if head(&mut frame, packet, client, ours).is_none()
        || write_icmp_error(&mut frame, l3, packet, kind).is_none()
    {
        return verdict;
    }
    XDP_TX
}

/// The Ethernet header of an answer: addresses swapped, tags as they came.
#[inline(always)]
fn head(frame: &mut XdpFrame, packet: &Packet, to: Mac, from: Mac) -> Option<()> {
    set_ethernet(frame, to, from)?;
    let ethertype: u16 = if packet.v6 != 0 { 0x86dd } else { 0x0800 };
    match packet.tags {
        0 => frame.write(12, ethertype.to_be()),
        1 => {
            frame.write(12, 0x8100u16.to_be())?;
            frame.write(14, packet.vlan[0])?;
            frame.write(16, ethertype.to_be())
        }
        _ => {
            frame.write(12, 0x88a8u16.to_be())?;
            frame.write(14, packet.vlan[0])?;
            frame.write(16, 0x8100u16.to_be())?;
            frame.write(18, packet.vlan[1])?;
            frame.write(20, ethertype.to_be())
        }
    }
}

/// Makes a TCP packet of a connection whose server is gone a reset to the client: the answer to a client's packet
/// ([`ResetTo::Sender`], ready to be sent), or in the place of a server's ([`ResetTo::Receiver`], still to be
/// translated). [`XDP_TX`] if it is one now, otherwise the verdict of a drop.
#[inline(never)]
pub fn tcp_reset(ctx: &XdpContext, packet: &mut Packet, to: ResetTo, now: u64) -> u32 {
    let verdict = drop(DropReason::ServerGone);
    let l3 = packet.l3 as usize & 0x1f;
    let header = if packet.v6 != 0 { 40 } else { 20 };
    // Options or extension headers in between, later fragments, resets: silence (RFC 9293 §3.5.2 for the latter).
    if packet.fragment != 0 || packet.tcp_flags & 4 != 0 || packet.l4 as usize != packet.l3 as usize + header
    {
        return verdict;
    }
    if !allowed(now) || !cut(ctx, l3 + header + 20) {
        return verdict;
    }
    packet.ip_len = header as u16 + 20;
    let mut frame = XdpFrame::new(ctx);
    let Some(client) = frame.read::<Mac>(6) else { return verdict };
    let Some(ours) = frame.read::<Mac>(0) else { return verdict };
    // The way to a server's receiver is found as for any other packet; its Ethernet header is written then.
    if set_ethernet(&mut frame, client, ours).is_none() || write_tcp_reset(&mut frame, packet, to).is_none() {
        return verdict;
    }
    XDP_TX
}
