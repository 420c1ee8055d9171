//! Servers leave and come back while clients are being served.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use keel_lab::Topology;
use keel_tests::{PATIENCE, Plan, Rig, Service, Tally, config, eventually};

const DR: &str = "192.168.2.200:80";
/// Every mode in both families: name, where, mode.
const SERVICES: [(&str, &str, &str); 6] = [
    ("dr", DR, "dr"),
    ("nat", "192.168.2.201:80", "nat"),
    ("tun", "192.168.2.202:80", "tun"),
    ("dr6", "[fd00:2::200]:80", "dr"),
    ("nat6", "[fd00:2::201]:80", "nat"),
    ("tun6", "[fd00:2::202]:80", "tun"),
];

fn at(to: &str) -> SocketAddr {
    to.parse().unwrap()
}

fn services(scheduler: &str) -> Vec<Service> {
    let service = |name: &str, to: &str, mode: &str| {
        let to = at(to);
        let servers = if to.is_ipv4() { "192.168.2.10" } else { "fd00:2::10" };
        Service::new(name, &to.ip().to_string(), "80")
            .with(&format!("mode = \"{mode}\"\nscheduler = \"{scheduler}\""))
            .servers(servers, 3)
    };
    SERVICES.map(|(name, to, mode)| service(name, to, mode)).to_vec()
}

fn plan() -> Plan {
    let all = SERVICES.map(|(_, to, _)| (at(to), 3)).to_vec();
    Plan { fresh: all.clone(), kept: all, ..Plan::default() }
}

/// A download that takes about seven seconds and the number of its bytes.
const DOWNLOAD: [&str; 10] = [
    "curl",
    "-gsS",
    "-m",
    "30",
    "--limit-rate",
    "12M",
    "-o",
    "/dev/null",
    "-w",
    "%{size_download} %header{x-server}",
];

fn served_by(tally: &Tally, to: &str, server: &str) -> u64 {
    tally.servers.get(&at(to)).and_then(|answers| answers.get(server)).copied().unwrap_or(0)
}

#[test]
fn a_drained_server_finishes_its_work_and_gets_no_more() {
    let rig = Rig::alone("drain", Topology::OneArm);
    rig.apply(&config(&services("rr")));
    let urls: Vec<String> = SERVICES.iter().step_by(2).map(|(_, to, _)| format!("http://{to}/big")).collect();
    let (tally, ()) = rig.under_load(&plan(), |load| {
        // Three of each, so that every server has one.
        let downloads: Vec<_> = urls
            .iter()
            .flat_map(|url| std::iter::repeat_n(url, 3))
            .map(|url| rig.lab.spawn("client", &[&DOWNLOAD[..], &[url]].concat()).unwrap())
            .collect();
        load.more(100);
        for (service, ..) in SERVICES {
            rig.keel(&["server", "drain", service, "rs1"]).ok();
        }
        // Requests that were under way when it was drained may still be answered by it.
        eventually("no new connections go to rs1", || {
            load.more(50);
            let batch = load.take();
            let left = SERVICES.iter().all(|(_, to, _)| served_by(&batch, to, "rs1") == 0);
            batch.unharmed();
            left
        });
        load.more(300);
        let drained = load.take();
        for (_, to, _) in SERVICES {
            assert_eq!(served_by(&drained, to, "rs1"), 0, "{to}: {drained:?}");
        }
        drained.unharmed();
        for download in downloads {
            let output = download.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with(&(256_u64 << 20).to_string()), "{text} {output:?}");
        }
        for (service, ..) in SERVICES {
            rig.keel(&["server", "online", service, "rs1"]).ok();
        }
        load.take().unharmed();
        let mut without = SERVICES.map(|(_, to, _)| to).to_vec();
        eventually("new connections reach rs1 again", || {
            load.more(20);
            let back = load.take();
            without.retain(|to| served_by(&back, to, "rs1") == 0);
            back.unharmed();
            without.is_empty()
        });
    });
    tally.unharmed();
}

#[test]
fn a_halted_server_is_out_at_once_and_comes_back() {
    let rig = Rig::up("halt", Topology::OneArm);
    rig.apply(&config(&services("rr")));
    let downloads = SERVICES.map(|(_, to, _)| {
        let slow = ["curl", "-gsS", "-m", "25", "-D", "-", &format!("http://{to}/slow")];
        [(); 3].map(|()| rig.lab.spawn("client", &slow).unwrap())
    });
    for (service, to, _) in SERVICES {
        eventually("the downloads run", || rig.service(service).connections.active >= 3);
        rig.keel(&["server", "halt", service, "rs2"]).ok();
        let answers = rig.shares(at(to), 8);
        assert!(!answers.contains_key("rs2") && answers.len() == 2, "{to}: {answers:?}");
        let halted = rig.service(service);
        assert_eq!(halted.servers[1].state, keel_api::ServerState::Halted);
    }
    for ((_, to, _), downloads) in SERVICES.iter().zip(downloads) {
        let ends = downloads.map(|download| {
            let output = download.wait_with_output().unwrap();
            (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
        });
        for (text, whole) in &ends {
            assert_eq!(*whole, !text.contains("X-Server: rs2"), "{to}: {ends:#?}");
        }
    }
    for (service, to, _) in SERVICES {
        rig.keel(&["server", "online", service, "rs2"]).ok();
        assert_eq!(rig.shares(at(to), 6).len(), 3, "{to}");
    }
}

#[test]
fn weights_change_under_load_and_the_shares_follow() {
    let rig = Rig::alone("weight", Topology::OneArm);
    rig.apply(&config(&services("wrr")));
    let (tally, ()) = rig.under_load(&plan(), |load| {
        for (weights, shares) in
            [([100, 200, 300], [1.0, 2.0, 3.0]), ([50, 0, 50], [1.0, 0.0, 1.0]), ([1, 1, 8], [1.0, 1.0, 8.0])]
        {
            for (service, ..) in SERVICES {
                for (number, weight) in (1..).zip(weights) {
                    let (server, weight) = (format!("rs{number}"), weight.to_string());
                    rig.keel(&["server", "set", service, &server, "--weight", &weight]).ok();
                }
            }
            load.take().unharmed();
            load.more(2400);
            let tally = load.take();
            tally.unharmed();
            for (_, to, _) in SERVICES {
                let counts = ["rs1", "rs2", "rs3"].map(|server| served_by(&tally, to, server) as f64);
                let sum: f64 = counts.iter().sum();
                let all: f64 = shares.iter().sum();
                for (count, share) in counts.iter().zip(shares) {
                    let off = (count / sum - share / all).abs();
                    assert!(off < 0.03, "{to} with weights {weights:?}: {counts:?}");
                }
            }
        }
    });
    tally.unharmed();
}

#[test]
fn persistence_holds_a_client_to_its_server_also_while_that_drains() {
    let rig = Rig::up("persist", Topology::OneArm);
    let services: Vec<Service> = services("rr")
        .into_iter()
        .map(|service| service.with("persistence = { by = \"source\", timeout = \"300s\" }"))
        .collect();
    rig.apply(&config(&services));
    for (service, to, _) in SERVICES {
        let clients = if at(to).is_ipv4() { "192.168.3.1" } else { "fd00:3::1" };
        let clients: Vec<IpAddr> = (0..6).map(|n| format!("{clients}{n}").parse().unwrap()).collect();
        let mut homes = BTreeMap::new();
        for client in &clients {
            let answers = rig.shares_of(Some(*client), at(to), 5);
            assert_eq!(answers.len(), 1, "{client} at {to}: {answers:?}");
            homes.insert(*client, answers.into_keys().next().unwrap());
        }
        assert!(homes.values().collect::<std::collections::BTreeSet<_>>().len() == 3, "{to}: {homes:?}");
        rig.keel(&["server", "drain", service, "rs1"]).ok();
        for (client, home) in &homes {
            let answers = rig.shares_of(Some(*client), at(to), 3);
            assert!(answers.len() == 1 && answers.contains_key(home), "{client} at {to}: {answers:?}");
        }
        let stranger = clients[0].to_string().replace("10", "17").parse().unwrap();
        let answers = rig.shares_of(Some(stranger), at(to), 4);
        assert!(!answers.contains_key("rs1"), "{to}: {answers:?}");
        rig.keel(&["server", "halt", service, "rs1"]).ok();
        for client in &clients {
            let answers = rig.shares_of(Some(*client), at(to), 3);
            assert!(answers.len() == 1 && !answers.contains_key("rs1"), "{client} at {to}: {answers:?}");
        }
    }
}

/// Asks on a flow that is there, and says who answered.
fn asks(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    socket.send(b"who").unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
}

/// A flow to each of the three servers.
fn flows(rig: &Rig, to: SocketAddr) -> BTreeMap<String, UdpSocket> {
    let mut flows = BTreeMap::new();
    rig.inside("client", || {
        for _ in 0..6 {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let server = asks(&socket);
            assert_eq!(asks(&socket), server);
            flows.insert(server, socket);
        }
    });
    assert_eq!(flows.len(), 3, "{to}");
    flows
}

#[test]
fn flows_of_datagrams_stay_while_their_server_drains_and_move_when_it_is_halted() {
    let rig = Rig::up("udp-out", Topology::OneArm);
    let udp = "protocol = \"udp\"\nscheduler = \"rr\"\non_removed = \"reschedule\"";
    let place = |to: &str| SocketAddr::new(at(to).ip(), 9000);
    let services = SERVICES.map(|(name, to, mode)| {
        let servers = if at(to).is_ipv4() { "192.168.2.10" } else { "fd00:2::10" };
        let service = Service::new(name, &at(to).ip().to_string(), "9000").with(udp);
        service.with(&format!("mode = \"{mode}\"")).servers(servers, 3)
    });
    rig.apply(&config(&services));
    for (service, to, _) in SERVICES {
        let to = place(to);
        let flows = flows(&rig, to);
        let stay = |but: &str| {
            for (server, socket) in flows.iter().filter(|(server, _)| *server != but) {
                assert_eq!(asks(socket), *server, "{to}");
            }
        };
        rig.keel(&["server", "drain", service, "rs1"]).ok();
        assert!((0..6).all(|_| rig.echo(to) != "rs1"), "{to}: a new flow went to a draining server");
        stay("nobody");
        rig.keel(&["server", "halt", service, "rs1"]).ok();
        assert_ne!(asks(&flows["rs1"]), "rs1", "{to}");
        stay("rs1");
        rig.keel(&["server", "online", service, "rs1"]).ok();
        assert!((0..6).any(|_| rig.echo(to) == "rs1"), "{to}");
        stay("rs1");
    }
}

/// Takes rs1 out of the configuration under load. Returns which kept connections fail then, and how the downloads end
/// that come past the balancer: server, success, error.
fn removed(policy: &str) -> (Vec<String>, Vec<(String, bool, String)>) {
    let rig = Rig::alone(&format!("rm-{policy}"), Topology::OneArm);
    let line = format!("on_removed = \"{policy}\"");
    let services: Vec<Service> = services("rr").into_iter().map(|service| service.with(&line)).collect();
    rig.apply(&config(&services));
    let url = format!("http://{DR}/slow");
    let slow =
        ["curl", "-gsS", "-m", "25", "-o", "/dev/null", "-w", "%header{x-server} %{size_download}", &url];
    let downloads: Vec<_> = (0..3).map(|_| rig.lab.spawn("client", &slow).unwrap()).collect();
    eventually("the downloads run", || rig.service("dr").connections.active >= 3);
    let fewer: Vec<Service> = services.into_iter().map(|service| service.without("rs1")).collect();
    let (_, failures) = rig.under_load(&plan(), |load| {
        load.take().unharmed();
        rig.apply(&config(&fewer));
        let before = load.take();
        load.more(600);
        let after = load.take();
        assert!(SERVICES.iter().all(|(_, to, _)| served_by(&after, to, "rs1") == 0), "{after:?}");
        load.more(300);
        load.take().unharmed();
        [before.failures, after.failures].concat()
    });
    let ends = downloads.into_iter().map(|download| {
        let output = download.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), output.status.success(), text(&output.stderr))
    });
    (failures, ends.collect())
}

/// Only kept connections of the removed server may fail, one of three to each service, and their clients are told.
fn told(failures: &[String], ends: &[(String, bool, String)]) {
    assert!(
        failures.iter().all(|failure| failure.contains("kept") && failure.contains("reset")),
        "{failures:#?}"
    );
    for (_, to, _) in SERVICES {
        let count = failures.iter().filter(|failure| failure.starts_with(to)).count();
        assert!((1..=2).contains(&count), "{to}: {failures:#?}");
    }
    for (text, whole, error) in ends {
        assert_eq!(*whole, !text.starts_with("rs1"), "{ends:#?}");
        assert!(*whole || error.contains("reset"), "{ends:#?}");
    }
}

#[test]
fn connections_of_a_removed_server_are_held_to_their_end() {
    let (failures, ends) = removed("hold");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(ends.iter().all(|(_, whole, _)| *whole), "{ends:#?}");
    assert_eq!(ends.iter().filter(|(text, ..)| text.starts_with("rs1 10240")).count(), 1, "{ends:#?}");
}

#[test]
fn connections_of_a_removed_server_are_reset() {
    let (failures, ends) = removed("reset");
    told(&failures, &ends);
}

#[test]
fn connections_of_a_removed_server_go_to_another_which_ends_them() {
    let (failures, ends) = removed("reschedule");
    told(&failures, &ends);
}
