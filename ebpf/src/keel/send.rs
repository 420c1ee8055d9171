//! Sending a packet on its way: to a server in its mode, or back to a client.
use aya_ebpf::{bindings::xdp_action::XDP_TX, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use keel_abi::{
    Addr, Connection, DropReason, Encap, FlowKey, FrameMut, InnerFlow, MODE_GUE, MODE_NAT, MODE_TUN, Mac,
    PATH_REACHABLE, Packet, Path, Server, decrement_ttl, flow_hash, icmp_forward, icmp_reverse, nat_forward,
    nat_reverse, set_ethernet, write_outer,
};

use crate::{
    answer,
    count::{drop, stats, totals},
    frame::XdpFrame,
    maps::{EVENTS, PATHS, PORTS, SERVERS, Scratch},
};

const ETH_VLAN: u16 = 0x8100u16.to_be();
const ETH_IPV4: u16 = 0x0800u16.to_be();
const ETH_IPV6: u16 = 0x86ddu16.to_be();
const ETH_QINQ: u16 = 0x88a8u16.to_be();
/// Priority and drop-eligible bits of a VLAN tag (IEEE 802.1Q §9.6); the rest is the VLAN.
const PRIORITY: u16 = 0xf000u16.to_be();

/// A learned path MTU is forgotten after ten minutes (RFC 1191 §6.3).
const LEARNED_NS: u64 = 600 * 1_000_000_000;

/// A client's packet to its server. An ICMP error quotes the flow it is about in `scratch.inner`.
#[inline(always)]
pub fn to_server(ctx: &XdpContext, scratch: &Scratch, id: u32, now: u64) -> u32 {
    let packet = &scratch.packet;
    let Some(server) = SERVERS.get(id) else { return drop(DropReason::Internal) };
    if packet.ttl <= 1 {
        return answer::ttl_expired(ctx, packet, now);
    }
    let Some(path) = PATHS.get_ptr_mut(server.path) else { return drop(DropReason::Internal) };
    // SAFETY: array elements are never freed; `keeld` replaces whole words.
    let path = unsafe { &mut *path };
    if path.state != PATH_REACHABLE {
        return unresolved(server.path, path);
    }
    let limit = fits(server, path, now);
    if packet.ip_len > limit {
        return answer::too_big(ctx, packet, limit, now);
    }
    let mut frame = XdpFrame::new(ctx);
    if decrement_ttl(&mut frame, packet).is_none() {
        return drop(DropReason::Rewrite);
    }
    if let Some(stats) = stats(id) {
        stats.packets_in += 1;
        stats.bytes_in += packet.ip_len as u64;
    }
    if server.mode == MODE_TUN || server.mode == MODE_GUE {
        return tunnel(ctx, packet, server, path);
    }
    if server.mode == MODE_NAT && translate(&mut frame, scratch, server).is_none() {
        return drop(DropReason::Rewrite);
    }
    link(ctx, packet, path.dmac, path.smac, path.vlan, path.ifindex)
}

#[inline(always)]
fn translate(frame: &mut XdpFrame, scratch: &Scratch, server: &Server) -> Option<()> {
    let Scratch { packet, inner, .. } = scratch;
    if inner.l3 != 0 {
        let port = if server.port_be == 0 { inner.key.sport_be } else { server.port_be };
        return icmp_to_server(frame, packet, inner, &server.addr, port);
    }
    let port = if server.port_be == 0 { packet.key.dport_be } else { server.port_be };
    nat_forward(frame, packet, &server.addr, port)
}

/// A NAT server's packet (or an ICMP error from its side) back to the client of `scratch.reverse`.
#[inline(always)]
pub fn to_client(ctx: &XdpContext, scratch: &Scratch, now: u64) -> u32 {
    let Scratch { packet, inner, reverse, .. } = scratch;
    if packet.ttl <= 1 {
        return answer::ttl_expired(ctx, packet, now);
    }
    let mut frame = XdpFrame::new(ctx);
    if decrement_ttl(&mut frame, packet).is_none() {
        return drop(DropReason::Rewrite);
    }
    let done = if inner.l3 != 0 {
        icmp_to_client(&mut frame, packet, inner, &reverse.vip, reverse.vport_be)
    } else {
        nat_reverse(&mut frame, packet, &reverse.vip, reverse.vport_be)
    };
    if done.is_none() {
        return drop(DropReason::Rewrite);
    }
    if let Some(stats) = stats(reverse.server) {
        stats.packets_out += 1;
        stats.bytes_out += packet.ip_len as u64;
    }
    if reverse.vlan[1] != 0 {
        return link_double(ctx, packet, reverse);
    }
    link(ctx, packet, reverse.dmac, reverse.smac, reverse.vlan[0], reverse.ifindex)
}

/// Gives the frame the two tags its client's frames come with.
#[inline(never)]
fn link_double(ctx: &XdpContext, packet: &Packet, to: &Connection) -> u32 {
    let missing = 2 - packet.tags as i32;
    // SAFETY: a helper call on the live context; the frame is made anew afterwards.
    if missing != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, -missing * 4) } != 0 {
        return drop(DropReason::Rewrite);
    }
    let mut frame = XdpFrame::new(ctx);
    let ethertype = if packet.v6 != 0 { ETH_IPV6 } else { ETH_IPV4 };
    let done = set_ethernet(&mut frame, to.dmac, to.smac)
        .and_then(|()| frame.write(12, ETH_QINQ))
        .and_then(|()| frame.write(14, to.vlan[0]))
        .and_then(|()| frame.write(16, ETH_VLAN))
        .and_then(|()| frame.write(18, to.vlan[1]))
        .and_then(|()| frame.write(20, ethertype));
    if done.is_none() {
        return drop(DropReason::Rewrite);
    }
    out(ctx, to.ifindex)
}

/// Errors are rare and their rewriting is long: kept out of the way of the common packet.
#[inline(never)]
fn icmp_to_server(
    frame: &mut XdpFrame,
    packet: &Packet,
    inner: &InnerFlow,
    to: &Addr,
    port_be: u16,
) -> Option<()> {
    icmp_forward(frame, packet, inner, to, port_be)
}

/// See [`icmp_to_server`].
#[inline(never)]
fn icmp_to_client(
    frame: &mut XdpFrame,
    packet: &Packet,
    inner: &InnerFlow,
    from: &Addr,
    port_be: u16,
) -> Option<()> {
    icmp_reverse(frame, packet, inner, from, port_be)
}

#[inline(never)]
fn unresolved(index: u32, path: &mut Path) -> u32 {
    // Tell keeld about the first and then every 256th: it asks again by itself in between.
    if path.misses & 0xff == 0 {
        let _ = EVENTS.output(index, 0);
    }
    path.misses += 1;
    drop(DropReason::NoNeighbour)
}

/// The encapsulation a tunnel server wants.
#[inline(always)]
fn encap_of(server: &Server) -> Encap {
    Encap { v6: !server.addr.is_v4(), gue: server.mode == MODE_GUE }
}

/// Bytes of the largest IP packet that reaches `server` along `path`.
#[inline(always)]
fn fits(server: &Server, path: &Path, now: u64) -> u16 {
    if server.mode != MODE_TUN && server.mode != MODE_GUE {
        return path.mtu;
    }
    let mut mtu = path.mtu as u32;
    if path.learned_mtu != 0 && path.learned_mtu < mtu && now.saturating_sub(path.learned_ns) < LEARNED_NS {
        mtu = path.learned_mtu;
    }
    mtu.saturating_sub(encap_of(server).overhead() as u32) as u16
}

#[inline(always)]
fn tunnel(ctx: &XdpContext, packet: &Packet, server: &Server, path: &Path) -> u32 {
    let encap = encap_of(server);
    let tags = if path.vlan != 0 { 4 } else { 0 };
    let grow = encap.overhead() as i32 + 14 + tags - packet.l3 as i32;
    // SAFETY: a helper call on the live context; the frame is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -grow) } != 0 {
        return drop(DropReason::Rewrite);
    }
    let mut frame = XdpFrame::new(ctx);
    let flow = flow_hash(0, &packet.key);
    let ethertype = if encap.v6 { ETH_IPV6 } else { ETH_IPV4 };
    let done =
        ethernet(&mut frame, path.dmac, path.smac, path.vlan, packet.vlan[0], ethertype).and_then(|l3| {
            write_outer(&mut frame, l3, encap, packet, &path.local, &server.addr, server.port_be, flow)
        });
    if done.is_none() {
        return drop(DropReason::Rewrite);
    }
    out(ctx, path.ifindex)
}

/// Writes a whole Ethernet header and returns where the IP header begins.
#[inline(always)]
fn ethernet(
    frame: &mut XdpFrame,
    dmac: Mac,
    smac: Mac,
    vlan: u16,
    came_with: u16,
    ethertype: u16,
) -> Option<usize> {
    set_ethernet(frame, dmac, smac)?;
    if vlan == 0 {
        frame.write(12, ethertype)?;
        return Some(14);
    }
    frame.write(12, ETH_VLAN)?;
    frame.write(14, (vlan & !PRIORITY) | (came_with & PRIORITY))?;
    frame.write(16, ethertype)?;
    Some(18)
}

/// Gives the frame its Ethernet header and sends it. Frames with two tags keep them: they stay in their segment.
#[inline(always)]
pub fn link(ctx: &XdpContext, packet: &Packet, dmac: Mac, smac: Mac, vlan: u16, ifindex: u32) -> u32 {
    let want: i32 = if vlan != 0 { 1 } else { 0 };
    let have = packet.tags as i32;
    if have == 2 || (have == 0 && want == 0) {
        let mut frame = XdpFrame::new(ctx);
        if set_ethernet(&mut frame, dmac, smac).is_none() {
            return drop(DropReason::Rewrite);
        }
        return out(ctx, ifindex);
    }
    // SAFETY: a helper call on the live context; the frame is made anew afterwards.
    if have != want && unsafe { bpf_xdp_adjust_head(ctx.ctx, (have - want) * 4) } != 0 {
        return drop(DropReason::Rewrite);
    }
    let mut frame = XdpFrame::new(ctx);
    let ethertype = if packet.v6 != 0 { ETH_IPV6 } else { ETH_IPV4 };
    if ethernet(&mut frame, dmac, smac, vlan, packet.vlan[0], ethertype).is_none() {
        return drop(DropReason::Rewrite);
    }
    out(ctx, ifindex)
}

/// Out of the interface it came in by, or over to another.
#[inline(always)]
pub fn out(ctx: &XdpContext, ifindex: u32) -> u32 {
    let mut verdict = XDP_TX;
    if ifindex != ctx.ingress_ifindex() as u32 {
        verdict = match PORTS.redirect(ifindex, 0) {
            Ok(verdict) => verdict,
            Err(_) => return drop(DropReason::NoInterface),
        };
    }
    if let Some(totals) = totals() {
        totals.forwarded += 1;
    }
    verdict
}

/// The key replies of `server` to the client of `key` come with.
#[inline(always)]
pub fn reply_key(key: &FlowKey, server: &Server) -> FlowKey {
    let port = if server.port_be == 0 { key.dport_be } else { server.port_be };
    FlowKey {
        src: server.addr,
        dst: key.src,
        sport_be: port,
        dport_be: key.sport_be,
        proto: key.proto,
        pad: [0; 3],
    }
}
