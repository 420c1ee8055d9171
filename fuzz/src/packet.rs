//! What the parser says is so, and rewriting a packet changes what it should and nothing else.
use std::net::IpAddr;

use keel_abi::{
    Addr, FragmentPart, Packet, Parsed, SliceFrame, decrement_ttl, nat_forward, nat_reverse, parse,
};

use crate::{Take, reference};

/// Reads a frame twice, the second time over what another packet left behind, as in the packet path.
pub fn read(frame: &mut [u8]) -> (Parsed, Packet) {
    let before = frame.to_vec();
    let (mut packet, mut used) = (Packet::default(), dirty());
    let kind = parse(&SliceFrame(frame), &mut packet);
    assert_eq!(parse(&SliceFrame(frame), &mut used), kind, "the packet before this one changed what it is");
    assert_eq!(before, frame, "reading changed the frame");
    if matches!(kind, Parsed::Transport | Parsed::IcmpError) {
        used.pad = packet.pad;
        assert_eq!(used, packet, "something of the packet before this one is left");
        read_right(frame, kind, &packet);
    }
    (kind, packet)
}

fn dirty() -> Packet {
    let all = Addr([u32::MAX; 4]);
    let mut packet = Packet { vlan: [0xffff; 2], fragment_id: u32::MAX, ..Packet::default() };
    (packet.key.src, packet.key.dst, packet.key.sport_be, packet.key.dport_be) = (all, all, 0xffff, 0xffff);
    (packet.key.proto, packet.key.pad) = (0xff, [0xff; 3]);
    (packet.l3, packet.l4, packet.ip_len) = (0xffff, 0xffff, 0xffff);
    (packet.v6, packet.ttl, packet.tos, packet.tcp_flags) = (0xff, 0xff, 0xff, 0xff);
    (packet.fragment, packet.dont_fragment, packet.tags) = (0xff, 0xff, 0xff);
    packet
}

/// The reference agrees, and nothing that was read lies outside the IP packet.
fn read_right(frame: &[u8], kind: Parsed, packet: &Packet) {
    let ip = reference::ip_packet(frame);
    let ends = reference::ends(ip);
    assert_eq!((IpAddr::from(packet.key.src), IpAddr::from(packet.key.dst)), (ends.src, ends.dst));
    assert_eq!((packet.key.proto, packet.key.pad), (ends.protocol, [0; 3]));
    let ports = (u16::from_be(packet.key.sport_be), u16::from_be(packet.key.dport_be));
    assert_eq!(ports, ends.ports.unwrap_or_default());
    assert_eq!(usize::from(packet.l3), 14 + 4 * usize::from(packet.tags));
    assert_eq!(usize::from(packet.ip_len), ip.len());
    assert_eq!(packet.v6 == 0, ends.src.is_ipv4());
    let header = match (kind, packet.key.proto) {
        (Parsed::Transport, _) if packet.fragment == FragmentPart::Later as u8 => 0,
        (Parsed::Transport, 6) => 20,
        (Parsed::Transport, _) => 8,
        _ => 1,
    };
    let end = usize::from(packet.l3 + packet.ip_len);
    assert!(usize::from(packet.l4) + header <= end && end <= frame.len(), "{packet:?}");
    let mut short = frame[..end - 1].to_vec();
    let cut = parse(&SliceFrame(&mut short), &mut Packet::default());
    // Other, if it is the last byte of a bare IP header: without its addresses nobody can say whose it is.
    assert!(matches!(cut, Parsed::Malformed | Parsed::Other), "a packet that lacks its last byte: {cut:?}");
}

/// What is in front of the IP packet and behind it.
pub fn around(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let end = usize::from(packet.l3) + usize::from(packet.ip_len);
    [&frame[..usize::from(packet.l3)], &frame[end..]].concat()
}

/// An address and a port, then a frame.
pub fn check(data: &[u8]) {
    let mut take = Take(data);
    let (Some(address), Some(port)) = (take.bytes::<16>(), take.number()) else { return };
    let mut frame = take.frame();
    let (kind, packet) = read(&mut frame);
    if kind != Parsed::Transport {
        return;
    }
    let Some(to) = Take(&address).address(packet.v6 != 0) else { return };
    reference::correct_sums(&mut frame, usize::from(packet.l3));
    hop(&frame, &packet);
    there_and_back(&frame, &packet, &to, port);
}

/// One hop less is one hop less.
fn hop(frame: &[u8], packet: &Packet) {
    let mut moved: Box<[u8]> = frame.into();
    assert!(decrement_ttl(&mut SliceFrame(&mut moved), packet).is_some());
    let after = read(&mut moved).1;
    assert_eq!(after, Packet { ttl: packet.ttl.wrapping_sub(1), ..*packet });
    assert_eq!(reference::sums_hold(reference::ip_packet(&moved)), Ok(()));
    assert_eq!(around(&moved, packet), around(frame, packet));
}

/// To a server and back again is where it began, and every sum on the way is right.
fn there_and_back(original: &[u8], packet: &Packet, to: &Addr, port_be: u16) {
    let later = packet.fragment == FragmentPart::Later as u8;
    let key = packet.key;
    let mut frame: Box<[u8]> = original.into();

    assert!(nat_forward(&mut SliceFrame(&mut frame), packet, to, port_be).is_some());
    let (kind, there) = read(&mut frame);
    let dport_be = if later { 0 } else { port_be };
    let expected = keel_abi::FlowKey { dst: *to, dport_be, ..key };
    assert_eq!((kind, there), (Parsed::Transport, Packet { key: expected, ..*packet }));
    assert_eq!(reference::sums_hold(reference::ip_packet(&frame)), Ok(()));
    assert_eq!(around(&frame, packet), around(original, packet));

    assert!(nat_forward(&mut SliceFrame(&mut frame), &there, &key.dst, key.dport_be).is_some());
    assert_eq!(*frame, *original, "forward and back");

    assert!(nat_reverse(&mut SliceFrame(&mut frame), packet, to, port_be).is_some());
    let back = read(&mut frame).1;
    assert_eq!((back.key.src, back.key.dst), (*to, key.dst));
    assert_eq!(reference::sums_hold(reference::ip_packet(&frame)), Ok(()));
    assert_eq!(around(&frame, packet), around(original, packet));
    assert!(nat_reverse(&mut SliceFrame(&mut frame), &back, &key.src, key.sport_be).is_some());
    assert_eq!(*frame, *original, "reverse and back");
}
