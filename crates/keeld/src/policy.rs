//! Which routing rules the node needs, decided from its own configuration and the cluster's alone: those written in
//! `node.toml`, and one pair for every virtual address on an interface whose way out is another than the node's.
use std::net::IpAddr;

use ipnet::IpNet;
use keel_model::{Cluster, Destination, Node, Route};
use keel_net::PolicyRule;

/// Where rules without a priority go: before the main table's 32766.
const WRITTEN: u32 = 10_000;
/// Behind them, for virtual addresses: first the main table but for its default route, so that networks this node is
/// connected to are reached directly, then the interface's own table.
const NEARBY: u32 = 10_001;
const AWAY: u32 = 10_002;
/// The kernel's number of the main table.
const MAIN: u32 = 254;

/// All rules, those that are written first.
pub(crate) fn rules(node: &Node, cluster: &Cluster) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = node
        .policy_routes
        .iter()
        .map(|written| {
            let priority = written.priority.unwrap_or(WRITTEN);
            PolicyRule::new(written.from.trunc(), written.table, priority)
        })
        .collect();
    let mut addresses: Vec<(IpAddr, Option<&str>)> =
        cluster.floating_ips.iter().map(|f| (f.address.addr(), f.interface.as_deref())).collect();
    for service in cluster.services.iter().filter(|service| service.enabled) {
        if !addresses.iter().any(|(address, _)| *address == service.address) {
            addresses.push((service.address, None));
        }
    }
    for (address, interface) in addresses {
        // What the administrator has written about this very traffic goes.
        if node.policy_routes.iter().any(|written| written.from.contains(&address)) {
            continue;
        }
        let Some(interface) =
            interface.or_else(|| node.on_link(address).map(|(found, _)| found.name.as_str()))
        else {
            continue;
        };
        if let Some(table) = table_of(node, interface, address) {
            let from = IpNet::from(address);
            rules.push(PolicyRule::new(from, MAIN, NEARBY).without_default());
            rules.push(PolicyRule::new(from, table, AWAY));
        }
    }
    rules
}

/// The table whose default route leaves by this interface, unless the main table's does the same.
fn table_of(node: &Node, interface: &str, address: IpAddr) -> Option<u32> {
    let leaves_here = |route: &&Route| {
        route.to == Destination::Default
            && is_for(route, address)
            && leaves_by(node, route) == Some(interface)
    };
    let own = |route: &Route| route.table.filter(|table| *table != MAIN);
    let here: Vec<&Route> = node.routes.iter().filter(leaves_here).collect();
    let best =
        here.iter().filter(|route| own(route).is_some()).min_by_key(|route| route.metric.unwrap_or(0))?;
    let same_in_main = here.iter().any(|route| own(route).is_none() && route.via == best.via);
    if same_in_main { None } else { best.table }
}

/// A default route without a router is taken to be of IPv4, as it is when it is made.
fn is_for(route: &Route, address: IpAddr) -> bool {
    route.via.is_some_and(|via| via.is_ipv6()) == address.is_ipv6()
}

fn leaves_by<'a>(node: &'a Node, route: &'a Route) -> Option<&'a str> {
    let by_router = || node.on_link(route.via?).map(|(interface, _)| interface.name.as_str());
    route.dev.as_deref().or_else(by_router)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"
[[interface]]
name = "eth0"
addresses = ["192.168.2.21/24", "fd00:2::21/64"]
[[interface]]
name = "eth1"
addresses = ["10.0.0.21/24", "fd00:10::21/64"]
[[route]]
to = "default"
via = "192.168.2.1"
[[route]]
to = "default"
via = "10.0.0.1"
table = 100
[[route]]
to = "default"
via = "fd00:10::1"
dev = "eth1"
table = 106
"#;

    fn services(addresses: &[&str]) -> String {
        let one = |address: &&str| {
            let name = address.replace(':', "-");
            format!(
                "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nports = \"80\"\n\
                 server = [{{ name = \"a\", address = \"{address}9\" }}]\n"
            )
        };
        addresses.iter().map(one).collect()
    }

    /// The rules as `ip rule` would show them.
    fn derived(node: &str, cluster: &str) -> Vec<String> {
        let (node, problems) = keel_model::load_node(node);
        let node = node.unwrap_or_else(|| panic!("{problems:?}"));
        let (cluster, problems) = keel_model::load_cluster(cluster);
        let cluster = cluster.unwrap_or_else(|| panic!("{problems:?}"));
        rules(&node, &cluster).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_addresses_on_an_interface_with_its_own_way_out_get_rules() {
        let cluster = services(&["192.168.2.20", "10.0.0.20", "fd00:10::20", "fd00:2::20", "172.16.0.2"]);
        assert_eq!(
            derived(NODE, &cluster),
            [
                "10001: from 10.0.0.20/32 lookup 254 suppress_prefixlength 0",
                "10002: from 10.0.0.20/32 lookup 100",
                "10001: from fd00:10::20/128 lookup 254 suppress_prefixlength 0",
                "10002: from fd00:10::20/128 lookup 106",
            ]
        );
    }

    #[test]
    fn a_floating_address_follows_the_interface_it_is_put_on() {
        let on = |interface: &str| {
            let cluster =
                format!("[[floating_ip]]\naddress = \"172.16.0.2/32\"\ninterface = \"{interface}\"\n");
            derived(NODE, &cluster)
        };
        assert_eq!(on("eth1")[1], "10002: from 172.16.0.2/32 lookup 100");
        assert_eq!(on("eth0"), [""; 0]);
    }

    #[test]
    fn what_is_written_about_an_address_goes() {
        let node = format!("{NODE}\n[[policy_route]]\nfrom = \"10.0.0.0/28\"\ntable = 7\n");
        assert_eq!(derived(&node, &services(&["10.0.0.2"])), ["10000: from 10.0.0.0/28 lookup 7"]);
        assert_eq!(derived(&node, &services(&["10.0.0.20"])).len(), 3);
    }

    #[test]
    fn the_same_gateway_in_the_main_table_makes_rules_superfluous() {
        let node = NODE.replace("192.168.2.1\"", "10.0.0.1\"");
        assert_eq!(derived(&node, &services(&["10.0.0.20"])), [""; 0]);
    }

    #[test]
    fn a_disabled_services_address_gets_none() {
        let cluster = services(&["10.0.0.20"]).replace("ports", "enabled = false\nports");
        assert_eq!(derived(NODE, &cluster), [""; 0]);
    }
}
