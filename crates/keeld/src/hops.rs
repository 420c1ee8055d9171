//! Next hops: how every server is reached, resolved by the kernel's routing and neighbour tables and written into the
//! packet path, which drops rather than asks.
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use keel_abi::Addr;
use keel_dataplane::Hop as MapHop;
use keel_net::{NeighbourState, NetError, NextHop};

use crate::node::Node;

/// A next hop that stops answering is used on for this long: a neighbour table that is being rebuilt, or a keeld that
/// has just started, must not cost a packet.
const GRACE: Duration = Duration::from_secs(3);

/// How long a change waits for the answers of new servers before it is reported as done.
const PATIENCE: Duration = Duration::from_millis(60);

/// What is known about reaching a server.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    /// The kernel's route.
    pub(crate) route: Option<NextHop>,
    /// The neighbour's Ethernet address, if it answered.
    pub(crate) mac: Option<keel_net::MacAddr>,
    /// Why there is none.
    pub(crate) why: Option<String>,
    /// Our own addresses that checks through a virtual address use.
    pub(crate) sources: Vec<IpAddr>,
    /// Since when there has been none.
    failing_since: Option<Instant>,
}

impl Hop {
    fn failing(why: String) -> Self {
        Self { route: None, mac: None, why: Some(why), sources: Vec::new(), failing_since: None }
    }
}

impl Node {
    /// Resolves the servers that aren't resolved. If some have never been asked for, waits a moment for their answers.
    pub(crate) async fn resolve_new_hops(&mut self) {
        let remotes = self.remotes();
        self.hops.retain(|address, _| remotes.contains(&Addr::from(*address)));
        self.unreachable.retain(|address| remotes.contains(&Addr::from(*address)));
        self.release_neighbours().await;
        for remote in &remotes {
            if self.lacks_source(IpAddr::from(*remote)) {
                self.resolve(IpAddr::from(*remote)).await;
            }
        }
        let new = remotes.iter().any(|remote| !self.hops.contains_key(&IpAddr::from(*remote)));
        self.resolve_pending().await;
        let deadline = Instant::now() + PATIENCE;
        while new && Instant::now() < deadline && self.hops.values().any(|hop| hop.mac.is_none()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.resolve_pending().await;
        }
        self.follow_ways();
    }

    /// Lets go of neighbours that lead to no server any more.
    async fn release_neighbours(&mut self) {
        let routes = self.hops.values().filter_map(|hop| hop.route.as_ref());
        let in_use = routes.map(|route| (route.interface, route.neighbour)).collect();
        // At the start nothing is resolved yet, and those of the former process are most likely needed again.
        if !self.hops.is_empty() || self.remotes().is_empty() {
            self.former.keep_only(&self.netlink, &in_use).await;
        }
    }

    /// Resolves the servers that aren't resolved.
    pub(crate) async fn resolve_pending(&mut self) {
        for remote in self.remotes() {
            let address = IpAddr::from(remote);
            if self.hops.get(&address).is_none_or(|hop| hop.mac.is_none()) {
                self.resolve(address).await;
            }
        }
    }

    /// Resolves every server anew.
    pub(crate) async fn resolve_all(&mut self) {
        for remote in self.remotes() {
            self.resolve(IpAddr::from(remote)).await;
        }
    }

    /// Resolves a slice of all servers anew, the next one with every call.
    pub(crate) async fn resolve_some(&mut self, count: usize) {
        let remotes = self.remotes();
        let start = if remotes.is_empty() { 0 } else { self.next_resolved % remotes.len() };
        let slice: Vec<Addr> =
            remotes.iter().cycle().skip(start).take(count.min(remotes.len())).copied().collect();
        self.next_resolved = start + slice.len();
        for remote in slice {
            self.resolve(IpAddr::from(remote)).await;
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
        let mut hop = self.look(address).await;
        if hop.mac.is_none() {
            let former = self.hops.get(&address).and_then(|former| former.failing_since);
            let since = *hop.failing_since.insert(former.unwrap_or_else(Instant::now));
            let reachable = self.dataplane.path(Addr::from(address)).ok().flatten();
            let reachable = reachable.is_some_and(|path| path.state == keel_abi::PATH_REACHABLE);
            if reachable && since.elapsed() < GRACE {
                self.know_hop(address, hop);
                return;
            }
        }
        let entry =
            hop.route.as_ref().zip(hop.mac).and_then(|(route, mac)| self.map_hop(address, route, mac));
        // A server that has never been asked gets a moment to answer before it is left out.
        let asked = self.hops.contains_key(&address);
        self.reachability_changed |= match entry {
            Some(_) => self.unreachable.remove(&address),
            None => asked && self.unreachable.insert(address),
        };
        let subject = format!("server {address}");
        match self.dataplane.set_hop(Addr::from(address), entry) {
            Ok(()) => self.succeed(&subject),
            Err(error) => self.fail(&subject, &error),
        }
        self.know_hop(address, hop);
    }

    fn know_hop(&mut self, address: IpAddr, hop: Hop) {
        let way = |hop: &Hop| (hop.mac, hop.route.clone(), hop.sources.clone());
        let former = self.hops.get(&address).map(way);
        self.ways_changed |= former != Some(way(&hop));
        self.hops.insert(address, hop);
    }

    /// Takes servers that can't be reached out of their services, and back in.
    pub(crate) async fn follow_reachability(&mut self) {
        if !std::mem::take(&mut self.reachability_changed) {
            return;
        }
        self.hold_groups();
        self.apply_services().await;
        self.tell_changes();
    }

    async fn look(&mut self, address: IpAddr) -> Hop {
        let route = match self.netlink.next_hop(address).await {
            Ok(route) if route.local => {
                return Hop::failing("it is an address of this machine itself".to_owned());
            }
            Ok(route) => route,
            Err(error) => return Hop::failing(crate::interfaces::chain(&error)),
        };
        let mac = match self.neighbour_of(&route).await {
            Ok(mac) => mac,
            Err(error) => {
                return Hop { route: Some(route), ..Hop::failing(crate::interfaces::chain(&error)) };
            }
        };
        let why = mac.is_none().then(|| {
            let whom = if route.on_link { "it doesn't answer" } else { "the gateway doesn't answer" };
            format!(
                "{whom}: no {} reply from {} on {}",
                protocol(route.neighbour),
                route.neighbour,
                route.interface_name
            )
        });
        let sources = self.sources(address, &route).await;
        Hop { route: Some(route), mac, why, sources, failing_since: None }
    }

    /// The neighbour's address as the kernel has it now; makes the kernel ask, and keep asking, if it doesn't.
    async fn neighbour_of(&mut self, route: &NextHop) -> Result<Option<keel_net::MacAddr>, NetError> {
        let found = self.netlink.neighbour(route.interface, route.neighbour).await?;
        let usable = found.as_ref().and_then(keel_net::Neighbour::usable);
        let kept = found.is_some_and(|n| n.managed || n.state == NeighbourState::Fixed);
        if !kept {
            self.former.keep(route.interface, route.neighbour);
        }
        if !kept || usable.is_none() {
            self.netlink.keep_resolved(route.interface, route.neighbour).await?;
        }
        Ok(usable)
    }

    pub(crate) fn map_hop(&self, address: IpAddr, route: &NextHop, mac: keel_net::MacAddr) -> Option<MapHop> {
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
