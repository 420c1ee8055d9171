//! What the appliance says: about mistakes of the servers' set-up, about where a client would go, about itself.

use std::net::SocketAddr;

use keel_api::{ConnectionFilter, ConnectionState, Mode};
use keel_lab::Topology;
use keel_tests::{Rig, Service, config, eventually};
use nix::sys::signal::Signal;

fn at(to: &str) -> SocketAddr {
    to.parse().unwrap()
}

/// The hint that `keel status` shows beside a server, once there is one.
fn hint(rig: &Rig, service: &str, to: &str) -> String {
    // A client that keeps trying; nothing answers it.
    let url = format!("http://{to}/");
    drop(rig.lab.spawn("client", &["curl", "-gsS", "-m", "30", &url]).unwrap());
    eventually("the status has a hint", || rig.service(service).servers[0].hint.is_some());
    rig.keel(&["status"]).ok()
}

#[test]
fn a_server_without_the_vip_is_named_in_the_status() {
    let rig = Rig::up("arp", Topology::OneArm);
    rig.run("rs1", &["ip", "route", "del", "local", "192.168.2.200/29", "dev", "lo"]).ok();
    rig.apply(&config(&[Service::new("web", "192.168.2.200", "80").servers("192.168.2.10", 1)]));
    let status = hint(&rig, "web", "192.168.2.200:80");
    assert!(status.contains("SYN_RECV") && status.contains("192.168.2.200"), "{status}");
    assert!(status.contains("ARP") && status.contains("keel realserver web"), "{status}");
    let connections = rig.keel(&["connections", "--state", "SYN_RECV"]).ok();
    assert!(connections.contains("web/rs1") && connections.contains("SYN_RECV"), "{connections}");
    // What the appliance prints is what mends it.
    let help = rig.keel(&["realserver", "web"]).ok();
    let add = help.lines().map(str::trim).find(|line| line.starts_with("ip address add 192.168.2.200"));
    let add: Vec<&str> = add.expect("the command that adds the VIP").split_whitespace().collect();
    rig.run("rs1", &add).ok();
    assert_eq!(rig.get("http://192.168.2.200/"), "rs1\n");
    eventually("the hint goes", || rig.service("web").servers[0].hint.is_none());
}

#[test]
fn a_server_with_the_wrong_gateway_is_named_in_the_status() {
    let rig = Rig::up("gateway", Topology::TwoArm);
    // The gateway is a floating address; without it and without a route the server's answers go nowhere.
    rig.run("rs1", &["ip", "route", "replace", "default", "via", "10.0.0.102"]).ok();
    let web = Service::new("web", "192.168.2.200", "80").with("mode = \"nat\"").servers("10.0.0.10", 1);
    let gateway = "[[floating_ip]]\naddress = \"10.0.0.1/24\"\n\n".to_owned();
    rig.apply(&(gateway + &config(&[web])));
    let status = hint(&rig, "web", "192.168.2.200:80");
    assert!(status.contains("SYN_RECV") && status.contains("gateway"), "{status}");
    let help = rig.keel(&["realserver", "web"]).ok();
    assert!(help.contains("10.0.0.1"), "{help}");
    rig.run("rs1", &["ip", "route", "replace", "default", "via", "10.0.0.1"]).ok();
    assert_eq!(rig.get("http://192.168.2.200/"), "rs1\n");
    eventually("the hint goes", || rig.service("web").servers[0].hint.is_none());
}

#[test]
fn explain_says_what_then_happens_and_changes_nothing() {
    let rig = Rig::up("explain", Topology::OneArm);
    let service = |name: &str, host: u8, scheduler: &str| {
        Service::new(name, &format!("192.168.2.{host}"), "80")
            .with(&format!("scheduler = \"{scheduler}\""))
            .servers("192.168.2.10", 3)
    };
    rig.apply(&config(&[
        service("rr", 200, "rr"),
        service("wlc", 201, "wlc"),
        service("sh", 202, "sh"),
        service("maglev", 203, "maglev").with("hash_source_port = false"),
        service("dh", 204, "dh"),
        service("held", 205, "rr").with("persistence = { by = \"source\", timeout = \"300s\" }"),
    ]));
    for host in 200..206 {
        let vip = at(&format!("192.168.2.{host}:80"));
        for client in ["192.168.3.10", "192.168.3.11", "192.168.3.15"] {
            let explain = || explained(&rig, client, vip);
            let (first, second) = (explain(), explain());
            assert_eq!(first, second, "asking changes nothing");
            for _ in 0..2 {
                let expected = explain();
                let answers = rig.shares_of(Some(client.parse().unwrap()), vip, 1);
                assert!(
                    answers.contains_key(&expected),
                    "{client} to {vip}: {expected} foretold, {answers:?}"
                );
            }
        }
    }
    for other in ["192.168.2.99:80", "192.168.2.200:81", "[fd00:2::200]:80"] {
        let client = if other.starts_with('[') { "fd00:3::10" } else { "192.168.3.10" };
        let said = rig.keel(&["--json", "explain", client, other]).out;
        assert!(said.contains("not-a-service"), "{other}: {said}");
    }
}

fn explained(rig: &Rig, client: &str, vip: SocketAddr) -> String {
    let said = rig.keel(&["--json", "explain", client, &vip.to_string()]).ok();
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    answer["server"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn connections_are_listed_with_their_states() {
    let rig = Rig::up("states", Topology::OneArm);
    let nat = Service::new("nat", "192.168.2.201", "80,9000").with("mode = \"nat\"\nprotocol = \"tcp+udp\"");
    rig.apply(&config(&[nat.servers("192.168.2.10", 2)]));
    let states = || -> Vec<ConnectionState> {
        let page = rig.ask(async |client| client.connections(&ConnectionFilter::default()).await).unwrap();
        page.connections.iter().map(|connection| connection.state).collect()
    };
    let slow = rig.lab.spawn("client", &["curl", "-sS", "-m", "30", "http://192.168.2.201/slow"]).unwrap();
    eventually("it is established", || states() == [ConnectionState::Established]);
    let service = rig.service("nat");
    assert_eq!((service.connections.active, service.connections.inactive), (1, 0));
    rig.echo(at("192.168.2.201:9000"));
    assert!(states().contains(&ConnectionState::Udp), "{:?}", states());
    drop(slow);
    rig.shares(at("192.168.2.201:80"), 1);
    eventually("it is closing", || {
        states().iter().any(|state| matches!(state, ConnectionState::FinWait | ConnectionState::TimeWait))
    });
    let text = rig.keel(&["connections", "--service", "nat", "--state", "UDP"]).ok();
    assert!(text.contains("192.168.3.10:") && text.contains("192.168.2.201:9000"), "{text}");
    assert!(!text.contains("ESTABLISHED"), "{text}");
    rig.write("/etc/hosts", "127.0.0.1 localhost\n192.168.3.10 shopper.example\n");
    let text = rig.keel(&["connections", "--resolve", "--service", "nat"]).ok();
    assert!(text.contains("shopper.example:"), "{text}");
    for other in ["status", "service list", "drops --all", "perf", "connections --resolve", "version"] {
        let words: Vec<&str> = other.split(' ').chain(["--json"]).collect();
        let json = rig.keel(&words).ok();
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{other}: {json}");
    }
}

#[test]
fn mistakes_on_the_command_line_are_answered_with_what_to_do() {
    let rig = Rig::up("mistakes", Topology::OneArm);
    rig.apply(&config(&[Service::new("web", "192.168.2.200", "80").servers("192.168.2.10", 2)]));
    let error = rig.keel(&["server", "drain", "web", "rs11"]).failed(1);
    assert!(error.contains("rs11") && error.contains("use one of: rs1, rs2"), "{error}");
    rig.keel(&["service", "rm", "mail", "--if-exists"]).ok();
    rig.keel(&["server", "rm", "web", "rs11", "--if-exists"]).ok();
    rig.keel(&["server", "add", "web", "rs1", "192.168.2.103"]).failed(5);
    let error = rig.keel(&["service", "show", "wbe"]).failed(1);
    assert!(error.contains("wbe") && error.contains("web"), "{error}");
    rig.keel(&["explain", "nonsense", "192.168.2.200:80"]).failed(2);
    rig.keel(&["server", "set", "web", "rs1", "--weight", "70000"]).failed(2);
    rig.keel(&["server", "set", "web", "rs1", "weight=70000"]).failed(3);
    assert_eq!(rig.revision(), 2, "nothing changed");
    rig.end_daemon(Signal::SIGTERM);
    let error = rig.keel(&["status"]).failed(4);
    assert!(error.contains("keeld") && error.contains("start"), "{error}");
    rig.write("/etc/evenkeel/cluster.toml", "[[service]]\nname = \"x\"\nadress = \"1.2.3.4\"\n");
    let said = rig.keel(&["config", "validate"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!((said.out + &said.err).contains("address"), "it needs no daemon");
}

#[test]
fn what_the_machine_lacks_is_named_with_the_command_that_mends_it() {
    let rig = Rig::up("lacks", Topology::OneArm);
    rig.end_daemon(Signal::SIGTERM);
    let error = rig.keeld(&["--bpf-dir", "/run/not-bpf"]).failed(1);
    assert!(error.contains("BPF filesystem") && error.contains("mount -t bpf"), "{error}");
    let unmounted = "umount /sys/fs/bpf && exec keeld";
    let error = rig.run("lb1", &["unshare", "--mount", "sh", "-c", unmounted]).failed(1);
    assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
    for (capability, name) in [
        ("net_admin", "CAP_NET_ADMIN"),
        ("net_raw", "CAP_NET_RAW"),
        ("bpf", "CAP_BPF"),
        ("perfmon", "CAP_PERFMON"),
    ] {
        // Whoever has CAP_SYS_ADMIN has CAP_BPF too as far as the kernel goes; keeld is to run without.
        let without = format!("--bounding-set=-{capability},-sys_admin");
        let error = rig.run("lb1", &["setpriv", &without, "keeld"]).failed(1);
        assert!(error.contains(name) && error.contains("AmbientCapabilities="), "{error}");
    }
    rig.start_daemon(&rig.program());
}

#[test]
fn a_card_in_generic_mode_works_and_is_warned_about() {
    let rig = Rig::alone("generic", Topology::OneArm);
    let service = |name: &str, vip: &str, servers: &str| {
        let (mode, _) = name.split_at(name.len() - 1);
        let lines = format!("mode = \"{mode}\"\nscheduler = \"rr\"\nprotocol = \"tcp+udp\"");
        Service::new(name, vip, "80,9000").with(&lines).servers(servers, 2)
    };
    let four = |name, host| service(name, &format!("192.168.2.{host}"), "192.168.2.10");
    let six = |name, host| service(name, &format!("fd00:2::{host}"), "fd00:2::10");
    rig.end_daemon(Signal::SIGTERM);
    rig.keeld(&["--detach"]).ok();
    let node = rig.read("/etc/evenkeel/node.toml");
    rig.write(
        "/etc/evenkeel/node.toml",
        &node.replace("name = \"eth0\"", "name = \"eth0\"\nxdp = \"generic\""),
    );
    rig.start_daemon(&rig.program());
    let (ipv4, ipv6) =
        ([("dr4", 200), ("nat4", 201), ("tun4", 202)], [("dr6", 200), ("nat6", 201), ("tun6", 202)]);
    let services: Vec<Service> = (ipv4.map(|(name, host)| four(name, host)).into_iter())
        .chain(ipv6.map(|(name, host)| six(name, host)))
        .collect();
    rig.apply(&config(&services));
    let attached = &rig.status().interfaces[0];
    assert_eq!(attached.mode, Mode::Generic);
    assert!(attached.warning.as_ref().is_some_and(|text| text.contains("generic")), "{attached:?}");
    assert!(rig.keel(&["status"]).ok().contains("generic"));
    assert!(rig.log().contains("generic mode"), "{}", rig.log());
    for host in 200..203 {
        assert_eq!(rig.shares(at(&format!("192.168.2.{host}:80")), 4).len(), 2, "{host}");
        let size = ["curl", "-sS", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}"];
        let url = format!("http://192.168.2.{host}/big");
        assert_eq!(rig.run("client", &[&size[..], &[&url]].concat()).ok(), (256 << 20).to_string());
        assert_eq!(rig.shares(at(&format!("[fd00:2::{host}]:80")), 4).len(), 2, "IPv6 {host}");
        assert!(rig.echo(at(&format!("[fd00:2::{host}]:9000"))).starts_with("rs"), "IPv6 {host}");
        // Answers that fill the MTU: in NAT they come through the program too.
        let part =
            ["curl", "-gsS", "-m", "60", "-r", "0-4194303", "-o", "/dev/null", "-w", "%{size_download}"];
        let url = format!("http://[fd00:2::{host}]/big");
        assert_eq!(rig.run("client", &[&part[..], &[&url]].concat()).ok(), (4 << 20).to_string());
    }
}
