//! What the pair's configuration and one node's say together.

use std::net::IpAddr;

use crate::cluster::Cluster;
use crate::layer4::Mode4;
use crate::node::Node;
use crate::problem::Problem;
use crate::reader::did_you_mean;
use crate::service::Service;

/// Problems that show only when both files are known. Paths are those of `cluster.toml`.
pub fn check_together(cluster: &Cluster, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, service) in cluster.services.iter().enumerate() {
        let path = format!("service[{index}]");
        virtual_address(&path, service, node, &mut problems);
        servers(&path, service, node, &mut problems);
    }
    for (index, floating) in cluster.floating_ips.iter().enumerate() {
        let path = format!("floating_ip[{index}]");
        own_address(&format!("{path}.address"), floating.address.addr(), node, &mut problems);
        if let Some(interface) = &floating.interface {
            known_interface(&format!("{path}.interface"), interface, node, &mut problems);
        } else if node.on_link(floating.address.addr()).is_none() && !node.interfaces.is_empty() {
            let text = format!(
                "{} is in no network of an interface of {}: write `interface` to say where it belongs",
                floating.address, node.hostname
            );
            problems.push(Problem::error(format!("{path}.address"), text));
        }
    }
    for (index, interface) in cluster.layer4.autonat.iter().enumerate() {
        known_interface(&format!("layer4.autonat[{index}]"), interface, node, &mut problems);
    }
    problems
}

fn own_address(path: &str, address: IpAddr, node: &Node, problems: &mut Vec<Problem>) {
    if let Some(owner) = node.owner_of(address) {
        let text = format!(
            "{address} is the own address of {} on {}, and an address that moves between the nodes can't belong to one: \
             write a free address of that network",
            owner.name, node.hostname
        );
        problems.push(Problem::error(path, text));
    }
}

fn virtual_address(path: &str, service: &Service, node: &Node, problems: &mut Vec<Problem>) {
    let place = format!("{path}.address");
    own_address(&place, service.address, node, problems);
    if node.routes.iter().any(|route| route.via == Some(service.address)) {
        let text = format!("{} is a router {} uses: write a free address", service.address, node.hostname);
        problems.push(Problem::error(place, text));
    } else if node.on_link(service.address).is_none() && !node.interfaces.is_empty() {
        let text = format!(
            "{} is in no network of an interface of {}: clients reach it only if a router sends it here",
            service.address, node.hostname
        );
        problems.push(Problem::warning(place, text));
    }
}

fn servers(path: &str, service: &Service, node: &Node, problems: &mut Vec<Problem>) {
    let Some(layer4) = service.as_layer4() else { return };
    for (index, server) in service.servers.iter().enumerate() {
        let Some(ip) = server.address.ip() else { continue };
        let place = format!("{path}.server[{index}].address");
        if let Some(owner) = node.owner_of(ip) {
            let text = format!(
                "{ip} is {} of {} itself, and layer 4 forwards packets to other hosts: write the server's own address",
                owner.name, node.hostname
            );
            problems.push(Problem::error(place, text));
        } else if layer4.mode == Mode4::Dr && node.on_link(ip).is_none() && !node.interfaces.is_empty() {
            let text = format!(
                "DR reaches a server by its MAC address, and {ip} is in no network of an interface of {}: give an interface \
                 an address in the server's network, or use mode = \"tun\"",
                node.hostname
            );
            problems.push(Problem::warning(place, text));
        }
    }
}

fn known_interface(path: &str, name: &str, node: &Node, problems: &mut Vec<Problem>) {
    if node.interface(name).is_some() || node.interfaces.is_empty() {
        return;
    }
    let names: Vec<&str> = node.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let text = format!("{} has no interface `{name}`: {}", node.hostname, did_you_mean(name, &names));
    problems.push(Problem::error(path, text));
}
