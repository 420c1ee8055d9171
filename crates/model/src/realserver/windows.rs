//! Windows servers.

use std::net::IpAddr;

use super::{Instructions, Os, Step, listening};
use crate::service::Service;

pub(super) fn dr(service: &Service, base: Instructions) -> Instructions {
    let vip = service.address;
    let family = family(vip.is_ipv4());
    Instructions {
        summary: format!(
            "DR: packets for {vip} arrive unchanged, so the server must own that address without telling the network \
             about it. Windows does that with a loopback adapter and the weak host model."
        ),
        steps: vec![
            Step::say(
                "Add the adapter: Device Manager, Action, Add legacy hardware, Network adapters, Microsoft, Microsoft \
                 KM-TEST Loopback Adapter.",
            ),
            Step::say(
                "In Network Connections, name the new adapter loopback and the one to the network net, or change the \
                 names below; letters' case counts. Turn off every protocol of loopback but the one of the address.",
            ),
            Step::new("Own the address, where nobody is told of it:", add_address(vip)),
            Step::new("Let packets in and out though they belong to the other adapter:", weak_host(vip)),
            Step::say(format!("Let {} port {} in through the Windows firewall, on both adapters.", service.protocol(), service.ports)),
        ],
        verify: vec![
            Step::new(
                "Weak host sends and receives are enabled on loopback, and weak host receives on net:",
                ["loopback", "net"].map(|adapter| format!("netsh interface {family} show interface \"{adapter}\"")),
            ),
            Step::new("The address is on loopback:", [format!("netsh interface {family} show addresses \"loopback\"")]),
            listening(service, Os::Windows, true),
        ],
        undo: vec![Step::new("If no other service needs them:", undo(vip))],
        notes: vec![
            "Network Load Balancing of Windows must be off.".to_owned(),
            "Turn off \"Register this connection's addresses in DNS\" on loopback, or clients find the server instead of the service."
                .to_owned(),
            "An application bound to the server's own address must also be bound to the virtual one (in IIS: the site's bindings)."
                .to_owned(),
        ],
        ..base
    }
}

fn family(v4: bool) -> &'static str {
    if v4 { "ipv4" } else { "ipv6" }
}

fn add_address(vip: IpAddr) -> Vec<String> {
    match vip {
        IpAddr::V4(vip) => vec![
            format!("netsh interface ipv4 add address \"loopback\" {vip} 255.255.255.255"),
            "netsh interface ipv4 set interface \"loopback\" metric=254".to_owned(),
        ],
        IpAddr::V6(vip) => vec![
            "netsh interface ipv6 set interface \"loopback\" dadtransmits=0".to_owned(),
            format!("netsh interface ipv6 add address \"loopback\" {vip}/128"),
            "netsh interface ipv6 set interface \"loopback\" metric=254".to_owned(),
        ],
    }
}

fn weak_host(vip: IpAddr) -> Vec<String> {
    let family = family(vip.is_ipv4());
    let settings =
        [("net", "weakhostreceive"), ("loopback", "weakhostreceive"), ("loopback", "weakhostsend")];
    settings
        .map(|(adapter, key)| format!("netsh interface {family} set interface \"{adapter}\" {key}=enabled"))
        .into()
}

fn undo(vip: IpAddr) -> Vec<String> {
    let family = family(vip.is_ipv4());
    let settings =
        [("loopback", "weakhostsend"), ("loopback", "weakhostreceive"), ("net", "weakhostreceive")];
    let off = settings
        .map(|(adapter, key)| format!("netsh interface {family} set interface \"{adapter}\" {key}=disabled"));
    let mut commands = vec![format!("netsh interface {family} delete address \"loopback\" {vip}")];
    commands.extend(off);
    commands
}

pub(super) fn tun(service: &Service, base: Instructions) -> Instructions {
    let tcp_only = service.as_layer4().is_some_and(|layer4| !layer4.protocol.has_udp());
    let proxy = if tcp_only { ", or layer = 7, which reaches any server with no change on it" } else { "" };
    Instructions {
        summary: format!(
            "Not possible: Windows has nothing that unwraps these tunnels and answers for {} itself.",
            service.address
        ),
        steps: vec![Step::say(format!(
            "Use another mode for Windows servers: mode = \"dr\" when the appliance has an interface in their network, \
             mode = \"nat\" when the appliance can be their default gateway{proxy}."
        ))],
        ..base
    }
}

pub(super) fn gateway(v4: bool, gateway: &str, instructions: &mut Instructions) {
    let (all, outside) = if v4 { ("0.0.0.0/0", "198.51.100.1") } else { ("::/0", "2001:db8::1") };
    let family = family(v4);
    instructions.steps.extend([
        Step::new(
            "Note the present gateway, for taking it back (in PowerShell, as the rest):",
            [format!("Get-NetRoute -DestinationPrefix {all}")],
        ),
        Step::new(
            "Make the appliance the default gateway; `net` is the name of the network adapter:",
            [
                format!("Remove-NetRoute -DestinationPrefix {all} -Confirm:$false"),
                format!("New-NetRoute -InterfaceAlias net -DestinationPrefix {all} -NextHop {gateway}"),
            ],
        ),
        Step::new(
            "Don't follow redirects to a shorter way:",
            [format!("netsh interface {family} set global icmpredirects=disabled")],
        ),
    ]);
    instructions.verify.push(Step::new(
        format!("The way to any client goes via {gateway} (NextHop):"),
        [format!("Find-NetRoute -RemoteIPAddress {outside}")],
    ));
    instructions.undo.push(Step::new(
        "Put the noted gateway back (OLD):",
        [
            format!("Remove-NetRoute -DestinationPrefix {all} -Confirm:$false"),
            format!("New-NetRoute -InterfaceAlias net -DestinationPrefix {all} -NextHop OLD"),
            format!("netsh interface {family} set global icmpredirects=enabled"),
        ],
    ));
}
