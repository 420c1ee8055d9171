//! On which interface a floating address belongs, decided from what the kernel has.
use std::net::IpAddr;

use keel_net::{InterfaceAddress, Link, NetError, owner_of, suits};

/// Where an address goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'l> {
    pub(crate) link: &'l Link,
    /// The interface has an address of that network already, whose route serves this one too.
    pub(crate) connected: bool,
}

/// What the kernel has, with what matters here picked out once for many addresses.
#[derive(Debug)]
pub(crate) struct Ground<'l> {
    links: &'l [Link],
    /// Addresses with a network; those that stand by themselves connect nothing.
    networks: Vec<InterfaceAddress>,
}

impl<'l> Ground<'l> {
    pub(crate) fn new(links: &'l [Link], present: &[InterfaceAddress]) -> Self {
        let has_network = |a: &&InterfaceAddress| a.address.prefix_len() < a.address.max_prefix_len();
        Self { links, networks: present.iter().filter(has_network).cloned().collect() }
    }

    /// The interface for an address: the one that was asked for, else the one with its network, and of several that are as
    /// good the one where it is. An address that no interface's network holds goes on the loopback: it is reached by a route
    /// that points here. From a card it is never moved back there: a card that is down, or without its own address for a
    /// moment, is no reason. (What the kernel takes off a card that goes down, IPv6 addresses, waits there.)
    ///
    /// # Errors
    /// The interface that was asked for isn't there, or there isn't even a loopback.
    pub(crate) fn place(
        &self,
        address: IpAddr,
        asked: Option<&str>,
        there: Option<u32>,
    ) -> Result<Place<'l>, NetError> {
        let others: Vec<InterfaceAddress> =
            self.networks.iter().filter(|a| a.address.addr() != address).cloned().collect();
        let suits = |link: &Link| suits(address, link.index, &others);
        let at = |link: &'l Link| Place { link, connected: suits(link).is_some() };
        if let Some(name) = asked {
            let found = self.links.iter().find(|link| link.name == name);
            return found.map(at).ok_or_else(|| NetError::NoSuchInterface { interface: name.to_owned() });
        }
        let there = self.links.iter().find(|link| Some(link.index) == there).map(at);
        match (owner_of(address, self.links, &others), there) {
            (Ok(owner), Some(there)) => {
                let stays = there.connected && !there.link.up || suits(there.link) == suits(owner);
                Ok(if stays { there } else { at(owner) })
            }
            (Ok(owner), None) => Ok(at(owner)),
            (Err(_), Some(there)) => Ok(there),
            (Err(error), None) => self.links.iter().find(|link| link.loopback).map(at).ok_or(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, up: bool) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: String::new(),
            vlan: None,
            mac: None,
            mtu: 1500,
            up,
            carrier: up,
            loopback: index == 1,
            master: None,
        }
    }

    fn on(interface: u32, address: &str) -> InterfaceAddress {
        let address = address.parse().unwrap();
        InterfaceAddress { interface, address, unusable: false, no_prefix_route: false }
    }

    const LO: u32 = 1;
    const FRONT: u32 = 2;
    const BACK: u32 = 3;

    /// The interface's index, for an address that is on `there`.
    fn placed(asked: Option<&str>, there: Option<u32>, front_up: bool, present: &[InterfaceAddress]) -> u32 {
        let links = [link(LO, "lo", true), link(FRONT, "front", front_up), link(BACK, "back", true)];
        let mut present = present.to_vec();
        present.extend(there.map(|index| on(index, "fd00:2::200/128")));
        let ground = Ground::new(&links, &present);
        ground.place("fd00:2::200".parse().unwrap(), asked, there).unwrap().link.index
    }

    #[test]
    fn an_address_goes_where_its_network_is_and_follows_it() {
        let front = [on(FRONT, "fd00:2::21/64"), on(BACK, "fd00:10::21/64")];
        let none = [on(BACK, "fd00:10::21/64")];
        let both = [on(FRONT, "fd00:2::21/64"), on(BACK, "fd00:2::22/64")];
        assert_eq!(placed(None, None, true, &front), FRONT);
        assert_eq!(placed(None, None, true, &none), LO, "reached by a route");
        assert_eq!(placed(None, Some(LO), true, &front), FRONT, "the network has come");
        assert_eq!(placed(None, Some(BACK), true, &front), FRONT);
        assert_eq!(placed(None, Some(FRONT), true, &none), FRONT, "its network is gone for a moment");
        assert_eq!(placed(None, Some(FRONT), false, &front), FRONT, "the card is down");
        assert_eq!(placed(None, Some(BACK), true, &both), BACK, "either is right");
        assert_eq!(placed(Some("back"), Some(FRONT), true, &front), BACK, "asked for");
        let wide = [on(FRONT, "fd00:2::21/64"), on(BACK, "fd00::22/16")];
        assert_eq!(placed(None, Some(BACK), true, &wide), FRONT, "the longer prefix has come");
        let gateway = InterfaceAddress { no_prefix_route: true, ..on(FRONT, "fd00:2::1/64") };
        let left_behind = [gateway, on(BACK, "fd00:2::22/64")];
        assert_eq!(
            placed(None, Some(FRONT), true, &left_behind),
            BACK,
            "other floating addresses hold nothing"
        );
    }

    #[test]
    fn an_interface_that_is_not_there_is_told() {
        let links = [link(LO, "lo", true)];
        let ground = Ground::new(&links, &[]);
        let error = ground.place("192.0.2.1".parse().unwrap(), Some("eth7"), None).unwrap_err();
        assert_eq!(error.to_string(), "there is no interface eth7");
    }

    #[test]
    fn only_an_address_beside_others_of_its_network_is_connected() {
        let links = [link(LO, "lo", true), link(FRONT, "front", true)];
        let address = "10.0.0.1".parse().unwrap();
        let connected = |present: &[InterfaceAddress]| {
            Ground::new(&links, present).place(address, Some("front"), None).unwrap().connected
        };
        assert!(!connected(&[on(FRONT, "10.0.0.1/24")]), "it is itself");
        assert!(connected(&[on(FRONT, "10.0.0.1/24"), on(FRONT, "10.0.0.21/24")]));
    }
}
