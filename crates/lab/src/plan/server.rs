//! A real server's part of the plan: set up for direct routing, NAT and tunnels at once.
//!
//! - Direct routing and tunnels: the VIP ranges are local (but not on any interface, and no ARP answers for
//!   them), and what comes from a VIP goes out by the default route.
//! - NAT: what a balancer sent to the server's own address must go back through that balancer. With servers on the
//!   back network alone, the floating gateway is the default route. With servers on both networks (the pair)
//!   only what comes from the back address takes the gateway. On the front network the server remembers
//!   which balancer's Ethernet address a connection came from and answers through that one, which leaves
//!   direct routing and plain connections through the router as they are.

use super::{GATEWAY, Link, Node, Role, balancer_host, balancers, has_back};
use crate::Topology;
use crate::address::Network;

/// VIPs .200 to .239.
const VIPS4: [&str; 3] = ["192.168.2.200/29", "192.168.2.208/28", "192.168.2.224/28"];
/// VIPs ::200 to ::2ff.
const VIPS6: &str = "fd00:2::200/120";
/// The routing table for what comes from the back address.
const BACK_TABLE: u8 = 100;

pub(super) fn node(topology: Topology, number: u8) -> Node {
    let host = 100 + number;
    let networks: &[Network] = match topology {
        Topology::OneArm => &[Network::Front],
        Topology::TwoArm => &[Network::Back],
        Topology::Tunnel => &[Network::Remote],
        Topology::Pair => &[Network::Front, Network::Back],
    };
    let links = networks.iter().enumerate();
    let links = links.map(|(index, network)| Link::new(&format!("eth{index}"), *network, host)).collect();
    let mut node = Node::new(format!("rs{number}"), Role::Server, links).default_route(networks[0], GATEWAY);
    vips(&mut node);
    if networks.contains(&Network::Front) {
        through_the_same_balancer(&mut node, topology, host);
        if has_back(topology) {
            back_through_the_gateway(&mut node);
        }
    }
    node
}

fn vips(node: &mut Node) {
    node.ipv4.extend(VIPS4.map(|range| format!("route add local {range} dev lo")));
    node.ipv6.push(format!("route add local {VIPS6} dev lo"));
}

fn back_through_the_gateway(node: &mut Node) {
    let (gateway4, gateway6) = (Network::Back.ipv4(GATEWAY), Network::Back.ipv6(GATEWAY));
    node.ipv4.extend([
        format!("route add 10.0.0.0/24 dev eth1 table {BACK_TABLE}"),
        format!("route add default via {gateway4} table {BACK_TABLE}"),
        format!("rule add from 10.0.0.0/24 lookup {BACK_TABLE} priority 200"),
    ]);
    node.ipv6.extend([
        format!("route add fd00:10::/64 dev eth1 table {BACK_TABLE}"),
        format!("route add default via {gateway6} table {BACK_TABLE}"),
        format!("rule add from fd00:10::/64 lookup {BACK_TABLE} priority 200"),
    ]);
}

fn through_the_same_balancer(node: &mut Node, topology: Topology, host: u8) {
    let hosts: Vec<u8> = (1..=balancers(topology)).map(balancer_host).collect();
    for balancer in &hosts {
        let (via4, via6) = (Network::Front.ipv4(*balancer), Network::Front.ipv6(*balancer));
        node.ipv4.push(format!("route add default via {via4} table {balancer}"));
        node.ipv4.push(format!("rule add fwmark {balancer} lookup {balancer} priority 100"));
        node.ipv6.push(format!("route add default via {via6} table {balancer}"));
        node.ipv6.push(format!("rule add fwmark {balancer} lookup {balancer} priority 100"));
    }
    node.firewall = Some(firewall(&hosts, host));
}

/// Marks connections by the balancer they came through. Everything else stays out of connection tracking.
fn firewall(balancers: &[u8], host: u8) -> String {
    let macs: Vec<String> = balancers.iter().map(|balancer| Network::Front.mac(*balancer)).collect();
    let marks: Vec<String> = balancers
        .iter()
        .zip(&macs)
        .map(|(balancer, mac)| format!("    ether saddr {mac} ct mark set {balancer}"))
        .collect();
    let (own4, own6) = (Network::Front.ipv4(host), Network::Front.ipv6(host));
    format!(
        "table inet lab {{
  chain untracked_in {{
    type filter hook prerouting priority raw
    ether saddr != {{ {macs} }} notrack
    ip daddr != {own4} notrack
    ip6 daddr != {own6} notrack
  }}
  chain remember {{
    type filter hook prerouting priority mangle
{marks}
  }}
  chain untracked_out {{
    type filter hook output priority raw
    ip saddr != {own4} notrack
    ip6 saddr != {own6} notrack
  }}
  chain answer {{
    type route hook output priority mangle
    meta mark set ct mark
  }}
}}
",
        macs = macs.join(", "),
        marks = marks.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_where_the_modes_need_them() {
        let networks = |topology| {
            let node = node(topology, 1);
            node.links.into_iter().map(|link| link.network).collect::<Vec<_>>()
        };
        assert_eq!(networks(Topology::OneArm), [Network::Front]);
        assert_eq!(networks(Topology::TwoArm), [Network::Back]);
        assert_eq!(networks(Topology::Tunnel), [Network::Remote]);
        assert_eq!(networks(Topology::Pair), [Network::Front, Network::Back]);
    }

    #[test]
    fn a_server_answers_through_either_balancer_of_the_pair() {
        let rules = node(Topology::Pair, 1).firewall.unwrap();
        assert!(
            rules.contains(&Network::Front.mac(21)) && rules.contains(&Network::Front.mac(22)),
            "{rules}"
        );
    }
}
