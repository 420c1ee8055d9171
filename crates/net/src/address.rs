//! Addresses on interfaces, and which interface an address belongs on.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
};
use serde::Serialize;

use crate::{Candidates, Link, NetError, Netlink, Result};

/// An address that an interface has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceAddress {
    /// Index of the interface.
    pub interface: u32,
    /// The address with its prefix length.
    pub address: IpNet,
    /// Duplicate address detection is under way or failed, so the kernel will not answer for it (IPv6).
    pub unusable: bool,
    /// The kernel keeps no connected route for it.
    pub no_prefix_route: bool,
}

/// How to add an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressOptions {
    /// Don't add the connected route of its subnet: another address of the subnet carries it.
    pub no_prefix_route: bool,
    /// Use the address at once, without duplicate address detection. IPv6 only; IPv4 has none.
    pub no_dad: bool,
    /// The kernel doesn't choose it as the source of what this machine itself sends, as long as there is another one
    /// (RFC 4862, 5.5.4). IPv6 only; of IPv4's addresses the first of a network is chosen.
    pub never_source: bool,
}

impl AddressOptions {
    /// What a floating address needs: usable at once, no second connected route beside the interface's own, and no source
    /// of anything: answers to it would be taken for clients' packets.
    pub const FLOATING: Self = Self { no_prefix_route: true, no_dad: true, never_source: true };

    fn flags(self) -> AddressFlags {
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Noprefixroute, self.no_prefix_route);
        flags.set(AddressFlags::Nodad, self.no_dad);
        flags
    }
}

impl InterfaceAddress {
    pub(crate) fn parse(message: &AddressMessage) -> Option<Self> {
        // With a peer address, IFA_ADDRESS is the peer's and IFA_LOCAL ours; IPv6 without a peer has only the former.
        let (mut local, mut address) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        Some(Self {
            interface: message.header.index,
            address: IpNet::new(local.or(address)?, message.header.prefix_len).ok()?,
            unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
                && !flags.contains(AddressFlags::Optimistic),
            no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
        })
    }
}

/// How well an interface's networks suit an address, less is better; none if they don't hold it. The longest prefix wins,
/// then one with a connected route (a floating address left behind has none). Host prefixes (/32, /128: other floating
/// addresses) hold nothing.
pub fn suits(address: IpAddr, interface: u32, addresses: &[InterfaceAddress]) -> Option<(Reverse<u8>, bool)> {
    let holds = |a: &&InterfaceAddress| {
        let net = a.address;
        a.interface == interface && net.prefix_len() < net.max_prefix_len() && net.contains(&address)
    };
    addresses.iter().filter(holds).map(|a| (Reverse(a.address.prefix_len()), a.no_prefix_route)).min()
}

/// The interface that [suits](suits) `address` best; of equal ones that with the lower index. Loopback and interfaces that
/// are down are not considered.
///
/// # Errors
/// [`NetError::NoInterfaceFor`] with the subnets that exist.
pub fn owner_of<'l>(address: IpAddr, links: &'l [Link], addresses: &[InterfaceAddress]) -> Result<&'l Link> {
    let usable = links.iter().filter(|link| link.up && !link.loopback);
    let suiting = usable.filter_map(|link| Some((suits(address, link.index, addresses)?, link.index, link)));
    match suiting.min_by_key(|(rank, index, _)| (*rank, *index)) {
        Some((_, _, link)) => Ok(link),
        None => {
            let candidates = connected_subnets(address, links, addresses);
            Err(NetError::NoInterfaceFor { address, candidates: Candidates(candidates) })
        }
    }
}

/// Every subnet of that family on an interface that could be used, for the error.
fn connected_subnets(like: IpAddr, links: &[Link], addresses: &[InterfaceAddress]) -> Vec<(String, IpNet)> {
    let usable = |index| links.iter().find(|link| link.index == index && link.up && !link.loopback);
    let mut connected: Vec<(u32, IpNet, String)> = addresses
        .iter()
        .filter(|a| a.address.addr().is_ipv4() == like.is_ipv4())
        .filter(|a| a.address.prefix_len() < a.address.max_prefix_len())
        .filter_map(|a| Some((a.interface, a.address.trunc(), usable(a.interface)?.name.clone())))
        .collect();
    connected.sort();
    connected.dedup();
    connected.into_iter().map(|(_, net, name)| (name, net)).collect()
}

/// Verbs on addresses.
impl Netlink {
    /// Every address of both families on every interface.
    ///
    /// # Errors
    /// [`NetError::List`].
    pub async fn addresses(&self) -> Result<Vec<InterfaceAddress>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .await
            .map_err(|source| NetError::List { what: "addresses", source })?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => InterfaceAddress::parse(message),
                _ => None,
            })
            .collect())
    }

    /// Adds an address, or updates its options where it is there already.
    ///
    /// # Errors
    /// [`NetError::AddAddress`].
    pub async fn add_address(&self, link: &Link, address: IpNet, options: AddressOptions) -> Result<()> {
        let mut message = message_for(link, address);
        let flags = options.flags();
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        if options.never_source && address.addr().is_ipv6() {
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            .await
            .map_err(|source| NetError::AddAddress { address, interface: link.name.clone(), source })
    }

    /// Removes an address; one that is not there is fine.
    ///
    /// # Errors
    /// [`NetError::RemoveAddress`].
    pub async fn remove_address(&self, link: &Link, address: IpNet) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelAddress(message_for(link, address)), 0).await {
            Err(source) if !source.is(libc::EADDRNOTAVAIL) => {
                Err(NetError::RemoveAddress { address, interface: link.name.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

fn message_for(link: &Link, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.index = link.index;
    message.header.prefix_len = address.prefix_len();
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            kind: String::new(),
            vlan: None,
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            loopback: index == 1,
            master: None,
        }
    }

    fn on(interface: u32, address: &str) -> InterfaceAddress {
        let address = address.parse().unwrap();
        InterfaceAddress { interface, address, unusable: false, no_prefix_route: false }
    }

    #[test]
    fn the_longest_prefix_owns_an_address() {
        let links = [link(1, "lo"), link(2, "eth0"), link(3, "eth1")];
        let addresses =
            [on(1, "127.0.0.1/8"), on(2, "10.0.0.21/8"), on(3, "10.1.2.21/24"), on(3, "fd00::1/64")];
        let owner = |ip: &str| owner_of(ip.parse().unwrap(), &links, &addresses).map(|l| l.name.clone());
        assert_eq!(owner("10.1.2.200").unwrap(), "eth1");
        assert_eq!(owner("10.1.3.200").unwrap(), "eth0");
        assert_eq!(owner("fd00::200").unwrap(), "eth1");
    }

    #[test]
    fn a_floating_address_left_on_another_interface_misleads_nobody() {
        let links = [link(2, "eth0"), link(3, "eth1")];
        let left_behind = InterfaceAddress { no_prefix_route: true, ..on(2, "10.0.0.9/24") };
        let addresses = [left_behind, on(3, "10.0.0.21/24")];
        assert_eq!(owner_of("10.0.0.9".parse().unwrap(), &links, &addresses).unwrap().name, "eth1");
    }

    #[test]
    fn an_address_in_no_subnet_names_the_subnets_there_are() {
        let links = [link(1, "lo"), link(2, "eth0")];
        let addresses = [on(1, "127.0.0.1/8"), on(2, "192.168.2.21/24"), on(2, "192.168.2.200/32")];
        let error = owner_of("192.168.3.1".parse().unwrap(), &links, &addresses).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no interface is in the subnet of 192.168.3.1: connected subnets are 192.168.2.0/24 on eth0; \
             add an address of that subnet to an interface first"
        );
    }

    #[test]
    fn loopback_and_interfaces_that_are_down_own_nothing() {
        let mut down = link(2, "eth0");
        down.up = false;
        let links = [link(1, "lo"), down];
        let addresses = [on(1, "127.0.0.1/8"), on(2, "10.0.0.1/24")];
        for ip in ["127.0.0.9", "10.0.0.9"] {
            assert!(owner_of(ip.parse().unwrap(), &links, &addresses).is_err(), "{ip}");
        }
    }
}
