//! Packets are forwarded on while keeld is killed, stopped, away, back and replaced: no question of any client fails.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keel_lab::Topology;
use keel_tests::{Plan, Rig, Service, config};
use nix::sys::signal::Signal;

const DR: &str = "192.168.2.200:80";
const NAT: &str = "192.168.2.201:80";
const TUN: &str = "192.168.2.202:80";
const DR6: &str = "[fd00:2::200]:80";
const TUN6: &str = "[fd00:2::202]:80";
const NAT6: &str = "[fd00:2::201]:80";
const UDP: &str = "192.168.2.201:9000";

const PINS: &str = "/sys/fs/bpf/evenkeel";

fn service(name: &str, to: &str, mode: &str, scheduler: &str) -> Service {
    let to: SocketAddr = to.parse().unwrap();
    let servers = if to.is_ipv4() { "192.168.2.10" } else { "fd00:2::10" };
    let protocol = if to.port() == 9000 { "udp" } else { "tcp" };
    Service::new(name, &to.ip().to_string(), &to.port().to_string())
        .with(&format!("mode = \"{mode}\"\nprotocol = \"{protocol}\"\nscheduler = \"{scheduler}\""))
        .servers(servers, 3)
}

fn services() -> Vec<Service> {
    vec![
        service("dr", DR, "dr", "wlc"),
        service("nat", NAT, "nat", "wlc"),
        service("tun", TUN, "tun", "wlc"),
        service("dr6", DR6, "dr", "wlc"),
        service("nat6", NAT6, "nat", "wlc"),
        service("tun6", TUN6, "tun", "wlc"),
        service("udp", UDP, "nat", "wlc"),
    ]
}

/// Something of everything.
fn plan() -> Plan {
    let at = |to: &str| to.parse().unwrap();
    let tcp = [DR, NAT, TUN, DR6, NAT6, TUN6];
    Plan {
        fresh: tcp.map(|to| (at(to), 2)).to_vec(),
        kept: tcp.map(|to| (at(to), 2)).to_vec(),
        datagrams: vec![(at(UDP), 2)],
        sources: Vec::new(),
    }
}

/// The pinned links and maps on lb1, each with what identifies it. The program in a link may be a newer one.
fn in_the_kernel(rig: &Rig) -> Vec<String> {
    let link = rig.run("lb1", &["ip", "-d", "link", "show", "eth0"]).ok();
    assert!(link.contains("prog/xdp"), "{link}");
    let pins = rig.run("lb1", &["find", PINS, "-type", "f", "-printf", "%P %i\n"]).ok();
    let mut pins: Vec<String> = pins.lines().map(str::to_owned).collect();
    pins.sort();
    assert!(pins.len() > 10, "{pins:?}");
    pins
}

/// Ends and starts keeld a few times under load: nothing fails, and nothing in the kernel is made anew.
fn survives(test: &str, signal: Signal, program: impl Fn(&Rig) -> PathBuf) {
    let rig = Rig::alone(test, Topology::OneArm);
    rig.apply(&config(&services()));
    let program = program(&rig);
    let before = in_the_kernel(&rig);
    let (tally, ()) = rig.under_load(&plan(), |load| {
        for _ in 0..3 {
            rig.end_daemon(signal);
            assert!(rig.ask(async |client| client.status().await).is_err(), "nobody is there");
            load.more(500);
            rig.start_daemon(&program);
            load.more(300);
        }
    });
    tally.unharmed();
    assert!(tally.answered > 2000, "{}", tally.answered);
    assert_eq!(in_the_kernel(&rig), before, "links and maps are the same ones");
    assert!(rig.log().contains("taken over"), "{}", rig.log());
    works_on(&rig);
}

/// What a daemon that took over is told is done.
fn works_on(rig: &Rig) {
    rig.keel(&["server", "halt", "nat", "rs1"]).ok();
    let answers = rig.shares(NAT.parse().unwrap(), 12);
    assert!(!answers.contains_key("rs1"), "{answers:?}");
    rig.keel(&["service", "rm", "udp"]).ok();
    assert!(rig.datagram(None, UDP.parse().unwrap(), b"who").is_err(), "the service is gone");
    let counted = rig.service("dr").counters.connections;
    assert!(counted > 100, "the counters went on: {counted}");
}

#[test]
fn killing_keeld_fails_no_request() {
    survives("kill", Signal::SIGKILL, Rig::program);
}

#[test]
fn stopping_keeld_fails_no_request() {
    survives("stop", Signal::SIGTERM, Rig::program);
}

#[test]
fn replacing_the_binary_fails_no_request() {
    survives("replace", Signal::SIGTERM, |rig| {
        let other = PathBuf::from("/run/keeld-of-another-version");
        let program = rig.program();
        rig.inside("lb1", || std::fs::copy(program, &other)).unwrap();
        other
    });
}

/// Asks one question after the other; the number of those that got no answer, and of all.
fn ask_until(socket: &UdpSocket, stop: &AtomicBool) -> (u32, u32) {
    let (mut lost, mut asked) = (0, 0_u32);
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        socket.send(b"who").unwrap();
        asked += 1;
        lost += u32::from(socket.recv(&mut buffer).is_err());
        std::thread::sleep(Duration::from_millis(1));
    }
    (lost, asked)
}

/// Nothing asks again here, and nothing is sent twice: what is lost, shows.
#[test]
fn not_one_packet_is_lost_while_keeld_goes_and_comes_back() {
    let rig = Rig::alone("lost", Topology::OneArm);
    let modes = [("dr", DR), ("nat", NAT), ("tun", TUN), ("dr6", DR6), ("nat6", NAT6), ("tun6", TUN6)];
    let to = modes.map(|(_, to)| SocketAddr::new(to.parse::<SocketAddr>().unwrap().ip(), 9000));
    let services = modes
        .iter()
        .zip(to)
        .map(|((name, _), to)| service(name, &to.to_string(), name.trim_end_matches('6'), "wlc"));
    rig.apply(&config(&services.collect::<Vec<_>>()));
    let sockets = rig.inside("client", || {
        to.map(|to| {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        })
    });
    let stop = AtomicBool::new(false);
    let told: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let askers: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| ask_until(socket, &stop))).collect();
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
            std::thread::sleep(Duration::from_millis(300));
            rig.end_daemon(signal);
            std::thread::sleep(Duration::from_millis(300));
            rig.start_daemon(&rig.program());
        }
        stop.store(true, Ordering::Relaxed);
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    for ((name, _), (lost, asked)) in modes.iter().zip(told) {
        assert!(lost == 0 && asked > 500, "{name}: {lost} of {asked} lost");
    }
}

/// A version whose maps look otherwise can't read this one's; connections placed by a hash find their servers all the same.
#[test]
fn a_version_with_other_maps_takes_the_interfaces_over_without_a_gap() {
    let rig = Rig::alone("layout", Topology::OneArm);
    let all = [
        ("dr", DR, "dr"),
        ("nat", NAT, "nat"),
        ("tun", TUN, "tun"),
        ("dr6", DR6, "dr"),
        ("nat6", NAT6, "nat"),
        ("tun6", TUN6, "tun"),
    ];
    let services = all.map(|(name, to, mode)| service(name, to, mode, "maglev"));
    rig.apply(&config(&services));
    let link = || {
        let pins = rig.run("lb1", &["find", PINS, "-path", "*/links/*", "-printf", "%f %i\n"]).ok();
        assert_eq!(pins.lines().count(), 1, "{pins}");
        pins
    };
    let before = link();
    let to = all.map(|(_, to, _)| (to.parse().unwrap(), 2));
    let plan = Plan { fresh: to.to_vec(), kept: to.to_vec(), ..Plan::default() };
    let (tally, ()) = rig.under_load(&plan, |load| {
        rig.end_daemon(Signal::SIGTERM);
        let layout = rig.run("lb1", &["ls", PINS]).ok();
        rig.run("lb1", &["mv", &format!("{PINS}/{}", layout.trim()), &format!("{PINS}/v1")]).ok();
        load.more(300);
        rig.start_daemon(&rig.program());
        load.more(1000);
        assert_eq!(rig.run("lb1", &["ls", PINS]).ok(), layout, "the other version's maps are gone");
    });
    tally.unharmed();
    assert_eq!(link(), before, "the link is the same one");
    assert!(rig.log().contains("layout 1"), "{}", rig.log());
}

#[test]
fn a_second_keeld_is_refused_and_disturbs_nothing() {
    let rig = Rig::up("second", Topology::OneArm);
    rig.apply(&config(&services()));
    let before = in_the_kernel(&rig);
    let error = rig.keeld(&[]).failed(1);
    assert!(error.contains("another daemon already answers"), "{error}");
    assert_eq!(in_the_kernel(&rig), before);
    assert_eq!(rig.shares(DR.parse().unwrap(), 6).len(), 3);
    rig.status();
}

#[test]
fn a_configuration_written_while_keeld_is_away_is_in_force_when_it_is_back() {
    let rig = Rig::up("away", Topology::OneArm);
    rig.apply(&config(&services()));
    rig.end_daemon(Signal::SIGKILL);
    let two: Vec<Service> = services().into_iter().map(|service| service.without("rs3")).collect();
    rig.write("/etc/evenkeel/cluster.toml", &config(&two));
    assert_eq!(rig.shares(DR.parse().unwrap(), 9).len(), 3, "what was in force stays so");
    rig.start_daemon(&rig.program());
    assert_eq!(rig.shares(DR.parse().unwrap(), 9).len(), 2);
    assert_eq!(rig.shares(NAT6.parse().unwrap(), 9).len(), 2);
}

#[test]
fn detaching_leaves_no_trace() {
    let rig = Rig::up("detach", Topology::TwoArm);
    let machine = |rig: &Rig| {
        let run = |command: &[&str]| rig.run("lb1", command).ok();
        let links = run(&["ip", "-d", "link"]);
        assert!(links.contains("eth1"));
        let addresses = run(&["ip", "-br", "address"]);
        let rules = run(&["nft", "list", "ruleset"]);
        let pins = run(&["find", "/sys/fs/bpf", "-mindepth", "1", "-path", "*evenkeel*"]);
        let routes = ["-4", "-6"].map(|family| run(&["ip", family, "rule"]));
        (links.contains("prog/xdp"), addresses, rules, pins, routes)
    };
    let text = format!(
        "[layer4]\nautonat = [\"eth0\"]\n\n[[floating_ip]]\naddress = \"10.0.0.1/24\"\n\n{}",
        config(&[Service::new("web", "192.168.2.200", "80").with("mode = \"nat\"").servers("10.0.0.10", 2)])
    );
    rig.apply(&text);
    let before = machine(&rig);
    assert!(before.0 && !before.2.is_empty() && !before.3.is_empty(), "{before:#?}");
    assert!(before.1.contains("192.168.2.200/32") && before.1.contains("10.0.0.1/24"), "{before:#?}");
    let error = rig.keeld(&["--detach"]).failed(1);
    assert!(error.contains("stop it first"), "{error}");
    assert_eq!(machine(&rig), before, "a refused command does nothing");
    rig.end_daemon(Signal::SIGTERM);
    assert_eq!(machine(&rig), before, "stopping takes nothing away");
    rig.keeld(&["--detach"]).ok();
    let (program, addresses, rules, pins, _) = machine(&rig);
    assert!(!program && rules.is_empty() && pins.is_empty(), "{rules}{pins}");
    assert!(!addresses.contains("192.168.2.200") && !addresses.contains("10.0.0.1/"), "{addresses}");
    assert!(addresses.contains("192.168.2.21/24") && addresses.contains("10.0.0.21/24"), "{addresses}");
    rig.keeld(&["--detach"]).ok();
    rig.start_daemon(&rig.program());
    rig.settle();
    assert_eq!(rig.shares("192.168.2.200:80".parse().unwrap(), 4).len(), 2, "all is back");
}
