//! A real server takes tunnel packets of every kind that the appliance sends, and answers the client from the VIP.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use common::lab;
use common::packet::{client, question};
use keel_lab::{Lab, LabError, Topology};
use socket2::{Domain, Protocol, Socket, Type};

const GUE_PORT: u16 = 6080;
/// Protocol numbers of an IPv4 and of an IPv6 packet inside another IP packet.
const IPV4_INSIDE: i32 = 4;
const IPV6_INSIDE: i32 = 41;

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

#[test]
fn a_server_unpacks_every_tunnel_and_answers_from_the_vip() {
    let lab = lab("decap", Topology::Tunnel);
    let vips: [IpAddr; 2] = ["192.168.2.200".parse().unwrap(), "fd00:2::200".parse().unwrap()];
    let servers: [IpAddr; 2] = ["10.9.0.102".parse().unwrap(), "fd00:9::102".parse().unwrap()];
    for vip in vips {
        let packet = question(vip);
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
