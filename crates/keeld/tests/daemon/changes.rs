//! What becomes of a running daemon's work when the machine around it changes.

use std::time::Duration;

use keel_api::{Client, ClientError, Intent, NewFloatingIp};

use crate::machine::{Machine, SMALL, eventually};

const ROUTES: &str =
    "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\n[[route]]\nto = \"default\"\nvia = \"fd00:10::1\"\n";

fn service(name: &str, address: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nports = \"80\"\n")
}

fn cluster(addresses: &[&str]) -> String {
    let services = addresses.iter().enumerate().map(|(i, address)| service(&format!("s{i}"), address));
    SMALL.to_owned() + &services.collect::<String>()
}

/// Adds to node.toml before the daemon starts.
fn write_more(machine: &Machine, more: &str) {
    machine.write("etc/node.toml", &(machine.read("etc/node.toml") + more));
}

/// The addresses on an interface, without what the kernel gives it by itself.
fn addresses(machine: &Machine, interface: &str) -> Vec<String> {
    let text = machine.run(&format!("ip -br address show dev {interface}"));
    let own = |word: &&str| word.contains('/') && !word.starts_with("fe80") && !word.starts_with("127.");
    let mut found: Vec<String> = text.split_whitespace().filter(own).map(str::to_owned).collect();
    found.retain(|address| address != "::1/128");
    found.sort();
    found
}

fn warnings(machine: &Machine) -> String {
    machine
        .status()
        .warnings
        .iter()
        .map(|warning| format!("{}: {}\n", warning.subject, warning.text))
        .collect()
}

fn float(machine: &Machine, address: &str) -> Result<(), ClientError> {
    let new = NewFloatingIp { address: address.parse().unwrap(), interface: None };
    let add = async |client: Client| client.add_floating_ip(&new, &Intent::default()).await;
    machine.ask(add).map(drop)
}

#[test]
fn a_card_that_was_down_gets_everything_back_and_stays_down_until_somebody_wants_it_up() {
    let mut machine = Machine::new();
    write_more(&machine, ROUTES);
    machine.write("etc/cluster.toml", &cluster(&["10.0.0.200", "fd00:10::200"]));
    machine.start();
    let all = ["10.0.0.200/32", "10.0.0.21/24", "fd00:10::200/128", "fd00:10::21/64"];
    assert_eq!(addresses(&machine, "eth0"), all);
    let default = |machine: &Machine, family: &str| machine.run(&format!("ip {family} route show default"));
    assert!(default(&machine, "-4").contains("10.0.0.1") && default(&machine, "-6").contains("fd00:10::1"));

    machine.run("ip link set eth0 down");
    eventually("the kernel forgets", || default(&machine, "-4").is_empty());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!machine.run("ip link show eth0").contains(",UP"), "it was somebody's wish");
    machine.run("ip link set eth0 up");
    eventually("the addresses are back", || addresses(&machine, "eth0") == all);
    eventually("the routes are back", || {
        default(&machine, "-4").contains("10.0.0.1") && default(&machine, "-6").contains("fd00:10::1")
    });
    eventually("all is well", || warnings(&machine).lines().all(|line| !line.contains("address ")));
    assert_eq!(addresses(&machine, "lo"), [""; 0]);
}

#[test]
fn one_route_that_is_refused_keeps_no_other_from_being_made() {
    let mut machine = Machine::new();
    let bad = "[[interface]]\nname = \"eth7\"\naddresses = [\"10.9.0.21/24\"]\n\
               [[route]]\nto = \"198.51.100.0/24\"\nvia = \"10.9.0.1\"\ndev = \"eth7\"\n";
    write_more(&machine, &(bad.to_owned() + ROUTES));
    machine.start();
    assert!(machine.run("ip route show default").contains("10.0.0.1"));
    assert!(warnings(&machine).contains("route 198.51.100.0/24 via 10.9.0.1: there is no interface eth7"));
    machine.run("ip link add eth7 type veth peer name peer7");
    machine.run("ip link set peer7 up");
    eventually("it is made when it can be", || {
        machine.run("ip route").contains("198.51.100.0/24 via 10.9.0.1 dev eth7")
    });
    eventually("nothing is wrong any more", || !warnings(&machine).contains("198.51.100.0"));
}

#[test]
fn what_somebody_removes_of_the_nodes_own_comes_back() {
    let mut machine = Machine::new();
    let table = "[[policy_route]]\nfrom = \"10.0.0.21/32\"\ntable = 100\n";
    write_more(&machine, &(ROUTES.to_owned() + table));
    machine.write("etc/cluster.toml", &cluster(&["10.0.0.200"]));
    machine.start();
    let rule = |machine: &Machine| machine.run("ip rule").contains("from 10.0.0.21 lookup 100");
    assert!(rule(&machine));
    machine.run("ip rule del from 10.0.0.21 lookup 100");
    eventually("the rule is back", || rule(&machine));
    machine.run("ip route del default");
    eventually("the route is back", || machine.run("ip route").contains("default via 10.0.0.1"));
    machine.run("ip address flush dev eth0");
    let all = ["10.0.0.200/32", "10.0.0.21/24", "fd00:10::21/64"];
    eventually("the addresses are back", || addresses(&machine, "eth0") == all);
}

#[test]
fn an_address_moves_to_the_interface_where_its_network_comes_up() {
    let mut machine = Machine::new();
    machine.write("etc/cluster.toml", &cluster(&["192.0.2.80", "2001:db8:5::80"]));
    machine.start();
    assert_eq!(addresses(&machine, "lo"), ["192.0.2.80/32", "2001:db8:5::80/128"], "reached by routes");
    machine.run("ip address add 192.0.2.21/24 dev eth0");
    machine.run("ip address add 2001:db8:5::21/64 dev eth0");
    eventually("they moved", || addresses(&machine, "lo").is_empty());
    let there = addresses(&machine, "eth0");
    assert!(there.iter().any(|a| a == "192.0.2.80/32") && there.iter().any(|a| a == "2001:db8:5::80/128"));
    let held = machine.ask(async |client| client.floating_ips().await).unwrap();
    assert!(held.iter().all(|floating| floating.held && floating.interface.as_deref() == Some("eth0")));
}

#[test]
fn an_address_goes_to_the_interface_that_is_asked_for() {
    let mut machine = Machine::new();
    machine.plug_in_another_card();
    write_more(&machine, "[[interface]]\nname = \"eth1\"\naddresses = []\n");
    machine.start();
    let on = |interface: &str| {
        format!("{SMALL}[[floating_ip]]\naddress = \"172.16.0.1/24\"\ninterface = \"{interface}\"\n")
    };
    machine.apply(&on("eth0"));
    assert!(addresses(&machine, "eth0").contains(&"172.16.0.1/24".to_owned()));
    machine.apply(&on("eth1"));
    assert_eq!(addresses(&machine, "eth1"), ["172.16.0.1/24"]);
    assert!(!addresses(&machine, "eth0").contains(&"172.16.0.1/24".to_owned()));
    machine.apply(&on("eth1").replace("/24", "/25"));
    assert_eq!(addresses(&machine, "eth1"), ["172.16.0.1/25"], "with another prefix length");
    machine.run("ip link del eth1");
    eventually("it is told", || {
        warnings(&machine).contains("address 172.16.0.1: there is no interface eth1")
    });
    machine.apply(SMALL);
    assert!(
        warnings(&machine).lines().all(|line| !line.contains("172.16.0.1")),
        "what isn't wanted can't fail"
    );
}

#[test]
fn an_address_of_the_node_cant_float() {
    let mut machine = Machine::new();
    machine.start();
    machine.run("ip address add 10.0.0.77/24 dev eth0");
    for own in ["10.0.0.21/24", "10.0.0.77/24", "fd00:10::21/64"] {
        let error = float(&machine, own).unwrap_err();
        assert!(format!("{error:?}").contains(" own "), "{own}: {error:?}");
    }
    float(&machine, "10.0.0.78/24").unwrap();
    machine.restart();
    machine.apply(SMALL);
    assert_eq!(addresses(&machine, "eth0"), ["10.0.0.21/24", "10.0.0.77/24", "fd00:10::21/64"]);
}

#[test]
fn a_port_of_a_bridge_loses_the_program_and_gets_it_back() {
    let mut machine = Machine::new();
    machine.plug_in_another_card();
    machine.run("ip link add br0 type bridge");
    machine.start();
    let carries = |machine: &Machine| machine.run("ip -d link show eth1").contains("prog/xdp");
    assert!(carries(&machine));
    machine.run("ip link set eth1 master br0");
    eventually("it is off", || !carries(&machine));
    machine.run("ip link set eth1 nomaster");
    eventually("it is back", || carries(&machine));
}

#[test]
fn a_card_that_refuses_native_mode_runs_in_generic_mode_and_says_so() {
    let mut machine = Machine::new();
    // A packet of the peer's would not fit into a page.
    machine.run("ip link add eth1 mtu 9000 type veth peer name peer1 mtu 9000");
    machine.start();
    let shown = machine.run("ip -d link show eth1");
    assert!(shown.contains("xdpgeneric"), "{shown}");
    let status = machine.status();
    let eth1 = status.interfaces.iter().find(|attachment| attachment.interface == "eth1").unwrap();
    let warning = eth1.warning.as_deref().unwrap_or_default();
    assert!(warning.contains("generic mode") && warning.contains("refused native"), "{eth1:?}");
}

#[test]
fn a_configuration_in_another_encoding_stops_nothing() {
    let mut machine = Machine::new();
    machine.start();
    machine.apply(&cluster(&["10.0.0.200"]));
    let mut text = machine.read("etc/cluster.toml").into_bytes();
    text.extend(b"# f\xfcr alle\n");
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    std::fs::write(machine.path("etc/cluster.toml"), &text).unwrap();
    machine.restart();
    assert_eq!(machine.services().len(), 1, "the last good one runs");
    let said = warnings(&machine);
    assert!(said.contains(&format!("line {lines}: this is not UTF-8")), "{said}");
}

#[test]
fn a_layer_7_service_is_kept_and_its_engine_said_not_to_run() {
    let mut machine = Machine::new();
    machine.start();
    let text = format!(
        "{SMALL}[[service]]\nname = \"shop\"\nlayer = 7\naddress = \"10.0.0.200\"\nports = \"80\"\n\
         [[service.server]]\nname = \"a\"\naddress = \"10.0.0.11\"\n"
    );
    machine.apply(&text);
    let status = machine.status();
    let idle: Vec<&str> =
        status.engines.iter().filter(|engine| !engine.running).map(|engine| engine.name.as_str()).collect();
    assert!(idle.contains(&"layer 7"), "{:?}", status.engines);
    let service = &machine.services()[0];
    assert!(service.reason.contains("layer-7 engine is not running"), "{}", service.reason);
}

#[test]
fn somebody_elses_copy_of_a_virtual_address_is_left_alone_and_nobody_quarrels() {
    let mut machine = Machine::new();
    machine.plug_in_another_card();
    write_more(&machine, "[[interface]]\nname = \"eth1\"\naddresses = []\n");
    machine.write("etc/cluster.toml", &cluster(&["10.0.0.200"]));
    machine.start();
    let all = addresses(&machine, "eth0");
    // The very same, and one of another length.
    for copy in ["10.0.0.200/32", "10.0.0.200/24"] {
        machine.run(&format!("ip address add {copy} dev eth1"));
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(addresses(&machine, "eth1"), [copy]);
        if copy.ends_with("/32") {
            machine.run(&format!("ip address del {copy} dev eth1"));
        }
    }
    machine.restart();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(addresses(&machine, "eth1"), ["10.0.0.200/24"]);
    assert_eq!(addresses(&machine, "eth0"), all);
    let log = machine.read("log");
    assert!(!log.contains("moved"), "{log}");
    assert!(log.matches("floating address added").count() <= 2, "{log}");
}

#[test]
fn a_route_with_host_bits_or_metric_0_is_made_once() {
    let mut machine = Machine::new();
    let routes = "[[route]]\nto = \"10.1.2.3/16\"\nvia = \"10.0.0.1\"\n\
                  [[route]]\nto = \"2001:db8:7::/48\"\nvia = \"fd00:10::1\"\nmetric = 0\n";
    write_more(&machine, routes);
    machine.start();
    let there = |machine: &Machine| {
        let (four, six) = (machine.run("ip route"), machine.run("ip -6 route"));
        four.contains("10.1.0.0/16 via 10.0.0.1") && six.contains("2001:db8:7::/48 via fd00:10::1")
    };
    assert!(there(&machine));
    // Every look at a link makes the routes again.
    let monitor = machine.within(|| {
        std::process::Command::new("ip")
            .args(["monitor", "route"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    });
    for _ in 0..3 {
        machine.run("ip link set eth0 mtu 1400");
        machine.run("ip link set eth0 mtu 1500");
        std::thread::sleep(Duration::from_millis(300));
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(monitor.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    let said = String::from_utf8(monitor.wait_with_output().unwrap().stdout).unwrap();
    assert!(!said.contains("Deleted 10.1.0.0/16") && !said.contains("Deleted 2001:db8:7::"), "{said}");
    assert!(there(&machine));
}

#[test]
fn masquerading_that_somebody_flushed_is_back_within_half_a_minute() {
    let mut machine = Machine::new();
    let autonat = SMALL.replace("[layer4]", "[layer4]\nautonat = [\"eth0\"]");
    // Without a fallback, whose rules are looked for more often.
    let service = service("web", "10.0.0.200").replacen("\n", "\nfallback = \"off\"\n", 1);
    machine.write("etc/cluster.toml", &(autonat + &service));
    machine.start();
    let rules = |machine: &Machine| machine.run("nft list ruleset");
    assert!(rules(&machine).contains("masquerade"), "{}", rules(&machine));
    // Nobody tells of it: it has to be looked for. What happens while the machine starts makes keeld look anyway, so it is
    // flushed until it stays away for a while.
    let began = std::time::Instant::now();
    let mut flushed = began;
    machine.run("nft flush ruleset");
    while flushed.elapsed() < Duration::from_secs(4) {
        assert!(began.elapsed() < Duration::from_secs(60), "it is back every time");
        if !rules(&machine).is_empty() {
            machine.run("nft flush ruleset");
            flushed = std::time::Instant::now();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    while rules(&machine).is_empty() {
        assert!(flushed.elapsed() < Duration::from_secs(45), "it doesn't come back");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(rules(&machine).contains("masquerade"), "{}", rules(&machine));
}

#[test]
fn half_a_request_keeps_nobody_from_stopping() {
    use std::io::Write as _;
    let mut machine = Machine::new();
    machine.start();
    let mut client = std::os::unix::net::UnixStream::connect(machine.path("run/keeld.sock")).unwrap();
    client.write_all(b"GET /api/v1/system HTTP/1.1\r\nHost: ke").unwrap();
    // It has to be read before the end begins.
    machine.status();
    let told = std::time::Instant::now();
    machine.end(nix::sys::signal::Signal::SIGTERM);
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(!machine.path("run/keeld.sock").exists(), "it tidied up");
    drop(client);
}
