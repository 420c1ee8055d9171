//! A second reading of frames, written for being read: slices, no offsets kept, every sum in full. The packet path is
//! compared with it, so it shares nothing with `keel-abi`.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP packet's way from end to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source and destination port; none without a TCP or UDP header.
    pub ports: Option<(u16, u16)>,
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The IP packet in a frame, cut to the length that its header names.
pub fn ip_packet(frame: &[u8]) -> &[u8] {
    let mut rest = &frame[12..];
    while matches!(be16(rest, 0), 0x8100 | 0x88a8) {
        rest = &rest[4..];
    }
    let packet = &rest[2..];
    let length = if packet[0] >> 4 == 4 { be16(packet, 2) } else { be16(packet, 4) + 40 };
    &packet[..usize::from(length)]
}

/// Where an IP packet's payload begins, which protocol it has, and whether it is a later fragment.
fn payload(packet: &[u8]) -> (usize, u8, bool) {
    if packet[0] >> 4 == 4 {
        return (usize::from(packet[0] & 15) * 4, packet[9], be16(packet, 6) & 0x1fff != 0);
    }
    let (mut at, mut next) = (40, packet[6]);
    loop {
        match next {
            0 | 43 | 60 => (next, at) = (packet[at], at + 8 + usize::from(packet[at + 1]) * 8),
            44 if be16(packet, at + 2) & 0xfff8 != 0 => return (at + 8, packet[at], true),
            44 => (next, at) = (packet[at], at + 8),
            _ => return (at, next, false),
        }
    }
}

/// The ends of an IP packet.
pub fn ends(packet: &[u8]) -> Ends {
    let (at, protocol, later) = payload(packet);
    let ports = (!later && matches!(protocol, 6 | 17)).then(|| (be16(packet, at), be16(packet, at + 2)));
    let (src, dst) = if packet[0] >> 4 == 4 {
        let four = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        (IpAddr::V4(four(12)), IpAddr::V4(four(16)))
    } else {
        let six = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| packet[at + i]));
        (IpAddr::V6(six(8)), IpAddr::V6(six(24)))
    };
    Ends { src, dst, protocol, ports }
}

/// RFC 1071 over several pieces, each of which begins at an even place.
fn sum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let total: u64 =
        words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |b| u64::from(*b))).sum();
    let mut folded = total;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// What a packet's transport checksum says besides the payload: the pseudo header.
fn pseudo(packet: &[u8], protocol: u8, length: usize) -> Vec<u8> {
    let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] };
    [addresses, &(length as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

/// Where the transport checksum of an IP packet stands; none for later fragments and other protocols.
fn check_at(packet: &[u8]) -> Option<usize> {
    let (at, protocol, later) = payload(packet);
    let within = match protocol {
        _ if later => return None,
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => return None,
    };
    (packet.len() >= at + within + 2).then_some(at + within)
}

fn transport_sum(packet: &[u8]) -> u16 {
    let (at, protocol, _) = payload(packet);
    let pseudo = if protocol == 1 { Vec::new() } else { pseudo(packet, protocol, packet.len() - at) };
    sum(&[&pseudo, &packet[at..]])
}

/// Whether the checksums of an IP packet are what a receiver expects: the header's, and if nothing is missing of it the
/// transport's. A first fragment's is taken over what is there: a change must not alter that either.
pub fn sums_hold(packet: &[u8]) -> Result<(), String> {
    if packet[0] >> 4 == 4 && sum(&[&packet[..usize::from(packet[0] & 15) * 4]]) != 0 {
        return Err(format!("the IPv4 header's checksum is wrong: {packet:02x?}"));
    }
    let Some(at) = check_at(packet) else { return Ok(()) };
    let none = payload(packet).1 == 17 && packet[at..at + 2] == [0, 0];
    if !none && transport_sum(packet) != 0 {
        return Err(format!("the transport's checksum is wrong: {packet:02x?}"));
    }
    Ok(())
}

/// Makes the checksums of the IP packet at `start` right, the quoted header's in an ICMPv4 error included. A UDP packet
/// without a checksum stays one.
pub fn correct_sums(frame: &mut [u8], start: usize) {
    let length = ip_packet(frame).len();
    let packet = &mut frame[start..start + length];
    let (at, protocol, later) = payload(packet);
    if protocol == 1 && !later {
        correct_header(&mut packet[at + 8..]);
    }
    correct_header(packet);
    let Some(check) = check_at(packet) else { return };
    if protocol == 17 && packet[check..check + 2] == [0, 0] {
        return;
    }
    packet[check..check + 2].fill(0);
    let mut value = transport_sum(packet);
    if protocol == 17 && value == 0 {
        value = 0xffff;
    }
    packet[check..check + 2].copy_from_slice(&value.to_be_bytes());
}

/// The IPv4 header's checksum, if there is a whole IPv4 header.
fn correct_header(packet: &mut [u8]) {
    let Some(first) = packet.first() else { return };
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 || packet.len() < header {
        return;
    }
    packet[10..12].fill(0);
    let value = sum(&[&packet[..header]]);
    packet[10..12].copy_from_slice(&value.to_be_bytes());
}

/// Whether the header that an ICMPv4 error quotes has the right checksum, if all of it is there.
pub fn quoted_sum_holds(packet: &[u8]) -> bool {
    let quote = &packet[payload(packet).0 + 8..];
    let header = usize::from(quote[0] & 15) * 4;
    quote[0] >> 4 != 4 || quote.len() < header || sum(&[&quote[..header]]) == 0
}

/// What an ICMP error quotes.
pub fn quote(packet: &[u8]) -> &[u8] {
    &packet[payload(packet).0 + 8..]
}
