//! ICMP errors find their connection by the packet they quote (RFC 792, RFC 4443).
use aya_ebpf::programs::XdpContext;
use keel_abi::{
    Addr, Best, Choice, Connection, DropReason, FlowKey, Frame, Packet, Server, Standing,
    connection_flags as flags, inner_flow,
};

use crate::{
    count::{drop, pass},
    frame::XdpFrame,
    fresh,
    maps::{ADDRESSES, CONFIG, CONNECTIONS, HALF_OPEN, PATH_OF, PATHS, SERVERS, Scratch},
    route::{self, CLIENT, Route},
};

/// The entry of `key` in either table.
#[inline(always)]
fn find<'a>(key: &FlowKey) -> Option<&'a Connection> {
    let entry = CONNECTIONS.get_ptr(key).or_else(|| HALF_OPEN.get_ptr(key))?;
    // SAFETY: a live element, see the head of `known`.
    Some(unsafe { &*entry })
}

/// An ICMP error: to the server if it is about a virtual service's reply, to the client if a NAT server (or a
/// router on its side) complains, into the path's memory if it is about a tunnel of ours.
#[inline(never)]
pub fn route(ctx: &XdpContext, scratch: &mut Scratch, now: u64) -> Route {
    let Scratch { packet, inner, key, reverse, best, .. } = scratch;
    let frame = XdpFrame::new(ctx);
    if inner_flow(&frame, packet, inner).is_none() {
        inner.l3 = 0;
        learn_mtu(&frame, packet, now);
        return pass() as Route;
    }
    *key = inner.key.reversed();
    let found = find(key);
    // SAFETY: read once, not kept.
    let Some(sizes) = (unsafe { ADDRESSES.get(&packet.key.dst) }) else {
        // From the servers' side: is the quoted packet one that we translated towards a server?
        let Some(connection) = found.filter(|c| c.flags & flags::REVERSE != 0) else {
            // A tunnel packet in UDP looks like a flow too.
            learn_mtu(&frame, packet, now);
            return pass() as Route;
        };
        *reverse = *connection;
        return CLIENT;
    };
    if inner.key.src != packet.key.dst {
        return drop(DropReason::IcmpUnrelated) as Route;
    }
    let id = match found {
        Some(connection) => {
            let proto = key.proto;
            let good = |server: &&Server| server.standing(connection.generation, proto) == Standing::Good;
            SERVERS.get(connection.server).filter(good).map(|_| connection.server)
        }
        None => scheduled(key, *sizes, best),
    };
    match id {
        Some(id) => route::server(id),
        None => drop(DropReason::IcmpUnrelated) as Route,
    }
}

/// Without an entry the ring says where the flow would be.
#[inline(always)]
fn scheduled(key: &FlowKey, sizes: u32, parked: *mut Best) -> Option<u32> {
    let service = fresh::service_of(key, sizes)?;
    match fresh::ring_server(service, key, CONFIG.get(0)?, parked) {
        Choice::Server(id) => Some(id),
        _ => None,
    }
}

/// "Packet too big" about a tunnel packet of ours: its outer destination's path holds less than we thought.
#[inline(always)]
fn learn_mtu(frame: &XdpFrame, packet: &Packet, now: u64) -> Option<()> {
    let l4 = packet.l4 as usize;
    let icmp_type: u8 = frame.read(l4)?;
    let code: u8 = frame.read(l4 + 1)?;
    let (mtu, local, remote, floor) = if packet.v6 != 0 {
        if icmp_type != 2 {
            return None;
        }
        let words: [u32; 10] = frame.read(l4 + 8)?;
        let local = Addr([words[2], words[3], words[4], words[5]]);
        let remote = Addr([words[6], words[7], words[8], words[9]]);
        (u32::from_be(frame.read::<u32>(l4 + 4)?), local, remote, 1280)
    } else {
        if icmp_type != 3 || code != 4 {
            return None;
        }
        let words: [u32; 5] = frame.read(l4 + 8)?;
        (u16::from_be(frame.read::<u16>(l4 + 6)?) as u32, Addr::v4(words[3]), Addr::v4(words[4]), 576)
    };
    // SAFETY: read once, not kept.
    let index = *unsafe { PATH_OF.get(remote) }?;
    let path = PATHS.get_ptr_mut(index)?;
    // SAFETY: an array element that is never freed; aligned words.
    unsafe {
        if (*path).local != local {
            return None;
        }
        // Believe nothing below what every link must carry: a forged error must not choke the tunnel.
        (*path).learned_mtu = if mtu < floor { floor } else { mtu };
        (*path).learned_ns = now;
    }
    Some(())
}
