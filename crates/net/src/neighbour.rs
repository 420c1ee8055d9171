//! Neighbours: which MAC address answers for an IP address, and making the kernel find out and keep it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState as KernelState,
    },
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{Cause, MacAddr, NetError, Netlink, Result, route::family};

/// The longest pause between two looks at an entry that is being resolved.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Discard (RFC 863): where a probe goes that is only meant to make the kernel resolve its destination.
const DISCARD_PORT: u16 = 9;

/// Where an entry is in the kernel's reachability machine (RFC 4861 §7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighbourState {
    /// Nobody asked yet.
    None,
    /// Being asked for; no answer so far.
    Incomplete,
    /// Confirmed recently.
    Reachable,
    /// Known, not confirmed lately; usable.
    Stale,
    /// Known, about to be confirmed; usable.
    Delay,
    /// Known, being confirmed right now; usable.
    Probe,
    /// Did not answer.
    Failed,
    /// Set by an administrator, or of a link without resolution.
    Fixed,
}

impl From<KernelState> for NeighbourState {
    fn from(state: KernelState) -> Self {
        match state {
            KernelState::Incomplete => Self::Incomplete,
            KernelState::Reachable => Self::Reachable,
            KernelState::Stale => Self::Stale,
            KernelState::Delay => Self::Delay,
            KernelState::Probe => Self::Probe,
            KernelState::Failed => Self::Failed,
            KernelState::Noarp | KernelState::Permanent => Self::Fixed,
            _ => Self::None,
        }
    }
}

/// An entry of the kernel's neighbour table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Index of the interface it is on.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
    /// The last MAC address that answered for it, which a failed entry may still carry.
    pub mac: Option<MacAddr>,
    /// How sure the kernel is of it.
    pub state: NeighbourState,
    /// The kernel keeps it resolved by itself ([`Netlink::keep_resolved`]).
    pub managed: bool,
}

impl Neighbour {
    /// The MAC address to send to now, if there is one.
    pub fn usable(&self) -> Option<MacAddr> {
        use NeighbourState as S;
        match self.state {
            S::Reachable | S::Stale | S::Delay | S::Probe | S::Fixed => self.mac.filter(|mac| !mac.is_zero()),
            S::None | S::Incomplete | S::Failed => None,
        }
    }

    pub(crate) fn parse(message: &NeighbourMessage) -> Option<Self> {
        let (mut address, mut mac, mut managed) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some((*ip).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some((*ip).into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = MacAddr::try_from(bytes.as_slice()).ok(),
                NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
                _ => {}
            }
        }
        let (interface, state) = (message.header.ifindex, message.header.state.into());
        Some(Self { interface, address: address?, mac, state, managed })
    }
}

/// Verbs on neighbours.
impl Netlink {
    /// Every neighbour of both families.
    ///
    /// # Errors
    /// [`NetError::List`].
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))
            .await
            .map_err(|source| NetError::List { what: "neighbours", source })?;
        Ok(answers.iter().filter_map(as_neighbour).collect())
    }

    /// One neighbour as the kernel knows it now; `None` if it has no entry.
    ///
    /// # Errors
    /// [`NetError::Neighbour`].
    pub async fn neighbour(&self, interface: u32, address: IpAddr) -> Result<Option<Neighbour>> {
        match self.get(RouteNetlinkMessage::GetNeighbour(entry(interface, address))).await {
            Ok(answer) => Ok(as_neighbour(&answer)),
            Err(source) if source.is(libc::ENOENT) => Ok(None),
            Err(source) => Err(NetError::Neighbour { address, interface, source }),
        }
    }

    /// Makes the kernel resolve a neighbour now and, from Linux 5.16 on, keep it resolved without traffic.
    ///
    /// Returns at once; the answer comes through [`Netlink::watch`] or [`Netlink::neighbour`]. Whether the kernel
    /// keeps it is [`Neighbour::managed`]; where it does not, call this again every few seconds.
    ///
    /// # Errors
    /// [`NetError::Neighbour`] when the kernel neither takes the request nor lets us send a probe.
    pub async fn keep_resolved(&self, interface: u32, address: IpAddr) -> Result<()> {
        let mut message = entry(interface, address);
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let asked =
            self.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await;
        match asked {
            Ok(()) => Ok(()),
            Err(source) if source.is(libc::ENODEV) => Err(NetError::Neighbour { address, interface, source }),
            Err(source) => self.probe(interface, address).await.map_err(|error| {
                tracing::debug!(%address, interface, %error, "the probe failed too");
                NetError::Neighbour { address, interface, source }
            }),
        }
    }

    /// Lets the kernel forget a neighbour when it likes, undoing [`Netlink::keep_resolved`].
    ///
    /// # Errors
    /// [`NetError::Neighbour`].
    pub async fn release_neighbour(&self, interface: u32, address: IpAddr) -> Result<()> {
        // Updating an entry without the flag clears it; NTF_USE keeps its state and its MAC address as they are.
        let mut message = entry(interface, address);
        message.header.flags = NeighbourFlags::Use;
        match self.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REPLACE).await {
            Err(source) if !source.is(libc::ENOENT) && !source.is(libc::ENODEV) => {
                Err(NetError::Neighbour { address, interface, source })
            }
            _ => Ok(()),
        }
    }

    /// Forgets a neighbour at once, so that the next packet asks anew. One that is not there is fine.
    ///
    /// # Errors
    /// [`NetError::Neighbour`].
    pub async fn forget_neighbour(&self, interface: u32, address: IpAddr) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelNeighbour(entry(interface, address)), 0).await {
            Err(source) if !source.is(libc::ENOENT) => {
                Err(NetError::Neighbour { address, interface, source })
            }
            _ => Ok(()),
        }
    }

    /// Resolves a neighbour and waits for its answer, at most `patience`; the kernel keeps it afterwards.
    ///
    /// # Errors
    /// [`NetError::Unresolved`] when nobody answers, [`NetError::Neighbour`] when asking failed.
    pub async fn solicit(&self, interface: u32, address: IpAddr, patience: Duration) -> Result<MacAddr> {
        let started = Instant::now();
        self.keep_resolved(interface, address).await?;
        let mut pause = Duration::from_millis(2);
        loop {
            let known = self.neighbour(interface, address).await?;
            if let Some(mac) = known.and_then(|n| n.usable()) {
                return Ok(mac);
            }
            let waited = started.elapsed();
            if waited >= patience {
                return Err(NetError::Unresolved { address, interface, waited: patience });
            }
            sleep(pause.min(patience - waited)).await;
            pause = (pause * 2).min(LOOK_EVERY);
        }
    }

    /// Sends one empty datagram out of the interface, which makes any kernel resolve the address.
    async fn probe(&self, interface: u32, address: IpAddr) -> Result<()> {
        let link = self.link_by_index(interface).await?;
        send_probe(&link.name, SocketAddr::new(address, DISCARD_PORT), interface).map_err(|error| {
            NetError::Neighbour { address, interface, source: Cause::Kernel { source: error, note: None } }
        })
    }
}

fn send_probe(interface_name: &str, mut to: SocketAddr, interface: u32) -> std::io::Result<()> {
    use socket2::{Domain, Socket, Type};
    if let SocketAddr::V6(to) = &mut to {
        to.set_scope_id(interface);
    }
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), None)?;
    socket.bind_device(Some(interface_name.as_bytes()))?;
    socket.send_to(&[], &to.into()).map(drop)
}

fn entry(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = interface;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    }));
    message
}

fn as_neighbour(answer: &RouteNetlinkMessage) -> Option<Neighbour> {
    if let RouteNetlinkMessage::NewNeighbour(message) = answer { Neighbour::parse(message) } else { None }
}
