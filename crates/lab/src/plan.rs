//! What a lab consists of: from a topology and a number of servers to nodes, links, addresses and routes. Pure;
//! `network` carries it out.

mod server;

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::Topology;
use crate::address::Network;

/// The router's host number on every network, and the floating gateway's on the back network.
pub(crate) const GATEWAY: u8 = 1;
/// The client's main host number. It has the nine after it too, to be several clients.
const CLIENT: u8 = 10;
const MORE_CLIENTS: std::ops::RangeInclusive<u8> = 11..=19;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Holds the bridges. It has no address and is not part of the network that it carries.
    Switch,
    /// Asks.
    Client,
    /// Forwards between the networks.
    Router,
    /// Runs an appliance.
    Balancer,
    /// Answers.
    Server,
}

/// One network interface of a node; its other end is a port of the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The interface's name inside the node.
    pub device: String,
    /// The network it is on.
    pub network: Network,
    /// Its IPv4 address (in a /24).
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address (in a /64).
    pub ipv6: Ipv6Addr,
    /// Its Ethernet address.
    pub mac: String,
    /// Further host numbers whose addresses it has.
    #[serde(skip)]
    pub also: Vec<u8>,
}

impl Link {
    fn new(device: &str, network: Network, host: u8) -> Self {
        Self {
            device: device.to_owned(),
            network,
            ipv4: network.ipv4(host),
            ipv6: network.ipv6(host),
            mac: network.mac(host),
            also: Vec::new(),
        }
    }
}

/// One machine of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name: client, router, lb1, rs1, …
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// What `ip -4` is told once the interfaces are up: routes and rules.
    pub ipv4: Vec<String>,
    /// What `ip -6` is told.
    pub ipv6: Vec<String>,
    /// What `nft` is told, where the node needs it.
    pub firewall: Option<String>,
}

impl Node {
    fn new(name: impl Into<String>, role: Role, links: Vec<Link>) -> Self {
        Self { name: name.into(), role, links, ipv4: Vec::new(), ipv6: Vec::new(), firewall: None }
    }

    /// Adds a default route through a host of a network.
    fn default_route(mut self, network: Network, gateway: u8) -> Self {
        self.ipv4.push(format!("route add default via {}", network.ipv4(gateway)));
        self.ipv6.push(format!("route add default via {}", network.ipv6(gateway)));
        self
    }

    /// The switch's name for the port at the other end of a link.
    pub fn port(&self, link: &Link) -> String {
        format!("{}-{}", self.name, link.device)
    }
}

/// All nodes of a lab, without the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The nodes, in the order in which they are shown.
    pub nodes: Vec<Node>,
}

impl Plan {
    /// The plan of a topology. `appliance` says whether a balancer will hold the floating gateway itself.
    pub fn new(topology: Topology, servers: u8, appliance: bool) -> Self {
        let mut nodes = vec![client(), router(topology)];
        nodes.extend((1..=balancers(topology)).map(|number| balancer(topology, number, appliance)));
        nodes.extend((1..=servers).map(|number| server::node(topology, number)));
        Self { nodes }
    }

    /// The networks that the nodes are on, each once.
    pub fn networks(&self) -> Vec<Network> {
        let links = self.nodes.iter().flat_map(|node| &node.links);
        let mut networks: Vec<Network> = links.map(|link| link.network).collect();
        networks.sort();
        networks.dedup();
        networks
    }
}

pub(crate) fn balancers(topology: Topology) -> u8 {
    if topology == Topology::Pair { 2 } else { 1 }
}

/// The host number of a balancer.
pub(crate) fn balancer_host(number: u8) -> u8 {
    20 + number
}

pub(crate) fn has_back(topology: Topology) -> bool {
    matches!(topology, Topology::TwoArm | Topology::Pair)
}

fn client() -> Node {
    let mut link = Link::new("eth0", Network::Clients, CLIENT);
    link.also = MORE_CLIENTS.collect();
    Node::new("client", Role::Client, vec![link]).default_route(Network::Clients, GATEWAY)
}

fn router(topology: Topology) -> Node {
    let mut links =
        vec![Link::new("eth0", Network::Clients, GATEWAY), Link::new("eth1", Network::Front, GATEWAY)];
    if topology == Topology::Tunnel {
        links.push(Link::new("eth2", Network::Remote, GATEWAY));
    }
    let mut node = Node::new("router", Role::Router, links);
    if has_back(topology) {
        let balancer = balancer_host(1);
        node.ipv4.push(format!("route add 10.0.0.0/24 via {}", Network::Front.ipv4(balancer)));
        node.ipv6.push(format!("route add fd00:10::/64 via {}", Network::Front.ipv6(balancer)));
    }
    node
}

/// The floating gateway is the appliance's to add. Where there is none, lb1 has it as a plain address, so that
/// the servers can be reached without a load balancer too.
fn balancer(topology: Topology, number: u8, appliance: bool) -> Node {
    let host = balancer_host(number);
    let mut links = vec![Link::new("eth0", Network::Front, host)];
    if has_back(topology) {
        let mut back = Link::new("eth1", Network::Back, host);
        if number == 1 && !appliance {
            back.also = vec![GATEWAY];
        }
        links.push(back);
    }
    Node::new(format!("lb{number}"), Role::Balancer, links).default_route(Network::Front, GATEWAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plan: &Plan) -> Vec<&str> {
        plan.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    fn node<'a>(plan: &'a Plan, name: &str) -> &'a Node {
        plan.nodes.iter().find(|node| node.name == name).unwrap()
    }

    #[test]
    fn only_the_pair_has_a_second_balancer() {
        let one = Plan::new(Topology::OneArm, 2, true);
        assert_eq!(names(&one), ["client", "router", "lb1", "rs1", "rs2"]);
        let pair = Plan::new(Topology::Pair, 1, true);
        assert_eq!(names(&pair), ["client", "router", "lb1", "lb2", "rs1"]);
    }

    #[test]
    fn a_networks_hosts_have_different_addresses() {
        for topology in Topology::ALL {
            let plan = Plan::new(topology, 99, true);
            let mut seen = std::collections::HashSet::new();
            for link in plan.nodes.iter().flat_map(|node| &node.links) {
                let hosts = [link.ipv4.into(), std::net::IpAddr::from(link.ipv6)];
                assert!(hosts.into_iter().all(|host| seen.insert(host)), "{topology}: {link:?}");
            }
        }
    }

    #[test]
    fn without_an_appliance_the_first_balancer_holds_the_gateway() {
        let bare = Plan::new(Topology::Pair, 1, false);
        assert_eq!(node(&bare, "lb1").links[1].also, [GATEWAY]);
        assert!(node(&bare, "lb2").links[1].also.is_empty());
        let full = Plan::new(Topology::Pair, 1, true);
        assert!(node(&full, "lb1").links[1].also.is_empty());
    }

    #[test]
    fn interface_names_fit_the_kernels_fifteen_bytes() {
        for topology in Topology::ALL {
            for node in &Plan::new(topology, 99, true).nodes {
                assert!(node.links.iter().all(|link| node.port(link).len() <= 15));
            }
        }
    }
}
