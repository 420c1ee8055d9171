//! Sums of services over restarts.

use std::net::UdpSocket;

use nix::sys::signal::Signal;

use crate::machine::{Machine, SMALL, eventually};

/// A service of datagrams whose entries are gone a second after they were made, with or without its second server.
fn service(both: bool) -> String {
    let second = if both { "[[service.server]]\nname = \"rs2\"\naddress = \"10.0.0.2\"\n" } else { "" };
    format!(
        "{SMALL}\n[layer4.timeouts]\nudp = \"1s\"\n\n[[service]]\nname = \"echo\"\naddress = \"10.0.0.200\"\n\
         ports = \"9000\"\nprotocol = \"udp\"\nscheduler = \"rr\"\n\n[[service.server]]\nname = \"rs1\"\n\
         address = \"10.0.0.1\"\n\n{second}"
    )
}

#[test]
fn what_a_removed_server_had_counted_outlives_the_process() {
    let mut machine = Machine::new();
    machine.world("ip address add 10.0.0.2/24 dev eth0");
    machine.start();
    machine.apply(&service(true));
    let known = |machine: &Machine| machine.services()[0].servers.iter().all(|s| s.neighbour.is_some());
    eventually("both servers can be reached", || known(&machine));
    machine.in_the_world(|| {
        for _ in 0..8 {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            socket.send_to(b"hello", "10.0.0.200:9000").unwrap();
        }
    });
    let connections = |machine: &Machine| machine.services()[0].counters.connections;
    eventually("all are counted", || connections(&machine) == 8);

    machine.apply(&service(false));
    eventually("the removed server is forgotten", || {
        machine.read("run/retired.json").contains("connections")
    });
    assert_eq!(connections(&machine), 8);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        machine.end(signal);
        machine.start();
        assert_eq!(connections(&machine), 8);
    }
    machine.end(Signal::SIGTERM);
    machine.detach();
    assert!(!machine.path("run/retired.json").exists());
    machine.start();
    assert_eq!(connections(&machine), 0, "new tables count from zero");
}
