//! Fixed values for golden tests: one of everything an administrator may meet.

mod alerts;
mod health;

use std::net::{IpAddr, SocketAddr};

use jiff::SignedDuration;

pub use self::alerts::{alerts, alerts_test};
pub use self::health::{health, health_test};
use super::ledger::noon;
use crate::types::{
    AdminState, Attachment, Connection, ConnectionCounts, ConnectionFlag, ConnectionPage, ConnectionState,
    Counters, CpuLoad, Drop, Drops, Engine, Explanation, FloatingIp, MapFill, Mode, Neighbour, NodeRole,
    PendingConfirm, Performance, PersistencePage, PersistentClient, ProgramStats, Protocol, Rates,
    ServerState, ServerStatus, ServiceStatus, Severity, Status, Totals, Verdict, Versions, Warning, light_of,
};

/// An address literal.
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

/// An address and port literal.
fn at(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address and port"))
}

/// A node with something to say.
pub fn status() -> Status {
    Status {
        hostname: "lb1".to_owned(),
        role: NodeRole::Single,
        now: noon(),
        uptime_seconds: 3 * 86_400 + 4 * 3_600 + 5 * 60,
        versions: Versions {
            keeld: "0.1.0".to_owned(),
            dataplane: "0.1.0 (maps v1)".to_owned(),
            kernel: "6.18.0".to_owned(),
        },
        revision: 1,
        pending_confirm: None,
        candidate_by: None,
        interfaces: interfaces(),
        engines: engines(),
        warnings: vec![Warning {
            severity: Severity::Warning,
            subject: "HTTP-Cluster/IIS2".to_owned(),
            text: "12 connections stay in SYN_RECV: its replies do not reach the clients".to_owned(),
            remedy: Some("put the VIP on its loopback: keel realserver HTTP-Cluster".to_owned()),
        }],
        totals: Totals {
            connections: ConnectionCounts { active: 1_284, inactive: 97, pending: 14, persistent: 311 },
            rates: Rates {
                connections: 42.5,
                packets_in: 18_220.0,
                bytes_in: 2_140_000.0,
                ..Rates::default()
            },
            drops: 0.4,
        },
    }
}

/// The same node in the middle of a confirmed commit.
pub fn status_waiting() -> Status {
    let pending = PendingConfirm {
        revision: 12,
        falls_back_to: 11,
        deadline: noon() + SignedDuration::from_secs(452),
        seconds_left: 452,
        user: "root".to_owned(),
    };
    Status {
        revision: 12,
        pending_confirm: Some(pending),
        candidate_by: Some("alice".to_owned()),
        ..status()
    }
}

fn engines() -> Vec<Engine> {
    let engine =
        |name: &str, running, note: &str| Engine { name: name.to_owned(), running, note: note.to_owned() };
    vec![
        engine("layer 4", true, ""),
        engine("layer 7", false, "services of layer 7 are kept, not served"),
        engine("health checks", false, "servers are taken to be up while they can be reached"),
        engine("pair", false, "this node stands alone"),
    ]
}

fn interfaces() -> Vec<Attachment> {
    vec![
        Attachment {
            interface: "eth0".to_owned(),
            mode: Mode::Native,
            link_up: true,
            mtu: 1500,
            warning: None,
        },
        Attachment {
            interface: "eth1".to_owned(),
            mode: Mode::Generic,
            link_up: true,
            mtu: 9000,
            warning: Some(
                "generic mode: each packet is copied once more, expect about half the packets per second"
                    .to_owned(),
            ),
        },
    ]
}

/// A server in this state; numbers follow from `scale`.
fn server(name: &str, address: &str, state: ServerState, scale: u64) -> ServerStatus {
    let admin = match state {
        ServerState::Draining => AdminState::Drain,
        ServerState::Halted => AdminState::Halt,
        _ => AdminState::Online,
    };
    let reason = match state {
        ServerState::Down => "nothing answers ARP for it on eth0",
        _ => "",
    };
    ServerStatus {
        name: name.to_owned(),
        address: address.to_owned(),
        ip: address.parse().ok(),
        port: None,
        weight: 100,
        effective_weight: if admin == AdminState::Online { 100 } else { 0 },
        priority: 0,
        min_connections: 0,
        max_connections: 0,
        admin,
        state,
        reason: reason.to_owned(),
        since: None,
        hint: None,
        neighbour: address.parse().ok().map(|next_hop| Neighbour {
            interface: Some("eth0".to_owned()),
            next_hop: Some(next_hop),
            mac: (state != ServerState::Down).then(|| "52:54:00:00:00:6f".to_owned()),
        }),
        connections: ConnectionCounts {
            active: 600 * scale,
            inactive: 48 * scale,
            pending: scale,
            persistent: 155 * scale,
        },
        counters: Counters {
            connections: 81_234 * scale,
            packets_in: 9_120_000 * scale,
            bytes_in: 1_070_000_000 * scale,
            packets_out: 0,
            bytes_out: 0,
        },
        rates: Rates {
            connections: 21.2 * scale as f64,
            packets_in: 9_110.0 * scale as f64,
            bytes_in: 1_070_000.0 * scale as f64,
            ..Rates::default()
        },
    }
}

fn service(name: &str, address: &str, ports: &str, servers: Vec<ServerStatus>) -> ServiceStatus {
    let (light, reason) = light_of(true, servers.iter().map(|s| (s.name.as_str(), s.state)));
    let sum = |field: fn(&ServerStatus) -> u64| servers.iter().map(field).sum();
    let rate = |field: fn(&ServerStatus) -> f64| servers.iter().map(field).sum();
    ServiceStatus {
        name: name.to_owned(),
        address: ip(address),
        ports: ports.to_owned(),
        layer: 4,
        protocol: "tcp".to_owned(),
        mode: "dr".to_owned(),
        scheduler: "wlc".to_owned(),
        persistence: None,
        fallback: None,
        fallback_in_use: false,
        group: None,
        awaits_failback: false,
        panic: false,
        enabled: true,
        light,
        reason,
        connections: ConnectionCounts {
            active: sum(|s| s.connections.active),
            inactive: sum(|s| s.connections.inactive),
            pending: sum(|s| s.connections.pending),
            persistent: sum(|s| s.connections.persistent),
        },
        counters: Counters {
            connections: sum(|s| s.counters.connections),
            packets_in: sum(|s| s.counters.packets_in),
            bytes_in: sum(|s| s.counters.bytes_in),
            packets_out: 0,
            bytes_out: 0,
        },
        rates: Rates {
            connections: rate(|s| s.rates.connections),
            packets_in: rate(|s| s.rates.packets_in),
            bytes_in: rate(|s| s.rates.bytes_in),
            ..Rates::default()
        },
        servers,
    }
}

/// One service of each colour, IPv4 and IPv6.
pub fn services() -> Vec<ServiceStatus> {
    use ServerState::{Down, Draining, Halted, Unchecked, Up};
    let http = service(
        "HTTP-Cluster",
        "192.168.1.100",
        "80,443,8000-8010",
        vec![server("IIS1", "192.168.1.110", Up, 2), server("IIS2", "192.168.1.111", Down, 0)],
    );
    let brokers = service(
        "Remote-Desktop-Gateways-Building-North",
        "2001:db8:12:34:56:78:9a:bc",
        "3389",
        vec![
            server("gateway-with-a-long-name-1", "2001:db8:12:34:56:78:9a:bd", Unchecked, 1),
            server("gw2", "gw2.example.net", Draining, 1),
        ],
    );
    let dns = service("DNS", "192.168.1.53", "53", vec![server("ns1", "10.0.0.53", Down, 0)]);
    let spare = service("Spare", "192.168.1.200", "25", vec![server("mx", "10.0.0.25", Halted, 0)]);
    vec![
        ServiceStatus { persistence: Some("by source, 300s".to_owned()), ..http },
        ServiceStatus { mode: "tun".to_owned(), scheduler: "maglev".to_owned(), ..brokers },
        ServiceStatus {
            protocol: "udp".to_owned(),
            mode: "nat".to_owned(),
            scheduler: "rr".to_owned(),
            fallback: Some("127.0.0.1:9081".to_owned()),
            fallback_in_use: true,
            ..dns
        },
        spare,
    ]
}

/// A table with one connection of each interesting sort.
pub fn connections() -> ConnectionPage {
    use ConnectionState::{Established, FinWait, SynRecv, Udp};
    let row = |client, vip, real, service: &str, server: Option<&str>, state| Connection {
        protocol: if state == Udp { Protocol::Udp } else { Protocol::Tcp },
        client: at(client),
        vip: at(vip),
        real: at(real),
        service: service.to_owned(),
        server: server.map(str::to_owned),
        state,
        age_seconds: Some(75),
        idle_seconds: 2,
        expires_seconds: 898,
        flags: Vec::new(),
    };
    let web = "192.168.1.100:443";
    let north = "[2001:db8:12:34:56:78:9a:bc]:3389";
    let first =
        row("192.168.3.10:50514", web, "192.168.1.110:443", "HTTP-Cluster", Some("IIS1"), Established);
    ConnectionPage {
        connections: vec![
            Connection { flags: vec![ConnectionFlag::Persistent], ..first },
            Connection {
                age_seconds: Some(9),
                idle_seconds: 9,
                expires_seconds: 51,
                ..row("192.168.3.11:40001", web, "192.168.1.111:443", "HTTP-Cluster", Some("IIS2"), SynRecv)
            },
            Connection {
                flags: vec![ConnectionFlag::MidStream, ConnectionFlag::Synced],
                age_seconds: None,
                ..row(
                    "[2001:db8:ffff:1:2:3:4:5]:61234",
                    north,
                    "[2001:db8:12:34:56:78:9a:bd]:3389",
                    "Remote-Desktop-Gateways-Building-North",
                    Some("gateway-with-a-long-name-1"),
                    FinWait,
                )
            },
            row("192.168.3.12:5353", "192.168.1.53:53", "10.0.0.53:53", "DNS", None, Udp),
        ],
        next: None,
        total: 1_395,
    }
}

/// A client that persistence remembers.
pub fn explanation() -> Explanation {
    let steps = [
        "192.168.1.100:80 is service HTTP-Cluster (tcp, dr, wlc)",
        "no connection from this client is in the table",
        "persistence by source remembers 192.168.3.10 for another 212 s: IIS1",
        "IIS1 is up and below its connection limit",
    ];
    Explanation {
        verdict: Verdict::Persistent,
        summary: "goes to IIS1 (192.168.1.110:80) of HTTP-Cluster".to_owned(),
        steps: steps.map(str::to_owned).to_vec(),
        service: Some("HTTP-Cluster".to_owned()),
        server: Some("IIS1".to_owned()),
        why: "persistence: the client was there before".to_owned(),
        depends_on_port: false,
        remedy: None,
    }
}

/// A place nobody listens at.
pub fn not_a_service() -> Explanation {
    Explanation {
        verdict: Verdict::NotAService,
        summary: "is not ours: the packet is left to the host".to_owned(),
        steps: vec!["no service has this address".to_owned()],
        service: None,
        server: None,
        why: "no service has this address and port".to_owned(),
        depends_on_port: false,
        remedy: Some("see the services there are with: keel service list".to_owned()),
    }
}

/// Drops for three reasons, one of which never happened.
pub fn drops() -> Drops {
    let drop = |reason: &str, explanation: &str, remedy: Option<&str>, packets, rate| Drop {
        reason: reason.to_owned(),
        explanation: explanation.to_owned(),
        remedy: remedy.map(str::to_owned),
        packets,
        rate,
    };
    Drops {
        drops: vec![
            drop(
                "no-neighbour",
                "the server's hardware address is not known yet",
                Some("see that the server is on and in the same network: keel status"),
                1_204,
                0.4,
            ),
            drop("malformed", "the packet is shorter than its headers say", None, 3, 0.0),
            drop("table-full", "the connection table is full", Some("raise layer4.connections"), 0, 0.0),
        ],
        packets: 1_207,
        rate: 0.4,
    }
}

/// A busy packet path.
pub fn performance() -> Performance {
    let fill = |map: &str, holds: &str, entries, capacity| MapFill {
        map: map.to_owned(),
        holds: holds.to_owned(),
        entries,
        capacity,
    };
    Performance {
        interfaces: interfaces(),
        program: Some(ProgramStats { enabled: true, runs: 18_240_000, nanoseconds_per_packet: Some(143.6) }),
        maps: vec![
            fill("connections", "established connections", 1_381, 524_288),
            fill("half_open", "half-open connections", 118_300, 131_072),
            fill("persistence", "persistence entries", 311, 262_144),
        ],
        packets: 18_220.0,
        bytes: 2_140_000.0,
        cpus: vec![
            CpuLoad { cpu: 0, busy: 31.5, softirq: 28.0 },
            CpuLoad { cpu: 1, busy: 4.0, softirq: 0.5 },
        ],
    }
}

/// Clients that stick, of both families.
pub fn persistence() -> PersistencePage {
    let client = |client: &str, server: &str, expires_seconds, proved| PersistentClient {
        service: "HTTP-Cluster".to_owned(),
        client: client.to_owned(),
        server: Some(server.to_owned()),
        expires_seconds,
        proved,
    };
    let clients = vec![
        client("192.168.3.10", "IIS1", 287, true),
        client("203.0.113.0/24", "IIS2", 12, true),
        client("2001:db8:0:17::/64", "IIS1", 299, false),
    ];
    PersistencePage { total: 3, next: None, clients }
}

/// One address of a service and one added by hand.
pub fn floating_ips() -> Vec<FloatingIp> {
    vec![
        FloatingIp {
            address: "192.168.1.100/24".to_owned(),
            services: vec!["HTTP-Cluster".to_owned()],
            interface: Some("eth0".to_owned()),
            held: true,
        },
        FloatingIp {
            address: "10.0.0.1/24".to_owned(),
            services: Vec::new(),
            interface: Some("eth1".to_owned()),
            held: true,
        },
    ]
}
