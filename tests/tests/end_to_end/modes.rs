//! Every mode, family and transport carries real traffic, and shows the servers the client's own address.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};

use keel_lab::Topology;
use keel_tests::{Rig, Service, config, eventually};

const MODES: [&str; 3] = ["dr", "nat", "tun"];

/// A service of each mode: .200 direct routing, .201 NAT, .202 tunnel, on TCP 80 and UDP 9000 of both families.
fn every_service() -> Vec<Service> {
    let mut services = Vec::new();
    for (host, mode) in (200..).zip(MODES) {
        for (family, vip, servers) in [
            ("4", format!("192.168.2.{host}"), "192.168.2.10"),
            ("6", format!("fd00:2::{host}"), "fd00:2::10"),
        ] {
            let line = format!("mode = \"{mode}\"");
            let tcp = Service::new(&format!("{mode}{family}-tcp"), &vip, "80").with(&line);
            let udp = Service::new(&format!("{mode}{family}-udp"), &vip, "9000").with(&line);
            let rr = |service: Service| service.with("scheduler = \"rr\"").servers(servers, 3);
            services.extend([rr(tcp), rr(udp.with("protocol = \"udp\""))]);
        }
    }
    services
}

fn vips() -> Vec<String> {
    let hosts = 200..203;
    hosts.flat_map(|host| [format!("192.168.2.{host}"), format!("[fd00:2::{host}]")]).collect()
}

fn at(vip: &str, port: u16) -> SocketAddr {
    format!("{vip}:{port}").parse().unwrap()
}

fn all_three(answers: impl IntoIterator<Item = String>) -> bool {
    answers.into_iter().collect::<BTreeSet<_>>() == ["rs1", "rs2", "rs3"].map(str::to_owned).into()
}

#[test]
fn one_arm_every_mode_carries_tcp_and_udp_of_both_families() {
    let rig = Rig::up("modes", Topology::OneArm);
    rig.apply(&config(&every_service()));
    for vip in vips() {
        let pages: Vec<String> = (0..6).map(|_| rig.get(&format!("http://{vip}/"))).collect();
        assert!(all_three(pages.iter().map(|page| page.trim().to_owned())), "{vip}: {pages:?}");
        let who = rig.get(&format!("http://{vip}/whoami"));
        let client = if vip.contains(':') { "client=fd00:3::10:" } else { "client=192.168.3.10:" };
        assert!(who.contains(client), "{vip}: {who}");
        let echoes: Vec<String> = (0..6).map(|_| rig.echo(at(&vip, 9000))).collect();
        assert!(all_three(echoes.clone()), "{vip}: {echoes:?}");
    }
    counts_what_it_carried(&rig);
}

/// Each service's totals tell what the client did; the way back shows only in NAT.
fn counts_what_it_carried(rig: &Rig) {
    for service in rig.services() {
        let counters = service.counters;
        let expected = if service.name.ends_with("tcp") { 7 } else { 6 };
        assert_eq!(counters.connections, expected, "{}", service.name);
        assert!(counters.packets_in >= counters.connections && counters.bytes_in > 0, "{service:#?}");
        assert_eq!(counters.packets_out > 0, service.mode == "nat", "{}: {counters:?}", service.name);
        let sum: u64 = service.servers.iter().map(|server| server.counters.connections).sum();
        assert_eq!(sum, counters.connections, "{}", service.name);
    }
}

#[test]
fn one_arm_large_answers_arrive_whole() {
    let rig = Rig::alone("large", Topology::OneArm);
    rig.apply(&config(&every_service()));
    for vip in vips() {
        let size = ["curl", "-gsS", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}"];
        let url = format!("http://{vip}/big");
        let size = rig.run("client", &[&size[..], &[&url]].concat()).ok();
        assert_eq!(size, (256 << 20).to_string(), "{vip}");
    }
}

/// A second nginx that answers ports 8000 to 8010 with the port's number.
fn listen_on_more_ports(rig: &Rig, server: &str) {
    let listen: String = (8000..=8010).map(|port| format!("listen {port};\n")).collect();
    let text = format!(
        "user root; daemon off; pid /run/more.pid; error_log /dev/null; events {{}} http {{ access_log off; server {{ {listen} \
         location / {{ return 200 $server_port; }} }} }}"
    );
    rig.inside(server, || std::fs::write("/run/more.conf", text)).unwrap();
    // Ended with the lab.
    drop(rig.lab.spawn(server, &["nginx", "-c", "/run/more.conf"]).unwrap());
    eventually("nginx listens", || rig.inside(server, || TcpStream::connect("127.0.0.1:8010").is_ok()));
}

#[test]
fn several_ports_a_range_and_tls_are_one_service_each() {
    let rig = Rig::up("ports", Topology::OneArm);
    let services = [
        Service::new("both", "192.168.2.200", "80,443").servers("192.168.2.10", 2),
        Service::new("range", "192.168.2.201", "8000-8010").with("mode = \"nat\"").servers("192.168.2.10", 2),
        Service::new("range-dr", "192.168.2.203", "8000-8010").servers("192.168.2.10", 2),
        Service::new("any", "192.168.2.202", "80,9000")
            .with("protocol = \"tcp+udp\"")
            .servers("192.168.2.10", 2),
        Service::new("both6", "fd00:2::200", "80,443").servers("fd00:2::10", 2),
        // The first port is what is checked unless another one is named.
        Service::new("own", "fd00:2::201", "8075-8085")
            .with("mode = \"nat\"\nhealth = { port = 8080 }")
            .servers("fd00:2::10", 2),
        Service::new("any6", "fd00:2::202", "80,9000")
            .with("protocol = \"tcp+udp\"")
            .with("mode = \"nat\"")
            .servers("fd00:2::10", 2),
    ];
    listen_on_more_ports(&rig, "rs1");
    listen_on_more_ports(&rig, "rs2");
    rig.apply(&config(&services));
    for vip in ["192.168.2.200", "[fd00:2::200]"] {
        assert!(rig.get(&format!("http://{vip}/")).starts_with("rs"));
        assert!(rig.get(&format!("https://{vip}/")).starts_with("rs"));
    }
    for port in [8000, 8001, 8005, 8010] {
        for vip in ["192.168.2.201", "192.168.2.203"] {
            assert_eq!(rig.get(&format!("http://{vip}:{port}/")), format!("{port}"));
        }
    }
    assert!(rig.get("http://[fd00:2::201]:8080/").starts_with("rs"), "the port stays what it was");
    for vip in ["192.168.2.202", "[fd00:2::202]"] {
        assert!(rig.get(&format!("http://{vip}/")).starts_with("rs"));
        assert!(rig.echo(at(vip, 9000)).starts_with("rs"));
    }
    for outside in ["192.168.2.201:7999", "192.168.2.201:8011", "192.168.2.200:81"] {
        assert!(rig.http(None, outside.parse().unwrap()).is_err(), "{outside} is no service");
    }
}

#[test]
fn two_arms_translate_addresses_and_ports_both_ways() {
    let rig = Rig::up("two-arm", Topology::TwoArm);
    let nat = |name: &str, vip: &str, ports: &str, servers: &str| {
        Service::new(name, vip, ports).with("mode = \"nat\"").with("scheduler = \"rr\"").servers(servers, 2)
    };
    let gateways =
        "[[floating_ip]]\naddress = \"10.0.0.1/24\"\n[[floating_ip]]\naddress = \"fd00:10::1/64\"\n";
    let services = [
        nat("web", "192.168.2.200", "80", "10.0.0.10").each("port = 8080"),
        nat("web6", "fd00:2::200", "80", "fd00:10::10").each("port = 8080"),
        nat("tls", "192.168.2.200", "443", "10.0.0.10"),
        nat("echo", "192.168.2.200", "53", "10.0.0.10").with("protocol = \"udp\"").each("port = 9000"),
        nat("echo6", "fd00:2::200", "53", "fd00:10::10").with("protocol = \"udp\"").each("port = 9000"),
    ];
    rig.apply(&(gateways.to_owned() + &config(&services)));
    for (vip, client, server) in [
        ("192.168.2.200", "client=192.168.3.10:", "at=10.0.0.10"),
        ("[fd00:2::200]", "client=fd00:3::10:", "at=fd00:10::10"),
    ] {
        let who = rig.get(&format!("http://{vip}/whoami"));
        assert!(who.contains(client) && who.contains(server) && who.contains(":8080 "), "{who}");
        let pages: BTreeSet<String> = (0..4).map(|_| rig.get(&format!("http://{vip}/"))).collect();
        assert_eq!(pages.len(), 2, "{vip}");
        let echoes: BTreeSet<String> = (0..4).map(|_| rig.echo(at(vip, 53))).collect();
        assert_eq!(echoes.len(), 2, "{vip}");
    }
    assert!(rig.get("https://192.168.2.200/").starts_with("rs"));
}

/// All pairs of families inside and outside a tunnel, as IP in IP and in GUE.
#[test]
fn tunnels_carry_each_family_in_each() {
    let rig = Rig::up("tunnel", Topology::Tunnel);
    let mut services = Vec::new();
    let kinds = [("4", "192.168.2", "10.9.0.10"), ("6", "192.168.2", "fd00:9::10")];
    let kinds6 = [("4", "fd00:2:", "10.9.0.10"), ("6", "fd00:2:", "fd00:9::10")];
    let mut vips = Vec::new();
    for (tunnel, first) in [("ip", 200), ("gue", 210)] {
        for (host, (outer, vip, servers)) in (first..).zip(kinds.into_iter().chain(kinds6)) {
            let separator = if vip.contains(':') { ":" } else { "." };
            let address = format!("{vip}{separator}{host}");
            for (port, protocol) in [("80", "tcp"), ("9000", "udp")] {
                let name = format!("{tunnel}-{host}-{outer}-{protocol}");
                services.push(
                    Service::new(&name, &address, port)
                        .with("mode = \"tun\"")
                        .with("scheduler = \"rr\"")
                        .with(&format!("tunnel = \"{tunnel}\""))
                        .with(&format!("protocol = \"{protocol}\""))
                        .servers(servers, 2),
                );
            }
            vips.push(if vip.contains(':') { format!("[{address}]") } else { address });
        }
    }
    rig.apply(&config(&services));
    for vip in vips {
        let pages: BTreeSet<String> = (0..4).map(|_| rig.get(&format!("http://{vip}/"))).collect();
        assert_eq!(pages.len(), 2, "{vip}: {pages:?}");
        let echoes: BTreeSet<String> = (0..4).map(|_| rig.echo(at(&vip, 9000))).collect();
        assert_eq!(echoes.len(), 2, "{vip}: {echoes:?}");
    }
}

#[test]
fn udp_by_the_packet_goes_to_another_server_each_time() {
    let rig = Rig::up("ops", Topology::OneArm);
    let service = |name: &str, port: &str, line: &str| {
        Service::new(name, "192.168.2.200", port)
            .with("protocol = \"udp\"\nscheduler = \"rr\"\nmode = \"dr\"")
            .with(line)
            .servers("192.168.2.10", 3)
    };
    rig.apply(&config(&[service("ops", "9000", "one_packet = true")]));
    let answers = rig.inside("client", || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.168.2.200:9000").unwrap();
        socket.set_read_timeout(Some(keel_tests::PATIENCE)).unwrap();
        let mut buffer = [0; 64];
        let mut ask = || {
            socket.send(b"who").unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
        };
        (0..9).map(|_| ask()).collect::<Vec<_>>()
    });
    for server in ["rs1", "rs2", "rs3"] {
        assert_eq!(answers.iter().filter(|answer| *answer == server).count(), 3, "{answers:?}");
    }
    assert_eq!(rig.keel(&["connections"]).ok().matches("192.168.3.10").count(), 0, "no flow is remembered");
}
