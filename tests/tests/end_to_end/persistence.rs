//! Clients that stick to a server: seen, counted, let go.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use keel_api::PersistenceFilter;
use keel_lab::Topology;
use keel_tests::{Rig, Service, config};

const STICKY: &str = "persistence = { by = \"source\", timeout = \"60s\" }";

fn service(name: &str, vip: &str, network: &str) -> Service {
    Service::new(name, vip, "80").with("mode = \"dr\"\nscheduler = \"rr\"").servers(network, 3)
}

#[test]
fn clients_that_stick_are_listed_counted_and_let_go() {
    let rig = Rig::up("sticky", Topology::OneArm);
    rig.apply(&config(&[
        service("four", "192.168.2.200", "192.168.2.10").with(STICKY),
        service("six", "fd00:2::200", "fd00:2::10").with(STICKY),
        service("plain", "192.168.2.201", "192.168.2.10"),
    ]));
    let (vip, six): (SocketAddr, SocketAddr) =
        ("192.168.2.200:80".parse().unwrap(), "[fd00:2::200]:80".parse().unwrap());
    let clients: [IpAddr; 2] = ["192.168.3.10".parse().unwrap(), "192.168.3.11".parse().unwrap()];
    let server_of = |client: IpAddr| {
        let servers = rig.shares_of(Some(client), vip, 4);
        assert_eq!(servers.len(), 1, "{client} sticks: {servers:?}");
        servers.into_keys().next().unwrap()
    };
    let servers = clients.map(server_of);
    assert_ne!(servers[0], servers[1], "rr");
    rig.shares(six, 2);

    let list = rig.keel(&["persistence", "four"]).ok();
    for (client, server) in clients.iter().zip(&servers) {
        let line = list.lines().find(|line| line.contains(&format!(" {client} "))).unwrap_or_default();
        assert!(line.contains(server.as_str()) && line.contains("sticks"), "{client}: {list}");
    }
    let all = rig.ask(async |client| client.persistence(&PersistenceFilter::default()).await).unwrap();
    assert_eq!(all.total, 3, "{all:#?}");
    assert!(all.clients.iter().all(|client| client.proved && (40..=60).contains(&client.expires_seconds)));
    assert_eq!(rig.service("four").connections.persistent, 2);
    assert_eq!(rig.service("four").servers.iter().map(|s| s.connections.persistent).sum::<u64>(), 2);
    assert_eq!(rig.status().totals.connections.persistent, 3);

    let one = ["persistence", "four", "--client", "192.168.3.10", "--clear"];
    assert_eq!(rig.keel(&one).ok(), "1 client let go.\n");
    assert_eq!(rig.service("four").connections.persistent, 1);
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        seen.extend(rig.shares_of(Some(clients[0]), vip, 1).into_keys());
        rig.keel(&one).ok();
    }
    assert_eq!(seen.len(), 3, "scheduled anew each time: {seen:?}");
    assert_eq!(server_of(clients[1]), servers[1], "others keep theirs");
    rig.keel(&["persistence", "four", "--clear"]).ok();
    assert_eq!(rig.keel(&["persistence", "four"]).ok(), "0 of 0 clients shown\n");
    assert_eq!(rig.status().totals.connections.persistent, 1, "another service's");

    assert!(rig.keel(&["persistence", "plain"]).failed(5).contains("--persistence source"));
    assert!(rig.keel(&["persistence", "fuor"]).failed(1).contains("four"));
    rig.keel(&["persistence", "--clear"]).failed(2);
}
