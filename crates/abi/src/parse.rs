//! From bytes to what the packet path needs to know: one pass, no copies of headers, every length checked.
use crate::{Addr, FlowKey, Frame, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP};

const ETH_IPV4: u16 = 0x0800u16.to_be();
const ETH_IPV6: u16 = 0x86ddu16.to_be();
const ETH_VLAN: u16 = 0x8100u16.to_be();
const ETH_QINQ: u16 = 0x88a8u16.to_be();

/// Extension headers looked through in IPv6; more is malformed (RFC 8200 §4.1 lists seven, each once).
const MAX_EXTENSIONS: usize = 7;

/// Transport headers begin before this offset, or the packet is malformed: what quotes them lies within the packet
/// path's reach then too (`ebpf/src/keel/frame.rs`).
const MAX_TRANSPORT_OFFSET: usize = 512;

/// Which part of a datagram a packet carries.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FragmentPart {
    /// All of it.
    Whole = 0,
    /// The beginning, with the transport header.
    First = 1,
    /// A later part, without ports.
    Later = 2,
}

/// What a frame turned out to be.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// Nothing the packet path handles: ARP, neighbour discovery, other protocols, broadcast.
    Other = 0,
    /// TCP or UDP; the key is complete (except the ports of a later fragment).
    Transport = 1,
    /// An ICMP or ICMPv6 error; `l4` points at its header.
    IcmpError = 2,
    /// IP addressed somewhere, but cut short or contradictory; the addresses are valid.
    Malformed = 3,
}

/// What the parser learned. Offsets count from the Ethernet header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packet {
    /// The flow this packet belongs to.
    pub key: FlowKey,
    /// VLAN tags outside in, network order with priority bits, 0 = none.
    pub vlan: [u16; 2],
    /// Fragment identification as on the wire.
    pub fragment_id: u32,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the transport header.
    pub l4: u16,
    /// Length of the IP packet with its header.
    pub ip_len: u16,
    /// 1 for IPv6.
    pub v6: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// ToS or traffic class.
    pub tos: u8,
    /// TCP flags, 0 for UDP.
    pub tcp_flags: u8,
    /// A [`FragmentPart`] as a number.
    pub fragment: u8,
    /// 1 if IPv4 says "don't fragment"; always 1 for IPv6.
    pub dont_fragment: u8,
    /// VLAN tags in the frame.
    pub tags: u8,
    /// Always zero.
    pub pad: [u8; 3],
}
const _: () = assert!(size_of::<Packet>() == 64);

/// Parses an Ethernet frame into `packet`.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Parsed {
    let Some(mut ethertype) = frame.read::<u16>(12) else { return Parsed::Other };
    let mut l3 = 14;
    packet.vlan = [0; 2];
    packet.tags = 0;
    if ethertype == ETH_VLAN || ethertype == ETH_QINQ {
        let Some(pair) = frame.read::<u32>(l3) else { return Parsed::Other };
        [packet.vlan[0], ethertype] = halves(pair);
        packet.tags = 1;
        l3 = 18;
        if ethertype == ETH_VLAN {
            let Some(pair) = frame.read::<u32>(l3) else { return Parsed::Other };
            [packet.vlan[1], ethertype] = halves(pair);
            packet.tags = 2;
            l3 = 22;
        }
    }
    packet.l3 = l3 as u16;
    packet.tcp_flags = 0;
    packet.key.pad = [0; 3];
    packet.key.sport_be = 0;
    packet.key.dport_be = 0;
    match ethertype {
        ETH_IPV4 => parse_v4(frame, packet, l3),
        ETH_IPV6 => parse_v6(frame, packet, l3),
        _ => Parsed::Other,
    }
}

#[inline(always)]
fn parse_v4<F: Frame>(frame: &F, packet: &mut Packet, l3: usize) -> Parsed {
    // The fixed header in one read (RFC 791 §3.1).
    let Some(words) = frame.read::<[u32; 5]>(l3) else { return Parsed::Other };
    packet.v6 = 0;
    packet.key.src = Addr::v4(words[3]);
    packet.key.dst = Addr::v4(words[4]);
    let first = u32::from_be(words[0]);
    let header = ((first >> 24) & 0xf) as usize * 4;
    packet.ip_len = first as u16;
    packet.tos = (first >> 16) as u8;
    if first >> 28 != 4 || header < 20 || (packet.ip_len as usize) < header {
        return Parsed::Malformed;
    }
    let second = u32::from_be(words[1]);
    packet.fragment_id = second >> 16;
    packet.dont_fragment = (second >> 14) as u8 & 1;
    packet.fragment = if second & 0x1fff != 0 {
        FragmentPart::Later as u8
    } else if second & 0x2000 != 0 {
        FragmentPart::First as u8
    } else {
        FragmentPart::Whole as u8
    };
    let third = u32::from_be(words[2]);
    packet.ttl = (third >> 24) as u8;
    packet.key.proto = (third >> 16) as u8;
    packet.l4 = (l3 + header) as u16;
    transport(frame, packet, l3 + packet.ip_len as usize)
}

#[inline(always)]
fn parse_v6<F: Frame>(frame: &F, packet: &mut Packet, l3: usize) -> Parsed {
    // The fixed header in one read (RFC 8200 §3).
    let Some(words) = frame.read::<[u32; 10]>(l3) else { return Parsed::Other };
    packet.v6 = 1;
    packet.key.src = Addr([words[2], words[3], words[4], words[5]]);
    packet.key.dst = Addr([words[6], words[7], words[8], words[9]]);
    let first = u32::from_be(words[0]);
    let second = u32::from_be(words[1]);
    let payload = second >> 16;
    packet.tos = (first >> 20) as u8;
    packet.ttl = second as u8;
    packet.dont_fragment = 1;
    packet.fragment = FragmentPart::Whole as u8;
    packet.fragment_id = 0;
    // A mapped address stands for IPv4 in our keys and never on a wire (RFC 6890 §2.2.3).
    let mapped = packet.key.src.is_v4() || packet.key.dst.is_v4();
    if first >> 28 != 6 || payload > 65_535 - 40 || mapped {
        return Parsed::Malformed;
    }
    packet.ip_len = payload as u16 + 40;
    let mut next = (second >> 8) as u8;
    let mut offset = l3 + 40;
    for _ in 0..MAX_EXTENSIONS {
        if offset > MAX_TRANSPORT_OFFSET {
            return Parsed::Malformed;
        }
        match next {
            // Hop-by-hop, routing, destination options: length in 8-byte units beyond the first.
            0 | 43 | 60 => {
                let Some(first) = frame.read::<u16>(offset) else { return Parsed::Malformed };
                let [following, length] = first.to_ne_bytes();
                next = following;
                offset += (length as usize + 1) * 8;
            }
            44 => {
                let Some([head, id]) = frame.read::<[u32; 2]>(offset) else { return Parsed::Malformed };
                let head = u32::from_be(head);
                next = (head >> 24) as u8;
                packet.fragment_id = id;
                packet.fragment = if head & 0xfff8 != 0 {
                    FragmentPart::Later as u8
                } else if head & 1 != 0 {
                    FragmentPart::First as u8
                } else {
                    FragmentPart::Whole as u8
                };
                offset += 8;
                if packet.fragment == FragmentPart::Later as u8 {
                    break;
                }
            }
            _ => break,
        }
    }
    if offset > MAX_TRANSPORT_OFFSET || matches!(next, 0 | 43 | 60) || (next == 44 && packet.fragment == 0) {
        return Parsed::Malformed;
    }
    packet.key.proto = next;
    packet.l4 = offset as u16;
    transport(frame, packet, l3 + packet.ip_len as usize)
}

/// The two 16-bit fields of a word of the wire.
#[inline(always)]
const fn halves(word: u32) -> [u16; 2] {
    let bytes = word.to_ne_bytes();
    [u16::from_ne_bytes([bytes[0], bytes[1]]), u16::from_ne_bytes([bytes[2], bytes[3]])]
}

/// Ports and flags, or the kind of ICMP. `end` is where the IP packet says it ends.
#[inline(always)]
fn transport<F: Frame>(frame: &F, packet: &mut Packet, end: usize) -> Parsed {
    let l4 = packet.l4 as usize;
    // Behind the packet's end there is padding: a header there is none of the packet's.
    if !frame.holds(end) || l4 > end {
        return Parsed::Malformed;
    }
    let later = packet.fragment == FragmentPart::Later as u8;
    match packet.key.proto {
        IPPROTO_TCP | IPPROTO_UDP if later => Parsed::Transport,
        IPPROTO_TCP => {
            // The fixed header in one read (RFC 9293 §3.1).
            let Some(words) = frame.read::<[u32; 5]>(l4) else { return Parsed::Malformed };
            if l4 + 20 > end {
                return Parsed::Malformed;
            }
            [packet.key.sport_be, packet.key.dport_be] = halves(words[0]);
            packet.tcp_flags = (u32::from_be(words[3]) >> 16) as u8;
            Parsed::Transport
        }
        IPPROTO_UDP => {
            let Some([ports, _]) = frame.read::<[u32; 2]>(l4) else { return Parsed::Malformed };
            if l4 + 8 > end {
                return Parsed::Malformed;
            }
            [packet.key.sport_be, packet.key.dport_be] = halves(ports);
            Parsed::Transport
        }
        // All ICMP begins with eight bytes; the kernel knows what to do with less.
        IPPROTO_ICMP | IPPROTO_ICMPV6 if l4 + 8 > end => Parsed::Other,
        IPPROTO_ICMP if !later && packet.v6 == 0 => match frame.read::<u8>(l4) {
            // Destination unreachable, time exceeded, parameter problem (RFC 792).
            Some(3 | 11 | 12) => Parsed::IcmpError,
            _ => Parsed::Other,
        },
        IPPROTO_ICMPV6 if !later && packet.v6 == 1 => match frame.read::<u8>(l4) {
            // Unreachable, too big, time exceeded, parameter problem (RFC 4443).
            Some(1..=4) => Parsed::IcmpError,
            _ => Parsed::Other,
        },
        _ => Parsed::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SliceFrame;
    use proptest::prelude::*;

    fn parsed(mut bytes: Vec<u8>) -> (Parsed, Packet) {
        let mut packet = Packet::default();
        let kind = parse(&SliceFrame(&mut bytes), &mut packet);
        (kind, packet)
    }

    fn v4_udp() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([
            0x08, 0x00, 0x45, 0xb8, 0, 32, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 192, 168, 3, 10, 192, 168, 2,
            200,
        ]);
        frame.extend([0x30, 0x39, 0x00, 0x50, 0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    #[test]
    fn reads_an_ipv4_udp_packet() {
        let (kind, packet) = parsed(v4_udp());
        assert_eq!(kind, Parsed::Transport);
        assert_eq!(u16::from_be(packet.key.sport_be), 12345);
        assert_eq!(u16::from_be(packet.key.dport_be), 80);
        assert_eq!((packet.l3, packet.l4, packet.ip_len, packet.tos, packet.ttl), (14, 34, 32, 0xb8, 64));
        assert_eq!(packet.dont_fragment, 1);
    }

    #[test]
    fn looks_through_two_vlan_tags() {
        let mut frame = v4_udp();
        frame.splice(12..12, [0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x20, 0xc8]);
        let (kind, packet) = parsed(frame);
        assert_eq!(kind, Parsed::Transport);
        assert_eq!(packet.vlan.map(u16::from_be), [0x64, 0x20c8]);
        assert_eq!((packet.tags, packet.l3), (2, 22));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut frame = v4_udp();
        frame[20] = 0x00;
        frame[21] = 0x10;
        let (kind, packet) = parsed(frame);
        assert_eq!((kind, packet.fragment), (Parsed::Transport, FragmentPart::Later as u8));
        assert_eq!((packet.key.sport_be, packet.key.dport_be), (0, 0));
    }

    #[test]
    fn a_packet_shorter_than_its_transport_header_is_malformed() {
        let mut frame = v4_udp();
        frame[17] = 24;
        assert_eq!(parsed(frame).0, Parsed::Malformed);
    }

    #[test]
    fn a_packet_shorter_than_it_says_is_malformed() {
        let mut frame = v4_udp();
        frame.pop();
        assert_eq!(parsed(frame).0, Parsed::Malformed);
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((rest.len() as u16).to_be_bytes());
        frame.extend([next, 64]);
        frame.extend([0x20; 32]);
        frame.extend(rest);
        frame
    }

    #[test]
    fn endless_extension_headers_are_malformed() {
        let many = [[60, 0, 1, 4, 0, 0, 0, 0]; 9].concat();
        assert_eq!(parsed(v6(60, &many)).0, Parsed::Malformed);
        let mut long = vec![17, 100];
        long.resize(808, 0);
        long.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        assert_eq!(parsed(v6(0, &long)).0, Parsed::Malformed);
        long[1] = 10;
        long.drain(..720);
        long[..2].copy_from_slice(&[17, 10]);
        assert_eq!(parsed(v6(0, &long)).0, Parsed::Transport);
    }

    #[test]
    fn headers_in_the_padding_are_not_the_packets() {
        // Found by fuzzing: a fragment header, and an ICMP header, that begin where the packet ends.
        for (next, behind) in [(44, [17, 0, 0, 8, 0, 0, 0, 1]), (60, [17, 0, 0, 0, 0, 0, 0, 0])] {
            let mut frame = v6(next, &behind);
            assert_ne!(parsed(frame.clone()).0, Parsed::Other);
            frame[18..20].fill(0);
            assert_eq!(parsed(frame).0, Parsed::Malformed);
        }
        let mut frame = v6(58, &[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parsed(frame.clone()).0, Parsed::IcmpError);
        frame[19] = 7;
        assert_eq!(parsed(frame).0, Parsed::Other);
    }

    #[test]
    fn ipv4_addresses_in_ipv6_packets_are_malformed() {
        let mut frame = v6(17, &[0, 1, 0, 2, 0, 8, 0, 0]);
        assert_eq!(parsed(frame.clone()).0, Parsed::Transport);
        frame[38..50].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(parsed(frame).0, Parsed::Malformed);
    }

    #[test]
    fn ipv6_extension_headers_are_looked_through() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8 + 8 + 20, 0, 64]);
        frame.extend([0; 32]);
        frame.extend([44, 0, 0, 0, 0, 0, 0, 0]); // hop-by-hop
        frame.extend([6, 0, 0, 1, 0, 0, 0, 9]); // first fragment
        frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
        let (kind, packet) = parsed(frame);
        assert_eq!(kind, Parsed::Transport);
        assert_eq!(
            (packet.fragment, packet.tcp_flags, packet.l4),
            (FragmentPart::First as u8, 2, 14 + 40 + 16)
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_never_reads_past_the_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parsed(bytes);
        }

        #[test]
        fn never_panics_on_damaged_ip(at in 0usize..46, value: u8, cut in 0usize..46) {
            let mut frame = v4_udp();
            frame[at] = value;
            frame.truncate(cut);
            parsed(frame);
        }
    }
}
