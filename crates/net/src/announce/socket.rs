//! Sends ready Ethernet frames out of one interface.

use std::{io, net::IpAddr};

use socket2::{Domain, SockAddr, Socket, Type};

use super::frames;
use crate::{Link, MacAddr, NetError, Result, sysctl};

/// A packet socket bound to one interface that sends whole frames and receives nothing.
#[derive(Debug)]
pub struct FrameSocket {
    socket: Socket,
}

impl FrameSocket {
    /// Opens a socket on the interface of this index. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// [`NetError::OpenFrameSocket`].
    pub fn open(interface: u32) -> Result<Self> {
        let open = || {
            // Protocol 0: the kernel queues no received packet for us.
            let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
            socket.bind(&packet_address(interface, 0)?)?;
            Ok(Self { socket })
        };
        open().map_err(|source| NetError::OpenFrameSocket { interface, source })
    }

    /// Queues one frame, Ethernet header included.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, `WouldBlock` or `ENOBUFS` when its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }
}

/// Announces addresses on one interface.
#[derive(Debug)]
pub struct Announcer {
    socket: FrameSocket,
    interface: u32,
    name: String,
    mac: MacAddr,
}

impl Announcer {
    /// Opens a socket on an Ethernet interface.
    ///
    /// # Errors
    /// [`NetError::NotEthernet`] (naming `address`), [`NetError::OpenFrameSocket`].
    pub fn open(link: &Link, address: IpAddr) -> Result<Self> {
        let Some(mac) = link.mac.filter(|mac| !mac.is_zero()) else {
            return Err(NetError::NotEthernet { interface: link.name.clone(), address });
        };
        Ok(Self {
            socket: FrameSocket::open(link.index)?,
            interface: link.index,
            name: link.name.clone(),
            mac,
        })
    }

    /// Whether the interface forwards IPv6 now: an advertisement that says otherwise makes hosts drop their router
    /// (RFC 4861, 7.2.5).
    fn is_router(&self) -> bool {
        let forwarding = sysctl::get(&format!("net/ipv6/conf/{}/forwarding", self.name));
        forwarding.is_ok_and(|value| value != "0")
    }

    /// Sends one announcement of `address`: both ARP forms, or one neighbour advertisement.
    ///
    /// # Errors
    /// [`NetError::Announce`].
    pub fn announce(&self, address: IpAddr) -> Result<()> {
        let router = address.is_ipv6() && self.is_router();
        for frame in frames(address, self.mac, router) {
            let interface = self.interface;
            self.socket.send(&frame).map_err(|source| NetError::Announce { address, interface, source })?;
        }
        Ok(())
    }
}

/// The address of an interface (0 is every one) in the packet family, for packets of one ethertype (0 is none).
#[expect(unsafe_code, reason = "socket2 has no safe way to spell a link-layer address")]
pub(crate) fn packet_address(interface: u32, protocol: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: socket2 hands us zeroed storage of at least the size and alignment of any socket address, of which
    // sockaddr_ll is one; we write fields of plain integers within it and report exactly its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as libc::sa_family_t;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}
