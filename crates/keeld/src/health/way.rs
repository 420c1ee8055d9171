//! The way of checks that go through the virtual address: that of the packet path.
use std::net::IpAddr;

use keel_model::{Encapsulation, Mode4, Service, Through};
use keel_net::NextHop;
use keel_probe::{Tunnel, Via};

use crate::node::Node;

impl Node {
    /// How the packet path sends a service's packets to a server, if it has a check that goes this way; none while the
    /// next hop isn't known.
    pub(super) fn way_to(&self, service: &Service, address: IpAddr) -> Option<Via> {
        if !goes_through(service) {
            return None;
        }
        let mode = service.as_layer4()?.mode;
        let known = self.hops.get(&address)?;
        let route = known.route.as_ref()?;
        let hop = self.map_hop(address, route, known.mac?)?;
        let local = IpAddr::from(hop.local);
        let tunnel = match mode {
            Mode4::Dr => None,
            Mode4::Nat => return None,
            Mode4::Tun(encapsulation) => Some(Tunnel {
                local,
                remote: address,
                gue: match encapsulation {
                    Encapsulation::Ip => None,
                    Encapsulation::Gue { port } => Some(port),
                },
            }),
        };
        let source = known.sources.iter().find(|own| own.is_ipv4() == service.address.is_ipv4()).copied()?;
        let keel_dataplane::Hop { mac, own_mac, ifindex, vlan, mtu, .. } = hop;
        Some(Via { mac, own_mac, interface: ifindex, vlan, mtu, source, tunnel })
    }

    /// Our own addresses that checks through the virtual address go out from, one of each family that they need. The
    /// kernel's choice isn't always one: for IPv6 it likes addresses that were added last, virtual ones.
    pub(crate) async fn sources(&self, server: IpAddr, route: &NextHop) -> Vec<IpAddr> {
        let families = self.families(server);
        if families.is_empty() {
            return Vec::new();
        }
        let floating = self.floating.addresses();
        let own = |address: &IpAddr| {
            let virtual_address = self.cluster.services.iter().any(|service| service.address == *address);
            !virtual_address && !floating.contains(address) && !is_link_local(*address)
        };
        let usual = route.source.filter(own);
        if let (Some(usual), [v4]) = (usual, &families[..])
            && usual.is_ipv4() == *v4
        {
            return vec![usual];
        }
        let present = self.netlink.addresses().await.unwrap_or_default();
        let here = present.iter().filter(|one| one.interface == route.interface && !one.unusable);
        let mut here: Vec<_> = here.map(|one| one.address).filter(|net| own(&net.addr())).collect();
        // One of the server's network, if there is one.
        here.sort_by_key(|net| !net.contains(&server));
        let here = || usual.into_iter().chain(here.iter().map(|net| net.addr()));
        families.iter().filter_map(|v4| here().find(|own| own.is_ipv4() == *v4)).collect()
    }

    /// Whether checks that are new need an address of ours that wasn't looked for.
    pub(crate) fn lacks_source(&self, server: IpAddr) -> bool {
        let Some(hop) = self.hops.get(&server) else { return false };
        let has = |v4: bool| hop.sources.iter().any(|own| own.is_ipv4() == v4);
        self.families(server).into_iter().any(|v4| !has(v4))
    }

    /// The families of the virtual addresses through which this server is checked, IPv4 being true.
    fn families(&self, server: IpAddr) -> Vec<bool> {
        let services = self.cluster.services.iter().filter(|service| goes_through(service));
        let services = services.filter(|service| {
            service.servers.iter().any(|one| self.address_of(service, one) == Some(server))
        });
        let mut families: Vec<bool> = services.map(|service| service.address.is_ipv4()).collect();
        families.sort_unstable();
        families.dedup();
        families
    }

    /// Tells checks that go through the virtual address when the way to a server has changed.
    pub(crate) fn follow_ways(&mut self) {
        if !std::mem::take(&mut self.ways_changed) {
            return;
        }
        let mut board = self.health.shared.board();
        for service in self.cluster.services.iter().filter(|service| goes_through(service)) {
            for server in &service.servers {
                if let Some(address) = self.address_of(service, server) {
                    let via = self.way_to(service, address);
                    board.set_way(service.name.as_str(), server.name.as_str(), via);
                }
            }
        }
    }
}

fn goes_through(service: &Service) -> bool {
    service.enabled && service.health.checks().any(|check| check.through == Through::Vip)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
