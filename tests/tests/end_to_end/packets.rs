//! Packets that are not plain requests: ICMP, fragments, packets too big for a tunnel, and rubbish.

use std::net::{IpAddr, SocketAddr};

use keel_lab::Topology;
use keel_model::testing::Rng;
use keel_tests::{Packet, Plan, Rig, Service, config};

fn each_mode() -> Vec<Service> {
    let mut services = Vec::new();
    for (host, mode) in (200..).zip(["dr", "nat", "tun"]) {
        for (family, vip, servers) in [
            ("4", format!("192.168.2.{host}"), "192.168.2.10"),
            ("6", format!("fd00:2::{host}"), "fd00:2::10"),
        ] {
            services.push(
                Service::new(&format!("{mode}{family}"), &vip, "80,9000")
                    .with(&format!("mode = \"{mode}\"\nprotocol = \"tcp+udp\"\nscheduler = \"rr\""))
                    .servers(servers, 2),
            );
        }
    }
    services
}

fn vips() -> Vec<&'static str> {
    vec!["192.168.2.200", "192.168.2.201", "192.168.2.202", "fd00:2::200", "fd00:2::201", "fd00:2::202"]
}

fn at(vip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(vip.parse().unwrap(), port)
}

#[test]
fn a_vip_answers_pings_and_hops_are_counted() {
    let rig = Rig::up("icmp", Topology::OneArm);
    rig.apply(&config(&each_mode()));
    for vip in vips() {
        ping(&rig, vip.parse().unwrap());
        // The router is the first hop: two leave one for the balancer.
        let answers = traced(&rig, at(vip, 9000), 2);
        let expected = if vip.contains(':') { "fd00:2::" } else { "192.168.2." };
        assert!(answers.as_deref().is_some_and(|from| from.starts_with(expected)), "{vip}: {answers:?}");
    }
}

/// Sends an echo request and waits for its answer.
fn ping(rig: &Rig, vip: IpAddr) {
    let mut capture = rig.capture("client");
    let client = if vip.is_ipv4() { "192.168.3.10" } else { "fd00:3::10" };
    rig.send("client", &[Packet::echo(client.parse().unwrap(), vip, 0x6b65)]);
    let answers = |frame: &[u8]| match vip {
        IpAddr::V4(vip) => {
            frame.get(26..30) == Some(&vip.octets()) && frame[23] == 1 && frame.get(34) == Some(&0)
        }
        IpAddr::V6(vip) => {
            frame.get(22..38) == Some(&vip.octets()) && frame[20] == 58 && frame.get(54) == Some(&129)
        }
    };
    capture.wait_for(&format!("{vip} answers a ping"), 1, answers);
}

/// Who says that a datagram's hops ran out.
fn traced(rig: &Rig, to: SocketAddr, hops: u32) -> Option<String> {
    let mut capture = rig.capture("client");
    rig.inside("client", || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = socket2::Socket::from(std::net::UdpSocket::bind(any).unwrap());
        if to.is_ipv4() {
            socket.set_ttl_v4(hops).unwrap();
        } else {
            socket.set_unicast_hops_v6(hops).unwrap();
        }
        socket.send_to(b"who", &to.into()).unwrap();
    });
    let exceeded = |frame: &[u8]| match to {
        SocketAddr::V4(_) => {
            frame.get(12..14) == Some(&[8, 0]) && frame[23] == 1 && frame.get(34) == Some(&11)
        }
        SocketAddr::V6(_) => {
            frame.get(12..14) == Some(&[0x86, 0xdd]) && frame[20] == 58 && frame.get(54) == Some(&3)
        }
    };
    let found = capture.wait_for("time exceeded", 1, exceeded);
    let frame = &found[0].bytes;
    Some(match to {
        SocketAddr::V4(_) => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&frame[26..30]).ok()?).to_string(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&frame[22..38]).ok()?).to_string(),
    })
}

#[test]
fn large_datagrams_go_through_in_fragments() {
    let rig = Rig::up("fragments", Topology::OneArm);
    rig.apply(&config(&each_mode()));
    for vip in vips().into_iter().filter(|vip| !vip.ends_with('2')) {
        for size in [1000, 4000, 9000] {
            let question = [b"echo ".to_vec(), (0..size).map(|n: u32| n as u8).collect()].concat();
            let answer = rig.datagram(None, at(vip, 9000), &question);
            let answer =
                answer.unwrap_or_else(|error| panic!("{vip} {size}: {error}\n{}", rig.keel(&["drops"]).out));
            assert!(answer.starts_with(b"rs"), "{vip}");
            assert_eq!(answer[4..], question[5..], "{vip} {size}");
        }
    }
    assert_eq!(rig.dropped("malformed"), 0);
}

/// A fragment that fills the MTU doesn't fit into a tunnel; these leave room for the outer headers. All of a datagram's
/// fragments reach one server, or there would be no answer.
#[test]
fn fragments_go_through_tunnels_together() {
    let rig = Rig::up("fragments-tun", Topology::Tunnel);
    let tunnel = |name: &str, vip: &str, servers: &str, kind: &str| {
        let lines = format!("mode = \"tun\"\ntunnel = \"{kind}\"\nprotocol = \"udp\"\nscheduler = \"rr\"");
        Service::new(name, vip, "9000").with(&lines).servers(servers, 3)
    };
    rig.apply(&config(&[
        tunnel("ip", "192.168.2.200", "10.9.0.10", "ip"),
        tunnel("ip6", "fd00:2::200", "fd00:9::10", "ip"),
        tunnel("gue", "192.168.2.201", "10.9.0.10", "gue"),
        tunnel("crossed", "192.168.2.203", "fd00:9::10", "ip"),
    ]));
    for vip in ["192.168.2.200", "192.168.2.201", "192.168.2.203", "fd00:2::200"] {
        let gateway = if vip.contains(':') { "fd00:3::1" } else { "192.168.3.1" };
        rig.run("client", &["ip", "route", "replace", vip, "via", gateway, "mtu", "1400"]).ok();
        for size in [1500, 4000, 9000] {
            let question = [b"echo ".to_vec(), (0..size).map(|n: u32| n as u8).collect()].concat();
            let answer = rig.datagram(None, at(vip, 9000), &question);
            let answer =
                answer.unwrap_or_else(|error| panic!("{vip} {size}: {error}\n{}", rig.keel(&["drops"]).out));
            assert!(answer.starts_with(b"rs") && answer[4..] == question[5..], "{vip} {size}");
        }
    }
    for reason in ["malformed", "too-big", "fragment"] {
        assert_eq!(rig.dropped(reason), 0, "{}", rig.keel(&["drops"]).out);
    }
}

/// Segments that fill the client's MTU don't fit into the tunnel; the client is told and sends smaller ones.
#[test]
fn what_is_too_big_for_the_tunnel_is_said_and_sent_again_smaller() {
    let rig = Rig::up("path-mtu", Topology::Tunnel);
    let tunnel = |name: &str, vip: &str, servers: &str, kind: &str| {
        let lines = format!("mode = \"tun\"\ntunnel = \"{kind}\"");
        Service::new(name, vip, "80").with(&lines).servers(servers, 2)
    };
    rig.apply(&config(&[
        tunnel("ip", "192.168.2.200", "10.9.0.10", "ip"),
        tunnel("ip6", "fd00:2::200", "fd00:9::10", "ip"),
        tunnel("gue", "192.168.2.201", "10.9.0.10", "gue"),
        tunnel("gue6", "fd00:2::201", "fd00:9::10", "gue"),
    ]));
    let large = format!("X-Large: {}", "x".repeat(6000));
    for vip in ["192.168.2.200", "[fd00:2::200]", "192.168.2.201", "[fd00:2::201]"] {
        let url = format!("http://{vip}/");
        let said = rig.run("client", &["curl", "-gsS", "-m", "10", "-H", &large, &url]);
        assert!(said.out.starts_with("rs"), "{vip}: {said:?}\n{}", rig.keel(&["drops"]).out);
    }
    assert!(rig.dropped("too-big") >= 4, "each client had to learn it");
}

#[test]
fn rubbish_is_counted_and_disturbs_nobody() {
    let rig = Rig::alone("rubbish", Topology::OneArm);
    rig.apply(&config(&each_mode()));
    let tcp: Vec<_> = vips().into_iter().map(|vip| (at(vip, 80), 1)).collect();
    let udp: Vec<_> = vips().into_iter().map(|vip| (at(vip, 9000), 1)).collect();
    let plan = Plan { fresh: tcp.clone(), kept: tcp, datagrams: udp, ..Plan::default() };
    let packets = rubbish();
    let (tally, ()) = rig.under_load(&plan, |load| {
        for chunk in packets.chunks(2000) {
            rig.send("client", chunk);
            load.more(20);
        }
    });
    assert!(tally.failures.is_empty(), "{:#?}\n{}", tally.failures, rig.keel(&["drops"]).out);
    let drops = rig.keel(&["drops"]).ok();
    assert!(rig.dropped("malformed") > 0, "{drops}");
    assert_eq!(rig.dropped("internal"), 0, "{drops}");
}

/// Twenty thousand packets to the VIPs: headers cut short, lengths that lie, odd flags, every protocol, bits flipped.
fn rubbish() -> Vec<Packet> {
    let mut rng = Rng::new(4);
    let mut packets = Vec::new();
    for round in 0..20_000_u32 {
        let vip = *rng.pick(&vips());
        let client = if vip.contains(':') { "[fd00:3::19]" } else { "192.168.3.19" };
        let port = u16::try_from(20_000 + rng.below(40_000)).unwrap();
        let from: SocketAddr = format!("{client}:{port}").parse().unwrap();
        let to = at(vip, *rng.pick(&[80, 9000]));
        let flags = u8::try_from(rng.below(256)).unwrap();
        let mut packet = match round % 4 {
            0 => Packet::tcp(from, to, flags, round),
            1 => Packet::udp(from, to, &vec![flags; rng.below(200)]),
            2 => Packet::plain(from.ip(), to.ip(), flags, &vec![1; rng.below(64)]),
            _ => Packet::plain(from.ip(), to.ip(), *rng.pick(&[6, 17, 1, 58]), &vec![flags; rng.below(24)]),
        };
        // The version and the addresses stay: the packet is to arrive.
        let header = if to.is_ipv4() { 20 } else { 40 };
        if rng.below(2) == 0 && packet.bytes.len() > header {
            let position = header + rng.below(packet.bytes.len() - header);
            packet.bytes[position] ^= 1 << rng.below(8);
        }
        packets.push(packet);
    }
    packets
}
