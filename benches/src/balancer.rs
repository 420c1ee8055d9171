//! The balancers that are compared, all on the same node of the same lab with the same two servers behind them.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use aya::programs::xdp::XdpLink;
use keel_abi::{
    Addr, IPPROTO_TCP, IPPROTO_UDP, MODE_DR, MODE_NAT, MODE_TUN, PortKey, policy, scheduler, state,
};
use keel_dataplane::{AttachMode, Dataplane, Desired, DesiredServer, DesiredService, Hop, Options, Sizes};
use keel_lab::{Lab, Link, Network};

use crate::walk::Walker;
use crate::{fixture, room};

/// The node they run on, its interface, and the switch's port for it.
pub(crate) const NODE: &str = "lb1";
pub(crate) const DEVICE: &str = "eth0";
pub(crate) const PORT: &str = "lb1-eth0";
pub(crate) const SWITCH: &str = "switch";
/// Host numbers of the servers, the router, the balancer and the virtual address.
const SERVERS: [u8; 2] = [101, 102];
const ROUTER: u8 = 1;
const BALANCER: u8 = 21;
const VIP: u8 = 200;
const HAPROXY: &str = "/run/haproxy.cfg";
/// The first server.
pub(crate) fn first_server() -> Ipv4Addr {
    Network::Front.ipv4(SERVERS[0])
}

/// How many servers there are.
pub(crate) const ALL_SERVERS: usize = SERVERS.len();

/// Where connections go.
pub(crate) const TCP_PORT: u16 = 80;
/// Where datagrams go.
pub(crate) const UDP_PORT: u16 = 9;

/// What stands between clients and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balancer {
    /// Nothing: the router sends packets straight to a server.
    Direct,
    /// The kernel forwards what clients send; servers answer past it.
    Forwarding,
    /// The kernel forwards both ways.
    ForwardingBothWays,
    /// A packet program that knows one server and remembers nothing.
    Relay,
    /// nftables' DNAT, with connection tracking.
    Nftables,
    /// HAProxy in TCP mode.
    Haproxy,
    /// Ours.
    Keel(u8),
}

impl Balancer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "no balancer",
            Self::Forwarding => "kernel forwarding, one way",
            Self::ForwardingBothWays => "kernel forwarding, both ways",
            Self::Relay => "bare XDP relay to one server",
            Self::Nftables => "nftables DNAT",
            Self::Haproxy => "HAProxy, TCP mode",
            Self::Keel(MODE_DR) => "Evenkeel, DR",
            Self::Keel(MODE_NAT) => "Evenkeel, NAT",
            Self::Keel(_) => "Evenkeel, TUN (IPIP)",
        }
    }

    /// Whether servers answer through the balancer because it is their gateway.
    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::ForwardingBothWays | Self::Nftables | Self::Keel(MODE_NAT))
    }

    /// The address clients ask.
    pub(crate) fn address(self) -> Ipv4Addr {
        match self {
            Self::Direct | Self::Forwarding | Self::ForwardingBothWays => Network::Front.ipv4(SERVERS[0]),
            _ => Network::Front.ipv4(VIP),
        }
    }
}

/// A balancer in place.
#[derive(Debug)]
pub(crate) struct Installed<'l> {
    lab: &'l Lab,
    which: Balancer,
    process: Option<Child>,
    /// Of the relay: it goes with this.
    link: Option<XdpLink>,
}

/// Takes the lab's own firewall off the servers: who their gateway is decides where answers go.
pub(crate) fn prepare(lab: &Lab) -> Result<()> {
    for server in ["rs1", "rs2"] {
        command(lab, server, &["nft", "flush", "ruleset"])?;
    }
    // wrk closes some connections before the server does. Their ports wait for a minute, and a client that has to look for a
    // free one among few takes more time than any balancer.
    for (name, value) in [("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")] {
        let file = format!("/proc/sys/net/ipv4/{name}");
        lab.within("client", || Ok(std::fs::write(&file, value)))?
            .with_context(|| format!("writing {file}"))?;
    }
    // As if a network card had looked at the checksums, and so that rounds don't fill the table.
    for (name, value) in [("nf_conntrack_checksum", "0"), ("nf_conntrack_tcp_timeout_time_wait", "1")] {
        let file = format!("/proc/sys/net/netfilter/{name}");
        lab.within(NODE, || Ok(std::fs::write(&file, value)))?.with_context(|| format!("writing {file}"))?;
    }
    let vip = format!("{}/32", Network::Front.ipv4(VIP));
    command(lab, NODE, &["ip", "address", "add", &vip, "dev", DEVICE])
}

/// Puts a balancer in place, with the first `servers` servers.
pub(crate) fn install(lab: &Lab, which: Balancer, servers: usize) -> Result<Installed<'_>> {
    let gateway = Network::Front.ipv4(if which.is_gateway() { BALANCER } else { ROUTER }).to_string();
    for server in ["rs1", "rs2"] {
        command(lab, server, &["ip", "route", "replace", "default", "via", &gateway])?;
    }
    // A program on the interface and segments that the kernel puts together exclude each other.
    let offload = if matches!(which, Balancer::Keel(_) | Balancer::Relay) { "off" } else { "on" };
    command(lab, NODE, &["ethtool", "-K", DEVICE, "gro", offload])?;
    let mut installed = Installed { lab, which, process: None, link: None };
    match which {
        Balancer::Direct => {}
        Balancer::Forwarding | Balancer::ForwardingBothWays => {
            let server = format!("{}/32", Network::Front.ipv4(SERVERS[0]));
            let via = Network::Front.ipv4(BALANCER).to_string();
            command(lab, "router", &["ip", "route", "replace", &server, "via", &via])?;
        }
        Balancer::Relay => installed.link = Some(lab.within(NODE, || Ok(relay(lab)))??),
        Balancer::Nftables => nftables(lab, servers)?,
        Balancer::Haproxy => installed.process = Some(haproxy(lab)?),
        Balancer::Keel(mode) => lab.within(NODE, || Ok(keel(lab, mode, &SERVERS[..servers])))??,
    }
    Ok(installed)
}

impl Installed<'_> {
    /// Takes it away again.
    pub(crate) fn remove(mut self) -> Result<()> {
        match self.which {
            Balancer::Direct => {}
            Balancer::Relay => drop(self.link.take()),
            Balancer::Forwarding | Balancer::ForwardingBothWays => {
                let server = format!("{}/32", Network::Front.ipv4(SERVERS[0]));
                command(self.lab, "router", &["ip", "route", "del", &server])?;
            }
            Balancer::Nftables => command(self.lab, NODE, &["nft", "flush", "ruleset"])?,
            Balancer::Haproxy => {
                if let Some(process) = &mut self.process {
                    process.kill()?;
                    process.wait()?;
                }
            }
            Balancer::Keel(_) => {
                let detached = self.lab.within(NODE, || Ok(Dataplane::detach_all(&room::pins())))??;
                ensure!(detached, "the packet path was not pinned");
            }
        }
        Ok(())
    }
}

fn nftables(lab: &Lab, servers: usize) -> Result<()> {
    let [first, second] = SERVERS.map(|host| Network::Front.ipv4(host));
    let vip = Network::Front.ipv4(VIP);
    let to = match servers {
        1 => first.to_string(),
        _ => format!("numgen inc mod 2 map {{ 0 : {first}, 1 : {second} }}"),
    };
    let rules = format!(
        "add table ip bench
add chain ip bench in {{ type nat hook prerouting priority dstnat; }}
add rule ip bench in ip daddr {vip} dnat to {to}
"
    );
    write(lab, "/run/bench.nft", &rules)?;
    command(lab, NODE, &["nft", "-f", "/run/bench.nft"])
}

fn haproxy(lab: &Lab) -> Result<Child> {
    let [first, second] = SERVERS.map(|host| Network::Front.ipv4(host));
    let vip = Network::Front.ipv4(VIP);
    let settings = format!(
        "global
  maxconn 8192
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen bench
  bind {vip}:80
  balance roundrobin
  server rs1 {first}:80
  server rs2 {second}:80
"
    );
    write(lab, HAPROXY, &settings)?;
    let child = lab.spawn(NODE, &["haproxy", "-db", "-f", HAPROXY])?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let to = std::net::SocketAddr::from((vip, 80));
    while !lab
        .within("client", || Ok(std::net::TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok()))?
    {
        ensure!(Instant::now() < deadline, "HAProxy doesn't listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(child)
}

/// Inside the balancer's node.
fn relay(lab: &Lab) -> Result<XdpLink> {
    let mut walker = Walker::load()?;
    walker.relay(Network::Front.ipv4(VIP), mac_of(lab, "rs1")?, mac_of(lab, NODE)?)?;
    let program = walker.attachable("relay")?;
    let id = program.attach(DEVICE, XdpMode::Driver).context("attaching the relay")?;
    Ok(program.take_link(id)?)
}

/// Inside the balancer's node: our packet path as `keeld` would fill it. It stays when this returns.
fn keel(lab: &Lab, mode: u8, servers: &[u8]) -> Result<()> {
    let options = Options { bpf_dir: room::pins(), sizes: Sizes::default() };
    let (mut dataplane, _) = Dataplane::open(&options)?;
    let ifindex = nix::net::if_::if_nametoindex(DEVICE)?;
    let own = mac_of(lab, NODE)?;
    dataplane.know_interface(DEVICE, ifindex, own)?;
    dataplane.apply(&Desired { services: vec![service(mode, servers)] })?;
    for (host, node) in servers.iter().zip(["rs1", "rs2"]) {
        let hop = Hop {
            mac: mac_of(lab, node)?,
            own_mac: own,
            ifindex,
            vlan: 0,
            mtu: 1500,
            local: IpAddr::from(Network::Front.ipv4(BALANCER)).into(),
        };
        dataplane.set_hop(IpAddr::from(Network::Front.ipv4(*host)).into(), Some(hop))?;
    }
    dataplane.set_active(true)?;
    // Connections begin faster here than in any but a flood.
    fixture::allow_flood(u32::MAX)?;
    dataplane.attach(DEVICE, ifindex, Some(AttachMode::Native))?;
    Ok(())
}

fn service(mode: u8, servers: &[u8]) -> DesiredService {
    let vip: Addr = IpAddr::from(Network::Front.ipv4(VIP)).into();
    let key = |port, proto| PortKey { addr: vip, block: port, proto, shift: 0 };
    let server = |host: &u8| DesiredServer {
        name: format!("server {host}"),
        addr: IpAddr::from(Network::Front.ipv4(*host)).into(),
        port_be: 0,
        mode,
        state: state::ONLINE,
        policy: policy::RESCHEDULE,
        timeouts: [60, 900, 120, 10, 300],
        member: true,
        weight: 100,
        max_connections: 0,
        readmit_connections: 0,
    };
    DesiredService {
        name: "bench".to_owned(),
        keys: vec![key(TCP_PORT, IPPROTO_TCP), key(UDP_PORT, IPPROTO_UDP)],
        scheduler: scheduler::RR,
        flags: 0,
        persist_ns: 0,
        prefix4: 32,
        prefix6: 128,
        servers: servers.iter().map(server).collect(),
    }
}

/// The modes of ours that a lab shows.
pub(crate) const MODES: [u8; 3] = [MODE_DR, MODE_NAT, MODE_TUN];

/// The Ethernet address of a node on the front network.
pub(crate) fn mac_of(lab: &Lab, node: &str) -> Result<[u8; 6]> {
    let nodes = &lab.state().nodes;
    let links = nodes.iter().filter(|state| state.name == node).flat_map(|state| &state.links);
    let on_front = |link: &&Link| link.network == Network::Front;
    let link =
        links.into_iter().find(on_front).with_context(|| format!("{node} is not on the front network"))?;
    let bytes: Vec<u8> = link.mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    <[u8; 6]>::try_from(bytes.as_slice()).with_context(|| format!("{} is no Ethernet address", link.mac))
}

/// Runs a command in a node; it has to succeed.
pub(crate) fn command(lab: &Lab, node: &str, words: &[&str]) -> Result<()> {
    let output = lab.exec(node, words)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} on {node}: {}", words.join(" "), errors.trim());
    Ok(())
}

fn write(lab: &Lab, file: &str, text: &str) -> Result<()> {
    lab.within(NODE, || Ok(std::fs::write(file, text)))?.with_context(|| format!("writing {file}"))
}
