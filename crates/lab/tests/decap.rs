//! A real server takes tunnel packets of every kind that the appliance sends, and answers the client from the VIP.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use common::{PATIENCE, lab};
use keel_lab::{Lab, LabError, Topology};
use socket2::{Domain, Protocol, Socket, Type};

const CLIENT_PORT: u16 = 4321;
const GUE_PORT: u16 = 6080;
const UDP: u8 = 17;
/// Protocol numbers of an IPv4 and of an IPv6 packet inside another IP packet.
const IPV4_INSIDE: i32 = 4;
const IPV6_INSIDE: i32 = 41;

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A UDP datagram from the client to port 9000 of a VIP, with valid checksums.
fn packet(vip: IpAddr) -> Vec<u8> {
    let mut udp = [CLIENT_PORT.to_be_bytes(), 9000_u16.to_be_bytes(), [0, 12], [0, 0]].concat();
    udp.extend(b"who\n");
    let pseudo = [0, UDP, 0, 12];
    match vip {
        IpAddr::V4(vip) => {
            let addresses = [Ipv4Addr::new(192, 168, 3, 10).octets(), vip.octets()].concat();
            udp.splice(6..8, checksum(&[&addresses, &pseudo, &udp]));
            let mut ip = [&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, UDP, 0, 0][..], &addresses].concat();
            ip.splice(10..12, checksum(&[&ip]));
            [ip, udp].concat()
        }
        IpAddr::V6(vip) => {
            let addresses = ["fd00:3::10".parse::<Ipv6Addr>().unwrap().octets(), vip.octets()].concat();
            udp.splice(6..8, checksum(&[&addresses, &pseudo, &udp]));
            [&[0x60, 0, 0, 0, 0, 12, UDP, 64][..], &addresses, &udp].concat()
        }
    }
}

/// Sends from lb1, as an IP packet in an IP packet.
fn send_in_ip(lab: &Lab, server: IpAddr, packet: &[u8]) {
    let protocol = if packet[0] >> 4 == 4 { IPV4_INSIDE } else { IPV6_INSIDE };
    let domain = Domain::for_address(SocketAddr::new(server, 0));
    let send = || {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.send_to(packet, &SocketAddr::new(server, 0).into())
    };
    lab.within("lb1", || Ok::<_, LabError>(send())).unwrap().unwrap();
}

fn send_in_gue(lab: &Lab, server: IpAddr, packet: &[u8]) {
    let send = || {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() };
        UdpSocket::bind((any, 0))?.send_to(packet, (server, GUE_PORT))
    };
    lab.within("lb1", || Ok::<_, LabError>(send())).unwrap().unwrap();
}

/// The client's socket, waiting for an answer from the VIP.
fn client(lab: &Lab, vip: IpAddr) -> UdpSocket {
    let open = || {
        let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() };
        let socket = UdpSocket::bind((any, CLIENT_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((vip, 9000))?;
        Ok::<_, std::io::Error>(socket)
    };
    lab.within("client", || Ok::<_, LabError>(open())).unwrap().unwrap()
}

#[test]
fn a_server_unpacks_every_tunnel_and_answers_from_the_vip() {
    let lab = lab("decap", Topology::Tunnel);
    let vips: [IpAddr; 2] = ["192.168.2.200".parse().unwrap(), "fd00:2::200".parse().unwrap()];
    let servers: [IpAddr; 2] = ["10.9.0.102".parse().unwrap(), "fd00:9::102".parse().unwrap()];
    for vip in vips {
        let packet = packet(vip);
        let client = client(&lab, vip);
        for server in servers {
            for send in [send_in_ip, send_in_gue] {
                send(&lab, server, &packet);
                let mut buffer = [0; 16];
                let length =
                    client.recv(&mut buffer).unwrap_or_else(|error| panic!("{vip} by {server}: {error}"));
                assert_eq!(&buffer[..length], b"rs2\n");
            }
        }
    }
}
