//! Checks that go through the virtual address: they find what is wrong on a server for clients only.

use keel_lab::Topology;
use keel_tests::{Rig, Service, config, eventually};

const THROUGH: &str =
    "health = { type = \"http\", through = \"vip\", interval = \"500ms\", timeout = \"400ms\" }";

fn service(name: &str, vip: &str, server: &str, lines: &[&str]) -> Service {
    let plain = Service::new(name, vip, "80").with(THROUGH);
    lines.iter().fold(plain, |service, line| service.with(line)).server("rs1", server, &[])
}

#[track_caller]
fn good(rig: &Rig, service: &str) {
    let said = rig.keel(&["health", "test", service]).ok();
    assert!(said.contains("good"), "{said}");
}

#[track_caller]
fn bad(rig: &Rig, service: &str, words: &str) {
    let said = rig.keel(&["health", "test", service]);
    assert_eq!(said.code, 1, "{said:?}");
    let said = said.out;
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_check_through_the_vip_finds_that_the_server_doesnt_have_it() {
    let rig = Rig::up("through", Topology::OneArm);
    rig.apply(&config(&[
        service("four", "192.168.2.200", "192.168.2.101", &["mode = \"dr\""]),
        service("six", "fd00:2::200", "fd00:2::101", &["mode = \"dr\""]),
    ]));
    for (name, family, range) in [("four", "-4", "192.168.2.200/29"), ("six", "-6", "fd00:2::200/120")] {
        good(&rig, name);
        let route = |verb: &str| {
            rig.run("rs1", &["ip", family, "route", verb, "local", range, "dev", "lo"]).ok();
        };
        route("delete");
        bad(&rig, name, "while connecting through the VIP: is the VIP on its loopback?");
        let takes = || rig.ask(async |client| client.health(&Default::default()).await).unwrap();
        let of = |name: &str| takes().into_iter().find(|server| server.service == name).unwrap();
        eventually("the server is taken out", || !of(name).takes);
        route("add");
        good(&rig, name);
        eventually("the server is taken in again", || of(name).takes);
    }
}

/// A service of the servers' datagram program, whose answer begins with the server's name.
fn datagrams(name: &str, vip: &str, port: &str, server: &str, mode: &[&str]) -> Service {
    let health = "protocol = \"udp\"\nhealth = { type = \"udp\", send = \"echo hello\", expect = \"rs1\\nhello\", through = \"vip\", \
                  interval = \"500ms\", timeout = \"400ms\" }";
    let plain = Service::new(name, vip, port).with(health);
    mode.iter().fold(plain, |service, line| service.with(line)).server("rs1", server, &[])
}

#[test]
fn a_check_by_datagrams_through_the_vip_finds_that_the_server_doesnt_have_it() {
    let rig = Rig::up("through-udp", Topology::OneArm);
    let dr: &[&str] = &["mode = \"dr\""];
    rig.apply(&config(&[
        datagrams("four", "192.168.2.200", "9000", "192.168.2.101", dr),
        datagrams("six", "fd00:2::200", "9000", "fd00:2::101", dr),
        datagrams("four-closed", "192.168.2.201", "9001", "192.168.2.101", dr),
        datagrams("six-closed", "fd00:2::201", "9001", "fd00:2::101", dr),
    ]));
    for (name, family, range) in [("four", "-4", "192.168.2.200/29"), ("six", "-6", "fd00:2::200/120")] {
        good(&rig, name);
        bad(&rig, &format!("{name}-closed"), "refused at the VIP: nothing on the server listens on UDP");
        rig.run("rs1", &["ip", family, "route", "delete", "local", range, "dev", "lo"]).ok();
        bad(&rig, name, "while waiting for an answer through the VIP: is the VIP on its loopback?");
    }
}

#[test]
fn a_check_through_the_vip_goes_through_every_tunnel_and_finds_that_one_is_missing() {
    let rig = Rig::up("through-tun", Topology::Tunnel);
    let (server4, server6) = ("10.9.0.101", "fd00:9::101");
    let tun: &[&str] = &["mode = \"tun\""];
    let gue: &[&str] = &["mode = \"tun\"", "tunnel = \"gue\""];
    rig.apply(&config(&[
        service("four-in-four", "192.168.2.200", server4, tun),
        service("four-in-six", "192.168.2.201", server6, tun),
        service("six-in-four", "fd00:2::200", server4, tun),
        service("six-in-six", "fd00:2::201", server6, tun),
        service("four-in-gue", "192.168.2.202", server4, gue),
        service("six-in-gue", "fd00:2::202", server6, gue),
        datagrams("datagrams-in-four", "192.168.2.203", "9000", server4, tun),
        datagrams("datagrams-in-six", "fd00:2::203", "9000", server6, tun),
        datagrams("datagrams-in-gue", "192.168.2.204", "9000", server4, gue),
    ]));
    let all = [
        "four-in-four",
        "four-in-six",
        "six-in-four",
        "six-in-six",
        "four-in-gue",
        "six-in-gue",
        "datagrams-in-four",
        "datagrams-in-six",
        "datagrams-in-gue",
    ];
    all.iter().for_each(|name| good(&rig, name));
    // Addresses of the same server without a tunnel.
    rig.run("rs1", &["ip", "address", "add", "10.9.0.150/24", "dev", "eth0"]).ok();
    rig.run("rs1", &["ip", "address", "add", "fd00:9::150/64", "dev", "eth0", "nodad"]).ok();
    let without = ["10.9.0.150", "fd00:9::150"];
    rig.apply(&config(&[
        service("four-in-four", "192.168.2.200", without[0], tun),
        service("six-in-six", "fd00:2::201", without[1], tun),
        service("six-in-gue", "fd00:2::202", without[1], gue),
    ]));
    for name in ["four-in-four", "six-in-six", "six-in-gue"] {
        bad(&rig, name, "while connecting through the VIP: is the tunnel set up");
    }
}
