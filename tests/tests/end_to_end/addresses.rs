//! Floating addresses: held, announced, taken away; and the servers' own traffic through them.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use keel_lab::Topology;
use keel_tests::{Rig, Service, config, eventually};
use nix::sys::signal::Signal;

fn web(vip: &str, servers: &str) -> Service {
    Service::new(&format!("web-{}", vip.replace([':', '.'], "-")), vip, "80").servers(servers, 2)
}

/// An ARP request in which this address says where it is. Each comes with a reply of the same content.
fn gratuitous(frame: &[u8], address: [u8; 4]) -> bool {
    frame.get(12..14) == Some(&[8, 6])
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(28..32) == Some(&address)
        && frame.get(38..42) == Some(&address)
}

/// A neighbour advertisement to everybody about this address.
fn unsolicited(frame: &[u8], address: Ipv6Addr) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&58)
        && frame.get(54) == Some(&136)
        && frame.get(62..78) == Some(&address.octets())
        && frame.get(38) == Some(&0xff)
}

#[test]
fn a_vip_is_announced_five_times_and_leaves_with_its_service() {
    let rig = Rig::up("announce", Topology::OneArm);
    let mut capture = rig.capture("router");
    rig.apply(&config(&[web("192.168.2.200", "192.168.2.10"), web("fd00:2::200", "fd00:2::10")]));
    let vip6: Ipv6Addr = "fd00:2::200".parse().unwrap();
    // Both are announced at the same time: one pass over what is captured sees both.
    let wanted = |frame: &[u8]| gratuitous(frame, [192, 168, 2, 200]) || unsolicited(frame, vip6);
    let frames = capture.wait_for("announcements", 10, wanted);
    let four = frames.iter().filter(|frame| gratuitous(&frame.bytes, [192, 168, 2, 200])).count();
    assert_eq!(four, 5, "of each family");
    let time = frames.last().unwrap().seen - frames[0].seen;
    assert!(time > Duration::from_millis(600) && time < Duration::from_secs(2), "{time:?}");
    let mac = &rig.run("lb1", &["cat", "/sys/class/net/eth0/address"]).ok();
    let sender: Vec<String> = frames[0].bytes[6..12].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sender.join(":"), mac.trim());
    let addresses = || rig.run("lb1", &["ip", "-br", "address", "show", "eth0"]).ok();
    assert!(
        addresses().contains("192.168.2.200/32") && addresses().contains("fd00:2::200/128"),
        "{}",
        addresses()
    );
    rig.apply(&config(&[web("192.168.2.200", "192.168.2.10")]));
    assert!(!addresses().contains("fd00:2::200"), "{}", addresses());
    rig.apply(&config(&[web("192.168.2.200", "192.168.2.10").with("enabled = false")]));
    assert!(!addresses().contains("192.168.2.200"), "{}", addresses());
}

#[test]
fn announcements_say_the_cards_present_address_and_whether_it_routes() {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
    let rig = Rig::up("announce-new", Topology::OneArm);
    let vip6: Ipv6Addr = "fd00:2::200".parse().unwrap();
    let routes = |frame: &[u8]| frame[58] & 0x80 != 0;
    let services = [web("192.168.2.200", "192.168.2.10"), web("fd00:2::200", "fd00:2::10")];
    rig.run("lb1", &["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"]).ok();
    let mut capture = rig.capture("router");
    rig.apply(&config(&services));
    let first = capture.wait_for("announcements", 1, |frame| unsolicited(frame, vip6));
    assert!(!routes(&first[0].bytes), "it forwards no IPv6");

    rig.run("lb1", &["ip", "link", "set", "eth0", "address", "02:00:00:00:77:01"]).ok();
    let says =
        |frame: &[u8]| gratuitous(frame, [192, 168, 2, 200]) && frame[6..12] == MAC && frame[22..28] == MAC;
    capture.wait_for("announcements of the new Ethernet address", 5, says);

    // Those that were there already say so too, with their next announcement.
    let nat = web("fd00:2::201", "fd00:2::10").with("mode = \"nat\"");
    rig.apply(&config(&[services.to_vec(), vec![nat]].concat()));
    capture.wait_for("announcements of a router", 1, |frame| unsolicited(frame, vip6) && routes(frame));
}

#[test]
fn addresses_go_on_after_a_restart_and_do_not_pile_up() {
    let rig = Rig::up("hold", Topology::OneArm);
    rig.apply(&config(&[web("192.168.2.200", "192.168.2.10"), web("fd00:2::200", "fd00:2::10")]));
    let addresses = || rig.run("lb1", &["ip", "-o", "address"]).ok();
    let before = addresses();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        rig.end_daemon(signal);
        assert_eq!(addresses(), before, "they stay while nobody is there");
        rig.start_daemon(&rig.program());
        assert_eq!(addresses(), before);
    }
    rig.end_daemon(Signal::SIGTERM);
    rig.write("/etc/evenkeel/cluster.toml", &config(&[web("192.168.2.201", "192.168.2.10")]));
    rig.start_daemon(&rig.program());
    assert!(
        !addresses().contains("192.168.2.200/") && !addresses().contains("fd00:2::200/"),
        "{}",
        addresses()
    );
    assert!(addresses().contains("192.168.2.201/32"), "{}", addresses());
    rig.settle();
    assert_eq!(rig.shares("192.168.2.201:80".parse().unwrap(), 4).len(), 2);
}

#[test]
fn floating_addresses_are_added_and_removed_by_command() {
    let rig = Rig::up("floating", Topology::TwoArm);
    let web = config(&[web("192.168.2.200", "10.0.0.10").with("mode = \"nat\"")]);
    rig.apply(&format!("# ours\n{web}"));
    let on = |interface: &str, address: &str| {
        rig.run("lb1", &["ip", "-br", "address", "show", interface]).ok().contains(address)
    };
    rig.keel(&["floating", "add", "10.0.0.5/24"]).ok();
    rig.keel(&["floating", "add", "2001:db8::5", "--interface", "eth1"]).ok();
    assert!(on("eth1", "10.0.0.5/24") && on("eth1", "2001:db8::5/128"));
    let list = rig.keel(&["floating", "list"]).ok();
    let line = |address: &str| list.lines().find(|line| line.starts_with(address)).unwrap_or_default();
    assert!(line("10.0.0.5/24").contains("held") && line("10.0.0.5/24").contains("eth1"), "{list}");
    assert!(line("192.168.2.200").contains("web-192-168-2-200"), "{list}");
    let revision = rig.revision();
    assert!(rig.keel(&["floating", "add", "10.0.0.5/24"]).failed(5).contains("keel floating rm 10.0.0.5/24"));
    assert!(rig.keel(&["floating", "add", "172.16.0.1/24"]).failed(3).contains("floating_ip[2]"));
    assert!(rig.keel(&["floating", "add", "10.0.0.7/24", "--interface", "eth9"]).failed(3).contains("eth9"));
    assert!(rig.keel(&["floating", "rm", "192.168.2.200"]).failed(5).contains("keel service rm"));
    assert!(rig.keel(&["floating", "rm", "10.0.0.6"]).failed(1).contains("10.0.0.5/24"));
    rig.keel(&["floating", "rm", "10.0.0.6", "--if-exists"]).ok();
    assert_eq!(rig.revision(), revision, "nothing changed");
    rig.keel(&["floating", "rm", "10.0.0.5"]).ok();
    rig.keel(&["floating", "rm", "2001:db8::5"]).ok();
    assert!(!on("eth1", "10.0.0.5") && !on("eth1", "2001:db8::5"));
    let left = rig.read("/etc/evenkeel/cluster.toml");
    assert_eq!(left.trim_end(), format!("# ours\n{web}").trim_end(), "nothing else is touched");
}

#[test]
fn an_address_of_the_machine_cannot_be_virtual() {
    let rig = Rig::up("own", Topology::TwoArm);
    for (vip, servers) in
        [("192.168.2.21", "10.0.0.10"), ("10.0.0.21", "10.0.0.10"), ("fd00:2::21", "fd00:10::10")]
    {
        let said =
            rig.keel_fed(&["apply", "-"], &config(&[web(vip, servers).with("mode = \"nat\"")])).failed(3);
        assert!(said.contains("service[0].address") && said.contains(vip), "{said}");
    }
    // Also one that somebody has added by hand and that no file knows.
    rig.run("lb1", &["ip", "address", "add", "192.168.2.77/24", "dev", "eth0"]).ok();
    let text = config(&[web("192.168.2.77", "10.0.0.10").with("mode = \"nat\"")]);
    let said = rig.keel_fed(&["apply", "-"], &text).failed(3);
    assert!(said.contains("service[0].address"), "{said}");
}

#[test]
fn the_servers_gateway_floats_and_their_own_traffic_is_masqueraded() {
    let rig = Rig::up("autonat", Topology::TwoArm);
    let gateway =
        "[[floating_ip]]\naddress = \"10.0.0.1/24\"\n\n[[floating_ip]]\naddress = \"fd00:10::1/64\"\n\n";
    let web = config(&[web("192.168.2.200", "10.0.0.10").with("mode = \"nat\"\nscheduler = \"rr\"")]);
    rig.apply(&format!("{gateway}{web}"));
    let held = rig.ask(async |client| client.floating_ips().await).unwrap();
    for address in ["10.0.0.1/24", "fd00:10::1/64", "192.168.2.200"] {
        let found = held.iter().find(|floating| floating.address == address);
        let found = found.unwrap_or_else(|| panic!("{address}: {held:#?}"));
        assert!(found.held && found.interface.is_some(), "{found:?}");
    }
    // The client can't reach the servers' network: what it answers must be asked from the balancer's address.
    rig.run("router", &["ip", "route", "del", "10.0.0.0/24"]).ok();
    rig.run("router", &["ip", "route", "del", "fd00:10::/64"]).ok();
    let plain = || CLIENTS.iter().any(|client| asks_the_client(&rig, client).is_some());
    let server = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stop = server.clone();
        let rig = &rig;
        scope.spawn(move || rig.inside("client", || answer_until(&stop)));
        let done = Done(&server);
        assert!(!plain(), "without masquerading there is no way back");
        rig.apply(&format!("[layer4]\nautonat = [\"eth0\"]\n\n{gateway}{web}"));
        for (client, own) in CLIENTS.iter().zip(["192.168.2.21", "fd00:2::21"]) {
            let asks = || asks_the_client(rig, client);
            assert_eq!(keel_tests::eventually_some("a server reaches a client", asks), own);
        }
        assert_eq!(rig.shares("192.168.2.200:80".parse().unwrap(), 4).len(), 2, "services go on");
        let who = rig.get("http://192.168.2.200/whoami");
        assert!(who.contains("client=192.168.3.10:"), "clients keep their addresses: {who}");
        assert!(rig.run("lb1", &["nft", "list", "ruleset"]).ok().contains("masquerade"));
        rig.apply(&format!("{gateway}{web}"));
        eventually("it is over", || !plain());
        drop(done);
    });
}

const CLIENTS: [&str; 2] = ["192.168.3.10:7777", "[fd00:3::10]:7777"];

struct Done<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The client tells whoever asks on UDP 7777 where the question came from.
fn answer_until(stop: &std::sync::atomic::AtomicBool) {
    let bind = |address: &str| {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket
    };
    let sockets = CLIENTS.map(bind);
    let mut buffer = [0; 16];
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        for socket in &sockets {
            if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
            }
        }
    }
}

/// What a server is told when it asks the client by itself.
fn asks_the_client(rig: &Rig, client: &str) -> Option<String> {
    rig.inside("rs1", || {
        let client: SocketAddr = client.parse().unwrap();
        let own = if client.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(own).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.send_to(b"who", client).ok()?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}
