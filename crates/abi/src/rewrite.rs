//! The changes a forwarded packet undergoes: TTL, addresses, ports and every checksum that covers them.
use crate::{
    Addr, FragmentPart, FrameMut, IPPROTO_TCP, IPPROTO_UDP, InnerFlow, Mac, Packet, replace_addr,
    replace_port, replace16,
};

/// Writes both Ethernet addresses.
#[inline(always)]
pub fn set_ethernet<F: FrameMut>(frame: &mut F, dmac: Mac, smac: Mac) -> Option<()> {
    frame.write(0, dmac)?;
    frame.write(6, smac)
}

/// One hop less. The caller has seen to it that the packet has more than one left.
#[inline(always)]
pub fn decrement_ttl<F: FrameMut>(frame: &mut F, packet: &Packet) -> Option<()> {
    let l3 = packet.l3 as usize;
    if packet.v6 != 0 {
        return frame.write(l3 + 7, packet.ttl.wrapping_sub(1));
    }
    let old: u16 = frame.read(l3 + 8)?;
    let new = u16::from_ne_bytes([packet.ttl.wrapping_sub(1), old.to_ne_bytes()[1]]);
    let check: u16 = frame.read(l3 + 10)?;
    frame.write(l3 + 10, replace16(check, old, new))?;
    frame.write(l3 + 8, new)
}

/// Destination address and port become the server's.
#[inline(always)]
pub fn nat_forward<F: FrameMut>(frame: &mut F, packet: &Packet, to: &Addr, port_be: u16) -> Option<()> {
    rewrite_end(frame, packet, &packet.key.dst, to, packet.key.dport_be, port_be, End::Destination)
}

/// Source address and port become the virtual ones.
#[inline(always)]
pub fn nat_reverse<F: FrameMut>(frame: &mut F, packet: &Packet, from: &Addr, port_be: u16) -> Option<()> {
    rewrite_end(frame, packet, &packet.key.src, from, packet.key.sport_be, port_be, End::Source)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

#[inline(always)]
fn rewrite_end<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    old: &Addr,
    new: &Addr,
    old_port: u16,
    new_port: u16,
    end: End,
) -> Option<()> {
    write_address(frame, packet.l3 as usize, packet.v6 != 0, old, new, end)?;
    if packet.fragment == FragmentPart::Later as u8 {
        return Some(());
    }
    let l4 = packet.l4 as usize;
    let check_at = l4 + if packet.key.proto == IPPROTO_TCP { 16 } else { 6 };
    let check: u16 = frame.read(check_at)?;
    if !(packet.key.proto == IPPROTO_UDP && check == 0) {
        let mut updated = replace_port(replace_addr(check, old, new), old_port, new_port);
        if packet.key.proto == IPPROTO_UDP && updated == 0 {
            // RFC 768: zero means "no checksum"; a computed zero is sent as all ones.
            updated = 0xffff;
        }
        frame.write(check_at, updated)?;
    }
    frame.write(l4 + if end == End::Source { 0 } else { 2 }, new_port)
}

/// One address of an IP header at `l3`, with the IPv4 header checksum.
#[inline(always)]
fn write_address<F: FrameMut>(
    frame: &mut F,
    l3: usize,
    v6: bool,
    old: &Addr,
    new: &Addr,
    end: End,
) -> Option<()> {
    if v6 {
        return frame.write(l3 + if end == End::Source { 8 } else { 24 }, new.0);
    }
    let check: u16 = frame.read(l3 + 10)?;
    frame.write(l3 + 10, replace_addr(check, old, new))?;
    frame.write(l3 + if end == End::Source { 12 } else { 16 }, new.v4_word())
}

/// An ICMP error about a NAT connection on its way to the server: the outer destination and the quoted source
/// become the server's (RFC 5508 §4.2).
#[inline(always)]
pub fn icmp_forward<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    inner: &InnerFlow,
    to: &Addr,
    port_be: u16,
) -> Option<()> {
    icmp_rewrite(frame, packet, inner, to, port_be, End::Destination)
}

/// An ICMP error about a NAT connection on its way to the client: the outer source becomes the virtual address,
/// and so do the quoted destination and its port.
#[inline(always)]
pub fn icmp_reverse<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    inner: &InnerFlow,
    from: &Addr,
    port_be: u16,
) -> Option<()> {
    icmp_rewrite(frame, packet, inner, from, port_be, End::Source)
}

#[inline(always)]
fn icmp_rewrite<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    inner: &InnerFlow,
    new: &Addr,
    port_be: u16,
    outer_end: End,
) -> Option<()> {
    let v6 = packet.v6 != 0;
    let l4 = packet.l4 as usize;
    let (inner_end, old_inner, old_port) = match outer_end {
        End::Destination => (End::Source, inner.key.src, inner.key.sport_be),
        End::Source => (End::Destination, inner.key.dst, inner.key.dport_be),
    };
    let old_outer = match outer_end {
        End::Destination => packet.key.dst,
        End::Source => packet.key.src,
    };

    // The ICMP sum covers the quoted header with its checksum field, so both changes count.
    let mut check: u16 = frame.read(l4 + 2)?;
    if v6 {
        check = replace_addr(check, &old_inner, new);
        // The pseudo header covers the outer addresses (RFC 4443 §2.3).
        check = replace_addr(check, &old_outer, new);
    } else {
        let header_check: u16 = frame.read(inner.l3 as usize + 10)?;
        let updated = replace_addr(header_check, &old_inner, new);
        check = replace_addr(check, &old_inner, new);
        check = replace16(check, header_check, updated);
    }
    check = replace_port(check, old_port, port_be);
    // The quoted TCP or UDP checksum is left as it is: the quote may end before it, and hosts do not check it
    // (RFC 5508 §4.2 asks for the port only where the checksum can't be seen).
    write_address(frame, inner.l3 as usize, v6, &old_inner, new, inner_end)?;
    frame.write(inner.l4 as usize + if inner_end == End::Source { 0 } else { 2 }, port_be)?;
    frame.write(l4 + 2, check)?;
    write_address(frame, packet.l3 as usize, v6, &old_outer, new, outer_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Parsed, SliceFrame, fold, inner_flow, parse};
    use proptest::prelude::*;

    /// A frame with a random transport payload whose checksums are whatever they are: what matters is that the sum a
    /// receiver computes over it doesn't change.
    fn frame(v6: bool, tcp: bool, data: &[u8]) -> Vec<u8> {
        let proto = if tcp { IPPROTO_TCP } else { IPPROTO_UDP };
        let mut bytes = vec![2; 12];
        let mut transport = data.to_vec();
        transport.resize(data.len().max(20), 7);
        if v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend((transport.len() as u16).to_be_bytes());
            bytes.extend([proto, 64]);
            bytes.extend([0x20; 32]);
        } else {
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend((20 + transport.len() as u16).to_be_bytes());
            bytes.extend([0, 1, 0x40, 0, 64, proto, 0, 0, 192, 0, 2, 7, 192, 168, 2, 200]);
        }
        bytes.extend(transport);
        bytes
    }

    fn read(bytes: &mut [u8]) -> Packet {
        let mut packet = Packet::default();
        assert_eq!(parse(&SliceFrame(bytes), &mut packet), Parsed::Transport);
        packet
    }

    /// One's-complement sum of addresses, transport header and payload: what the transport checksum covers.
    fn covered(bytes: &[u8], packet: &Packet) -> u16 {
        let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
        let addresses = if packet.v6 != 0 { l3 + 8..l3 + 40 } else { l3 + 12..l3 + 20 };
        let words = bytes[addresses].chunks(2).chain(bytes[l4..].chunks(2));
        fold(words.map(|w| u64::from(u16::from_ne_bytes([w[0], w.get(1).copied().unwrap_or(0)]))).sum())
    }

    fn address(v6: bool, words: [u32; 4]) -> Addr {
        // A first word of zero could be a mapped address.
        if v6 { Addr([words[0] | 0x20, words[1], words[2], words[3]]) } else { Addr::v4(words[3]) }
    }

    /// 0x0000 and 0xffff are one number.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a ^ b == 0xffff && (a == 0 || b == 0))
    }

    proptest! {
        #[test]
        fn reverse_of_forward_is_identity(v6: bool, tcp: bool, data in prop::collection::vec(any::<u8>(), 20..120), to: [u32; 4], port: u16) {
            let original = frame(v6, tcp, &data);
            let mut bytes = original.clone();
            let packet = read(&mut bytes);
            nat_forward(&mut SliceFrame(&mut bytes), &packet, &address(v6, to), port).unwrap();
            let there = read(&mut bytes);
            prop_assert_eq!(there.key.dst, address(v6, to));
            prop_assert_eq!(there.key.dport_be, port);
            let check_at = usize::from(packet.l4) + if tcp { 16 } else { 6 };
            let unchecked = !tcp && original[check_at..check_at + 2] == [0, 0];
            prop_assert!(unchecked || same(covered(&bytes, &there), covered(&original, &packet)));
            // Back by the same rule with the same end.
            nat_forward(&mut SliceFrame(&mut bytes), &there, &packet.key.dst, packet.key.dport_be).unwrap();
            let whole = |b: &[u8]| u16::from_ne_bytes([b[check_at], b[check_at + 1]]);
            prop_assert!(same(whole(&bytes), whole(&original)));
            bytes[check_at..check_at + 2].copy_from_slice(&original[check_at..check_at + 2]);
            let header = 24..26; // the IPv4 header's sum
            if !v6 {
                let sum = |b: &[u8]| u16::from_ne_bytes([b[24], b[25]]);
                prop_assert!(same(sum(&bytes), sum(&original)));
                bytes[header.clone()].copy_from_slice(&original[header]);
            }
            prop_assert_eq!(bytes, original);
        }

        #[test]
        fn a_reply_is_rewritten_at_its_source(v6: bool, tcp: bool, data in prop::collection::vec(any::<u8>(), 20..120), from: [u32; 4], port: u16) {
            let original = frame(v6, tcp, &data);
            let mut bytes = original.clone();
            let packet = read(&mut bytes);
            nat_reverse(&mut SliceFrame(&mut bytes), &packet, &address(v6, from), port).unwrap();
            let back = read(&mut bytes);
            prop_assert_eq!((back.key.src, back.key.sport_be), (address(v6, from), port));
            prop_assert_eq!((back.key.dst, back.key.dport_be), (packet.key.dst, packet.key.dport_be));
        }

        #[test]
        fn icmp_errors_keep_the_sum_a_receiver_computes(quoted in prop::collection::vec(any::<u8>(), 20..60), to: [u32; 4], port: u16) {
            let inner = frame(false, true, &quoted);
            let mut bytes = vec![2; 12];
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend((28 + inner.len() as u16 - 14).to_be_bytes());
            bytes.extend([0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 192, 0, 2, 7, 11, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(&inner[14..]);
            let sum = |b: &[u8]| fold(b[34..].chunks(2).map(|w| u64::from(u16::from_ne_bytes([w[0], w.get(1).copied().unwrap_or(0)]))).sum());
            let mut packet = Packet::default();
            assert_eq!(parse(&SliceFrame(&mut bytes), &mut packet), Parsed::IcmpError);
            let mut flow = InnerFlow::default();
            inner_flow(&SliceFrame(&mut bytes), &packet, &mut flow).unwrap();
            let before = sum(&bytes);
            icmp_forward(&mut SliceFrame(&mut bytes), &packet, &flow, &address(false, to), port).unwrap();
            prop_assert!(same(sum(&bytes), before));
            inner_flow(&SliceFrame(&mut bytes), &packet, &mut flow).unwrap();
            prop_assert_eq!((flow.key.src, flow.key.sport_be), (address(false, to), port));
        }
    }
}
