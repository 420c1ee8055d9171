//! IP packets written by hand, and the raw socket of a node that sends them.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Rig;

const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The packet brings its own IP header (`IPPROTO_RAW`).
const RAW: i32 = 255;

/// An IP packet to be sent.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Where it claims to come from.
    pub from: IpAddr,
    /// Where it goes.
    pub to: IpAddr,
    /// All of it, IP header first.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// A TCP segment with these flags and without options or data.
    pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, sequence: u32) -> Self {
        let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        Self::of(from.ip(), to.ip(), TCP, segment, 16)
    }

    /// A UDP datagram.
    pub fn udp(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Self {
        let length = u16::try_from(8 + data.len()).unwrap();
        let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        segment.extend([length.to_be_bytes(), [0, 0]].concat());
        segment.extend(data);
        Self::of(from.ip(), to.ip(), UDP, segment, 6)
    }

    /// An ICMP echo request.
    pub fn echo(from: IpAddr, to: IpAddr, identifier: u16) -> Self {
        let kind = if to.is_ipv4() { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend([identifier.to_be_bytes(), [0, 1]].concat());
        if to.is_ipv6() {
            return Self::of(from, to, ICMP6, message, 2);
        }
        let sum = checksum(&[&message]);
        message.splice(2..4, sum);
        Self::plain(from, to, ICMP, &message)
    }

    /// Any protocol, with its checksum at this offset of its own header.
    fn of(from: IpAddr, to: IpAddr, protocol: u8, mut payload: Vec<u8>, sum_at: usize) -> Self {
        let pseudo = pseudo_header(from, to, protocol, payload.len());
        let sum = checksum(&[&pseudo, &payload]);
        payload.splice(sum_at..sum_at + 2, sum);
        Self::plain(from, to, protocol, &payload)
    }

    /// Any protocol, as it is.
    pub fn plain(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        let length = payload.len();
        let bytes = match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let total = u16::try_from(20 + length).unwrap().to_be_bytes();
                let mut ip = vec![0x45, 0, total[0], total[1], 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
                ip.extend([source.octets(), target.octets()].concat());
                let sum = checksum(&[&ip]);
                ip.splice(10..12, sum);
                [ip, payload.to_vec()].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let length = u16::try_from(length).unwrap().to_be_bytes();
                let mut ip = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
                ip.extend([source.octets(), target.octets()].concat());
                [ip, payload.to_vec()].concat()
            }
            _ => panic!("{from} and {to} are of different families"),
        };
        Self { from, to, bytes }
    }
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut pseudo = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, protocol]);
    pseudo.extend(u16::try_from(length).unwrap().to_be_bytes());
    pseudo
}

/// The Internet checksum (RFC 1071).
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// A raw socket of the calling thread's node.
pub(crate) fn socket(target: IpAddr) -> Socket {
    let domain = Domain::for_address(SocketAddr::new(target, 0));
    Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))).unwrap()
}

impl Rig {
    /// Sends packets as they are from a node. What the kernel itself refuses to send is not sent.
    pub fn send(&self, node: &str, packets: &[Packet]) {
        self.inside(node, || {
            for packet in packets {
                let target = SocketAddr::new(packet.to, 0);
                let _ = socket(packet.to).send_to(&packet.bytes, &target.into());
            }
        });
    }
}
