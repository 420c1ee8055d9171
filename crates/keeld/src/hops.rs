//! Next hops: how every server is reached, resolved by the kernel's routing and neighbour tables and written into the
//! packet path, which drops rather than asks.
use std::{net::IpAddr, time::Duration};

use keel_abi::Addr;
use keel_dataplane::Hop as MapHop;
use keel_net::{NeighbourState, NetError, NextHop};

use crate::node::Node;

/// What is known about reaching a server.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    /// The kernel's route.
    pub(crate) route: Option<NextHop>,
    /// The neighbour's Ethernet address, if it answered.
    pub(crate) mac: Option<keel_net::MacAddr>,
    /// Why there is none.
    pub(crate) why: Option<String>,
}

impl Node {
    /// Resolves every server that isn't resolved, or all of them.
    pub(crate) async fn resolve_hops(&mut self, all: bool) {
        let remotes = self.remotes();
        self.hops.retain(|address, _| remotes.contains(&Addr::from(*address)));
        for remote in remotes {
            let address = IpAddr::from(remote);
            let known = self.hops.get(&address).is_some_and(|hop| hop.mac.is_some());
            if all || !known {
                self.resolve(address).await;
            }
        }
    }

    /// Resolves the servers that are reached by a neighbour that changed.
    pub(crate) async fn neighbour_changed(&mut self, neighbour: IpAddr) {
        let affected: Vec<IpAddr> = self
            .hops
            .iter()
            .filter(|(_, hop)| hop.route.as_ref().is_none_or(|route| route.neighbour == neighbour))
            .map(|(address, _)| *address)
            .collect();
        for address in affected {
            self.resolve(address).await;
        }
    }

    async fn resolve(&mut self, address: IpAddr) {
        let hop = self.look(address).await;
        let entry =
            hop.route.as_ref().zip(hop.mac).and_then(|(route, mac)| self.map_hop(address, route, mac));
        match self.dataplane.set_hop(Addr::from(address), entry) {
            Ok(()) => {}
            Err(error) => self.fail(&format!("server {address}"), &error),
        }
        self.hops.insert(address, hop);
    }

    async fn look(&self, address: IpAddr) -> Hop {
        let route = match self.netlink.next_hop(address).await {
            Ok(route) if route.local => {
                let why = "it is an address of this machine itself".to_owned();
                return Hop { route: None, mac: None, why: Some(why) };
            }
            Ok(route) => route,
            Err(error) => return Hop { route: None, mac: None, why: Some(crate::interfaces::chain(&error)) },
        };
        let mac = self.neighbour_of(&route).await.unwrap_or(None);
        let why = mac.is_none().then(|| {
            let whom = if route.on_link { "it doesn't answer" } else { "the gateway doesn't answer" };
            format!(
                "{whom}: no {} reply from {} on {}",
                protocol(route.neighbour),
                route.neighbour,
                route.interface_name
            )
        });
        Hop { route: Some(route), mac, why }
    }

    async fn neighbour_of(&self, route: &NextHop) -> Result<Option<keel_net::MacAddr>, NetError> {
        let found = self.netlink.neighbour(route.interface, route.neighbour).await?;
        let kept = found.as_ref().is_some_and(|n| n.managed || n.state == NeighbourState::Fixed);
        if !kept {
            self.netlink.keep_resolved(route.interface, route.neighbour).await?;
        }
        if let Some(mac) = found.and_then(|n| n.usable()) {
            return Ok(Some(mac));
        }
        // Most answer at once; the rest is noticed by the event of the kernel's table.
        let patience = Duration::from_millis(30);
        Ok(self.netlink.solicit(route.interface, route.neighbour, patience).await.ok())
    }

    fn map_hop(&self, address: IpAddr, route: &NextHop, mac: keel_net::MacAddr) -> Option<MapHop> {
        let (ifindex, vlan) = route.vlan.map_or((route.interface, 0), |vlan| (vlan.parent, vlan.id));
        let own = self.links.get(&ifindex)?.mac?;
        let settings = &self.cluster.layer4;
        let local = match address {
            IpAddr::V4(_) => settings.tunnel_source4.map(IpAddr::V4),
            IpAddr::V6(_) => settings.tunnel_source6.map(IpAddr::V6),
        };
        Some(MapHop {
            mac: mac.octets(),
            own_mac: own.octets(),
            ifindex,
            vlan,
            mtu: u16::try_from(route.mtu).unwrap_or(u16::MAX),
            local: local.or(route.source).map_or(Addr::ZERO, Addr::from),
        })
    }
}

fn protocol(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ARP" } else { "neighbour discovery" }
}
