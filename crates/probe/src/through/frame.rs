//! Frames as the packet path sends them: an Ethernet header, in TUN the tunnel's headers, and the packet as it is.
use std::net::IpAddr;

use keel_abi::{Addr, Encap, FrameMut, Packet, SliceFrame, mac, set_ethernet, write_outer};

use crate::place::{Tunnel, Via};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;

/// Bytes in front of the packet.
pub(super) fn overhead(via: &Via) -> usize {
    14 + if via.vlan == 0 { 0 } else { 4 } + wrapped(via)
}

/// Bytes of them that the path's MTU counts.
pub(super) fn wrapped(via: &Via) -> usize {
    via.tunnel.as_ref().map_or(0, |tunnel| encap(tunnel).overhead())
}

fn encap(tunnel: &Tunnel) -> Encap {
    Encap { v6: tunnel.remote.is_ipv6(), gue: tunnel.gue.is_some() }
}

/// Writes all that stands in front of a packet of `length` bytes, of `vip`'s family. None if there is no room.
pub(super) fn write(frame: &mut [u8], via: &Via, vip: IpAddr, length: usize, flow: u32) -> Option<()> {
    let outer = via.tunnel.map_or(vip, |tunnel| tunnel.remote);
    let ethertype = if outer.is_ipv4() { IPV4 } else { IPV6 };
    let mut frame = SliceFrame(frame);
    set_ethernet(&mut frame, mac(via.mac), mac(via.own_mac))?;
    let mut at = 12;
    if via.vlan != 0 {
        frame.write(at, VLAN.to_be())?;
        frame.write(at + 2, via.vlan.to_be())?;
        at += 4;
    }
    frame.write(at, ethertype.to_be())?;
    let Some(tunnel) = &via.tunnel else { return Some(()) };
    let ip_len = u16::try_from(length).ok()?;
    let packet = Packet { ip_len, v6: vip.is_ipv6().into(), ..Packet::default() };
    let (local, remote) = (Addr::from(tunnel.local), Addr::from(tunnel.remote));
    let port = tunnel.gue.unwrap_or(0).to_be();
    write_outer(&mut frame, at + 2, encap(tunnel), &packet, &local, &remote, port, flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(vlan: u16, tunnel: Option<Tunnel>) -> Via {
        Via {
            mac: [2, 0, 0, 0, 0, 9],
            own_mac: [2, 0, 0, 0, 0, 1],
            interface: 3,
            vlan,
            mtu: 1500,
            source: "192.0.2.1".parse().unwrap(),
            tunnel,
        }
    }

    fn written(via: &Via, vip: &str) -> Vec<u8> {
        let mut frame = vec![0; overhead(via) + 40];
        write(&mut frame, via, vip.parse().unwrap(), 40, 7).unwrap();
        frame.truncate(overhead(via));
        frame
    }

    #[test]
    fn direct_routing_changes_the_ethernet_address_alone() {
        let frame = written(&via(0, None), "192.0.2.80");
        assert_eq!(frame, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]);
    }

    #[test]
    fn a_vlan_is_tagged() {
        let frame = written(&via(12, None), "2001:db8::80");
        assert_eq!(frame[12..], [0x81, 0, 0, 12, 0x86, 0xdd]);
    }

    #[test]
    fn a_tunnels_server_decides_the_family_outside() {
        let ends = |local: &str, remote: &str, gue| {
            Some(Tunnel { local: local.parse().unwrap(), remote: remote.parse().unwrap(), gue })
        };
        let frame = written(&via(0, ends("192.0.2.1", "198.51.100.7", None)), "2001:db8::80");
        assert_eq!((&frame[12..14], frame[23], frame.len()), (&[8, 0][..], 41, 34));
        assert_eq!(frame[26..34], [192, 0, 2, 1, 198, 51, 100, 7]);
        let frame = written(&via(0, ends("2001:db8::1", "2001:db8::7", Some(6080))), "192.0.2.80");
        assert_eq!((&frame[12..14], frame[20], frame.len()), (&[0x86, 0xdd][..], 17, 62));
        assert_eq!(frame[56..58], 6080u16.to_be_bytes());
    }
}
