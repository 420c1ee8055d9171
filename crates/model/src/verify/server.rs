//! What a server says together with its service and its neighbours.

use std::collections::HashMap;

use crate::layer4::Mode4;
use crate::load::{ServerDraft, ServiceDraft};

pub(super) fn verify_all(service: &ServiceDraft<'_>) {
    for server in service.servers() {
        connections(server);
        loopback(service, server);
        if let Some(mode) = service.layer4().and_then(|layer4| layer4.mode) {
            family(service, server, mode);
            port(service, server, mode);
        }
    }
    names(service);
    places(service);
}

fn connections(server: &ServerDraft<'_>) {
    if let (Some(min), Some(max)) = (server.min_connections, server.max_connections)
        && max != 0
        && min > max
    {
        let text = format!(
            "{min} is more than max_connections, {max}, so a full server would never take work again: write at most {max}"
        );
        server.at.error("min_connections", text);
    } else if let (Some(1..), Some(0)) = (server.min_connections, server.max_connections) {
        server.at.warn("min_connections", "it has no effect without max_connections, which is 0: unlimited");
    }
}

fn loopback(service: &ServiceDraft<'_>, server: &ServerDraft<'_>) {
    if let (Some(ip), Some(_)) = (server.ip(), service.layer4())
        && ip.is_loopback()
    {
        let text = format!(
            "{ip} is a loopback address, and layer 4 forwards packets to other hosts: write the server's own address, or use layer 7"
        );
        server.at.error("address", text);
    }
}

fn family(service: &ServiceDraft<'_>, server: &ServerDraft<'_>, mode: Mode4) {
    let (Some(ip), Some(address)) = (server.ip(), service.address) else { return };
    let why = match mode {
        Mode4::Dr => "DR passes the packet on as it is",
        Mode4::Nat => "NAT translates addresses and ports, not IPv4 into IPv6",
        Mode4::Tun(_) => return,
    };
    if ip.is_ipv4() != address.is_ipv4() && !ip.is_loopback() {
        let (own, other) = if address.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        let text = format!(
            "{ip} is {other} and the service {address} is {own}; {why}: write the server's {own} address, \
             or use mode = \"tun\" or layer 7, which can mix them"
        );
        server.at.error("address", text);
    }
}

fn port(service: &ServiceDraft<'_>, server: &ServerDraft<'_>, mode: Mode4) {
    let (Some(Some(port)), Some(ports)) = (server.port, &service.ports) else { return };
    if mode == Mode4::Nat {
        if ports.only().is_none() {
            let text = format!(
                "the service has several ports, {ports}, and would send them all to port {port} of this server, which \
                 couldn't tell them apart: remove `port`, or make one service for each port"
            );
            server.at.error("port", text);
        }
        return;
    }
    let name = mode.as_str().to_uppercase();
    if !ports.contains(port) {
        let why = match mode {
            Mode4::Dr => "only the MAC address of a packet changes",
            _ => "the packet travels unchanged inside another",
        };
        let text = format!(
            "{name} can't translate ports ({why}), so the server gets clients on {ports}, not on {port}: remove `port` \
             or use mode = \"nat\""
        );
        server.at.error("port", text);
    } else if ports.only().is_none() {
        server.at.warn(
            "port",
            format!(
                "it has no effect: in {name} the server gets clients on every port of the service, {ports}"
            ),
        );
    }
}

fn names(service: &ServiceDraft<'_>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, server) in service.servers().iter().enumerate() {
        let Some(name) = &server.name else { continue };
        if let Some(first) = seen.insert(name.as_str().to_lowercase(), index) {
            let text =
                format!("server[{first}] of this service is called `{name}` already: give each its own name");
            server.at.error("name", text);
        }
    }
}

/// Two entries for one place would count it twice.
fn places(service: &ServiceDraft<'_>) {
    let mut seen = HashMap::new();
    for server in service.servers() {
        let (Some(address), Some(port), Some(name)) = (&server.address, server.port, &server.name) else {
            continue;
        };
        let port =
            if service.layer4().is_some_and(|layer4| layer4.mode != Some(Mode4::Nat)) { None } else { port };
        let port = port.or_else(|| service.ports.as_ref().and_then(crate::PortSet::only));
        if let Some(first) = seen.insert((address.clone(), port), name.clone()) {
            let place = port.map_or_else(|| address.to_string(), |port| format!("{address} port {port}"));
            let text = format!(
                "{place} is the server `{first}` already, and one server can't be two: remove one of them or correct its address"
            );
            server.at.error("address", text);
        }
    }
}
