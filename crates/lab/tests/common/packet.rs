//! Packets written by hand, for what a balancer would send, and the socket that waits for the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use keel_lab::{Lab, LabError};

use super::PATIENCE;

const CLIENT_PORT: u16 = 4321;
const UDP: u8 = 17;

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An IP packet: the client's UDP question to port 9000 of an address, with valid checksums.
pub(crate) fn question(server: IpAddr) -> Vec<u8> {
    let mut udp = [CLIENT_PORT.to_be_bytes(), 9000_u16.to_be_bytes(), [0, 12], [0, 0]].concat();
    udp.extend(b"who\n");
    let pseudo = [0, UDP, 0, 12];
    match server {
        IpAddr::V4(server) => {
            let addresses = [Ipv4Addr::new(192, 168, 3, 10).octets(), server.octets()].concat();
            udp.splice(6..8, checksum(&[&addresses, &pseudo, &udp]));
            let mut ip = [&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, UDP, 0, 0][..], &addresses].concat();
            ip.splice(10..12, checksum(&[&ip]));
            [ip, udp].concat()
        }
        IpAddr::V6(server) => {
            let addresses = ["fd00:3::10".parse::<Ipv6Addr>().unwrap().octets(), server.octets()].concat();
            udp.splice(6..8, checksum(&[&addresses, &pseudo, &udp]));
            [&[0x60, 0, 0, 0, 0, 12, UDP, 64][..], &addresses, &udp].concat()
        }
    }
}

/// The client's socket for the answer to its question.
pub(crate) fn client(lab: &Lab, server: IpAddr) -> UdpSocket {
    let open = || {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() };
        let socket = UdpSocket::bind((any, CLIENT_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, 9000))?;
        Ok::<_, std::io::Error>(socket)
    };
    lab.within("client", || Ok::<_, LabError>(open())).unwrap().unwrap()
}
