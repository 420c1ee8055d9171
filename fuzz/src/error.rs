//! ICMP errors: the flow that they quote, their translation both ways, and what this node answers itself.
use keel_abi::{
    Addr, FragmentPart, IcmpKind, InnerFlow, Packet, Parsed, ResetTo, SliceFrame, icmp_forward, icmp_reverse,
    inner_flow, parse, write_icmp_error, write_tcp_reset,
};

use crate::packet::{around, read};
use crate::{Take, reference};

/// An address, a port and an MTU, then a frame.
pub fn check(data: &[u8]) {
    let mut take = Take(data);
    let (Some(address), Some(port), Some(mtu)) = (take.bytes::<16>(), take.number(), take.number()) else {
        return;
    };
    let mut frame = take.frame();
    let (kind, packet) = read(&mut frame);
    let Some(to) = Take(&address).address(packet.v6 != 0) else { return };
    match kind {
        Parsed::IcmpError => translate(&mut frame, &packet, &to, port),
        Parsed::Transport => {
            answer(&frame, &packet, IcmpKind::TooBig(mtu));
            answer(&frame, &packet, IcmpKind::TimeExceeded);
            reset(&frame, &packet, ResetTo::Sender);
            reset(&frame, &packet, ResetTo::Receiver);
        }
        Parsed::Other | Parsed::Malformed => {}
    }
}

fn quoted(frame: &mut [u8], packet: &Packet) -> Option<InnerFlow> {
    let mut inner = InnerFlow::default();
    inner_flow(&SliceFrame(frame), packet, &mut inner)?;
    Some(inner)
}

fn translate(frame: &mut Box<[u8]>, packet: &Packet, to: &Addr, port_be: u16) {
    let Some(inner) = quoted(frame, packet) else { return };
    let v6 = packet.v6 != 0;
    assert_eq!([inner.key.src.is_v4(), inner.key.dst.is_v4()], [!v6; 2], "a quote of the other family");
    let end = packet.l3 + packet.ip_len;
    assert!(inner.l4 + 4 <= end, "ports read from behind the packet's end at {end}: {inner:?}");
    reference::correct_sums(frame, usize::from(packet.l3));
    let original = frame.clone();
    let (Some(inner), before) = (quoted(frame, packet), around(frame, packet)) else { return };

    assert!(icmp_forward(&mut SliceFrame(frame), packet, &inner, to, port_be).is_some());
    let (there, quote) = translated(frame, &before);
    assert_eq!((there.key.dst, there.key.src), (*to, packet.key.src));
    assert_eq!((quote.key.src, quote.key.sport_be), (*to, port_be));
    assert_eq!((quote.key.dst, quote.key.dport_be), (inner.key.dst, inner.key.dport_be));
    if inner.key.src == packet.key.dst {
        let (old, old_port) = (inner.key.src, inner.key.sport_be);
        assert!(icmp_forward(&mut SliceFrame(frame), &there, &quote, &old, old_port).is_some());
        assert_eq!(*frame, original, "forward and back");
    }

    frame.copy_from_slice(&original);
    assert!(icmp_reverse(&mut SliceFrame(frame), packet, &inner, to, port_be).is_some());
    let (back, quote) = translated(frame, &before);
    assert_eq!((back.key.src, back.key.dst), (*to, packet.key.dst));
    assert_eq!((quote.key.dst, quote.key.dport_be), (*to, port_be));
    assert_eq!((quote.key.src, quote.key.sport_be), (inner.key.src, inner.key.sport_be));
}

/// A translated error is one still, and right.
fn translated(frame: &mut [u8], before: &[u8]) -> (Packet, InnerFlow) {
    let (kind, packet) = read(frame);
    assert_eq!(kind, Parsed::IcmpError);
    let ip = reference::ip_packet(frame);
    assert_eq!(reference::sums_hold(ip), Ok(()));
    assert!(packet.v6 != 0 || reference::quoted_sum_holds(ip), "the quoted header's sum: {ip:02x?}");
    assert_eq!(around(frame, &packet), before, "bytes outside the packet");
    let inner = quoted(frame, &packet);
    (packet, inner.unwrap_or_else(|| panic!("the quote is gone: {frame:02x?}")))
}

/// As in the packet path: the packet is cut to what is quoted, and room is made in front of its Ethernet header.
fn answer(frame: &[u8], packet: &Packet, kind: IcmpKind) {
    let v6 = packet.v6 != 0;
    let l3 = usize::from(packet.l3);
    if packet.fragment == FragmentPart::Later as u8 || frame.len() < l3 + IcmpKind::quote(v6) {
        return;
    }
    let offender = &frame[l3..l3 + IcmpKind::quote(v6)];
    let mut made: Box<[u8]> = [&frame[..l3], &vec![0xaa; IcmpKind::room(v6)], offender].concat().into();
    assert!(write_icmp_error(&mut SliceFrame(&mut made), l3, packet, kind).is_some());
    let (parsed, error) = read(&mut made);
    assert_eq!(parsed, Parsed::IcmpError);
    assert_eq!((error.key.src, error.key.dst), (packet.key.dst, packet.key.src));
    let ip = reference::ip_packet(&made);
    assert_eq!(reference::sums_hold(ip), Ok(()));
    assert_eq!(reference::quote(ip), offender);
    assert_eq!(made[..l3], frame[..l3]);
    if let Some(inner) = quoted(&mut made, &error) {
        assert_eq!(inner.key, packet.key, "who gets the error finds its connection");
    }
}

/// As in the packet path: only TCP without options or extension headers, cut behind its header.
fn reset(frame: &[u8], packet: &Packet, to: ResetTo) {
    const RST: u8 = 4;
    let header = if packet.v6 != 0 { 40 } else { 20 };
    let whole = packet.fragment == FragmentPart::Whole as u8;
    if packet.key.proto != 6 || !whole || packet.l4 != packet.l3 + header || packet.tcp_flags & RST != 0 {
        return;
    }
    let l3 = usize::from(packet.l3);
    let mut made: Box<[u8]> = frame[..l3 + usize::from(header) + 20].into();
    assert!(write_tcp_reset(&mut SliceFrame(&mut made), packet, to).is_some());
    let mut after = Packet::default();
    assert_eq!(parse(&SliceFrame(&mut made), &mut after), Parsed::Transport);
    assert_eq!(reference::sums_hold(reference::ip_packet(&made)), Ok(()));
    let key = if matches!(to, ResetTo::Sender) { packet.key.reversed() } else { packet.key };
    assert_eq!((after.key, after.ip_len), (key, header + 20));
    assert_ne!(after.tcp_flags & RST, 0);
    assert_eq!(made[..l3], frame[..l3]);
}
