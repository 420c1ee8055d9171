//! Unsolicited neighbour advertisements (RFC 4861 §4.4, §7.2.6). Pure.

use std::net::Ipv6Addr;

use crate::MacAddr;

/// Ethernet header, IPv6 header, advertisement and its link-layer address option.
pub const FRAME_LEN: usize = 14 + 40 + ICMP_LEN;

const ICMP_LEN: usize = 32;
const ETHERTYPE: u16 = 0x86dd;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 2464 §7: 33:33 and the last four bytes of the multicast address.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Receivers ignore neighbour discovery that crossed a router (RFC 4861 §7.1.2).
const HOP_LIMIT: u8 = 255;
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// "`ip` is at `mac`", told to all nodes, overriding what they knew.
///
/// `router` must say what the kernel's own advertisements say, which is whether the interface forwards: a receiver
/// that sees the flag vanish drops its default routes through us (RFC 4861 §7.2.5).
pub fn unsolicited_advertisement(mac: MacAddr, ip: Ipv6Addr, router: bool) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac.octets());
    frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    frame[14] = 0x60;
    frame[19] = ICMP_LEN as u8;
    frame[20] = ICMPV6;
    frame[21] = HOP_LIMIT;
    frame[22..38].copy_from_slice(&ip.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());

    let icmp = &mut frame[54..];
    icmp[0] = NEIGHBOUR_ADVERTISEMENT;
    icmp[4] = OVERRIDE | if router { ROUTER } else { 0 };
    icmp[8..24].copy_from_slice(&ip.octets());
    icmp[24..26].copy_from_slice(&[TARGET_LINK_LAYER_ADDRESS, 1]);
    icmp[26..32].copy_from_slice(&mac.octets());
    let checksum = checksum(ip, ALL_NODES, icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The ICMPv6 checksum over the pseudo-header (RFC 4443 §2.3) and a body whose own checksum field is zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let mut sum =
        words(&from.octets()) + words(&to.octets()) + words(body) + ICMP_LEN as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 10, 0, 0, 1]);
    const IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x200);

    #[test]
    fn the_advertisement_byte_by_byte() {
        #[rustfmt::skip]
        assert_eq!(unsolicited_advertisement(MAC, IP, false), [
            0x33, 0x33, 0, 0, 0, 1,  2, 0, 10, 0, 0, 1,  0x86, 0xdd,
            0x60, 0, 0, 0,  0, 32,  58, 255,
            0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0,
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
            136, 0, 0x4c, 0x99,  0x20, 0, 0, 0,
            0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0,
            2, 1,  2, 0, 10, 0, 0, 1,
        ]);
    }

    #[test]
    fn a_forwarding_node_says_that_it_is_a_router() {
        assert_eq!(unsolicited_advertisement(MAC, IP, true)[58], 0xa0);
    }

    #[test]
    fn the_checksum_of_the_finished_body_is_zero() {
        let frame = unsolicited_advertisement(MAC, IP, true);
        assert_eq!(checksum(IP, ALL_NODES, &frame[54..]), 0);
    }
}
