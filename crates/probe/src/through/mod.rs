//! TCP connections and datagrams to the virtual address at one server, whose packets go the way that clients' packets go.
//! The kernel can't do that: to it the virtual address is its own. Answers come straight from the virtual address to ours,
//! in direct routing as through a tunnel.
mod datagrams;
mod frame;
mod stack;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use keel_model::Check;
use keel_net::{PacketPool, Transport, deaf};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use self::{datagrams::Datagrams, stack::Stack};
use crate::{
    Fault, Place, Trace,
    line::{Line, Wire},
    place::Via,
};

/// Enough for a server, and for a container behind its address; a server that doesn't take the virtual address for its
/// own and sends the packet on gets it no farther than to us, where it ends.
const HOPS: u8 = 2;

const CONNECTING: &str = "connecting through the VIP: is the VIP on its loopback? (keel realserver SERVICE)";
const CONNECTING_TUNNEL: &str =
    "connecting through the VIP: is the tunnel set up, and the VIP on it? (keel realserver SERVICE)";

/// Whether a check of this type can go through the virtual address.
pub(crate) fn refusal(check: &Check) -> Option<String> {
    (!check.has_a_port()).then(|| format!("a check of type {check} can't go through the VIP"))
}

/// Opens a connection.
pub(crate) async fn connect<'t>(
    place: &Place,
    packets: &Arc<PacketPool>,
    trace: &'t mut Trace,
) -> Result<Line<'t>, Fault> {
    let (to, via) = ends(place)?;
    let doing = if via.tunnel.is_some() { CONNECTING_TUNNEL } else { CONNECTING };
    trace.begin(doing);
    trace.note(|| format!("asking for {to}: {}", way(&via, place.server.ip())));
    let mut stack = open(to, via, packets).map_err(unopened)?;
    stack.connected().await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => {
            Fault::unexpected(format!("connection refused at the VIP: nothing on the server listens on {to}"))
        }
        _ => Fault::Io { doing: "connecting through the VIP", source },
    })?;
    trace.note(|| format!("connected to {to}"));
    Ok(Line::new(Wire::Through(Box::new(stack)), to, trace))
}

/// The virtual address and how the server is reached.
fn ends(place: &Place) -> Result<(SocketAddr, Via), Fault> {
    let via = place.via.ok_or_else(|| {
        let server = place.server.ip();
        Fault::Unable(format!(
            "the way to {server} isn't known: its next hop doesn't answer, or this node has no address of its own to ask from"
        ))
    })?;
    Ok((SocketAddr::new(place.vip, place.port), via))
}

fn unopened(source: io::Error) -> Fault {
    match source.kind() {
        io::ErrorKind::InvalidInput => Fault::Unable(source.to_string()),
        _ => Fault::Io { doing: "opening a packet socket", source },
    }
}

fn open(to: SocketAddr, via: Via, packets: &Arc<PacketPool>) -> io::Result<Stack> {
    let (held, from) = hold_port(Transport::Tcp, via.source)?;
    let channel = packets.open(Transport::Tcp, to, from)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Stack::new(channel, held, via, from, to, u64::from_ne_bytes(seed))
}

/// Takes a free port of ours from the kernel, which from now on says nothing about what arrives there: where the
/// virtual address isn't an address of this node (on the passive one), it would reset the connection, or refuse the
/// datagram, otherwise.
fn hold_port(transport: Transport, source: IpAddr) -> io::Result<(Socket, SocketAddr)> {
    let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    // What a filter stops is dropped without an answer: datagrams at any socket, TCP at one that listens.
    socket.attach_filter(&deaf())?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    if transport == Transport::Tcp {
        socket.listen(1)?;
    }
    let from = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((socket, from))
}

fn way(via: &Via, server: IpAddr) -> String {
    let mac = via.mac.map(|byte| format!("{byte:02x}")).join(":");
    match via.tunnel {
        None => format!("frames to {mac}, the next hop of {server}"),
        Some(tunnel) => {
            let kind = tunnel.gue.map_or_else(|| "IP in IP".to_owned(), |port| format!("GUE to port {port}"));
            format!("{kind} from {} to {}, by {mac}", tunnel.local, tunnel.remote)
        }
    }
}
