//! Linux servers in TUN mode.

use std::net::IpAddr;

use super::linux::{silence, speak_again};
use super::tunnel::{Outer, mss, outers, size_note, whom};
use super::{Instructions, Os, Step, host_net, listening};
use crate::layer4::Encapsulation;
use crate::service::Service;

pub(super) fn tun(service: &Service, encapsulation: Encapsulation, base: Instructions) -> Instructions {
    let vip = service.address;
    let mut instructions = Instructions {
        summary: format!(
            "TUN: packets for {vip} arrive inside another packet addressed to the server, which unwraps them, owns \
             {vip} and answers the client directly."
        ),
        steps: vec![silence(vip)],
        ..base
    };
    for outer in outers(service) {
        unwrap(service, encapsulation, &outer, &mut instructions);
    }
    instructions.steps.push(Step::say(
        "Keep it for the next start: put these commands into a oneshot unit of systemd that runs after the network is up.",
    ));
    instructions.verify.push(listening(service, Os::Linux, true));
    instructions.undo.push(speak_again(vip));
    instructions.notes.push(size_note(service, encapsulation));
    if vip.is_ipv4() {
        instructions.notes.push(
            "Note `sysctl net.ipv4.conf.all.rp_filter` before you begin: taking it back means that value."
                .to_owned(),
        );
    }
    instructions.notes.push(
        "The network between must let these packets through, and the server's network must let answers out whose source \
         is the virtual address."
            .to_owned(),
    );
    instructions
}

/// The device that unwraps, and the module it comes with.
fn device(inner: IpAddr, outer_v4: bool) -> (&'static str, &'static str) {
    match (inner.is_ipv4(), outer_v4) {
        (true, true) => ("tunl0", "ipip"),
        (false, true) => ("sit0", "sit"),
        (_, false) => ("ip6tnl0", "ip6_tunnel"),
    }
}

fn unwrap(service: &Service, encapsulation: Encapsulation, outer: &Outer, instructions: &mut Instructions) {
    let vip = service.address;
    let (device, module) = device(vip, outer.v4);
    let (net, whom) = (host_net(vip), whom(outer));
    let family = if outer.v4 { "IPv4" } else { "IPv6" };
    let mut up = vec![format!("modprobe {module}")];
    if !outer.v4 {
        up.push(format!("ip -6 tunnel change {device} mode any"));
    }
    up.push(format!("ip link set {device} up"));
    up.push(add_address(vip, &net, device));
    instructions.steps.push(Step::new(
        format!(
            "On {whom} (reached over {family}): bring up the device that unwraps, and own the address there:"
        ),
        up,
    ));
    if let Encapsulation::Gue { port } = encapsulation {
        instructions.steps.push(gue(outer.v4, port));
    }
    if vip.is_ipv4() {
        let off = ["all", device].map(|place| format!("sysctl -w net.ipv4.conf.{place}.rp_filter=0"));
        instructions.steps.push(Step::new(
            "Accept packets from clients on that device though the way back to them is another:",
            off,
        ));
    }
    instructions.steps.push(announce_smaller_segments(service, encapsulation, outer.v4));
    instructions.verify.push(Step::new(
        format!("On {whom}: the device is up, has the address, and its counters rise while clients connect:"),
        [format!("ip -s address show dev {device}")],
    ));
    if let Encapsulation::Gue { .. } = encapsulation {
        instructions.verify.push(Step::new("The port unwraps:", ["ip fou show".to_owned()]));
    }
    instructions
        .undo
        .push(Step::new(format!("On {whom}:"), undo(service, encapsulation, outer.v4, device, &net)));
}

fn add_address(vip: IpAddr, net: &str, device: &str) -> String {
    match vip {
        IpAddr::V4(_) => format!("ip address add {net} dev {device}"),
        IpAddr::V6(_) => format!("ip -6 address add {net} dev {device} nodad"),
    }
}

fn gue(outer_v4: bool, port: u16) -> Step {
    let ip = if outer_v4 { "ip" } else { "ip -6" };
    let module = if outer_v4 { "fou" } else { "fou6" };
    Step::new(
        format!(
            "Unwrap generic UDP encapsulation on UDP port {port}, and let it through the server's firewall:"
        ),
        [format!("modprobe {module}"), format!("{ip} fou add port {port} gue")],
    )
}

fn segment_rule(service: &Service, encapsulation: Encapsulation, outer_v4: bool, action: &str) -> String {
    let vip = service.address;
    let tool = if vip.is_ipv4() { "iptables" } else { "ip6tables" };
    let size = mss(encapsulation, vip.is_ipv4(), outer_v4);
    format!(
        "{tool} -t mangle {action} OUTPUT -s {vip} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {size}"
    )
}

fn announce_smaller_segments(service: &Service, encapsulation: Encapsulation, outer_v4: bool) -> Step {
    Step::new(
        "Announce a segment size that still fits when wrapped (not needed where the links carry larger packets):",
        service.protocol().has_tcp().then(|| segment_rule(service, encapsulation, outer_v4, "-A")),
    )
}

fn undo(
    service: &Service,
    encapsulation: Encapsulation,
    outer_v4: bool,
    device: &str,
    net: &str,
) -> Vec<String> {
    let ip = |v4: bool| if v4 { "ip" } else { "ip -6" };
    let mut commands = Vec::new();
    if service.protocol().has_tcp() {
        commands.push(segment_rule(service, encapsulation, outer_v4, "-D"));
    }
    if let Encapsulation::Gue { port } = encapsulation {
        commands.push(format!("{} fou del port {port}", ip(outer_v4)));
    }
    commands.push(format!("{} address del {net} dev {device}", ip(service.address.is_ipv4())));
    commands.push(format!("ip link set {device} down"));
    commands
}
