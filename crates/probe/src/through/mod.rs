//! A TCP connection to the virtual address at one server, whose packets go the way that clients' packets go. The
//! kernel's TCP can't do that: to it the virtual address is its own. Answers come straight from the virtual address to
//! ours, in direct routing as through a tunnel.
mod frame;
mod stack;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use keel_model::Check;
use keel_net::{PacketPool, deaf};
use socket2::{Domain, Protocol, Socket, Type};

use self::stack::Stack;
use crate::{
    Fault, Place, Trace,
    line::{Line, Wire},
    place::Via,
};

const CONNECTING: &str = "connecting through the VIP: is the VIP on its loopback? (keel realserver SERVICE)";
const CONNECTING_TUNNEL: &str =
    "connecting through the VIP: is the tunnel set up, and the VIP on it? (keel realserver SERVICE)";

/// Whether a check of this type can go through the virtual address.
pub(crate) fn refusal(check: &Check) -> Option<String> {
    (!check.is_connection()).then(|| format!("a check of type {check} can't go through the VIP yet"))
}

/// Opens a connection.
pub(crate) async fn connect<'t>(
    place: &Place,
    packets: &Arc<PacketPool>,
    trace: &'t mut Trace,
) -> Result<Line<'t>, Fault> {
    let to = SocketAddr::new(place.vip, place.port);
    let via = place.via.ok_or_else(|| {
        let server = place.server.ip();
        Fault::Unable(format!(
            "the way to {server} isn't known: its next hop doesn't answer, or this node has no address of its own to ask from"
        ))
    })?;
    let doing = if via.tunnel.is_some() { CONNECTING_TUNNEL } else { CONNECTING };
    trace.begin(doing);
    trace.note(|| format!("asking for {to}: {}", way(&via, place.server.ip())));
    let mut stack = open(to, via, packets).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => Fault::Unable(source.to_string()),
        _ => Fault::Io { doing: "opening a packet socket", source },
    })?;
    stack.connected().await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => {
            Fault::unexpected(format!("connection refused at the VIP: nothing on the server listens on {to}"))
        }
        _ => Fault::Io { doing: "connecting through the VIP", source },
    })?;
    trace.note(|| format!("connected to {to}"));
    Ok(Line::new(Wire::Other(Box::new(stack)), to, trace))
}

fn open(to: SocketAddr, via: Via, packets: &Arc<PacketPool>) -> io::Result<Stack> {
    let (held, from) = hold_port(via.source)?;
    let channel = packets.open(to, from)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Stack::new(channel, held, via, from, to, u64::from_ne_bytes(seed))
}

/// Takes a free port of ours from the kernel, which from now on says nothing about what arrives there: where the
/// virtual address isn't an address of this node (on the passive one), it would reset the connection otherwise.
fn hold_port(source: IpAddr) -> io::Result<(Socket, SocketAddr)> {
    let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    // What a filter stops is dropped without an answer, at a socket that listens.
    socket.attach_filter(&deaf())?;
    socket.listen(1)?;
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
