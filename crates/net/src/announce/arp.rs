//! Gratuitous ARP frames (RFC 826, RFC 5944 §4.6). Pure.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Ethernet header and ARP body. Drivers pad it to the 60 bytes of the wire.
pub const FRAME_LEN: usize = 42;

const ETHERTYPE: u16 = 0x0806;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// "Who has `ip`? Tell `ip`": the form that every stack accepts and most learn from.
pub fn gratuitous_request(mac: MacAddr, ip: Ipv4Addr) -> [u8; FRAME_LEN] {
    frame(REQUEST, mac, ip, MacAddr([0; 6]))
}

/// "`ip` is at `mac`", told to everybody unasked.
pub fn gratuitous_reply(mac: MacAddr, ip: Ipv4Addr) -> [u8; FRAME_LEN] {
    frame(REPLY, mac, ip, mac)
}

fn frame(operation: u16, mac: MacAddr, ip: Ipv4Addr, target_mac: MacAddr) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[0..6].copy_from_slice(&MacAddr::BROADCAST.octets());
    frame[6..12].copy_from_slice(&mac.octets());
    frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    // Hardware type 1 (Ethernet), protocol IPv4, address lengths 6 and 4.
    frame[14..20].copy_from_slice(&[0, 1, 0x08, 0x00, 6, 4]);
    frame[20..22].copy_from_slice(&operation.to_be_bytes());
    frame[22..28].copy_from_slice(&mac.octets());
    frame[28..32].copy_from_slice(&ip.octets());
    frame[32..38].copy_from_slice(&target_mac.octets());
    frame[38..42].copy_from_slice(&ip.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 10, 0, 0, 1]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn the_request_form_byte_by_byte() {
        #[rustfmt::skip]
        assert_eq!(gratuitous_request(MAC, IP), [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  2, 0, 10, 0, 0, 1,  0x08, 0x06,
            0, 1,  8, 0,  6, 4,  0, 1,
            2, 0, 10, 0, 0, 1,  10, 0, 0, 9,
            0, 0, 0, 0, 0, 0,   10, 0, 0, 9,
        ]);
    }

    #[test]
    fn the_reply_form_byte_by_byte() {
        #[rustfmt::skip]
        assert_eq!(gratuitous_reply(MAC, IP), [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  2, 0, 10, 0, 0, 1,  0x08, 0x06,
            0, 1,  8, 0,  6, 4,  0, 2,
            2, 0, 10, 0, 0, 1,  10, 0, 0, 9,
            2, 0, 10, 0, 0, 1,  10, 0, 0, 9,
        ]);
    }
}
