//! Checks that go through the virtual address: they find what is wrong on a server for clients only.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keel_api::{CheckOutcome, HealthFilter};
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
    let long = |name: &str, vip: &str, server: &str| {
        let send = "x".repeat(1500);
        let health =
            format!("health = {{ type = \"udp\", send = \"{send}\", expect = \"x\", through = \"vip\" }}");
        let plain = Service::new(name, vip, "9000").with("mode = \"dr\"").with("protocol = \"udp\"");
        plain.with(&health).server("rs1", server, &[])
    };
    let mut services = vec![
        datagrams("four", "192.168.2.200", "9000", "192.168.2.101", dr),
        datagrams("six", "fd00:2::200", "9000", "fd00:2::101", dr),
        datagrams("four-closed", "192.168.2.201", "9001", "192.168.2.101", dr),
        datagrams("six-closed", "fd00:2::201", "9001", "fd00:2::101", dr),
    ];
    rig.apply(&config(&services));
    services.push(long("four-long", "192.168.2.202", "192.168.2.101"));
    services.push(long("six-long", "fd00:2::202", "fd00:2::101"));
    // Of these nothing will ever be known.
    rig.apply_only(&config(&services));
    for (name, family, range) in [("four", "-4", "192.168.2.200/29"), ("six", "-6", "fd00:2::200/120")] {
        good(&rig, name);
        // The server says so from the VIP in IPv4, and in IPv6, for an address that is its own by a route, from its main one.
        bad(&rig, &format!("{name}-closed"), "refused at the VIP: nothing on the server listens on UDP");
        let firewall = "add table inet shut; add chain inet shut in { type filter hook input priority 0; }; \
                        add rule inet shut in udp dport 9000 reject with icmpx type admin-prohibited";
        rig.run("rs1", &["nft", firewall]).ok();
        bad(&rig, name, "refused at the VIP: a firewall on the server or before it forbids UDP");
        rig.run("rs1", &["nft", "delete", "table", "inet", "shut"]).ok();
        good(&rig, name);
        eventually("a question that is too long is refused", || {
            let test = rig.keel(&["health", "test", &format!("{name}-long")]);
            test.out.contains("cannot check: the question has 1500 bytes")
        });
        rig.run("rs1", &["ip", family, "route", "delete", "local", range, "dev", "lo"]).ok();
        bad(&rig, name, "while waiting for an answer through the VIP: is the VIP on its loopback?");
    }
}

#[test]
fn a_name_server_is_asked_through_the_vip_over_udp_and_tcp() {
    let rig = Rig::up("through-dns", Topology::OneArm);
    let config_of_nsd = "server:\n  ip-address: 192.168.2.200\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  zonesdir: /run/nsd\n  \
                         database: \"\"\n  zonelistfile: /run/nsd/list\n  xfrdfile: /run/nsd/xfrd\n  xfrdir: /run/nsd\n  pidfile: \"\"\n\
                         remote-control:\n  control-enable: no\nzone:\n  name: example.org\n  zonefile: zone\n";
    let zone = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.7\n";
    let line = format!(
        "mkdir -p /run/nsd && printf '%s' '{config_of_nsd}' > /run/nsd/conf && printf '%s' '{zone}' > /run/nsd/zone && \
         (setsid nsd -d -c /run/nsd/conf >/run/nsd/log 2>&1 &)"
    );
    rig.run("rs1", &["sh", "-c", &line]).ok();
    let service = |name: &str, over: &str| {
        let health = format!(
            "health = {{ type = \"dns\", query = \"www.example.org\", expect = \"192.0.2.7\", through = \"vip\"{over} }}"
        );
        let plain = Service::new(name, "192.168.2.200", "53").with("mode = \"dr\"").with(&health);
        plain.with(if over.is_empty() { "protocol = \"udp\"" } else { "protocol = \"tcp\"" })
    };
    rig.apply(&config(&[
        service("by-udp", "").server("rs1", "192.168.2.101", &[]),
        service("by-tcp", ", over_tcp = true").server("rs1", "192.168.2.101", &[]),
    ]));
    eventually("the name server answers", || rig.keel(&["health", "test", "by-udp"]).out.contains("good"));
    good(&rig, "by-tcp");
    rig.run("rs1", &["ip", "route", "delete", "local", "192.168.2.200/29", "dev", "lo"]).ok();
    bad(&rig, "by-udp", "while waiting for an answer through the VIP: is the VIP on its loopback?");
    bad(&rig, "by-tcp", "while connecting through the VIP: is the VIP on its loopback?");
}

/// What a server does to whoever connects.
type Lie = fn(TcpStream);

fn liar(rig: &Rig, port: u16, lie: Lie) {
    let listener = rig.inside("rs1", || TcpListener::bind(("192.168.2.200", port)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || lie(stream));
        }
    });
}

#[test]
fn no_liar_behind_the_vip_is_believed_or_waited_for() {
    let rig = Rig::up("through-liars", Topology::OneArm);
    fn until_left(mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    }
    fn flood(mut stream: TcpStream) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    }
    fn garbage(mut stream: TcpStream) {
        let _ = stream.write_all(&[0xff, 0, 13, 10].repeat(5000));
        until_left(stream);
    }
    fn trickle(mut stream: TcpStream) {
        while stream.write_all(b"H").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    }
    fn reset(stream: TcpStream) {
        // Unread bytes make it one.
        thread::sleep(Duration::from_millis(50));
        drop(stream);
    }
    let lies: [(&str, Lie); 6] = [
        ("hangs", until_left),
        ("floods", flood),
        ("garbage", garbage),
        ("trickles", trickle),
        ("resets", reset),
        ("closes", drop),
    ];
    let mut services = vec![service("honest", "192.168.2.200", "192.168.2.101", &["mode = \"dr\""])];
    for (port, (name, lie)) in (7001..).zip(lies) {
        liar(&rig, port, lie);
        let health = "health = { type = \"http\", expect_body = \"said by nobody\", through = \"vip\", timeout = \"1s\" }";
        let plain = Service::new(name, "192.168.2.200", &port.to_string()).with("mode = \"dr\"").with(health);
        services.push(plain.server("rs1", "192.168.2.101", &[]));
    }
    rig.apply(&config(&services));
    good(&rig, "honest");
    for (name, _) in lies {
        for _ in 0..3 {
            let filter = HealthFilter { service: Some(name.to_owned()), server: None };
            let test = rig.ask(async |client| client.test_health(&filter).await).unwrap().remove(0);
            assert!(test.outcome == CheckOutcome::Bad && test.milliseconds < 2000.0, "{name}: {test:?}");
        }
    }
    good(&rig, "honest");
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
