//! Laws over random traffic. A failing case prints its seed; `KEEL_SEED=… cargo test` replays it.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a random test says how to repeat it")]

mod support;
use keel_abi::{Choice, DropReason};
use keel_dataplane::{Explanation, FrameVerdict, Question};
use support::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, Rig, key, now_ns,
    packet::{ACK, FIN, Load, PSH, Pkt, SYN, checksums_hold, ip},
    server_mac,
};

/// splitmix64.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("KEEL_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
        println!("KEEL_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn service(name: &str, vip: &str, keys: &str, servers: &[&str]) -> String {
    let ports = if servers[0].contains("port") { "80" } else { "80,1000-1999" };
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\nlayer = 4\naddress = \"{vip}\"\nports = \"{ports}\"\nprotocol = \"tcp+udp\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n"
    );
    for (i, server) in servers.iter().enumerate() {
        text += &format!("[[service.server]]\nname = \"s{i}\"\n{server}\n");
    }
    text
}

/// Turns the packet a server received into the one with both ends exchanged.
fn turned(packet: &Pkt) -> Pkt {
    let mut turned = packet.clone();
    (turned.src, turned.dst) = (packet.dst, packet.src);
    match &mut turned.load {
        Load::Tcp { ports, .. } | Load::Udp { ports, .. } => *ports = (ports.1, ports.0),
        _ => {}
    }
    turned
}

#[test]
fn reverse_of_forward_is_identity() {
    let mut random = Random::new();
    for port in ["", "port = 8080"] {
        let rigs = [
            (
                Rig::new(&service(
                    "n",
                    "192.168.2.200",
                    "mode = \"nat\"",
                    &[&format!("address = \"10.0.0.101\"\n{port}")],
                )),
                "192.168.2.200",
                "10.0.0.101",
            ),
            (
                Rig::new(&service(
                    "n",
                    "fd00:2::200",
                    "mode = \"nat\"",
                    &[&format!("address = \"fd00:10::65\"\n{port}")],
                )),
                "fd00:2::200",
                "fd00:10::65",
            ),
        ];
        for (rig, vip, server) in &rigs {
            for _ in 0..1000 {
                let client = if vip.contains(':') {
                    std::net::IpAddr::from(
                        [0x20010db8_u32 as u128, u128::from(random.next())]
                            .iter()
                            .fold(0u128, |a, b| a << 64 | b)
                            .to_be_bytes(),
                    )
                } else {
                    std::net::IpAddr::from([
                        11,
                        random.next() as u8,
                        random.next() as u8,
                        1 + random.below(250) as u8,
                    ])
                };
                let from = std::net::SocketAddr::new(client, 1 + random.below(65_535) as u16).to_string();
                let vport = if port.is_empty() { 1000 + random.below(1000) as u16 } else { 80 };
                let to = std::net::SocketAddr::new(ip(vip), vport).to_string();
                let mut packet = match random.below(3) {
                    0 => Pkt::udp(&from, &to),
                    1 => Pkt::tcp(&from, &to, SYN),
                    _ => Pkt::tcp(&from, &to, PSH | ACK).seq(random.next() as u32, random.next() as u32),
                };
                packet = packet
                    .data(random.below(1400) as usize)
                    .tos(random.next() as u8)
                    .ttl(3 + random.below(250) as u8);
                let mut data = random.bytes(64);
                if let Load::Udp { data: d, .. } | Load::Tcp { data: d, .. } = &mut packet.load {
                    data.truncate(d.len());
                    d[..data.len()].copy_from_slice(&data);
                }
                // Forward, byte by byte.
                let real_port = if port.is_empty() { vport } else { 8080 };
                let real = std::net::SocketAddr::new(ip(server), real_port).to_string();
                let there = packet.clone().hop().destination(&real).mac(BACK_MAC, server_mac(ip(server)));
                rig.forwards(&packet, &there);
                // The server sends it back as it is; what the client gets is its own packet turned around.
                let back = turned(&there).mac(server_mac(ip(server)), BACK_MAC);
                let expected = turned(&packet.clone().hop().hop()).mac(FRONT_MAC, CLIENT_MAC);
                rig.returns(&back, &expected);
            }
        }
    }
}

#[test]
fn garbage_never_fails_the_program() {
    let mut random = Random::new();
    let text = [
        service(
            "dr",
            "192.168.2.200",
            "mode = \"dr\"",
            &["address = \"192.168.2.101\"", "address = \"192.168.2.102\""],
        ),
        service("nat", "192.168.2.201", "mode = \"nat\"", &["address = \"10.0.0.101\"\nport = 8080"]),
        service(
            "tun",
            "192.168.2.202",
            "mode = \"tun\"",
            &["address = \"10.9.0.101\"", "address = \"fd00:9::65\""],
        ),
        service(
            "six",
            "fd00:2::200",
            "mode = \"nat\"\npersistence = \"source\"",
            &["address = \"fd00:10::65\""],
        ),
        service("gue", "fd00:2::201", "mode = \"tun\"\ntunnel = \"gue\"", &["address = \"10.9.0.102\""]),
    ]
    .concat();
    let rig = Rig::new(&text);
    let vips4 = ["192.168.2.200:80", "192.168.2.201:80", "192.168.2.202:1234"];
    let vips6 = ["[fd00:2::200]:80", "[fd00:2::201]:1999"];
    let mut seen = [0u32; 5];
    for _ in 0..150_000 {
        let v6 = random.below(2) == 0;
        let (client, vip) = if v6 {
            ("[2001:db8::7]:5", vips6[random.below(2) as usize])
        } else {
            ("192.0.2.7:5", vips4[random.below(3) as usize])
        };
        let mut packet = match random.below(4) {
            0 => Pkt::udp(client, vip),
            1 => Pkt::tcp(client, vip, random.next() as u8),
            2 => {
                let quoted = Pkt::tcp(vip, client, ACK).ip_packet();
                let vip = support::packet::end(vip).0.to_string();
                let from = if v6 { "2001:db8::1" } else { "192.0.2.1" };
                Pkt::icmp_error(
                    from,
                    &vip,
                    random.below(13) as u8,
                    random.below(5) as u8,
                    1400,
                    &quoted,
                    random.below(80) as usize,
                )
            }
            _ => Pkt::raw(
                &support::packet::end(client).0.to_string(),
                &support::packet::end(vip).0.to_string(),
                random.next() as u8,
                random.bytes(40),
            ),
        };
        packet = packet.ttl(if random.below(20) == 0 { 1 } else { 64 });
        match random.below(6) {
            0 => packet = packet.tag(random.next() as u16),
            1 => packet = packet.qinq(random.next() as u16, random.next() as u16),
            2 if v6 => {
                let mut extension = random.bytes(15);
                extension[0] = 1;
                packet = packet.extension([0, 43, 60, 44][random.below(4) as usize], &extension);
            }
            2 => packet = packet.options(&random.bytes(8)),
            _ => {}
        }
        let mut frame = if random.below(5) == 0 {
            let fragments = packet.fragments(8);
            fragments[random.below(fragments.len() as u64) as usize].clone()
        } else {
            packet.build()
        };
        for _ in 0..random.below(4) {
            let at = 12 + random.below(frame.len() as u64 - 12) as usize;
            frame[at] = random.next() as u8;
        }
        match random.below(6) {
            0 => frame.truncate(14 + random.below(frame.len() as u64 - 13) as usize),
            1 => {
                let tail = random.below(600) as usize;
                frame.extend(random.bytes(tail));
            }
            _ => {}
        }
        let run = rig.run(&frame, rig.front);
        assert_ne!(run.verdict, FrameVerdict::Aborted, "{frame:02x?}");
        if run.verdict == FrameVerdict::Pass {
            assert!(run.frame == frame, "passed but changed: {frame:02x?}");
        }
        seen[run.verdict as usize] += 1;
    }
    println!("aborted, dropped, passed, transmitted, redirected: {seen:?}");
    assert!(seen[1..].iter().all(|n| *n > 100), "{seen:?}");
    assert_eq!(rig.drop_count(DropReason::Internal), 0);
}

#[test]
fn truncated_and_lying_packets_are_malformed() {
    let text = service("dr", "192.168.2.200", "mode = \"dr\"", &["address = \"192.168.2.101\""])
        + &service("six", "fd00:2::200", "mode = \"dr\"", &["address = \"fd00:2::65\""]);
    let rig = Rig::new(&text);
    for frame in [
        Pkt::tcp("192.0.2.7:5", "192.168.2.200:80", SYN),
        Pkt::udp("192.0.2.7:5", "192.168.2.200:80").options(&[1; 8]),
        Pkt::tcp("[2001:db8::7]:5", "[fd00:2::200]:80", SYN).extension(60, &[0, 1, 4, 0, 0, 0, 0]),
        Pkt::udp("[2001:db8::7]:5", "[fd00:2::200]:80"),
    ] {
        let whole = frame.build();
        assert_eq!(rig.run(&whole, rig.front).verdict, FrameVerdict::Redirect);
        let headers = if frame.src.is_ipv4() { 34 } else { 54 };
        for length in headers..whole.len() {
            rig.dropped(&whole[..length], DropReason::Malformed);
        }
        for length in 14..headers {
            rig.passes(&whole[..length]);
        }
        let mut lying = whole.clone();
        let at = if frame.src.is_ipv4() { 16 } else { 18 };
        for length in [0u16, 5, 0xffff] {
            lying[at..at + 2].copy_from_slice(&length.to_be_bytes());
            rig.dropped(&lying, DropReason::Malformed);
        }
        // Padding behind the packet is no lie (Ethernet's minimum).
        let mut padded = whole.clone();
        padded.extend([0; 18]);
        assert_eq!(rig.run(&padded, rig.front).verdict, FrameVerdict::Redirect);
    }
}

fn nth_client(n: u32) -> String {
    format!("10.{}.{}.1:1000", n / 200, n % 200)
}

/// The servers that new connections of some clients get.
fn given(rig: &Rig, clients: std::ops::Range<u32>) -> Vec<u8> {
    clients.map(|n| rig.went_to(&Pkt::tcp(&nth_client(n), "192.168.2.200:80", SYN))).collect()
}

fn shares(given: &[u8]) -> [usize; 3] {
    [101, 102, 103].map(|server| given.iter().filter(|g| **g == server).count())
}

fn fair([a, b, c]: [usize; 3]) -> bool {
    a.abs_diff(150) <= 3 && b.abs_diff(75) <= 2 && c.abs_diff(75) <= 2
}

fn weighted(last: &str) -> String {
    let servers: Vec<String> = (101..)
        .zip(["weight = 2", "weight = 1", last])
        .map(|(n, keys)| format!("address = \"192.168.2.{n}\"\n{keys}"))
        .collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    service("s", "192.168.2.200", "mode = \"dr\"\nscheduler = \"wrr\"", &servers)
}

#[test]
fn a_server_that_the_configuration_brings_back_gets_its_share_and_no_burst() {
    let mut rig = Rig::new(&weighted("weight = 1"));
    for (round, away) in
        ["weight = 1\nstate = \"drain\"", "weight = 1\nstate = \"halt\"", "weight = 0"].iter().enumerate()
    {
        let first = round as u32 * 900;
        rig.apply(&weighted(away));
        assert_eq!(shares(&given(&rig, first..first + 600))[2], 0, "{away}");
        rig.apply(&weighted("weight = 1"));
        let back = shares(&given(&rig, first + 600..first + 900));
        assert!(fair(back), "{back:?} after {away}");
    }
}

#[test]
fn a_server_that_was_full_gets_its_share_and_no_burst() {
    let rig = Rig::new(&weighted("weight = 1\nmax_connections = 200"));
    let before = given(&rig, 0..2000);
    assert_eq!(shares(&before)[2], 200);
    for n in (0..2000).filter(|n| before[*n as usize] == 103) {
        rig.client_sends(&Pkt::tcp(&nth_client(n), "192.168.2.200:80", ACK));
        rig.client_sends(&Pkt::tcp(&nth_client(n), "192.168.2.200:80", FIN | ACK));
    }
    assert_eq!(rig.counts("192.168.2.103"), (0, 0, 200));
    let back = shares(&given(&rig, 2000..2300));
    assert!(fair(back), "{back:?}");
}

#[test]
fn what_is_explained_is_what_happens() {
    let mut random = Random::new();
    for round in 0..24 {
        let scheduler = ["rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "maglev"][round % 9];
        let mut keys = format!("mode = \"dr\"\nscheduler = \"{scheduler}\"");
        if random.below(3) == 0 {
            keys += &format!(
                "\npersistence = {{ by = \"source\", timeout = \"60s\", prefix4 = {} }}",
                20 + random.below(13)
            );
        }
        if matches!(scheduler, "sh" | "maglev") && random.below(2) == 0 {
            keys += "\nhash_source_port = true";
        }
        let off = random.below(2) == 0;
        if off {
            keys += "\nfallback = \"off\"";
        }
        let count = if random.below(6) == 0 { 70 } else { 1 + random.below(9) };
        let servers: Vec<String> = (0..count)
            .map(|i| {
                let max = if random.below(4) == 0 { 3 } else { 0 };
                format!(
                    "address = \"192.168.2.{}\"\nweight = {}\nmax_connections = {max}",
                    101 + i,
                    random.below(5)
                )
            })
            .collect();
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        let rig = Rig::new(&service("s", "192.168.2.200", &keys, &servers));
        for _ in 0..150 {
            let client = format!("10.0.{}.{}:{}", random.below(4), random.below(4), 1 + random.below(400));
            let vip = format!("192.168.2.200:{}", [80, 1000, 1500, 1999, 81][random.below(5) as usize]);
            let frame = Pkt::tcp(&client, &vip, SYN);
            let question = Question { key: key(&client, &vip, 6), now_ns: now_ns() };
            let explained = rig.dataplane.explain(&question).unwrap();
            let run = rig.client_sends(&frame);
            let server = |id: u32| rig.dataplane.shadow().servers[&id].addr;
            match explained {
                Explanation::NoService => assert_eq!(run.verdict, FrameVerdict::Pass),
                Explanation::Known { server: id, .. }
                | Explanation::Persistent { server: id, .. }
                | Explanation::Scheduled { choice: Choice::Server(id), .. } => {
                    assert_eq!(run.verdict, FrameVerdict::Redirect, "{scheduler} {explained:?}");
                    assert_eq!(run.frame[..6], server_mac(server(id).into()), "{scheduler} {explained:?}");
                    assert!(checksums_hold(&run.frame).is_ok());
                }
                Explanation::Scheduled { choice: Choice::NoServer, .. } if !off => {
                    assert_eq!(run.verdict, FrameVerdict::Pass, "this node's own fallback answers");
                }
                Explanation::Scheduled { .. } => assert_eq!(run.verdict, FrameVerdict::Drop),
                other => panic!("{other:?}"),
            }
            if random.below(2) == 0 {
                rig.client_sends(&frame.flags(ACK));
            }
        }
    }
}
