//! Every topology comes up wired as planned: the client reaches the router and each server by plain routing, in both families.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod common;

use std::net::UdpSocket;

use common::{PATIENCE, ask, get, lab};
use keel_lab::{Lab, Network, Role, Topology};

fn every_server_answers(lab: &Lab) {
    for node in lab.state().nodes.iter().filter(|node| node.role == Role::Server) {
        let name = format!("{}\n", node.name);
        for link in &node.links {
            let (ipv4, ipv6) = (link.ipv4, link.ipv6);
            assert_eq!(get(lab, &format!("http://{ipv4}/")), name);
            assert_eq!(get(lab, &format!("http://{ipv4}:8080/any/path")), name);
            assert_eq!(get(lab, &format!("https://{ipv4}/")), name);
            assert_eq!(get(lab, &format!("http://[{ipv6}]/")), name);
            assert_eq!(get(lab, &format!("https://[{ipv6}]/")), name);
            assert_eq!(ask(lab, ipv4.into()), name);
            assert_eq!(ask(lab, ipv6.into()), name);
        }
    }
}

#[test]
fn one_arm_servers_are_reached_on_the_front_network() {
    let lab = lab("one-arm", Topology::OneArm);
    assert!(get(&lab, "http://192.168.2.101/whoami").contains("client=192.168.3.10:"));
    assert!(get(&lab, "http://[fd00:2::102]/whoami").contains("client=fd00:3::10:"));
    every_server_answers(&lab);
}

#[test]
fn two_arm_servers_are_reached_through_the_balancer() {
    let lab = lab("two-arm", Topology::TwoArm);
    assert!(get(&lab, "http://10.0.0.101/whoami").contains("client=192.168.3.10:"));
    every_server_answers(&lab);
}

#[test]
fn tunnel_servers_are_reached_behind_the_router() {
    let lab = lab("tunnel", Topology::Tunnel);
    assert!(get(&lab, "http://10.9.0.102/whoami").contains("at=10.9.0.102:80"));
    every_server_answers(&lab);
}

#[test]
fn the_pairs_servers_are_reached_on_both_networks() {
    let lab = lab("pair", Topology::Pair);
    let networks = |name: &str| {
        let node = lab.state().nodes.iter().find(|node| node.name == name).unwrap();
        node.links.iter().map(|link| link.network).collect::<Vec<_>>()
    };
    assert_eq!(networks("lb2"), [Network::Front, Network::Back]);
    assert_eq!(networks("rs2"), [Network::Front, Network::Back]);
    every_server_answers(&lab);
}

#[test]
fn a_health_page_can_be_taken_away_and_load_can_be_fetched() {
    let lab = lab("pages", Topology::OneArm);
    assert_eq!(get(&lab, "http://192.168.2.101/health"), "CB_IS_OKAY rs1\n");
    lab.exec("rs1", &["rm", "/run/web/pages/health"]).unwrap();
    let status = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
    let fetch = |url: &str| {
        let output = lab.exec("client", &[&status[..], &[url]].concat()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(fetch("http://192.168.2.101/health").starts_with("503"));
    assert_eq!(fetch("http://192.168.2.102/big"), "200 268435456");
    let iperf = lab.exec("client", &["iperf3", "-c", "192.168.2.101", "-n", "1M"]).unwrap();
    assert!(iperf.status.success(), "{}", String::from_utf8_lossy(&iperf.stderr));
}

#[test]
fn a_node_has_the_appliances_folders_to_itself() {
    let lab = lab("folders", Topology::Pair);
    for folder in ["/etc/evenkeel", "/var/lib/evenkeel", "/run/evenkeel", "/sys/fs/bpf"] {
        let mark = format!("{folder}/lab-mark-{}", std::process::id());
        let made = lab.exec("lb1", &["mkdir", &mark]).unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(lab.exec("lb1", &["test", "-d", &mark]).unwrap().status.success());
        assert!(!lab.exec("lb2", &["test", "-d", &mark]).unwrap().status.success(), "{mark} is on lb2 too");
        assert!(!std::path::Path::new(&mark).exists(), "{mark} is on the machine too");
    }
    let hostname = lab.exec("lb2", &["hostname"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&hostname.stdout), "lb2\n");
}

#[test]
fn what_a_balancers_packet_program_sends_arrives() {
    for topology in Topology::ALL {
        let lab = lab("reflect", topology);
        lab.within("lb1", || keel_lab::reflect_on("eth0")).unwrap();
        let answers = || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect("192.168.2.21:7")?;
            let mut buffer = [0; 2000];
            let mut sizes = Vec::new();
            for size in [1, 100, 1472] {
                socket.send(&vec![b'x'; size])?;
                sizes.push(socket.recv(&mut buffer)?);
            }
            Ok::<_, std::io::Error>(sizes)
        };
        let sizes = lab.within("client", || Ok(answers())).unwrap().unwrap();
        assert_eq!(sizes, [1, 100, 1472], "{topology}");
    }
}
