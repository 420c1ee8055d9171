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
