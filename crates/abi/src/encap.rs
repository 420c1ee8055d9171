//! Outer headers for tunnelled packets.
use crate::{Addr, FrameMut, Packet, header_sum};

/// UDP port of GUE (IANA).
pub const GUE_PORT: u16 = 6080;

/// How a packet is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encap {
    /// The outer header is IPv6.
    pub v6: bool,
    /// A UDP header stands between the outer and the inner IP header.
    pub gue: bool,
}

impl Encap {
    /// Bytes added in front of the inner IP header.
    #[inline(always)]
    pub const fn overhead(self) -> usize {
        (if self.v6 { 40 } else { 20 }) + (if self.gue { 8 } else { 0 })
    }
}

/// Writes the outer headers at `at`, where room of [`Encap::overhead`] bytes has been made. `packet` is the inner
/// packet. ToS and ECN are copied outward (RFC 6040 normal mode, RFC 2983 uniform); the outer packet may not be
/// fragmented, so that the path's MTU becomes known (RFC 2003 §5.1); `flow` spreads tunnels over equal paths.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one call, from the packet path; a struct would live on its small stack"
)]
pub fn write_outer<F: FrameMut>(
    frame: &mut F,
    at: usize,
    encap: Encap,
    packet: &Packet,
    local: &Addr,
    remote: &Addr,
    port_be: u16,
    flow: u32,
) -> Option<()> {
    const IPIP: u8 = 4;
    const IPV6: u8 = 41;
    const UDP: u8 = 17;
    let inner_protocol = if packet.v6 != 0 { IPV6 } else { IPIP };
    let protocol = if encap.gue { UDP } else { inner_protocol };
    let payload = packet.ip_len.checked_add(if encap.gue { 8 } else { 0 })?;
    let udp_at = if encap.v6 {
        let head = [
            (6u32 << 28 | (packet.tos as u32) << 20 | (flow & 0xf_ffff)).to_be(),
            ((payload as u32) << 16 | (protocol as u32) << 8 | 64).to_be(),
            local.0[0],
            local.0[1],
            local.0[2],
            local.0[3],
            remote.0[0],
            remote.0[1],
            remote.0[2],
            remote.0[3],
        ];
        frame.write(at, head)?;
        at + 40
    } else {
        let length = payload.checked_add(20)?;
        let words = [
            (0x45u32 << 24 | (packet.tos as u32) << 16 | length as u32).to_be(),
            0x4000u32.to_be(), // identification 0 (RFC 6864: atomic), don't fragment
            (64u32 << 24 | (protocol as u32) << 16).to_be(),
            local.v4_word(),
            remote.v4_word(),
        ];
        let mut sum = 0u64;
        let mut i = 0;
        while i < 5 {
            sum += (words[i] & 0xffff) as u64 + (words[i] >> 16) as u64;
            i += 1;
        }
        frame.write(at, words)?;
        frame.write(at + 10, header_sum(sum))?;
        at + 20
    };
    if encap.gue {
        // The checksum stays zero: the inner packet has its own (RFC 6935 allows that for tunnels over IPv6).
        let source = 0xc000 | (flow as u16 & 0x3fff);
        let ports = u32::from_be_bytes(concat16(source.to_be_bytes(), port_be.to_ne_bytes()));
        frame.write(udp_at, [ports.to_be(), (((payload as u32) << 16).to_be())])?;
    }
    Some(())
}

#[inline(always)]
const fn concat16(a: [u8; 2], b: [u8; 2]) -> [u8; 4] {
    [a[0], a[1], b[0], b[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SliceFrame, fold};
    use std::net::IpAddr;

    fn address(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ipip_header_byte_by_byte() {
        let mut bytes = [0u8; 20];
        let packet = Packet { ip_len: 60, tos: 0xb9, ..Packet::default() };
        let encap = Encap { v6: false, gue: false };
        write_outer(
            &mut SliceFrame(&mut bytes),
            0,
            encap,
            &packet,
            &address("192.168.2.21"),
            &address("10.9.0.101"),
            0,
            7,
        )
        .unwrap();
        assert_eq!(bytes[..10], [0x45, 0xb9, 0, 80, 0, 0, 0x40, 0, 64, 4]);
        assert_eq!(bytes[12..], [192, 168, 2, 21, 10, 9, 0, 101]);
        let sum = bytes.chunks(2).map(|w| u64::from(u16::from_ne_bytes([w[0], w[1]]))).sum();
        assert_eq!(fold(sum), 0xffff, "a receiver's check of the header sum");
    }

    #[test]
    fn gue_over_ipv6_byte_by_byte() {
        let mut bytes = [0u8; 48];
        let packet = Packet { ip_len: 60, tos: 2, ..Packet::default() };
        let encap = Encap { v6: true, gue: true };
        let port_be = GUE_PORT.to_be();
        write_outer(
            &mut SliceFrame(&mut bytes),
            0,
            encap,
            &packet,
            &address("fd00:2::21"),
            &address("fd00:9::101"),
            port_be,
            0x12345,
        )
        .unwrap();
        assert_eq!(bytes[..8], [0x60, 0x21, 0x23, 0x45, 0, 68, 17, 64]);
        assert_eq!(bytes[40..], [0xe3, 0x45, 0x17, 0xc0, 0, 68, 0, 0]);
    }
}
