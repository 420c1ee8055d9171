//! Carries a plan out: bridges and veth in the switch, then addresses, routes and kernel settings inside each node.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{During as _, LabError};
use crate::plan::{Link, Node, Plan, Role};
use crate::programs::{feed, run};
use crate::xdp;

/// In every node. The reverse-path filter would drop what direct routing and tunnels send.
const SETTINGS: [(&str, &str); 5] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
];
/// On every interface, which exists before its node's defaults are set. A doubled address is not to be found by waiting
/// for it: until then the node can't ask for its neighbours, and what it sends first arrives a second late.
const INTERFACE: [(&str, &str); 3] = [("accept_dad", "0"), ("accept_ra", "0"), ("accept_redirects", "0")];
/// In what forwards: the router, and a balancer as the gateway of its servers.
const FORWARDING: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
/// In a server, for VIPs: no ARP for an address that is not the interface's own, which is what a VIP on lo is. IPv6 sends
/// from an address that is local only by a route if the host allows it; IPv4 does so anyway.
const SERVER: [(&str, &str); 3] =
    [("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2"), ("ipv6/ip_nonlocal_bind", "1")];
/// In the switch, on kernels whose bridges can show what passes to the firewall: a switch has none.
const SWITCH: [(&str, &str); 3] = [
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];
/// Checksums are to be in the packet when it leaves: a packet program sees and edits what is there. Packets
/// that were put together to more than the MTU don't pass a program.
const OFFLOADS: [&str; 6] = ["tx", "off", "tso", "off", "gro", "off"];

/// Inside the switch: one bridge for each network. It is no host, so it has no addresses of its own.
pub(crate) fn make_bridges(plan: &Plan) -> Result<(), LabError> {
    set(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
    set(&SWITCH.into_iter().filter(|(name, _)| setting(name).exists()).collect::<Vec<_>>())?;
    let mut batch = String::new();
    for network in plan.networks() {
        let name = network.name();
        let _ = writeln!(batch, "link add {name} type bridge mcast_snooping 0 forward_delay 0");
        let _ = writeln!(batch, "link set {name} up");
    }
    feed("ip", &["-batch", "-"], &batch)
}

/// Inside the switch: a node's cables, whose other ends appear in the node of process `holder`.
pub(crate) fn plug_in(node: &Node, holder: u32) -> Result<(), LabError> {
    let mut batch = String::new();
    for link in &node.links {
        let port = node.port(link);
        let Link { device, mac, .. } = link;
        let _ = writeln!(batch, "link add {port} type veth peer name {device} address {mac} netns {holder}");
        let _ = writeln!(batch, "link set {port} master {} up", link.network.name());
    }
    feed("ip", &["-batch", "-"], &batch)?;
    let ports: Vec<String> = node.links.iter().map(|link| node.port(link)).collect();
    if node.role == Role::Balancer {
        xdp::pass_on(&ports)?;
    }
    ports.iter().try_for_each(|port| no_offloads(port))
}

/// Inside a node: everything but the services that run there.
pub(crate) fn set_up(node: &Node) -> Result<(), LabError> {
    set(&SETTINGS)?;
    match node.role {
        Role::Router | Role::Balancer => set(&FORWARDING)?,
        Role::Server => set(&SERVER)?,
        Role::Client | Role::Switch => {}
    }
    for link in &node.links {
        let name = |setting: &str| format!("ipv6/conf/{}/{setting}", link.device);
        let settings = INTERFACE.map(|(setting, value)| (name(setting), value));
        set(&settings.each_ref().map(|(name, value)| (name.as_str(), *value)))?;
    }
    feed("ip", &["-batch", "-"], &links_up(node))?;
    for link in &node.links {
        if node.role == Role::Server {
            xdp::decap_on(link)?;
        }
        no_offloads(&link.device)?;
    }
    feed("ip", &["-4", "-batch", "-"], &node.ipv4.join("\n"))?;
    feed("ip", &["-6", "-batch", "-"], &node.ipv6.join("\n"))?;
    if let Some(rules) = &node.firewall {
        feed("nft", &["-f", "-"], rules)?;
    }
    Ok(())
}

/// Further addresses are there to be asked for by name: nothing chooses them as a source.
fn links_up(node: &Node) -> String {
    let mut batch = String::from("link set lo up\n");
    for link in &node.links {
        let device = &link.device;
        let _ = writeln!(batch, "link set {device} up");
        let _ = writeln!(batch, "addr add {}/24 dev {device}", link.ipv4);
        let _ = writeln!(batch, "addr add {}/64 dev {device} nodad", link.ipv6);
        for host in &link.also {
            let _ = writeln!(batch, "addr add {}/24 dev {device}", link.network.ipv4(*host));
            let _ = writeln!(
                batch,
                "addr add {}/64 dev {device} nodad preferred_lft 0",
                link.network.ipv6(*host)
            );
        }
    }
    batch
}

fn no_offloads(device: &str) -> Result<(), LabError> {
    let arguments: Vec<&str> = ["-K", device].into_iter().chain(OFFLOADS).collect();
    run("ethtool", &arguments)
}

fn set(settings: &[(&str, &str)]) -> Result<(), LabError> {
    for (name, value) in settings {
        fs::write(setting(name), value).during(|| format!("setting {name} to {value}"))?;
    }
    Ok(())
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}
