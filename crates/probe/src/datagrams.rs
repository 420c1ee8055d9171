//! Datagrams between this node and one server: the kernel's, or our own where they go through the virtual address.
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::UdpSocket;

use crate::{Fault, through};

/// A pair of ports.
pub(crate) enum Datagrams {
    /// It hears one server alone, and its refusals.
    Kernel(UdpSocket),
    Through(Box<through::Datagrams>),
}

impl Datagrams {
    /// To the server itself.
    pub(crate) async fn connect(to: SocketAddr) -> Result<Self, Fault> {
        let failed = |source| Fault::Io { doing: "opening a socket", source };
        let any: SocketAddr =
            if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        Ok(Self::Kernel(socket))
    }

    /// This side's address.
    pub(crate) fn own_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Kernel(socket) => socket.local_addr(),
            Self::Through(ours) => Ok(ours.own_address()),
        }
    }

    /// What is being waited for: `usual`, unless silence has a likelier reason.
    pub(crate) fn waiting(&self, usual: &'static str) -> &'static str {
        match self {
            Self::Kernel(_) => usual,
            Self::Through(ours) => ours.waiting(),
        }
    }

    /// Sends one.
    pub(crate) async fn send(&self, doing: &'static str, payload: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Kernel(socket) => socket.send(payload).await.map(drop),
            Self::Through(ours) => ours.send(payload),
        }
        .map_err(|source| self.fault(doing, source))
    }

    /// Receives one. What is longer than `buffer` is cut.
    pub(crate) async fn recv(&self, doing: &'static str, buffer: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Self::Kernel(socket) => socket.recv(buffer).await,
            Self::Through(ours) => ours.recv(buffer).await,
        }
        .map_err(|source| self.fault(doing, source))
    }

    fn fault(&self, doing: &'static str, source: io::Error) -> Fault {
        match self {
            Self::Kernel(_) => Fault::Io { doing, source },
            Self::Through(ours) => ours.fault(doing, source),
        }
    }
}
