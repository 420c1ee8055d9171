//! Addresses of services, servers and floating IPs, looked at together.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::load::{ClusterDraft, ServiceDraft};

pub(super) fn verify(draft: &ClusterDraft<'_>) {
    let mut services: HashMap<IpAddr, Vec<(usize, &ServiceDraft<'_>)>> = HashMap::new();
    for (index, service) in draft.services().iter().enumerate() {
        if let Some(address) = service.address {
            services.entry(address).or_default().push((index, service));
        }
    }
    for (index, service) in draft.services().iter().enumerate() {
        for server in service.servers() {
            let Some(ip) = server.ip() else { continue };
            let theirs = services.get(&ip).map(Vec::as_slice).unwrap_or_default();
            if let Some((vip, other)) =
                theirs.iter().find(|(other, theirs)| clash((index, service), (*other, theirs)))
            {
                let whose = other
                    .name
                    .as_ref()
                    .map_or_else(|| format!("service[{vip}]"), |name| format!("the service `{name}`"));
                let text = format!("{ip} is the virtual address of {whose}: write the server's own address");
                server.at.error("address", text);
            }
        }
    }
    floating(draft);
}

/// A proxy may pass clients on to another proxied service of ours, but packets can't be sent to ourselves.
fn clash(user: (usize, &ServiceDraft<'_>), owner: (usize, &ServiceDraft<'_>)) -> bool {
    let proxied = |service: &ServiceDraft<'_>| service.kind.is_some() && service.layer4().is_none();
    user.0 == owner.0 || !(proxied(user.1) && proxied(owner.1))
}

fn floating(draft: &ClusterDraft<'_>) {
    let servers: HashMap<IpAddr, String> = draft
        .services()
        .iter()
        .flat_map(|service| service.servers())
        .filter_map(|server| Some((server.ip()?, server.name.as_ref()?.to_string())))
        .collect();
    let mut seen: HashMap<IpAddr, usize> = HashMap::new();
    for (index, (at, floating)) in draft.floating_ips.iter().flatten().enumerate() {
        let Some(floating) = floating else { continue };
        let ip = floating.address.addr();
        if let Some(first) = seen.insert(ip, index) {
            at.error("address", format!("{ip} is floating_ip[{first}] already: remove one of them"));
        }
        if let Some(server) = servers.get(&ip) {
            at.error("address", format!("{ip} is the address of the server `{server}`, and two hosts can't share it: write a free address"));
        }
    }
}
