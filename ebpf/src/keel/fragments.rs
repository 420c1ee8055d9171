//! Later fragments follow the first one, which alone has the ports (RFC 791 §3.2; RFC 8200 §4.5).
use keel_abi::{FragmentKey, FragmentPorts, Packet};

use crate::maps::FRAGMENTS;

/// Fragments of one datagram arrive within this time or not at all (RFC 8200 §4.5).
const LIFETIME_NS: u64 = 60 * 1_000_000_000;

#[inline(always)]
fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        src: packet.key.src,
        dst: packet.key.dst,
        id: packet.fragment_id,
        proto: packet.key.proto,
        pad: [0; 3],
    }
}

/// Remembers the ports of a first fragment.
#[inline(never)]
pub fn note(packet: &Packet, now: u64) {
    let ports =
        FragmentPorts { sport_be: packet.key.sport_be, dport_be: packet.key.dport_be, pad: 0, seen_ns: now };
    let _ = FRAGMENTS.insert(key(packet), ports, 0);
}

/// Gives a later fragment its ports. False if its first one hasn't been seen.
#[inline(never)]
pub fn complete(packet: &mut Packet, now: u64) -> bool {
    // SAFETY: read at once, not kept.
    let Some(ports) = (unsafe { FRAGMENTS.get(key(packet)) }) else { return false };
    if now.saturating_sub(ports.seen_ns) > LIFETIME_NS {
        return false;
    }
    packet.key.sport_be = ports.sport_be;
    packet.key.dport_be = ports.dport_be;
    true
}
