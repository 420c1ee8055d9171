//! What the values of one service say together.

use std::net::SocketAddr;

use crate::health::Through;
use crate::host::Host;
use crate::layer4::Mode4;
use crate::load::{KindDraft, ServiceDraft};
use crate::server::AdminState;
use crate::service::Service;

pub(super) fn verify(service: &ServiceDraft<'_>) {
    fallback(service);
    unused(service);
    panic_threshold(service);
    rules(service);
    through(service);
}

/// Checks go through the virtual address only where clients' packets reach servers with it.
fn through(service: &ServiceDraft<'_>) {
    let Some(health) = &service.health else { return };
    let own_way = match &service.kind {
        Some(KindDraft::Layer7(_)) => {
            Some("at layer 7 servers see connections of this node to their own address")
        }
        Some(KindDraft::Layer4(layer4)) if layer4.mode == Some(Mode4::Nat) => {
            Some("in NAT mode servers see their own address, which is what checks ask anyway")
        }
        _ => None,
    };
    for check in health.checks().filter(|check| check.through == Through::Vip) {
        if let Some(why) = own_way {
            service.at.error("health", format!("{why}: remove `through = \"vip\"`"));
            return;
        }
        let kind = check.check.as_str();
        let why = if !check.check.has_a_port() {
            format!(
                "a check of type {kind} can't go through the VIP, only one that asks the service's port can: remove \
                 `through`, or add one as [[service.health.also]]"
            )
        } else if check.check.is_content_with_silence() {
            "through the VIP silence may as well mean that the server doesn't have it: add `expect` or `expect_regex`"
                .to_owned()
        } else {
            continue;
        };
        service.at.error("health", why);
        return;
    }
}

/// A fallback is reached like a server: what the mode can't do for servers, it can't do for it.
fn fallback(service: &ServiceDraft<'_>) {
    let (Some(Some(fallback)), Some(address), Some(_)) =
        (service.fallback, service.address, service.layer4())
    else {
        return;
    };
    if !service.at.has("fallback") {
        return;
    }
    if fallback.is_ipv4() != address.is_ipv4() {
        let fitting = Service::default_fallback(address, crate::Protocol4::Tcp);
        let example = fitting.map(|fitting| fitting.to_string()).unwrap_or_default();
        let text = format!(
            "{fallback} is of another address family than {address}, and layer 4 can't translate between them: \
             write for example \"{example}\""
        );
        service.at.error("fallback", text);
    } else if fallback.ip() == address {
        service.at.error(
            "fallback",
            format!("{address} is the service itself: write the address of another host, or \"off\""),
        );
    } else if fallback.ip().is_loopback() {
        if service.layer4().and_then(|layer4| layer4.protocol).is_some_and(|protocol| !protocol.has_tcp()) {
            service.at.warn(
                "fallback",
                "a fallback on this node is for TCP, so UDP clients get nothing: write another host, or \"off\"",
            );
        }
    } else {
        fallback_port(service, fallback);
    }
}

fn fallback_port(service: &ServiceDraft<'_>, fallback: SocketAddr) {
    let (Some(ports), Some(mode)) = (&service.ports, service.layer4().and_then(|layer4| layer4.mode)) else {
        return;
    };
    if mode != Mode4::Nat && !ports.contains(fallback.port()) {
        let mode = mode.as_str().to_uppercase();
        let text = format!(
            "{mode} can't translate ports, so a fallback host gets clients on {ports}, not on {}: write one of these ports",
            fallback.port()
        );
        service.at.error("fallback", text);
    }
    let place = |port: Option<u16>| if mode == Mode4::Nat { port } else { None };
    let here = (Host::Ip(fallback.ip()), place(Some(fallback.port())));
    for server in service.servers.iter().flatten() {
        let port = server.port.flatten();
        if let (Some(name), Some(address)) = (&server.name, &server.address)
            && (address.clone(), place(port)) == here
        {
            service.at.error(
                "fallback",
                format!("{fallback} is the server {name}, which isn't used when it is out: write another host, or \"off\""),
            );
        }
    }
}

fn unused(service: &ServiceDraft<'_>) {
    let Some(servers) = &service.servers else { return };
    if servers.is_empty() {
        service
            .at
            .warn("", "the service has no servers, so the fallback, if there is one, gets every client: add [[service.server]]");
    } else if servers.iter().all(|server| server.weight == Some(0)) {
        service.at.warn("", "every server has weight 0, so nobody takes new work: give one of them a weight");
    } else if servers.iter().all(|server| matches!(server.state, Some(AdminState::Drain | AdminState::Halt)))
    {
        service.at.warn("", "every server is drained or halted, so nobody takes new work");
    }
}

fn panic_threshold(service: &ServiceDraft<'_>) {
    match service.panic_threshold {
        Some(100) => service.at.warn(
            "panic_threshold",
            "at 100 a single failed server brings every failed server back into use: 50 is usual, 0 turns it off",
        ),
        Some(1..) if service.servers.as_ref().is_some_and(|servers| servers.len() == 1) => service.at.warn(
            "panic_threshold",
            "with one server the threshold keeps it in use even when it is down, and the fallback is never shown",
        ),
        _ => {}
    }
}

/// Rules may only name servers of the service.
fn rules(service: &ServiceDraft<'_>) {
    let Some(KindDraft::Layer7(layer7)) = &service.kind else { return };
    if service.servers().iter().any(|server| server.name.is_none()) {
        return;
    }
    let names: Vec<&str> =
        service.servers().iter().filter_map(|server| Some(server.name.as_ref()?.as_str())).collect();
    for (index, rule) in layer7.rules() {
        let crate::Action::UseServers(servers) = &rule.action else { continue };
        for (at, name) in servers.iter().enumerate().filter(|(_, name)| !names.contains(&name.as_str())) {
            let advice = crate::reader::did_you_mean(name.as_str(), &names);
            let key = format!("rule[{index}].servers[{at}]");
            service.at.error(&key, format!("this service has no server `{name}`: {advice}"));
        }
    }
}
