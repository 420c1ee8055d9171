//! The UDP service of a real server: it answers every datagram with the server's name, from the address that was asked.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::error::{During as _, LabError};

/// What a request starts with that wants the rest of itself back too, after the name.
const ECHO: &[u8] = b"echo ";
const LARGEST: usize = 65_535;

/// Serves both families on a port until the process ends.
///
/// # Errors
/// If the port can't be had, or the socket fails for another reason than a single bad datagram.
pub fn serve(name: &str, port: u16) -> Result<(), LabError> {
    let socket =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).during(|| format!("binding UDP port {port}"))?;
    // A server of a load balancer is asked at a VIP and has to answer from it, not from its main address.
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)
        .during(|| "asking for datagrams' destinations".to_owned())?;
    let mut buffer = vec![0; LARGEST];
    loop {
        match answer(&socket, name, &mut buffer) {
            // An ICMP error about an earlier answer, or a client that can't be reached: its own affair.
            Ok(()) | Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {}
            Err(Errno::EMSGSIZE | Errno::EPERM | Errno::EINVAL) => {}
            Err(error) => return Err(error).during(|| "answering a datagram".to_owned()),
        }
    }
}

fn answer(socket: &UdpSocket, name: &str, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let (length, client) = (message.bytes, message.address);
    let asked = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(in6_pktinfo { ipi6_ifindex: 0, ..info }),
        _ => None,
    });
    let wanted = buffer[..length].strip_prefix(ECHO).unwrap_or_default();
    let parts = [IoSlice::new(name.as_bytes()), IoSlice::new(b"\n"), IoSlice::new(wanted)];
    let from: Vec<ControlMessage<'_>> = asked.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    sendmsg(socket.as_raw_fd(), &parts, &from, MsgFlags::empty(), client.as_ref()).map(drop)
}
