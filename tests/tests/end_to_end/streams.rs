//! Streams as fast as they go: iperf3 behind the VIPs of every mode and family. Its control and its data are two connections,
//! so persistence has to lead both to one server.

use keel_lab::Topology;
use keel_tests::{Rig, Service, config};

/// A second through anything here moves more than this.
const LEAST: u64 = 10_000_000;

fn iperf(mode: &str, vip: &str, servers: &str) -> Service {
    let family = if vip.contains(':') { 6 } else { 4 };
    Service::new(&format!("{mode}{family}"), vip, "5201")
        .with(&format!("mode = \"{mode}\"\nscheduler = \"rr\"\npersistence = \"source\""))
        .servers(servers, 2)
}

/// Sends for a second to each service, and receives for another.
fn carried(rig: &Rig, services: &[(&str, &str, &str)]) {
    for (mode, vip, _) in services {
        for direction in [&[][..], &["--reverse"]] {
            let words = [&["iperf3", "--client", vip, "--time", "1", "--json"][..], direction].concat();
            let said = rig.run("client", &words).ok();
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            let bytes = said.pointer("/end/sum_received/bytes").and_then(serde_json::Value::as_u64);
            assert!(bytes.is_some_and(|bytes| bytes > LEAST), "{mode} {vip} {direction:?}: {said:#}");
        }
    }
    for service in rig.services() {
        let used = service.servers.iter().filter(|server| server.counters.connections > 0).count();
        assert_eq!((service.counters.connections, used), (4, 1), "{}", service.name);
        assert!(service.counters.bytes_in > LEAST, "{}: {:?}", service.name, service.counters);
    }
}

fn all(services: &[(&str, &str, &str)]) -> String {
    let services: Vec<Service> =
        services.iter().map(|(mode, vip, servers)| iperf(mode, vip, servers)).collect();
    config(&services)
}

#[test]
fn one_arm_carries_streams_both_ways() {
    let rig = Rig::alone("streams", Topology::OneArm);
    let services = [
        ("dr", "192.168.2.200", "192.168.2.10"),
        ("nat", "192.168.2.201", "192.168.2.10"),
        ("tun", "192.168.2.202", "192.168.2.10"),
        ("dr", "fd00:2::200", "fd00:2::10"),
        ("nat", "fd00:2::201", "fd00:2::10"),
        ("tun", "fd00:2::202", "fd00:2::10"),
    ];
    rig.apply(&all(&services));
    carried(&rig, &services);
}

#[test]
fn two_arms_carry_streams_both_ways() {
    let rig = Rig::alone("streams-2", Topology::TwoArm);
    let services = [("nat", "192.168.2.200", "10.0.0.10"), ("nat", "fd00:2::200", "fd00:10::10")];
    let gateways =
        "[[floating_ip]]\naddress = \"10.0.0.1/24\"\n[[floating_ip]]\naddress = \"fd00:10::1/64\"\n";
    rig.apply(&(gateways.to_owned() + &all(&services)));
    carried(&rig, &services);
}

#[test]
fn tunnels_carry_streams_both_ways() {
    let rig = Rig::alone("streams-t", Topology::Tunnel);
    let services = [("tun", "192.168.2.200", "10.9.0.10"), ("tun", "fd00:2::200", "fd00:9::10")];
    rig.apply(&all(&services));
    carried(&rig, &services);
}
