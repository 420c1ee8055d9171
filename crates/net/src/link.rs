//! Network interfaces: what they are, and the few settings of theirs that we change.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State},
};
use rtnetlink::{LinkUnspec, LinkVlan};
use serde::Serialize;

use crate::{Cause, MacAddr, NetError, Netlink, Result};

/// A network interface as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The kernel's number for it, unique within the network namespace.
    pub index: u32,
    /// Its name, `eth0`.
    pub name: String,
    /// The driver family: `veth`, `bridge`, `vlan`, …; empty for a plain device (a physical card, `lo`).
    pub kind: String,
    /// Set when this is a VLAN on top of another interface.
    pub vlan: Option<Vlan>,
    /// Its Ethernet address; `None` for devices of another link layer.
    pub mac: Option<MacAddr>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end answers: cable in, peer up.
    pub carrier: bool,
    /// The loopback device.
    pub loopback: bool,
    /// Index of the bridge or bond this is a port of.
    pub master: Option<u32>,
}

/// Where a VLAN interface sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Vlan {
    /// Index of the interface that carries the tagged frames.
    pub parent: u32,
    /// The tag, 1–4094.
    pub id: u16,
    /// The tag's ethertype: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
}

impl Link {
    /// Can carry traffic now.
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    pub(crate) fn parse(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: String::new(),
            vlan: None,
            mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            master: None,
        };
        let mut parent = None;
        let mut tag = None;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = MacAddr::try_from(bytes.as_slice()).ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Carrier(carrier) => link.carrier = *carrier != 0,
                LinkAttribute::OperState(State::LowerLayerDown) => link.carrier = false,
                LinkAttribute::Controller(master) => link.master = Some(*master).filter(|m| *m != 0),
                LinkAttribute::Link(index) => parent = Some(*index),
                LinkAttribute::LinkInfo(info) => read_info(info, &mut link.kind, &mut tag),
                _ => {}
            }
        }
        link.vlan = parent.zip(tag).map(|(parent, (id, protocol))| Vlan { parent, id, protocol });
        link
    }
}

fn read_info(info: &[LinkInfo], kind: &mut String, tag: &mut Option<(u16, u16)>) {
    for item in info {
        match item {
            LinkInfo::Kind(k) => *kind = k.to_string(),
            LinkInfo::Data(InfoData::Vlan(parts)) => *tag = vlan_tag(parts),
            _ => {}
        }
    }
}

fn vlan_tag(parts: &[InfoVlan]) -> Option<(u16, u16)> {
    let id = parts.iter().find_map(|p| if let InfoVlan::Id(id) = p { Some(*id) } else { None })?;
    let protocol =
        parts.iter().find_map(|p| if let InfoVlan::Protocol(p) = p { Some(u16::from(*p)) } else { None });
    Some((id, protocol.unwrap_or(0x8100)))
}

/// Verbs on interfaces.
impl Netlink {
    /// Every interface of this network namespace, in order of index.
    ///
    /// # Errors
    /// [`NetError::List`].
    pub async fn links(&self) -> Result<Vec<Link>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetLink(question()))
            .await
            .map_err(|source| NetError::List { what: "interfaces", source })?;
        let mut links: Vec<_> = answers.iter().filter_map(as_link).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`NetError::NoSuchInterface`], [`NetError::FindInterface`].
    pub async fn link(&self, name: &str) -> Result<Link> {
        let mut message = question();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message, name.to_owned()).await
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// [`NetError::NoSuchInterface`], [`NetError::FindInterface`].
    pub async fn link_by_index(&self, index: u32) -> Result<Link> {
        let mut message = question();
        message.header.index = index;
        self.one_link(message, format!("#{index}")).await
    }

    async fn one_link(&self, message: LinkMessage, interface: String) -> Result<Link> {
        match self.get(RouteNetlinkMessage::GetLink(message)).await {
            Ok(answer) => as_link(&answer).ok_or_else(|| NetError::FindInterface {
                interface,
                source: Cause::Unexpected("not an interface".into()),
            }),
            Err(source) if source.is(libc::ENODEV) => Err(NetError::NoSuchInterface { interface }),
            Err(source) => Err(NetError::FindInterface { interface, source }),
        }
    }

    /// Sets an interface administratively up or down.
    ///
    /// # Errors
    /// [`NetError::ChangeInterface`].
    pub async fn set_up(&self, link: &Link, up: bool) -> Result<()> {
        let builder = LinkUnspec::new_with_index(link.index);
        let (builder, action) =
            if up { (builder.up(), "bringing up") } else { (builder.down(), "taking down") };
        self.change_link(builder.build(), action.to_owned(), &link.name).await
    }

    /// Sets an interface's MTU in bytes.
    ///
    /// # Errors
    /// [`NetError::ChangeInterface`].
    pub async fn set_mtu(&self, link: &Link, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
        self.change_link(message, format!("setting the MTU to {mtu} on"), &link.name).await
    }

    /// Creates an 802.1Q interface on top of `parent`, down and without addresses.
    ///
    /// # Errors
    /// [`NetError::ChangeInterface`]; a kernel without VLAN support answers "operation not supported" (`modprobe 8021q`).
    pub async fn add_vlan(&self, parent: &Link, id: u16, name: &str) -> Result<()> {
        let message = LinkVlan::new(name, parent.index, id).build();
        self.create_link(message, format!("creating VLAN {id} of {} as", parent.name), name).await
    }

    /// Removes an interface that was made by software (VLAN, veth, bridge).
    ///
    /// # Errors
    /// [`NetError::ChangeInterface`].
    pub async fn remove_link(&self, link: &Link) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index).build();
        self.change(RouteNetlinkMessage::DelLink(message), 0).await.map_err(|source| {
            NetError::ChangeInterface { action: "removing".into(), interface: link.name.clone(), source }
        })
    }

    /// Sends a ready link message that creates an interface; for labs and tests that build topologies.
    ///
    /// # Errors
    /// [`NetError::ChangeInterface`] with the words given.
    pub async fn create_link(&self, message: LinkMessage, action: String, name: &str) -> Result<()> {
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .await
            .map_err(|source| NetError::ChangeInterface { action, interface: name.to_owned(), source })
    }

    async fn change_link(&self, message: LinkMessage, action: String, name: &str) -> Result<()> {
        self.change(RouteNetlinkMessage::SetLink(message), 0)
            .await
            .map_err(|source| NetError::ChangeInterface { action, interface: name.to_owned(), source })
    }
}

/// A request for interfaces without their counters, which nobody here reads.
fn question() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn as_link(answer: &RouteNetlinkMessage) -> Option<Link> {
    if let RouteNetlinkMessage::NewLink(message) = answer { Some(Link::parse(message)) } else { None }
}
