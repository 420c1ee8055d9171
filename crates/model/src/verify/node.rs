//! What the values of a node say together.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::load::NodeDraft;
use crate::node::{Destination, Interface, Route};
use crate::reader::{Table, did_you_mean};

pub(super) fn verify(draft: &NodeDraft<'_>) {
    let Some(entries) = &draft.interfaces else { return };
    let known: Option<Vec<&Interface>> = entries.iter().map(|(_, interface)| interface.as_ref()).collect();
    interfaces(entries);
    for (at, route) in draft.routes.iter().flatten() {
        if let Some(route) = route {
            route_alone(at, route);
            if let Some(known) = &known {
                route_among(at, route, known);
            }
        }
    }
    web(draft);
    if let Some(known) = known {
        heartbeat(draft, &known);
    }
}

fn interfaces(entries: &[(Table<'_>, Option<Interface>)]) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut addresses: HashMap<IpAddr, &str> = HashMap::new();
    for (index, (at, interface)) in entries.iter().enumerate() {
        let Some(interface) = interface else { continue };
        if let Some(first) = names.insert(&interface.name, index) {
            at.error(
                "name",
                format!("interface[{first}] is called `{}` already: write each once", interface.name),
            );
        }
        for (place, net) in interface.addresses.iter().enumerate() {
            if let Some(first) = addresses.insert(net.addr(), &interface.name) {
                at.error(
                    &format!("addresses[{place}]"),
                    format!("{} is on {first} already: remove one of them", net.addr()),
                );
            }
        }
        if interface.vlan.as_ref().is_some_and(|vlan| vlan.parent == interface.name) {
            at.error(
                "vlan.parent",
                "a VLAN can't carry itself: write the interface it is on, such as \"eth0\"",
            );
        }
    }
}

fn route_alone(at: &Table<'_>, route: &Route) {
    match (route.via, &route.dev, route.to) {
        (None, None, _) => at.error("", "a route needs a way: write via = \"192.168.2.1\" or dev = \"eth0\""),
        (Some(via), _, Destination::Net(net)) if via.is_ipv4() != net.addr().is_ipv4() => {
            at.error(
                "via",
                format!("{via} is of another address family than {net}: write a router of the same family"),
            );
        }
        (Some(via), _, _) if via.is_unspecified() || via.is_multicast() || via.is_loopback() => {
            at.error("via", format!("{via} can't be a router: write the router's own address"));
        }
        _ => {}
    }
}

fn route_among(at: &Table<'_>, route: &Route, interfaces: &[&Interface]) {
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    if let Some(dev) = route.dev.as_ref().filter(|dev| !names.is_empty() && !names.contains(&dev.as_str())) {
        at.error("dev", format!("no [[interface]] is called `{dev}`: {}", did_you_mean(dev, &names)));
    }
    let Some(via) = route.via else { return };
    let nets = || interfaces.iter().flat_map(|interface| &interface.addresses);
    if nets().any(|net| net.addr() == via) {
        at.error("via", format!("{via} is this node itself: write the router's address"));
    } else if route.dev.is_none()
        && !names.is_empty()
        && !is_link_local(via)
        && !nets().any(|net| net.contains(&via))
    {
        at.error("via", format!("{via} is in no network of an interface, so it can't be reached: correct it, or write `dev` too"));
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}

fn web(draft: &NodeDraft<'_>) {
    if let Some((at, Some(web))) = &draft.web
        && web.http_port == web.https_port
    {
        let key = if at.has("https_port") { "https_port" } else { "http_port" };
        at.error(
            key,
            format!("port {} can't serve both http and https: write another port for one", web.https_port),
        );
    }
}

fn heartbeat(draft: &NodeDraft<'_>, interfaces: &[&Interface]) {
    let Some((at, Some(paths))) = &draft.heartbeat else { return };
    let owns = |address: IpAddr| {
        interfaces.iter().any(|interface| interface.addresses.iter().any(|net| net.addr() == address))
    };
    let strangers = paths.addresses.iter().enumerate().filter(|(_, address)| !owns(**address));
    for (index, address) in strangers.filter(|_| !interfaces.is_empty()) {
        at.error(
            &format!("addresses[{index}]"),
            format!("{address} is on no interface of this node: write one of its own addresses"),
        );
    }
    for (index, peer) in paths.peers.iter().enumerate().filter(|(_, peer)| owns(peer.ip)) {
        at.error(
            &format!("peers[{index}]"),
            format!("{} is this node itself: write the address of the other node", peer.ip),
        );
    }
}
