//! Whom a question goes to.
use std::net::{IpAddr, SocketAddr};

/// A server of a service, as one question sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The address that is asked.
    pub address: IpAddr,
    /// The port that is asked.
    pub port: u16,
    /// The virtual address of the service.
    pub vip: IpAddr,
    /// The virtual port.
    pub vip_port: u16,
    /// The server's own address and port, which `address` and `port` may differ from; for scripts.
    pub server: SocketAddr,
    /// For checks that go through the virtual address: how packets get to the server; none while that isn't known.
    pub via: Option<Via>,
}

/// How the packet path sends clients' packets to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Via {
    /// The next hop's Ethernet address.
    pub mac: [u8; 6],
    /// Our own on the interface.
    pub own_mac: [u8; 6],
    /// The index of the interface that frames leave by.
    pub interface: u32,
    /// The VLAN that they are tagged with, 0 for none.
    pub vlan: u16,
    /// The largest IP packet that fits.
    pub mtu: u16,
    /// Our own address, of the virtual address's family: whom the server answers.
    pub source: IpAddr,
    /// The tunnel; none where only the Ethernet address changes.
    pub tunnel: Option<Tunnel>,
}

/// What packets are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Our end.
    pub local: IpAddr,
    /// The server.
    pub remote: IpAddr,
    /// The server's UDP port where the tunnel is GUE; none where IP is in IP.
    pub gue: Option<u16>,
}

impl Place {
    /// Where the question goes.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// `port`, at the address that is asked.
    pub fn at_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Whether both are the same server, port and service, whatever the way there.
    pub fn is_at(&self, other: &Self) -> bool {
        Self { via: None, ..*self } == Self { via: None, ..*other }
    }
}
