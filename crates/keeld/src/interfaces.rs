//! Interfaces: what `node.toml` wants of them, and the packet program on them.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use keel_dataplane::AttachMode;
use keel_model::{Interface, XdpChoice};
use keel_net::{
    AddressOptions, InterfaceAddress, Link, NetError,
    ethtool::{self, Offload},
};
use tracing::{info, warn};

use crate::node::{Attachment, Node};

impl Node {
    /// Reads the links anew.
    pub(crate) async fn read_links(&mut self) {
        match self.netlink.links().await {
            Ok(links) => {
                self.links = links.into_iter().map(|link| (link.index, link)).collect();
                self.succeed("interfaces");
            }
            Err(error) => self.fail("interfaces", &error),
        }
    }

    /// The link of this name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Gives the interfaces of `node.toml` what it says, without taking anything away that is there. One that is met for the
    /// first time is brought up; one that somebody took down later stays down.
    pub(crate) async fn set_up_interfaces(&mut self) {
        self.read_links().await;
        let present = match self.netlink.addresses().await {
            Ok(present) => present,
            Err(error) => return self.fail("addresses of interfaces", &error),
        };
        self.succeed("addresses of interfaces");
        for interface in self.config.interfaces.clone() {
            let subject = format!("interface {}", interface.name);
            match self.set_up(&interface, &present).await {
                Ok(()) => self.succeed(&subject),
                Err(error) => self.fail(&subject, &error),
            }
        }
        self.read_links().await;
    }

    async fn set_up(&mut self, interface: &Interface, present: &[InterfaceAddress]) -> Result<(), NetError> {
        if let Some(vlan) = &interface.vlan
            && self.link(&interface.name).is_none()
        {
            let parent = self.netlink.link(&vlan.parent).await?;
            self.netlink.add_vlan(&parent, vlan.id, &interface.name).await?;
        }
        let link = self.netlink.link(&interface.name).await?;
        if let Some(mtu) = interface.mtu.filter(|mtu| *mtu != link.mtu) {
            self.netlink.set_mtu(&link, mtu).await?;
        }
        let first = self.met.insert(link.index);
        if interface.enabled && !link.up && first {
            self.netlink.set_up(&link, true).await?;
        } else if !link.up && !first {
            // Addresses come back with it.
            return Ok(());
        }
        for address in &interface.addresses {
            if !present.iter().any(|a| a.interface == link.index && a.address == *address) {
                self.netlink.add_address(&link, *address, AddressOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Addresses that belong to this node and not to a service.
    pub(crate) async fn own_addresses(&self) -> Vec<IpAddr> {
        let floating = self.floating.addresses();
        let present = self.netlink.addresses().await.unwrap_or_default();
        let configured =
            self.config.interfaces.iter().flat_map(|i| i.addresses.iter().map(ipnet::IpNet::addr));
        let mut own: Vec<IpAddr> =
            present.iter().map(|a| a.address.addr()).filter(|a| !floating.contains(a)).collect();
        own.extend(configured);
        own
    }

    /// Puts the packet program on the interfaces that should have it.
    pub(crate) fn attach_interfaces(&mut self) {
        // Not known is not none.
        if self.links.is_empty() {
            return;
        }
        let mut attachments = BTreeMap::new();
        let links: Vec<Link> = self.links.values().filter(|link| carries_program(link)).cloned().collect();
        for link in links {
            let choice = self.config.interface(&link.name).map_or(XdpChoice::Auto, |i| i.xdp);
            attachments.insert(link.name.clone(), self.attach(&link, choice));
        }
        self.attachments = attachments;
        self.leave_other_interfaces();
    }

    /// Removes what another version's packet path has left, once all of its interfaces have changed over.
    pub(crate) fn remove_predecessors(&mut self) {
        const SUBJECT: &str = "another version's packet path";
        if self.attachments.values().any(|attachment| matches!(attachment, Attachment::Failed { .. })) {
            return;
        }
        match self.dataplane.remove_predecessors() {
            Ok(()) => self.succeed(SUBJECT),
            Err(error) => self.fail(SUBJECT, &error),
        }
    }

    /// Takes the program off interfaces that shouldn't have it any more: gone ones, and ports of a bridge or bond by now,
    /// which would keep that from carrying it.
    fn leave_other_interfaces(&mut self) {
        for (index, _) in self.dataplane.attached() {
            let link = self.links.get(&index);
            if link.is_some_and(carries_program) {
                continue;
            }
            let name = link.map_or_else(|| format!("#{index}"), |link| link.name.clone());
            match self.dataplane.detach(index) {
                Ok(()) => {
                    info!(interface = name, "packet program taken off");
                    self.former.put_back_offloads(&name);
                }
                Err(error) => warn!(interface = name, "{}", chain(&error)),
            }
        }
    }

    fn attach(&mut self, link: &Link, choice: XdpChoice) -> Attachment {
        let Some(mac) = link.mac else { return Attachment::Off };
        if let Err(error) = self.dataplane.know_interface(&link.name, link.index, mac.octets()) {
            return Attachment::Failed { why: chain(&error) };
        }
        let want = match choice {
            XdpChoice::Off => {
                return match self.dataplane.detach(link.index) {
                    Ok(()) => {
                        self.former.put_back_offloads(&link.name);
                        Attachment::Off
                    }
                    Err(error) => Attachment::Failed { why: chain(&error) },
                };
            }
            XdpChoice::Native => Some(AttachMode::Native),
            XdpChoice::Generic => Some(AttachMode::Generic),
            XdpChoice::Auto => None,
        };
        match self.dataplane.attach(&link.name, link.index, want) {
            Ok(attached) => {
                let before = match self.attachments.get(&link.name) {
                    Some(Attachment::Attached { refused_native, .. }) => Some(refused_native.clone()),
                    _ => None,
                };
                let known = before.is_some();
                // Who takes over what is attached isn't told again why it is so.
                let refused_native = attached.refused_native.or_else(|| before.flatten());
                if !known {
                    let how = if attached.adopted { "taken over" } else { "attached" };
                    info!(interface = link.name, mode = attached.mode.name(), "packet program {how}");
                }
                let generic = (attached.mode == AttachMode::Generic)
                    .then(|| generic_warning(link, refused_native.as_deref()));
                let hidden_tags = self.show_packets_whole(link, attached.mode);
                let warnings: Vec<String> = generic.into_iter().chain(hidden_tags).collect();
                let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
                if let Some(warning) = &warning
                    && !known
                {
                    warn!(interface = link.name, "{warning}");
                }
                Attachment::Attached { mode: attached.mode, refused_native, warning }
            }
            Err(error) => {
                let why = chain(&error);
                warn!(interface = link.name, "{why}");
                Attachment::Failed { why }
            }
        }
    }
}

impl Node {
    /// Lets the program see packets as they were on the wire. A card that takes VLAN tags out hides them from it; what
    /// it can't be told not to hide is the answer. In generic mode the stack would glue packets together, larger than
    /// any link carries.
    fn show_packets_whole(&mut self, link: &Link, mode: AttachMode) -> Option<String> {
        if mode == AttachMode::Generic
            && let Err(error) = self.former.switch(&link.name, Offload::Gro, false)
        {
            tracing::debug!(interface = link.name, "{}", chain(&error));
        }
        let error = self.former.switch(&link.name, Offload::RxVlan, false).err()?;
        // A driver that can't even be asked has no such offload.
        let stripped = ethtool::is_on(&link.name, Offload::RxVlan).unwrap_or(false);
        stripped.then(|| {
            format!(
                "the card takes VLAN tags out of packets and can't be told not to ({}): the packet program takes \
                 tagged packets for untagged ones; keep VLANs off this card, or try `ethtool -K {} rxvlan off`",
                chain(&error),
                link.name
            )
        })
    }
}

/// Physical and virtual Ethernet devices carry it; what sits on top of them (VLANs) and ports of a bridge or bond don't.
fn carries_program(link: &Link) -> bool {
    link.mac.is_some()
        && !link.loopback
        && link.vlan.is_none()
        && link.master.is_none()
        && link.kind != "bridge"
}

fn generic_warning(link: &Link, refused: Option<&str>) -> String {
    let driver = ethtool::driver(&link.name).unwrap_or_else(|_| "its driver".to_owned());
    let why = refused.map_or_else(String::new, |why| format!(" ({driver} refused native: {why})"));
    format!(
        "the packet program runs in generic mode{why}: every packet is forwarded, at several times the cost; a card \
         whose driver supports XDP, or xdp = \"native\" to insist, changes that"
    )
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Node {
    /// Remembers, and says once, that something the configuration wants isn't so.
    pub(crate) fn fail(&mut self, subject: &str, error: &(dyn std::error::Error + 'static)) {
        let text = chain(error);
        if self.failures.get(subject) != Some(&text) {
            warn!(subject, "{text}");
            self.failures.insert(subject.to_owned(), text);
        }
    }

    /// Forgets failures of a kind whose subjects are none any more.
    pub(crate) fn forget_failures(&mut self, kind: &str, subjects: &BTreeSet<String>) {
        self.failures.retain(|subject, _| !subject.starts_with(kind) || subjects.contains(subject));
    }

    /// Forgets an earlier failure.
    pub(crate) fn succeed(&mut self, subject: &str) {
        if self.failures.remove(subject).is_some() {
            info!(subject, "works again");
        }
    }
}
