//! Outer headers say where the packet goes and how long it is, and the packet inside is untouched.
use std::net::IpAddr;

use keel_abi::{Encap, Packet, Parsed, SliceFrame, write_outer};

use crate::packet::read;
use crate::{Take, reference};

/// Which tunnel, its ends, its port and flow, and a length; then a frame.
pub fn check(data: &[u8]) {
    let mut take = Take(data);
    let Some([form]) = take.bytes::<1>() else { return };
    let encap = Encap { v6: form & 1 != 0, gue: form & 2 != 0 };
    let (Some(local), Some(remote)) = (take.address(encap.v6), take.address(encap.v6)) else { return };
    let (Some(port_be), Some(flow), Some(length)) = (take.number(), take.bytes::<4>(), take.number()) else {
        return;
    };
    let flow = u32::from_ne_bytes(flow);
    let write = |frame: &mut [u8], at, packet: &Packet| {
        write_outer(&mut SliceFrame(frame), at, encap, packet, &local, &remote, port_be, flow)
    };

    let mut bare: Box<[u8]> = vec![0xaa; encap.overhead()].into();
    let any = Packet { ip_len: length, ..Packet::default() };
    let fits = usize::from(length) + encap.overhead() - if encap.v6 { 40 } else { 0 } <= 0xffff;
    assert_eq!(write(&mut bare, 0, &any).is_some(), fits, "{length} bytes in {encap:?}");
    assert!(fits || bare.iter().all(|byte| *byte == 0xaa), "half a header");
    assert!(write(&mut bare[1..], 0, &any).is_none(), "written beyond the end");

    let mut frame = take.frame();
    let (kind, packet) = read(&mut frame);
    if !matches!(kind, Parsed::Transport | Parsed::IcmpError) {
        return;
    }
    // As in the packet path: the Ethernet header is written anew, without tags or with one of its own.
    let ethertype: [u8; 2] = if encap.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let inner = &frame[usize::from(packet.l3)..][..usize::from(packet.ip_len)];
    let mut outer: Box<[u8]> =
        [&[2; 12], &ethertype[..], &vec![0xaa; encap.overhead()], inner].concat().into();
    if write(&mut outer, 14, &packet).is_none() {
        return;
    }
    let ip = reference::ip_packet(&outer);
    let ends = reference::ends(ip);
    assert_eq!((ends.src, ends.dst), (IpAddr::from(local), IpAddr::from(remote)));
    let plain = if packet.v6 != 0 { 41 } else { 4 };
    assert_eq!(ends.protocol, if encap.gue { 17 } else { plain });
    assert_eq!(ends.ports.map(|ports| ports.1), encap.gue.then_some(u16::from_be(port_be)));
    assert_eq!(reference::sums_hold(ip), Ok(()));
    assert_eq!(ip[encap.overhead()..], *inner);
    let (_, out) = read(&mut outer);
    assert_eq!((out.tos, out.ttl, out.dont_fragment), (packet.tos, 64, 1));
}
