//! A flood of half-open connections takes nothing from those that are established, nor from new ones.

use std::net::SocketAddr;

use keel_lab::Topology;
use keel_tests::{Flood, Plan, Rig, Service, config};

fn survives_a_flood(test: &str, vip: &str, servers: &str, mode: &str, packets: u32) {
    let rig = Rig::alone(test, Topology::OneArm);
    let small = "[layer4]\nconnections = 65536\nhalf_open = 16384\n\n";
    let web = Service::new("web", vip, "80").with(&format!("mode = \"{mode}\"")).servers(servers, 3);
    rig.apply(&(small.to_owned() + &config(&[web])));
    let to = SocketAddr::new(vip.parse().unwrap(), 80);
    let url = format!("http://{to}/big");
    let download = [
        "curl",
        "-gsS",
        "-m",
        "120",
        "--limit-rate",
        "20M",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        &url,
    ];
    let download = rig.lab.spawn("client", &download).unwrap();
    let plan = Plan { fresh: vec![(to, 2)], kept: vec![(to, 8)], ..Plan::default() };
    let (tally, (sent, ())) = rig.under_load(&plan, |load| {
        load.take().unharmed();
        rig.flooded(Flood { target: to, packets }, || {
            for _ in 0..5 {
                load.more(20);
                rig.keel(&["status"]).ok();
                rig.keel(&["drops"]).ok();
                rig.keel(&["perf"]).ok();
            }
        })
    });
    assert!(sent > packets / 2, "the flood was {sent} packets only");
    let kept: Vec<&String> = tally.failures.iter().filter(|failure| failure.contains("kept")).collect();
    assert!(kept.is_empty(), "established connections: {kept:#?}");
    let new: u64 = tally.servers.values().flat_map(|answers| answers.values()).sum();
    assert!(tally.failures.is_empty(), "{new} new connections, failures: {:#?}", tally.failures);
    assert!(new >= 10, "{new} new connections only, {} answers in all", tally.answered);
    let output = download.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), (256_u64 << 20).to_string(), "{output:?}");
    let seen = rig.service("web").counters.packets_in;
    assert!(seen > u64::from(sent) / 4, "{seen} packets of {sent} came through");
}

#[test]
fn a_flood_at_a_dr_service_harms_nobody() {
    survives_a_flood("flood-dr", "192.168.2.200", "192.168.2.10", "dr", 1_000_000);
}

#[test]
fn a_flood_at_a_nat_service_harms_nobody() {
    survives_a_flood("flood-nat", "192.168.2.201", "192.168.2.10", "nat", 300_000);
}

#[test]
fn a_flood_at_a_tunnel_service_harms_nobody() {
    survives_a_flood("flood-tun", "192.168.2.202", "192.168.2.10", "tun", 150_000);
}

#[test]
fn a_flood_at_a_nat_service_over_ipv6_harms_nobody() {
    survives_a_flood("flood-nat-six", "fd00:2::201", "fd00:2::10", "nat", 150_000);
}

#[test]
fn a_flood_over_ipv6_harms_nobody() {
    survives_a_flood("flood-six", "fd00:2::200", "fd00:2::10", "dr", 300_000);
}
