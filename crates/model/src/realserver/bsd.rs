//! FreeBSD servers.

use std::net::IpAddr;

use super::tunnel::{Outer, mss, outers, size_note, whom};
use super::{Instructions, Os, Step, host_net, listening};
use crate::layer4::Encapsulation;
use crate::service::Service;

pub(super) fn dr(service: &Service, base: Instructions) -> Instructions {
    let vip = service.address;
    let (add, del) = alias("lo0", vip);
    let word = if vip.is_ipv4() { "inet" } else { "inet6" };
    Instructions {
        summary: format!(
            "DR: packets for {vip} arrive unchanged, so the server must own that address without telling the network \
             about it. FreeBSD doesn't answer ARP or neighbour solicitations for addresses of the loopback interface."
        ),
        steps: vec![
            Step::new("Own the address, on the loopback interface:", [add]),
            Step::new(
                "Keep it for the next start (take the next free number when alias0 is in use):",
                [format!("sysrc ifconfig_lo0_alias0=\"{word} {}\"", host_net(vip))],
            ),
        ],
        verify: vec![
            Step::new("The address is on the loopback interface:", ["ifconfig lo0".to_owned()]),
            super::linux::unannounced(vip),
            listening(service, Os::Bsd, true),
        ],
        undo: vec![Step::new(
            "Take the address away:",
            [del, "sysrc -x ifconfig_lo0_alias0".to_owned()],
        )],
        notes: vec![
            "Connections that stay in SYN_RECV mean that a server answers for the address itself.".to_owned(),
            "OpenBSD and NetBSD take the same ifconfig lines and keep them in /etc/hostname.lo0 and /etc/ifconfig.lo0."
                .to_owned(),
        ],
        ..base
    }
}

fn alias(device: &str, vip: IpAddr) -> (String, String) {
    match vip {
        IpAddr::V4(vip) => (
            format!("ifconfig {device} inet {vip} netmask 255.255.255.255 alias"),
            format!("ifconfig {device} inet {vip} -alias"),
        ),
        IpAddr::V6(vip) => (
            format!("ifconfig {device} inet6 {vip} prefixlen 128 alias"),
            format!("ifconfig {device} inet6 {vip} -alias"),
        ),
    }
}

pub(super) fn tun(service: &Service, encapsulation: Encapsulation, base: Instructions) -> Instructions {
    let vip = service.address;
    if let Encapsulation::Gue { .. } = encapsulation {
        return Instructions {
            summary: "Not possible: FreeBSD doesn't unwrap generic UDP encapsulation.".to_owned(),
            steps: vec![Step::say(
                "Write tunnel = \"ip\" in the service, which FreeBSD unwraps, and ask again.",
            )],
            ..base
        };
    }
    let mut instructions = Instructions {
        summary: format!(
            "TUN: packets for {vip} arrive inside another packet addressed to the server, which unwraps them (gif), owns \
             {vip} and answers the client directly."
        ),
        notes: vec![
            "SERVER stands for the server's own address; LB1 and LB2 for the addresses the two nodes send tunnelled \
             packets from (tunnel_source4 or tunnel_source6, else the interface's address). gif takes packets from one \
             sender, so each node has a device of its own; a single appliance needs gif0 only."
                .to_owned(),
            size_note(service, encapsulation),
        ],
        ..base
    };
    for outer in outers(service) {
        unwrap(service, encapsulation, &outer, &mut instructions);
    }
    instructions.verify.push(listening(service, Os::Bsd, true));
    instructions
}

fn unwrap(service: &Service, encapsulation: Encapsulation, outer: &Outer, instructions: &mut Instructions) {
    let vip = service.address;
    let whom = whom(outer);
    let word = if outer.v4 { "inet" } else { "inet6" };
    let (add, del) = alias("lo0", vip);
    let device = |number: usize| {
        [
            format!("ifconfig gif{number} create"),
            format!("ifconfig gif{number} {word} tunnel SERVER LB{}", number + 1),
            format!("ifconfig gif{number} link2 up"),
        ]
    };
    instructions.steps.push(Step::new(
        format!("On {whom}: own the address on the loopback interface, and unwrap what each node sends (link2: whatever its source):"),
        [add].into_iter().chain((0..2).flat_map(device)),
    ));
    if service.protocol().has_tcp() {
        let size = mss(encapsulation, vip.is_ipv4(), outer.v4);
        instructions.steps.push(Step::say(format!(
            "Announce segments of at most {size} bytes, with pf: `match out from {vip} scrub (max-mss {size})` (not \
             needed where the links carry larger packets)."
        )));
    }
    instructions.verify.push(Step::new(
        format!("On {whom}: the devices are up, and their counters rise while clients connect:"),
        ["netstat -I gif0 -b".to_owned(), "ifconfig lo0".to_owned()],
    ));
    instructions.undo.push(Step::new(
        format!("On {whom}:"),
        [del, "ifconfig gif0 destroy".to_owned(), "ifconfig gif1 destroy".to_owned()],
    ));
}

pub(super) fn gateway(v4: bool, gateway: &str, instructions: &mut Instructions) {
    let (flag, key, outside) = if v4 {
        ("-4", "defaultrouter", "198.51.100.1")
    } else {
        ("-6", "ipv6_defaultrouter", "2001:db8::1")
    };
    instructions.steps.extend([
        Step::new("Note the present gateway, for taking it back:", [format!("route {flag} -n get default")]),
        Step::new(
            "Make the appliance the default gateway, now and at every start:",
            [format!("route {flag} change default {gateway}"), format!("sysrc {key}=\"{gateway}\"")],
        ),
    ]);
    instructions.verify.push(Step::new(
        format!("The way to any client goes via {gateway}:"),
        [format!("route {flag} -n get {outside}")],
    ));
    instructions.undo.push(Step::new(
        "Put the noted gateway back (OLD):",
        [format!("route {flag} change default OLD"), format!("sysrc {key}=\"OLD\"")],
    ));
}
