//! ICMP errors: what connection they are about, and the ones this node sends itself; TCP resets likewise.
use crate::{Addr, FlowKey, Frame, FrameMut, IPPROTO_TCP, IPPROTO_UDP, Packet, fold, header_sum};

/// The packet quoted in an ICMP error.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InnerFlow {
    /// Its flow.
    pub key: FlowKey,
    /// Offset of its IP header.
    pub l3: u16,
    /// Offset of its transport header.
    pub l4: u16,
}

/// The flow quoted in the ICMP error at `packet.l4`; `None` if the quote is too short, a later fragment, of
/// IPv4 addresses in IPv6, or neither TCP nor UDP. Extension headers in a quoted IPv6 packet are not looked through.
#[inline(always)]
pub fn inner_flow<F: Frame>(frame: &F, packet: &Packet, inner: &mut InnerFlow) -> Option<()> {
    let l3 = packet.l4 as usize + 8;
    inner.l3 = l3 as u16;
    inner.key.pad = [0; 3];
    let l4 = if packet.v6 != 0 {
        let words: [u32; 10] = frame.read(l3)?;
        if u32::from_be(words[0]) >> 28 != 6 {
            return None;
        }
        inner.key.src = Addr([words[2], words[3], words[4], words[5]]);
        inner.key.dst = Addr([words[6], words[7], words[8], words[9]]);
        inner.key.proto = (u32::from_be(words[1]) >> 8) as u8;
        // As in the parser: it would be the key of another family's connection.
        if inner.key.src.is_v4() || inner.key.dst.is_v4() {
            return None;
        }
        l3 + 40
    } else {
        let words: [u32; 5] = frame.read(l3)?;
        let first = u32::from_be(words[0]);
        let header = ((first >> 24) & 0xf) as usize * 4;
        if first >> 28 != 4 || header < 20 || u32::from_be(words[1]) & 0x1fff != 0 {
            return None;
        }
        inner.key.src = Addr::v4(words[3]);
        inner.key.dst = Addr::v4(words[4]);
        inner.key.proto = (u32::from_be(words[2]) >> 16) as u8;
        l3 + header
    };
    if inner.key.proto != IPPROTO_TCP && inner.key.proto != IPPROTO_UDP {
        return None;
    }
    // What stands behind the error's end is padding, and no checksum covers it.
    if l4 + 4 > packet.l3 as usize + packet.ip_len as usize {
        return None;
    }
    inner.l4 = l4 as u16;
    inner.key.sport_be = frame.read(l4)?;
    inner.key.dport_be = frame.read(l4 + 2)?;
    Some(())
}

/// An error this node sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpKind {
    /// Fragmentation needed (RFC 1191) or packet too big (RFC 4443 §3.2), with the MTU that fits.
    TooBig(u16),
    /// Time to live exceeded in transit.
    TimeExceeded,
}

/// Bytes of the offending packet quoted: the header and eight more (RFC 792), in both families a fixed amount,
/// because the packet path can't loop over a variable one.
const QUOTE4: usize = 28;
const QUOTE6: usize = 48;

impl IcmpKind {
    /// Bytes put in front of the offending packet's IP header.
    pub const fn room(v6: bool) -> usize {
        if v6 { 48 } else { 28 }
    }

    /// Bytes of the offending packet that stay.
    pub const fn quote(v6: bool) -> usize {
        if v6 { QUOTE6 } else { QUOTE4 }
    }

    const fn type_code(self, v6: bool) -> (u8, u8) {
        match (self, v6) {
            (Self::TooBig(_), false) => (3, 4),
            (Self::TooBig(_), true) => (2, 0),
            (Self::TimeExceeded, false) => (11, 0),
            (Self::TimeExceeded, true) => (3, 0),
        }
    }

    const fn rest(self) -> u32 {
        match self {
            Self::TooBig(mtu) => mtu as u32,
            Self::TimeExceeded => 0,
        }
    }
}

/// Writes IP and ICMP headers at `at`, in front of the quoted packet, whose headers `packet` describes (before
/// the room was made). The error goes to the packet's source, from its destination, the virtual address: that is
/// the address a client's firewall expects to hear from.
#[inline(always)]
pub fn write_icmp_error<F: FrameMut>(
    frame: &mut F,
    at: usize,
    packet: &Packet,
    kind: IcmpKind,
) -> Option<()> {
    let v6 = packet.v6 != 0;
    let (icmp_type, code) = kind.type_code(v6);
    let first = (icmp_type as u32) << 24 | (code as u32) << 16;
    let icmp_at;
    let mut sum;
    if v6 {
        icmp_at = at + 40;
        let length = 8 + QUOTE6 as u32;
        let (src, dst) = (packet.key.dst, packet.key.src);
        frame.write(
            at,
            [
                (6u32 << 28).to_be(),
                (length << 16 | 58 << 8 | 64).to_be(),
                src.0[0],
                src.0[1],
                src.0[2],
                src.0[3],
                dst.0[0],
                dst.0[1],
                dst.0[2],
                dst.0[3],
            ],
        )?;
        sum = sum_addr(&src) + sum_addr(&dst) + sum_word(length.to_be()) + sum_word(58u32.to_be());
    } else {
        icmp_at = at + 20;
        let words = [
            (0x45u32 << 24 | (20 + 8 + QUOTE4 as u32)).to_be(),
            0,
            (64u32 << 24 | 1 << 16).to_be(),
            packet.key.dst.v4_word(),
            packet.key.src.v4_word(),
        ];
        let header = sum_word(words[0]) + sum_word(words[2]) + sum_word(words[3]) + sum_word(words[4]);
        frame.write(at, words)?;
        frame.write(at + 10, header_sum(header))?;
        sum = 0;
    }
    frame.write(icmp_at, [first.to_be(), kind.rest().to_be()])?;
    sum += sum_word(first.to_be()) + sum_word(kind.rest().to_be());
    sum += sum_quote(frame, icmp_at + 8, v6)?;
    frame.write(icmp_at + 2, header_sum(sum))
}

#[inline(always)]
const fn sum_word(word: u32) -> u64 {
    (word & 0xffff) as u64 + (word >> 16) as u64
}

#[inline(always)]
const fn sum_addr(address: &Addr) -> u64 {
    sum_word(address.0[0]) + sum_word(address.0[1]) + sum_word(address.0[2]) + sum_word(address.0[3])
}

#[inline(always)]
fn sum_quote<F: Frame>(frame: &F, at: usize, v6: bool) -> Option<u64> {
    let mut sum = 0;
    if v6 {
        let words: [u32; 10] = frame.read(at)?;
        for word in words {
            sum += sum_word(word);
        }
        let rest: [u32; 2] = frame.read(at + 40)?;
        return Some(sum + sum_word(rest[0]) + sum_word(rest[1]));
    }
    let words: [u32; 5] = frame.read(at)?;
    for word in words {
        sum += sum_word(word);
    }
    let rest: [u32; 2] = frame.read(at + 20)?;
    Some(sum + sum_word(rest[0]) + sum_word(rest[1]))
}

/// Who a reset is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetTo {
    /// The sender of the packet that provoked it.
    Sender,
    /// Whoever that packet was going to: the reset takes its place.
    Receiver,
}

/// Turns the TCP packet at `packet.l3` into a reset (RFC 9293 §3.10.7.1). To its sender with addresses and ports
/// swapped and the acknowledgement number as sequence number; to its receiver as if the sender had sent a reset
/// instead. The frame must have been cut to the IP header (20 or 40 bytes, no options) and a TCP header of 20 bytes.
#[inline(always)]
pub fn write_tcp_reset<F: FrameMut>(frame: &mut F, packet: &Packet, to: ResetTo) -> Option<()> {
    const RST: u32 = 0x04;
    const ACK: u32 = 0x10;
    let l3 = packet.l3 as usize;
    let v6 = packet.v6 != 0;
    let l4 = l3 + if v6 { 40 } else { 20 };
    let old: [u32; 5] = frame.read(l4)?;
    // A packet that acknowledges something names the sequence number its sender will accept; one that doesn't
    // (a bare SYN) is answered with sequence 0 and its own number plus one acknowledged.
    let (sequence, acknowledgement, tcp_flags) = match (to, packet.tcp_flags & ACK as u8 != 0) {
        (ResetTo::Receiver, true) => (old[1], old[2], RST | ACK),
        (ResetTo::Receiver, false) => (old[1], 0, RST),
        (ResetTo::Sender, true) => (old[2], 0, RST),
        (ResetTo::Sender, false) => (0, u32::from_be(old[1]).wrapping_add(1).to_be(), RST | ACK),
    };
    let (ports, src, dst) = match to {
        ResetTo::Receiver => (old[0], packet.key.src, packet.key.dst),
        ResetTo::Sender => (old[0].rotate_left(16), packet.key.dst, packet.key.src),
    };
    let words = [ports, sequence, acknowledgement, (5 << 28 | tcp_flags << 16).to_be(), 0];
    let mut sum = 0;
    for word in words {
        sum += sum_word(word);
    }
    sum += sum_word(20u32.to_be()) + sum_word((IPPROTO_TCP as u32).to_be());
    if v6 {
        sum += sum_addr(&src) + sum_addr(&dst);
        frame.write(
            l3,
            [
                (6u32 << 28).to_be(),
                (20u32 << 16 | (IPPROTO_TCP as u32) << 8 | 64).to_be(),
                src.0[0],
                src.0[1],
                src.0[2],
                src.0[3],
                dst.0[0],
                dst.0[1],
                dst.0[2],
                dst.0[3],
            ],
        )?;
    } else {
        sum += sum_word(src.v4_word()) + sum_word(dst.v4_word());
        let header = [
            (0x45u32 << 24 | 40).to_be(),
            0x4000u32.to_be(),
            (64u32 << 24 | (IPPROTO_TCP as u32) << 16).to_be(),
            src.v4_word(),
            dst.v4_word(),
        ];
        let mut header_total = 0;
        for word in header {
            header_total += sum_word(word);
        }
        frame.write(l3, header)?;
        frame.write(l3 + 10, header_sum(header_total))?;
    }
    frame.write(l4, words)?;
    frame.write(l4 + 16, !fold(sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Parsed, SliceFrame, parse};

    fn quoted(mut frame: Vec<u8>) -> Option<InnerFlow> {
        let (mut packet, mut inner) = (Packet::default(), InnerFlow::default());
        assert_eq!(parse(&SliceFrame(&mut frame), &mut packet), Parsed::IcmpError);
        inner_flow(&SliceFrame(&mut frame), &packet, &mut inner)?;
        Some(inner)
    }

    #[test]
    fn ports_in_the_padding_behind_an_error_are_not_its_quotes() {
        // Found by fuzzing: the quote ends behind its IP header, and the frame goes on.
        let mut frame = vec![2; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 56, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 192, 0, 2, 7]);
        frame.extend([3, 4, 0, 0, 0, 0, 5, 0]);
        frame.extend([0x45, 0, 0, 60, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 10, 0, 0, 101]);
        frame.extend([0, 80, 0x30, 0x39, 0, 0, 0, 1]);
        let inner = quoted(frame.clone()).unwrap();
        assert_eq!((u16::from_be(inner.key.sport_be), u16::from_be(inner.key.dport_be)), (80, 12345));
        frame[17] = 48;
        assert_eq!(quoted(frame), None);
    }

    #[test]
    fn ipv4_addresses_quoted_in_an_icmpv6_error_name_no_connection() {
        // Found by fuzzing: they would be the key of an IPv4 connection.
        let mut frame = vec![2; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 56, 58, 64]);
        frame.extend([0x20; 32]);
        frame.extend([1, 4, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 20, 6, 64]);
        frame.extend([0x20; 32]);
        frame.extend([0, 80, 0x30, 0x39, 0, 0, 0, 1]);
        assert!(quoted(frame.clone()).is_some());
        frame[70..82].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(quoted(frame), None);
    }
}
