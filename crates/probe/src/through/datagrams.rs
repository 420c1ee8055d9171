//! Datagrams of our own, in packets that are put together and taken apart here.
use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use keel_net::{PacketChannel, PacketPool, Transport};
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
        UDP_HEADER_LEN, UdpPacket, UdpRepr,
    },
};
use tokio::net::UdpSocket;

use super::{HOPS, ends, frame, hold_port, unopened, way};
use crate::{Fault, Place, Trace, place::Via};

/// The longest packet that is understood: a jumbo frame's. Fragments aren't put together.
const ROOM: usize = 9216;

const WAITING: &str =
    "waiting for an answer through the VIP: is the VIP on its loopback? (keel realserver SERVICE)";
const WAITING_TUNNEL: &str = "waiting for an answer through the VIP: is the tunnel set up, and the VIP on it? (keel \
                              realserver SERVICE)";

/// A pair of ports that datagrams go between.
pub(crate) struct Datagrams {
    channel: PacketChannel,
    via: Via,
    from: SocketAddr,
    to: SocketAddr,
    /// Tells these packets from others' where paths of equal length are shared.
    flow: u32,
    /// Holds our port, and hears of refusals that come from another address of the server: to the kernel it is a connected
    /// socket.
    held: UdpSocket,
}

impl Datagrams {
    /// Between a port of ours and the port that is asked, at the virtual address.
    pub(crate) fn open(place: &Place, packets: &Arc<PacketPool>, trace: &mut Trace) -> Result<Self, Fault> {
        let (to, via) = ends(place)?;
        trace.note(|| format!("asking {to}: {}", way(&via, place.server.ip())));
        let opened = || {
            let (held, from) = hold_port(Transport::Udp, via.source)?;
            // Where this node has no route to the virtual address, only refusals from the server's other addresses are missed.
            let _ = held.connect(&to.into());
            held.set_nonblocking(true)?;
            let held = UdpSocket::from_std(held.into())?;
            let channel = packets.open(Transport::Udp, to, from)?;
            let mut seed = [0; 4];
            getrandom::fill(&mut seed).map_err(io::Error::other)?;
            Ok(Self { channel, via, from, to, flow: u32::from_ne_bytes(seed), held })
        };
        opened().map_err(unopened)
    }

    /// Our end.
    pub(crate) fn own_address(&self) -> SocketAddr {
        self.from
    }

    /// What silence means here.
    pub(crate) fn waiting(&self) -> &'static str {
        if self.via.tunnel.is_some() { WAITING_TUNNEL } else { WAITING }
    }

    /// What went wrong while something was waited for.
    pub(crate) fn fault(&self, doing: &'static str, source: io::Error) -> Fault {
        let to = self.to;
        match source.kind() {
            io::ErrorKind::ConnectionRefused => {
                Fault::unexpected(format!("refused at the VIP: nothing on the server listens on UDP {to}"))
            }
            io::ErrorKind::InvalidInput => Fault::Unable(source.to_string()),
            // EPERM would be our own firewall's.
            _ if source.raw_os_error() == Some(libc::EACCES) => Fault::unexpected(format!(
                "refused at the VIP: a firewall on the server or before it forbids UDP {to}"
            )),
            io::ErrorKind::HostUnreachable => Fault::unexpected(format!(
                "refused at the VIP: the server says that {to} can't be reached: is the VIP on its loopback, and no \
                 firewall before it? (keel realserver SERVICE)"
            )),
            _ => Fault::Io { doing, source },
        }
    }

    /// Sends one.
    pub(crate) fn send(&self, payload: &[u8]) -> io::Result<()> {
        let most = usize::from(self.via.mtu).saturating_sub(frame::wrapped(&self.via));
        let header = if self.to.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        if header + UDP_HEADER_LEN + payload.len() > most {
            let why = format!(
                "the question has {} bytes, and what leads to the server carries packets of {most} bytes, with their headers",
                payload.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut bytes = vec![0; frame::overhead(&self.via)];
        let length = write(&mut bytes, self.from, self.to, payload);
        frame::write(&mut bytes, &self.via, self.to.ip(), length, self.flow)
            .ok_or(io::ErrorKind::InvalidInput)?;
        match self.channel.send(self.via.interface, &bytes) {
            // What doesn't fit into a queue is lost like on any network.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    || error.raw_os_error() == Some(libc::ENOBUFS) =>
            {
                Ok(())
            }
            sent => sent,
        }
    }

    /// Receives one. What is longer than `buffer` is cut.
    pub(crate) async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut room = vec![0; ROOM];
        loop {
            let length = tokio::select! {
                length = poll_fn(|cx| self.channel.poll_receive(cx, &mut room)) => length?,
                // Nothing gets past its filter: this is an error, or something else's wake-up.
                refusal = self.held.recv(&mut []) => {
                    refusal?;
                    continue;
                }
            };
            match understand(&room[..length], self.from.port(), self.to.port()) {
                Some(Heard::Datagram(payload)) => {
                    let length = payload.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&payload[..length]);
                    return Ok(length);
                }
                Some(Heard::Refused) => return Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Heard::Forbidden) => return Err(io::Error::from_raw_os_error(libc::EACCES)),
                Some(Heard::Unreachable) => return Err(io::ErrorKind::HostUnreachable.into()),
                None => {}
            }
        }
    }
}

/// Appends an IP packet with a datagram; returns the packet's length. Both ends are of one family.
fn write(bytes: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> usize {
    let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let payload_len = UDP_HEADER_LEN + payload.len();
    let sums = ChecksumCapabilities::default();
    let start = bytes.len();
    let header = match (from.ip(), to.ip()) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let (next_header, hop_limit) = (IpProtocol::Udp, HOPS);
            let ip = Ipv4Repr { src_addr, dst_addr, next_header, payload_len, hop_limit };
            bytes.resize(start + ip.buffer_len() + payload_len, 0);
            ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[start..]), &sums);
            ip.buffer_len()
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let (next_header, hop_limit) = (IpProtocol::Udp, HOPS);
            let ip = Ipv6Repr { src_addr, dst_addr, next_header, payload_len, hop_limit };
            bytes.resize(start + ip.buffer_len() + payload_len, 0);
            ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[start..]));
            ip.buffer_len()
        }
        _ => return 0,
    };
    let (source, destination) = (IpAddress::from(from.ip()), IpAddress::from(to.ip()));
    let mut packet = UdpPacket::new_unchecked(&mut bytes[start + header..]);
    let fill = |room: &mut [u8]| room.copy_from_slice(payload);
    udp.emit(&mut packet, &source, &destination, payload.len(), fill, &sums);
    header + payload_len
}

/// What a packet says about our datagrams.
#[derive(Debug, PartialEq, Eq)]
enum Heard<'p> {
    Datagram(&'p [u8]),
    /// Nobody listens (RFC 1122, 4.1.3.1; RFC 4443, 3.1).
    Refused,
    /// Somebody forbids it.
    Forbidden,
    /// The server doesn't deliver it for another reason.
    Unreachable,
}

const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Takes a packet apart that came from the other end; none if it is about something else, or no whole packet. Checksums
/// aren't looked at: packets of virtual machines on the same host arrive with those left out, which only the kernel can
/// tell from wrong ones.
fn understand(packet: &[u8], own: u16, other: u16) -> Option<Heard<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let (header, length) = (usize::from(packet[0] & 15) * 4, usize::from(half(packet, 2)?));
            // More fragments follow, or came before: 0x2000 and the offset.
            if half(packet, 6)? & 0x3fff != 0 {
                return None;
            }
            let body = packet.get(header..length)?;
            match *packet.get(9)? {
                UDP => datagram(body, own, other),
                ICMP => {
                    let quote = body.get(8..)?;
                    let ports = quote.get(usize::from(quote.first()? & 15) * 4..)?;
                    (*quote.get(9)? == UDP && is_ours(ports, own, other)).then_some(())?;
                    refusal(body, V4)
                }
                _ => None,
            }
        }
        6 => {
            let body = packet.get(40..40 + usize::from(half(packet, 4)?))?;
            match *packet.get(6)? {
                UDP => datagram(body, own, other),
                ICMPV6 => {
                    let quote = body.get(8..)?;
                    (*quote.get(6)? == UDP && is_ours(quote.get(40..)?, own, other)).then_some(())?;
                    refusal(body, V6)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn datagram(body: &[u8], own: u16, other: u16) -> Option<Heard<'_>> {
    if half(body, 0)? != other || half(body, 2)? != own {
        return None;
    }
    body.get(UDP_HEADER_LEN..usize::from(half(body, 4)?)).map(Heard::Datagram)
}

/// Whether quoted ports are those of a datagram of ours.
fn is_ours(ports: &[u8], own: u16, other: u16) -> bool {
    half(ports, 0) == Some(own) && half(ports, 2) == Some(other)
}

/// "Destination unreachable", whose code for ports is told apart.
fn refusal(body: &[u8], numbers: Numbers) -> Option<Heard<'static>> {
    let (kind, code) = (*body.first()?, *body.get(1)?);
    match code {
        _ if kind != numbers.unreachable => None,
        code if code == numbers.port => Some(Heard::Refused),
        code if numbers.forbidden.contains(&code) => Some(Heard::Forbidden),
        code if numbers.host.contains(&code) => Some(Heard::Unreachable),
        // About its size, or its way.
        _ => None,
    }
}

/// ICMP's types and codes.
struct Numbers {
    unreachable: u8,
    port: u8,
    /// Administratively prohibited.
    forbidden: &'static [u8],
    /// Network, host, protocol.
    host: &'static [u8],
}

/// RFC 792, RFC 1812 §5.2.7.1.
const V4: Numbers = Numbers { unreachable: 3, port: 3, forbidden: &[9, 10, 13], host: &[0, 1, 2] };
/// RFC 4443 §3.1.
const V6: Numbers = Numbers { unreachable: 1, port: 4, forbidden: &[1, 5, 6], host: &[0, 2, 3] };

/// Two bytes in network order.
fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [[&str; 2]; 2] =
        [["192.0.2.1:40000", "192.0.2.80:53"], ["[2001:db8::1]:40000", "[2001:db8::80]:53"]];

    fn written(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = write(&mut bytes, from.parse().unwrap(), to.parse().unwrap(), payload);
        assert_eq!(length, bytes.len());
        bytes
    }

    /// What the other end says when nobody listens there, or it doesn't forward.
    fn refused(quoted: &[u8], kind: u8, code: u8) -> Vec<u8> {
        let v4 = quoted[0] >> 4 == 4;
        let mut packet = quoted[..if v4 { 20 } else { 40 }].to_vec();
        let body = [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
        if v4 {
            packet[9] = ICMP;
            packet[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
        } else {
            packet[6] = ICMPV6;
            packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        }
        packet.extend(body);
        packet
    }

    #[test]
    fn a_datagram_comes_out_as_it_went_in() {
        for [from, to] in ENDS {
            let packet = written(from, to, b"hello");
            // To whom it goes it comes from the other end.
            assert_eq!(understand(&packet, 53, 40_000), Some(Heard::Datagram(b"hello")));
            assert_eq!(understand(&packet, 53, 40_001), None);
            assert_eq!(understand(&packet, 54, 40_000), None);
            let padded = [&packet[..], &[0; 20]].concat();
            assert_eq!(understand(&padded, 53, 40_000), Some(Heard::Datagram(b"hello")));
        }
    }

    #[test]
    fn checksums_are_right() {
        for [from, to] in ENDS {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let packet = written(&from.to_string(), &to.to_string(), b"odd");
            let header = if from.is_ipv4() { 20 } else { 40 };
            let udp = UdpPacket::new_checked(&packet[header..]).unwrap();
            assert!(udp.verify_checksum(&from.ip().into(), &to.ip().into()));
            assert!(!from.is_ipv4() || Ipv4Packet::new_checked(&packet[..]).unwrap().verify_checksum());
        }
    }

    #[test]
    fn refusals_are_about_our_datagrams() {
        for ([from, to], [kind, port, admin]) in ENDS.into_iter().zip([[3, 3, 13], [1, 4, 1]]) {
            let quoted = written(from, to, b"hello");
            let told = |packet: &[u8], own| understand(packet, own, 53).map(|heard| format!("{heard:?}"));
            assert_eq!(told(&refused(&quoted, kind, port), 40_000).as_deref(), Some("Refused"));
            assert_eq!(told(&refused(&quoted, kind, admin), 40_000).as_deref(), Some("Forbidden"));
            assert_eq!(told(&refused(&quoted, kind, 0), 40_000).as_deref(), Some("Unreachable"));
            assert_eq!(told(&refused(&quoted, kind, 11), 40_000), None, "not about whether it is delivered");
            assert_eq!(told(&refused(&quoted, kind, port), 40_001), None, "another's datagram");
            assert_eq!(told(&refused(&quoted, 11, 0), 40_000), None);
        }
    }

    #[test]
    fn no_piece_of_a_packet_is_more_than_nothing() {
        for [from, to] in ENDS {
            let quoted = written(from, to, b"hello");
            for packet in [quoted.clone(), refused(&quoted, 3, 3), refused(&quoted, 1, 4)] {
                for end in 0..packet.len() {
                    assert_eq!(understand(&packet[..end], 53, 40_000), None);
                    for value in [0, 1, 0x7f, 0xff] {
                        let mut bent = packet.clone();
                        bent[end] = value;
                        let _ = understand(&bent, 53, 40_000);
                    }
                }
            }
        }
        let mut fragment = written(ENDS[0][0], ENDS[0][1], b"hello");
        fragment[6] = 0x20;
        assert_eq!(understand(&fragment, 53, 40_000), None, "more fragments follow");
    }
}
