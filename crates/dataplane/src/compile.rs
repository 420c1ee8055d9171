//! From the validated configuration to [`Desired`], purely.
use std::{collections::HashMap, net::IpAddr, time::Duration};

use keel_abi::{
    Addr, IPPROTO_TCP, IPPROTO_UDP, MODE_DR, MODE_GUE, MODE_NAT, MODE_TUN, PortKey, TIMEOUT_CLASSES, blocks,
    policy, scheduler, service_flags, state, timeout_class,
};
use keel_model::{
    AdminState, Cluster, Encapsulation, Host, Layer4, Layer4Settings, Mode4, Persistence, RemovedPolicy,
    Scheduler4, Server, Service, Transport,
};
use keel_pool::{Outlook, Verdict, members};

use crate::{Desired, DesiredServer, DesiredService, desired::FALLBACK};

/// Addresses of servers given by name, as last resolved: by the name and whether IPv6 was preferred, which is so for the
/// servers of an IPv6 service.
pub type Addresses = HashMap<(String, bool), IpAddr>;

/// Where a server is. `None` if its name isn't resolved, or only to addresses of a family that the service's mode can't
/// reach: DR and NAT forward within one family.
pub fn address_of(service: &Service, server: &Server, addresses: &Addresses) -> Option<IpAddr> {
    let v6 = service.address.is_ipv6();
    let address = match &server.address {
        Host::Ip(address) => *address,
        Host::Name(name) => *addresses.get(&(name.clone(), v6))?,
    };
    let tunnelled = service.as_layer4().is_some_and(|layer4| matches!(layer4.mode, Mode4::Tun(_)));
    (tunnelled || address.is_ipv6() == v6).then_some(address)
}

/// Where a server is: its address, the mode and the port.
type Place = (IpAddr, (u8, u16));

fn place(service: &Service, server: &Server, addresses: &Addresses) -> Option<Place> {
    Some((address_of(service, server, addresses)?, mode_and_port(server, service.as_layer4()?)))
}

/// Which server is used at each place: a name may lead to where another one is. Servers by address go before those by name,
/// and earlier ones before later. Empty without names: the configuration's own check has seen to that.
fn holders<'s>(service: &'s Service, addresses: &Addresses) -> HashMap<Place, &'s Server> {
    let by_name = |server: &&Server| matches!(server.address, Host::Name(_));
    let (named, literal): (Vec<_>, Vec<_>) = service.servers.iter().partition(by_name);
    let mut holders = HashMap::new();
    if !named.is_empty() {
        for server in literal.into_iter().chain(named) {
            if let Some(place) = place(service, server, addresses) {
                holders.entry(place).or_insert(server);
            }
        }
    }
    holders
}

/// The server of the service that is used instead of this one, because it is at the same address and port.
pub fn same_place<'s>(service: &'s Service, server: &Server, addresses: &Addresses) -> Option<&'s Server> {
    let here = place(service, server, addresses)?;
    let holder = holders(service, addresses).remove(&here)?;
    (holder.name != server.name).then_some(holder)
}

/// What the layer-4 services of `cluster` need in the maps. `outlook` says how a service's servers are. Servers whose name isn't resolved yet are left out, and those at the [same place](same_place) as another;
/// so are disabled services.
pub fn compile(cluster: &Cluster, addresses: &Addresses, outlook: impl Fn(&Service) -> Outlook) -> Desired {
    let services = cluster
        .services
        .iter()
        .filter(|service| service.enabled)
        .filter_map(|service| Some((service, service.as_layer4()?)))
        .map(|(service, layer4)| {
            compile_service(service, layer4, &cluster.layer4, addresses, &outlook(service))
        })
        .collect();
    Desired { services }
}

fn compile_service(
    service: &Service,
    layer4: &Layer4,
    settings: &Layer4Settings,
    addresses: &Addresses,
    outlook: &Outlook,
) -> DesiredService {
    let membership = members(service, outlook);
    let timeouts = timeouts(layer4, settings);
    let holders = holders(service, addresses);
    let servers = service
        .servers
        .iter()
        .enumerate()
        .filter(|(_, server)| {
            let holder = place(service, server, addresses).and_then(|here| holders.get(&here));
            holder.is_none_or(|holder| holder.name == server.name)
        })
        .filter_map(|(i, server)| {
            let addr = address_of(service, server, addresses)?.into();
            let verdict = outlook.verdicts.get(i).copied().unwrap_or(Verdict::Up);
            let compiled = compile_server(
                server,
                layer4,
                addr,
                verdict,
                timeouts,
                membership.panic && membership.takes[i],
            );
            Some(DesiredServer { member: membership.takes[i], weight: membership.weights[i], ..compiled })
        });
    let fallback = fallback_server(service, layer4, addresses, timeouts, membership.fallback);
    let servers = servers.chain(fallback).collect();
    let persistence = service.persistence.as_ref();
    let answered_here =
        membership.fallback && service.fallback.is_some_and(|fallback| fallback.ip().is_loopback());
    DesiredService {
        name: service.name.to_string(),
        keys: keys(service, layer4),
        scheduler: scheduler_number(layer4.scheduler),
        flags: flags(layer4, persistence) | if answered_here { service_flags::ANSWERED_HERE } else { 0 },
        persist_ns: persistence.map_or(0, |p| p.timeout.as_nanos() as u64),
        prefix4: persistence.map_or(32, |p| p.prefix4),
        prefix6: persistence.map_or(128, |p| p.prefix6),
        servers,
    }
}

/// A fallback on another host: a server that takes connections when nobody else does. It is there all the time, so that
/// its connections go on when the others are back; as one that is down, so that nobody sticks to it then.
fn fallback_server(
    service: &Service,
    layer4: &Layer4,
    addresses: &Addresses,
    timeouts: [u32; TIMEOUT_CLASSES],
    member: bool,
) -> Option<DesiredServer> {
    let fallback = service.fallback.filter(|fallback| !fallback.ip().is_loopback())?;
    let mut server = Server::new("fallback".parse().ok()?, fallback.ip());
    server.port = Some(fallback.port());
    let verdict = if member { Verdict::Up } else { Verdict::Down };
    let compiled = compile_server(&server, layer4, fallback.ip().into(), verdict, timeouts, false);
    // A name may lead there.
    let here = (fallback.ip(), (compiled.mode, compiled.port_be));
    let taken = service.servers.iter().any(|other| place(service, other, addresses) == Some(here));
    // Not a closure: rustc 1.95 fails on one here.
    if taken {
        None
    } else {
        Some(DesiredServer { name: FALLBACK.to_owned(), member, weight: 1, ..compiled })
    }
}

/// `whatever`: its verdict isn't believed.
fn compile_server(
    server: &Server,
    layer4: &Layer4,
    addr: Addr,
    verdict: Verdict,
    timeouts: [u32; TIMEOUT_CLASSES],
    whatever: bool,
) -> DesiredServer {
    let (mode, port_be) = mode_and_port(server, layer4);
    let state = match (server.state, verdict) {
        (AdminState::Halt, _) => state::HALT,
        (AdminState::Drain, _) => state::DRAIN,
        (AdminState::Online, Verdict::Down) if !whatever => state::DOWN,
        (AdminState::Online, Verdict::Drain) if !whatever => state::DRAIN,
        (AdminState::Online, _) => state::ONLINE,
    };
    DesiredServer {
        name: server.name.to_string(),
        addr,
        port_be,
        mode,
        state,
        policy: match layer4.on_removed {
            RemovedPolicy::Reschedule => policy::RESCHEDULE,
            RemovedPolicy::Reset => policy::RESET,
            RemovedPolicy::Hold => policy::HOLD,
        },
        timeouts,
        member: false,
        weight: server.weight,
        max_connections: server.max_connections,
        readmit_connections: readmit(server),
    }
}

fn mode_and_port(server: &Server, layer4: &Layer4) -> (u8, u16) {
    match layer4.mode {
        Mode4::Dr => (MODE_DR, 0),
        Mode4::Nat => (MODE_NAT, server.port.unwrap_or(0).to_be()),
        Mode4::Tun(Encapsulation::Ip) => (MODE_TUN, 0),
        Mode4::Tun(Encapsulation::Gue { port }) => (MODE_GUE, port.to_be()),
    }
}

/// Full servers are readmitted below min_connections, or below three quarters of the maximum (ipvsadm(8)).
fn readmit(server: &Server) -> u32 {
    if server.min_connections > 0 {
        server.min_connections
    } else {
        (u64::from(server.max_connections) * 3).div_ceil(4) as u32
    }
}

fn timeouts(layer4: &Layer4, settings: &Layer4Settings) -> [u32; TIMEOUT_CLASSES] {
    let mut seconds = [0; TIMEOUT_CLASSES];
    let all = &settings.timeouts;
    let own = &layer4.timeouts;
    let mut set = |class: u32, own: Option<Duration>, all: Duration| {
        seconds[class as usize] = own.unwrap_or(all).as_secs().clamp(1, u64::from(u32::MAX)) as u32;
    };
    set(timeout_class::TCP_SYN, own.tcp_syn, all.tcp_syn);
    set(timeout_class::TCP_ESTABLISHED, own.tcp_established, all.tcp_established);
    set(timeout_class::TCP_FIN, own.tcp_fin, all.tcp_fin);
    set(timeout_class::TCP_CLOSE, own.tcp_close, all.tcp_close);
    set(timeout_class::UDP, own.udp, all.udp);
    seconds
}

fn keys(service: &Service, layer4: &Layer4) -> Vec<PortKey> {
    let addr = Addr::from(service.address);
    let protocols = layer4.protocol.transports().iter().map(|transport| match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
    });
    protocols
        .flat_map(|proto| {
            service.ports.ranges().flat_map(move |(first, last)| {
                blocks(first, last).map(move |b| PortKey { addr, block: b.block, proto, shift: b.shift })
            })
        })
        .collect()
}

fn scheduler_number(scheduler: Scheduler4) -> u32 {
    match scheduler {
        Scheduler4::Rr => scheduler::RR,
        Scheduler4::Wrr => scheduler::WRR,
        Scheduler4::Lc => scheduler::LC,
        Scheduler4::Wlc => scheduler::WLC,
        Scheduler4::Sed => scheduler::SED,
        Scheduler4::Nq => scheduler::NQ,
        Scheduler4::Sh => scheduler::SH,
        Scheduler4::Dh => scheduler::DH,
        Scheduler4::Maglev => scheduler::MAGLEV,
    }
}

fn flags(layer4: &Layer4, persistence: Option<&Persistence>) -> u32 {
    let mut flags = 0;
    if persistence.is_some() {
        flags |= service_flags::PERSISTENT;
    }
    if layer4.one_packet {
        flags |= service_flags::ONE_PACKET;
    }
    if layer4.hash_ports {
        flags |= service_flags::HASH_PORTS;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One service's servers, with the lines given.
    fn compiled(mode: &str, servers: &[&str], addresses: &Addresses) -> Vec<DesiredServer> {
        let mut text = format!(
            "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"192.0.2.80\"\nports = \"80\"\nmode = \"{mode}\"\n"
        );
        for (i, lines) in servers.iter().enumerate() {
            text += &format!("[[service.server]]\nname = \"s{i}\"\n{lines}\n");
        }
        let (cluster, problems) = keel_model::load_cluster(&text);
        let cluster = cluster.unwrap_or_else(|| panic!("{problems:?}"));
        compile(&cluster, addresses, |_| Outlook::default()).services.remove(0).servers
    }

    #[test]
    fn a_full_server_takes_connections_again_below_its_minimum_or_three_quarters() {
        let limits = |lines: &str| {
            let lines = format!("address = \"192.0.2.11\"\n{lines}");
            let server = compiled("dr", &[&lines], &Addresses::new()).remove(0);
            (server.max_connections, server.readmit_connections)
        };
        assert_eq!(limits("max_connections = 100\nmin_connections = 40"), (100, 40));
        assert_eq!(limits("max_connections = 100"), (100, 75));
        assert_eq!(limits("max_connections = 3"), (3, 3), "rounded up: one less than full is enough");
        assert_eq!(limits(""), (0, 0));
    }

    #[test]
    fn two_names_of_one_machine_are_one_server() {
        let leads = |name: &str| ((name.to_owned(), false), "192.0.2.11".parse().unwrap());
        let addresses = Addresses::from([leads("a.example"), leads("b.example")]);
        let names = |servers: &[DesiredServer]| servers.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        let (a, b) = ("address = \"a.example\"", "address = \"b.example\"");
        assert_eq!(names(&compiled("dr", &[a, b], &addresses)), ["s0"]);
        assert_eq!(names(&compiled("nat", &[a, b], &addresses)), ["s0"]);
        let literal = "address = \"192.0.2.11\"";
        assert_eq!(names(&compiled("dr", &[a, literal], &addresses)), ["s1"], "the one that can't change");
        let other_port = format!("{b}\nport = 8080");
        assert_eq!(names(&compiled("nat", &[a, &other_port], &addresses)), ["s0", "s1"]);
    }
}
