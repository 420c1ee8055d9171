//! The frames that are measured with, and the bytes by which the walking program knows them (`ebpf/src/bin/bench.rs`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Our Ethernet address in all frames.
pub(crate) const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The client's or its router's.
pub(crate) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Flags of a segment that opens a connection.
pub(crate) const SYN: u8 = 0x02;
/// Flags of a segment of a connection.
pub(crate) const ACK: u8 = 0x10;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;

const LONG: usize = 80;
const SHORT: usize = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ETHERNET: usize = 14;
/// The spare word's first byte (see `spare_at`); the second is zero.
const SPARE: u8 = 0x80;

/// The first client. A flow's client is its number divided by 32,768 after that one.
pub(crate) const CLIENTS4: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
pub(crate) const CLIENTS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0);

/// Which end of the frame's packet is the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The client sends it.
    FromClient,
    /// A server sends it.
    ToClient,
}

/// What is in a TCP header besides the ports; the IPv4 frame's ten bytes behind it are data or padding.
#[derive(Debug, Clone, Copy)]
struct Segment {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    data: bool,
}

/// A frame whose flow can be varied.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    transport: usize,
    client_at: usize,
    port_at: usize,
    peers: u32,
    peer_at: usize,
}

impl Template {
    /// A TCP segment between a client and `peer`, the first of `peers` addresses in a row that take turns.
    pub(crate) fn tcp(way: Way, peer: IpAddr, peers: u32, port: u16, flags: u8) -> Self {
        Self::segment(
            way,
            peer,
            peers,
            port,
            Segment { flags, sequence: 1000, acknowledged: 2000, data: true },
        )
    }

    fn segment(way: Way, peer: IpAddr, peers: u32, port: u16, segment: Segment) -> Self {
        let mut template = Self::headers(way, peer, peers, TCP, port);
        let tcp = &mut template.bytes[template.transport..];
        tcp[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&segment.acknowledged.to_be_bytes());
        tcp[12..14].copy_from_slice(&[0x50, segment.flags]);
        tcp[14..18].copy_from_slice(&[0x10, 0, 0x12, 0x34]);
        if !segment.data && peer.is_ipv4() {
            template.shorten();
        }
        template
    }

    /// What an HTTP exchange sends on a connection of its own, in order: all of it, or what clients send of it.
    pub(crate) fn exchange(vip: Ipv4Addr, server: Ipv4Addr, port: u16, both_ways: bool) -> Vec<Self> {
        let segment = |way, flags, sequence, acknowledged, data| {
            let peer = if way == Way::FromClient { vip } else { server };
            (way, Self::segment(way, peer.into(), 1, port, Segment { flags, sequence, acknowledged, data }))
        };
        let (client, server) = (Way::FromClient, Way::ToClient);
        let all = [
            segment(client, SYN, 1000, 0, false),
            segment(server, SYN | ACK, 2000, 1001, false),
            segment(client, ACK, 1001, 2001, false),
            segment(client, PSH | ACK, 1001, 2001, true),
            segment(server, PSH | ACK, 2001, 1011, true),
            segment(client, FIN | ACK, 1011, 2011, false),
            segment(server, FIN | ACK, 2011, 1012, false),
            segment(client, ACK, 1012, 2012, false),
        ];
        all.into_iter().filter(|(way, _)| both_ways || *way == client).map(|(_, template)| template).collect()
    }

    /// Without payload; the frame is padded instead (IEEE 802.3 §4A.2.3.2.4).
    fn shorten(&mut self) {
        let header = &mut self.bytes[ETHERNET..ETHERNET + 20];
        header[3] = 40;
        header[10..12].copy_from_slice(&[0, 0]);
        let check = checksum(header);
        header[10..12].copy_from_slice(&check);
    }

    /// A datagram from a client.
    pub(crate) fn udp(peer: IpAddr, port: u16) -> Self {
        let mut template = Self::headers(Way::FromClient, peer, 1, UDP, port);
        let at = template.transport;
        let length = (template.bytes.len() - at) as u16;
        template.bytes[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        template
    }

    /// A frame that no packet path looks into.
    pub(crate) fn arp() -> Self {
        let mut template = Self::headers(Way::FromClient, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, TCP, 1);
        template.bytes[12..14].copy_from_slice(&[0x08, 0x06]);
        template
    }

    /// With other Ethernet addresses.
    pub(crate) fn between(mut self, to: [u8; 6], from: [u8; 6]) -> Self {
        self.bytes[..6].copy_from_slice(&to);
        self.bytes[6..12].copy_from_slice(&from);
        self
    }

    fn headers(way: Way, peer: IpAddr, peers: u32, protocol: u8, port: u16) -> Self {
        let ethernet = |ethertype: [u8; 2]| [&OWN_MAC[..], &PEER_MAC, &ethertype].concat();
        let mut bytes = match peer {
            IpAddr::V4(peer) => {
                let (src, dst) = ordered(way, CLIENTS4, peer);
                let head = [0x45, 0, 0, (SHORT - ETHERNET) as u8, SPARE, 0, 0x40, 0, 64, protocol, 0, 0];
                let mut header = [&head[..], &src.octets(), &dst.octets()].concat();
                let check = checksum(&header);
                header[10..12].copy_from_slice(&check);
                [ethernet([0x08, 0x00]), header].concat()
            }
            IpAddr::V6(peer) => {
                let (src, dst) = ordered(way, CLIENTS6, peer);
                let head = [0x60, 0, 0, 0, 0, (LONG - ETHERNET - 40) as u8, protocol, 64];
                [ethernet([0x86, 0xdd]), [&head[..], &src.octets(), &dst.octets()].concat()].concat()
            }
        };
        let transport = bytes.len();
        bytes.resize(if peer.is_ipv4() { SHORT } else { LONG }, 0);
        // The low words of source and destination end where the transport header begins; both families agree.
        let (word, gap) = (4, if peer.is_ipv4() { 4 } else { 16 });
        let (dst_at, src_at) = (transport - word, transport - word - gap);
        let from_client = way == Way::FromClient;
        let (client_at, peer_at) = if from_client { (src_at, dst_at) } else { (dst_at, src_at) };
        let (port_at, peer_port_at) =
            if from_client { (transport, transport + 2) } else { (transport + 2, transport) };
        bytes[peer_port_at..peer_port_at + 2].copy_from_slice(&port.to_be_bytes());
        Self { bytes, transport, client_at, port_at, peers, peer_at }
    }

    /// The identification of IPv4, half of the flow label of IPv6.
    fn spare_at(&self) -> usize {
        if self.bytes.len() == SHORT { ETHERNET + 4 } else { ETHERNET + 2 }
    }

    /// As the walking program reads it.
    pub(crate) fn image(&self) -> [u8; 112] {
        let mut image = [0; 112];
        image[..self.bytes.len()].copy_from_slice(&self.bytes);
        let low = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| self.bytes[at + i]));
        let peers = if self.peers > 1 { self.peers } else { 0 };
        let words = [
            self.bytes.len() as u32,
            low(self.client_at),
            self.client_at as u32,
            self.port_at as u32,
            peers,
            low(self.peer_at),
            self.peer_at as u32,
            self.spare_at() as u32,
        ];
        for (i, word) in words.iter().enumerate() {
            image[80 + i * 4..84 + i * 4].copy_from_slice(&word.to_ne_bytes());
        }
        image
    }
}

fn ordered<T>(way: Way, client: T, peer: T) -> (T, T) {
    match way {
        Way::FromClient => (client, peer),
        Way::ToClient => (peer, client),
    }
}

/// Of an IPv4 header (RFC 791 §3.1).
fn checksum(header: &[u8]) -> [u8; 2] {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
