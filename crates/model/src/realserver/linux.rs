//! Linux servers in DR and NAT mode.

use std::net::IpAddr;

use super::{Instructions, Os, Step, host_net, listening};
use crate::service::Service;

/// Where the settings are kept for the next start.
pub(super) const SYSCTL_FILE: &str = "/etc/sysctl.d/60-evenkeel.conf";

const SILENT: [&str; 2] = ["net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"];

pub(super) fn dr(service: &Service, base: Instructions) -> Instructions {
    let vip = service.address;
    let net = host_net(vip);
    let ip = tool(vip);
    Instructions {
        summary: format!(
            "DR: packets for {vip} arrive unchanged, so the server must own that address without telling the network \
             about it. Only the appliance may answer for {vip}, or clients find one server and miss the balancing."
        ),
        steps: vec![silence(vip), own(&ip, &net), keep_address(&net)],
        verify: vec![
            Step::new("The address is on the loopback interface:", [format!("{ip} address show dev lo to {net}")]),
            unannounced(vip),
            listening(service, Os::Linux, true),
        ],
        undo: vec![
            Step::new("Take the address away:", [format!("{ip} address del {net} dev lo")]),
            speak_again(vip),
        ],
        notes: vec![
            "Connections that stay in SYN_RECV mean that a server answers for the address itself: check the settings above."
                .to_owned(),
            "Ports can't change in DR: the application listens on the same ports as the service.".to_owned(),
        ],
        ..base
    }
}

fn tool(address: IpAddr) -> String {
    if address.is_ipv4() { "ip".to_owned() } else { "ip -6".to_owned() }
}

fn own(ip: &str, net: &str) -> Step {
    let nodad = if ip == "ip" { "" } else { " nodad" };
    Step::new(
        "Own the address, on the loopback interface:",
        [format!("{ip} address add {net} dev lo{nodad}")],
    )
}

fn keep_address(net: &str) -> Step {
    Step::say(format!(
        "Keep the address for the next start, in the way of the distribution: with ifupdown a line `up ip address add \
         {net} dev lo` under `iface lo`, with netplan or NetworkManager {net} among the addresses of lo."
    ))
}

/// Don't answer ARP for addresses of other interfaces, and don't use them when asking.
pub(super) fn silence(vip: IpAddr) -> Step {
    if vip.is_ipv4() {
        let set = SILENT.iter().map(|setting| format!("sysctl -w {setting}"));
        let keep = format!("printf '%s\\n' {} > {SYSCTL_FILE}", SILENT.join(" "));
        return Step::new(
            "Don't answer ARP for addresses of the loopback interface, and don't ask with them; now and at every start:",
            set.chain([keep]),
        );
    }
    let settings = ["net.ipv6.conf.lo.accept_dad=0", "net.ipv6.conf.lo.dad_transmits=0"];
    let set = settings.iter().map(|setting| format!("sysctl -w {setting}"));
    let keep = format!("printf '%s\\n' {} > {SYSCTL_FILE}", settings.join(" "));
    Step::new(
        "Don't look for others with the same address, there are some on purpose; now and at every start. (Linux doesn't \
         answer neighbour solicitations for addresses of the loopback interface.)",
        set.chain([keep]),
    )
}

/// How to see from another host that the server keeps silent.
pub(super) fn unannounced(vip: IpAddr) -> Step {
    let (text, command) = if vip.is_ipv4() {
        (
            "From another host in the same network, only the appliance's MAC address answers:",
            format!("arping -c 3 {vip}"),
        )
    } else {
        (
            "From another host in the same network, only the appliance's MAC address answers:",
            format!("ndisc6 {vip} eth0"),
        )
    };
    Step::new(text, [command])
}

/// The settings of [`silence`] back to what a fresh Linux has.
pub(super) fn speak_again(vip: IpAddr) -> Step {
    let settings: &[&str] = if vip.is_ipv4() {
        &["net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.all.arp_announce=0"]
    } else {
        &["net.ipv6.conf.lo.accept_dad=1", "net.ipv6.conf.lo.dad_transmits=1"]
    };
    let set = settings.iter().map(|setting| format!("sysctl -w {setting}"));
    Step::new(
        "If no other service needs them, put the settings back:",
        set.chain([format!("rm {SYSCTL_FILE}")]),
    )
}

pub(super) fn gateway(v4: bool, gateway: &str, instructions: &mut Instructions) {
    let ip = if v4 { "ip" } else { "ip -6" };
    let outside = if v4 { "198.51.100.1" } else { "2001:db8::1" };
    let family = if v4 { "ipv4" } else { "ipv6" };
    instructions.steps.extend([
        Step::new("Note the present gateway, for taking it back:", [format!("{ip} route show default")]),
        Step::new(
            "Make the appliance the default gateway:",
            [format!("{ip} route replace default via {gateway}")],
        ),
        Step::new(
            "Don't follow redirects to a shorter way:",
            [format!("sysctl -w net.{family}.conf.all.accept_redirects=0")],
        ),
        Step::say(format!(
            "Keep it for the next start: set the gateway {gateway} in the distribution's network settings."
        )),
    ]);
    instructions.verify.push(Step::new(
        format!("The way to any client goes via {gateway}:"),
        [format!("{ip} route get {outside}")],
    ));
    instructions.undo.push(Step::new(
        "Put the noted gateway back (OLD):",
        [
            format!("{ip} route replace default via OLD"),
            format!("sysctl -w net.{family}.conf.all.accept_redirects=1"),
        ],
    ));
}
