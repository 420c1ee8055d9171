//! Frames built from scratch, every checksum computed in full, by code that shares nothing with the packet path; and a
//! reader that verifies what comes out.
use std::net::IpAddr;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// What travels in the IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    Tcp {
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        flags: u8,
        data: Vec<u8>,
    },
    Udp {
        ports: (u16, u16),
        data: Vec<u8>,
        sum: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: u32,
        data: Vec<u8>,
    },
    /// Any protocol's bytes as they are.
    Raw {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

/// A frame to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkt {
    pub to: [u8; 6],
    pub from: [u8; 6],
    /// Tag protocol and control information, outside in.
    pub tags: Vec<(u16, u16)>,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    pub dont_fragment: bool,
    /// IPv6 flow label.
    pub flow: u32,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: their type, and their bytes without the first (next header).
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub load: Load,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn end(text: &str) -> (IpAddr, u16) {
    let end: std::net::SocketAddr = text.parse().unwrap();
    (end.ip(), end.port())
}

impl Pkt {
    fn new(src: IpAddr, dst: IpAddr, load: Load) -> Self {
        Self {
            to: super::FRONT_MAC,
            from: super::CLIENT_MAC,
            tags: Vec::new(),
            src,
            dst,
            tos: 0,
            ttl: 64,
            id: 0x1234,
            dont_fragment: true,
            flow: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            load,
        }
    }

    /// A TCP packet between two ends, written `address:port`.
    pub fn tcp(src: &str, dst: &str, flags: u8) -> Self {
        let ((src, sport), (dst, dport)) = (end(src), end(dst));
        let data = if flags & PSH != 0 { b"GET / HTTP/1.0\r\n\r".to_vec() } else { Vec::new() };
        let ack = if flags & ACK != 0 { 0x0102_0304 } else { 0 };
        Self::new(src, dst, Load::Tcp { ports: (sport, dport), seq: 0x8899_aabb, ack, flags, data })
    }

    pub fn udp(src: &str, dst: &str) -> Self {
        let ((src, sport), (dst, dport)) = (end(src), end(dst));
        Self::new(src, dst, Load::Udp { ports: (sport, dport), data: b"a datagram".to_vec(), sum: true })
    }

    /// An ICMP (or ICMPv6) error that quotes the first `quote` bytes of an IP packet.
    pub fn icmp_error(
        src: &str,
        dst: &str,
        kind: u8,
        code: u8,
        rest: u32,
        quoted: &[u8],
        quote: usize,
    ) -> Self {
        let data = quoted[..quote.min(quoted.len())].to_vec();
        Self::new(ip(src), ip(dst), Load::Icmp { kind, code, rest, data })
    }

    pub fn raw(src: &str, dst: &str, protocol: u8, bytes: Vec<u8>) -> Self {
        Self::new(ip(src), ip(dst), Load::Raw { protocol, bytes })
    }

    pub fn mac(mut self, from: [u8; 6], to: [u8; 6]) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    pub fn tag(mut self, tci: u16) -> Self {
        self.tags = vec![(0x8100, tci)];
        self
    }

    pub fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    pub fn qinq(mut self, outer: u16, inner: u16) -> Self {
        self.tags = vec![(0x88a8, outer), (0x8100, inner)];
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// One hop later.
    pub fn hop(mut self) -> Self {
        self.ttl -= 1;
        self
    }

    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub fn extension(mut self, kind: u8, rest: &[u8]) -> Self {
        self.extensions.push((kind, rest.to_vec()));
        self
    }

    pub fn data(mut self, length: usize) -> Self {
        let bytes: Vec<u8> = (0..length).map(|i| (i * 7 + 3) as u8).collect();
        match &mut self.load {
            Load::Tcp { data, .. } | Load::Udp { data, .. } | Load::Icmp { data, .. } => *data = bytes,
            Load::Raw { bytes: old, .. } => *old = bytes,
        }
        self
    }

    pub fn no_sum(mut self) -> Self {
        if let Load::Udp { sum, .. } = &mut self.load {
            *sum = false;
        }
        self
    }

    pub fn seq(mut self, new_seq: u32, new_ack: u32) -> Self {
        if let Load::Tcp { seq, ack, .. } = &mut self.load {
            (*seq, *ack) = (new_seq, new_ack);
        }
        self
    }

    pub fn flags(mut self, new: u8) -> Self {
        if let Load::Tcp { flags, .. } = &mut self.load {
            *flags = new;
        }
        self
    }

    fn ports_mut(&mut self) -> &mut (u16, u16) {
        match &mut self.load {
            Load::Tcp { ports, .. } | Load::Udp { ports, .. } => ports,
            _ => panic!("no ports"),
        }
    }

    pub fn source(mut self, at: &str) -> Self {
        let (address, port) = end(at);
        self.src = address;
        self.ports_mut().0 = port;
        self
    }

    pub fn destination(mut self, at: &str) -> Self {
        let (address, port) = end(at);
        self.dst = address;
        self.ports_mut().1 = port;
        self
    }

    fn pseudo(&self, protocol: u8, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend([0, protocol]);
                bytes.extend((length as u16).to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend((length as u32).to_be_bytes());
                bytes.extend([0, 0, 0, protocol]);
            }
            _ => panic!("two families in one packet"),
        }
        bytes
    }

    /// The transport header and what follows, with its protocol number.
    fn transport(&self) -> (u8, Vec<u8>) {
        let (protocol, mut bytes, check_at) = match &self.load {
            Load::Tcp { ports, seq, ack, flags, data } => {
                let mut b = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
                b.extend(seq.to_be_bytes());
                b.extend(ack.to_be_bytes());
                let window = if flags & RST != 0 { 0 } else { 0x20 };
                b.extend([0x50, *flags, window, 0, 0, 0, 0, 0]);
                b.extend(data);
                (TCP, b, Some(16))
            }
            Load::Udp { ports, data, sum } => {
                let mut b = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
                b.extend((8 + data.len() as u16).to_be_bytes());
                b.extend([0, 0]);
                b.extend(data);
                (UDP, b, sum.then_some(6))
            }
            Load::Icmp { kind, code, rest, data } => {
                let mut b = vec![*kind, *code, 0, 0];
                b.extend(rest.to_be_bytes());
                b.extend(data);
                (if self.src.is_ipv4() { ICMP } else { ICMP6 }, b, Some(2))
            }
            Load::Raw { protocol, bytes } => (*protocol, bytes.clone(), None),
        };
        if let Some(at) = check_at {
            let mut covered = if protocol == ICMP { Vec::new() } else { self.pseudo(protocol, bytes.len()) };
            covered.extend(&bytes);
            let mut check = checksum(&covered);
            if protocol == UDP && check == 0 {
                check = 0xffff;
            }
            bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
        }
        (protocol, bytes)
    }

    fn ethernet(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (protocol, tci) in &self.tags {
            bytes.extend(protocol.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(if self.src.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        bytes
    }

    /// An IPv4 header for `length` bytes at fragment offset `offset`.
    fn header4(&self, protocol: u8, length: usize, offset: usize, more: bool) -> Vec<u8> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src, self.dst) else { panic!("not IPv4") };
        let header = 20 + self.options.len();
        let mut b = vec![0x40 | (header / 4) as u8, self.tos];
        b.extend(((header + length) as u16).to_be_bytes());
        b.extend(self.id.to_be_bytes());
        let whole = offset == 0 && !more;
        let bits = u16::from(self.dont_fragment && whole) << 14 | u16::from(more) << 13 | (offset / 8) as u16;
        b.extend(bits.to_be_bytes());
        b.extend([self.ttl, protocol, 0, 0]);
        b.extend(src.octets());
        b.extend(dst.octets());
        b.extend(&self.options);
        let check = checksum(&b);
        b[10..12].copy_from_slice(&check.to_be_bytes());
        b
    }

    /// An IPv6 header with extension headers; `fragment` adds one: offset and "more".
    fn header6(&self, protocol: u8, length: usize, fragment: Option<(usize, bool)>) -> Vec<u8> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) else { panic!("not IPv6") };
        let mut extensions = self.extensions.clone();
        if let Some((offset, more)) = fragment {
            let bits = offset as u16 | u16::from(more);
            let id = u32::from(self.id) << 8;
            extensions.push((44, [vec![0], bits.to_be_bytes().to_vec(), id.to_be_bytes().to_vec()].concat()));
        }
        let extra: usize = extensions.iter().map(|(_, rest)| rest.len() + 1).sum();
        let mut b = (6 << 28 | u32::from(self.tos) << 20 | self.flow).to_be_bytes().to_vec();
        b.extend(((extra + length) as u16).to_be_bytes());
        b.extend([extensions.first().map_or(protocol, |(kind, _)| *kind), self.ttl]);
        b.extend(src.octets());
        b.extend(dst.octets());
        for (i, (_, rest)) in extensions.iter().enumerate() {
            b.push(extensions.get(i + 1).map_or(protocol, |(kind, _)| *kind));
            b.extend(rest);
        }
        b
    }

    /// The IP packet.
    pub fn ip_packet(&self) -> Vec<u8> {
        let (protocol, bytes) = self.transport();
        let header = match self.src {
            IpAddr::V4(_) => self.header4(protocol, bytes.len(), 0, false),
            IpAddr::V6(_) => self.header6(protocol, bytes.len(), None),
        };
        [header, bytes].concat()
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        [self.ethernet(), self.ip_packet()].concat()
    }

    /// The frame in fragments of `size` (a multiple of eight) bytes of IP payload.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let (protocol, bytes) = self.transport();
        let count = bytes.len().div_ceil(size);
        bytes
            .chunks(size)
            .enumerate()
            .map(|(i, chunk)| {
                let more = i + 1 < count;
                let header = match self.src {
                    IpAddr::V4(_) => self.header4(protocol, chunk.len(), i * size, more),
                    IpAddr::V6(_) => self.header6(protocol, chunk.len(), Some((i * size, more))),
                };
                [self.ethernet(), header, chunk.to_vec()].concat()
            })
            .collect()
    }
}

/// RFC 1071, the straightforward way.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether every checksum in a frame holds that a receiver would look at. The quote inside an ICMP error is only looked
/// at for its IP header.
pub fn checksums_hold(frame: &[u8]) -> Result<(), String> {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    ip_holds(&frame[at + 2..], true)
}

fn ip_holds(packet: &[u8], whole: bool) -> Result<(), String> {
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        if checksum(&packet[..header]) != 0 {
            return Err(format!("IPv4 header {:02x?}", &packet[..header]));
        }
        let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
        if fragment || !whole {
            return Ok(());
        }
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let pseudo = [&packet[12..20], &[0, packet[9]], &((length - header) as u16).to_be_bytes()].concat();
        return transport_holds(packet[9], &pseudo, &packet[header..length]);
    }
    if !whole {
        return Ok(());
    }
    let length = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let (mut next, mut at) = (packet[6], 40);
    while matches!(next, 0 | 43 | 60 | 44) {
        if next == 44 {
            return Ok(());
        }
        (next, at) = (packet[at], at + (usize::from(packet[at + 1]) + 1) * 8);
    }
    let pseudo = [&packet[8..40], &((length - at) as u32).to_be_bytes(), &[0, 0, 0, next]].concat();
    transport_holds(next, &pseudo, &packet[at..length])
}

fn transport_holds(protocol: u8, pseudo: &[u8], bytes: &[u8]) -> Result<(), String> {
    let covered = match protocol {
        TCP | ICMP6 => [pseudo, bytes].concat(),
        UDP if bytes[6..8] == [0, 0] => return Ok(()),
        UDP => [pseudo, bytes].concat(),
        ICMP => bytes.to_vec(),
        4 | 41 => return ip_holds(bytes, true),
        _ => return Ok(()),
    };
    if checksum(&covered) != 0 {
        return Err(format!("protocol {protocol}: {bytes:02x?}"));
    }
    match (protocol, bytes[0]) {
        (ICMP, 3 | 11 | 12) | (ICMP6, 1..=4) => ip_holds(&bytes[8..], false),
        _ => Ok(()),
    }
}
