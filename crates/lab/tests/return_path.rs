//! A server's answer takes the way that the mode of forwarding needs: back through the balancer that translated the
//! question's address, and past it otherwise.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::packet::{client, question};
use common::{PATIENCE, ask, eventually, lab};
use keel_lab::{Lab, LabError, Topology};
use socket2::{Domain, Socket, Type};

/// RFC 791 calls it "raw": the packet brings its own header.
const RAW: i32 = 255;

/// Sends the client's question from a balancer, as NAT does: to the server's own address.
fn translate(lab: &Lab, balancer: &str, server: IpAddr) {
    let send = || {
        let socket =
            Socket::new(Domain::for_address(SocketAddr::new(server, 0)), Type::RAW, Some(RAW.into()))?;
        socket.send_to(&question(server), &SocketAddr::new(server, 0).into())
    };
    lab.within(balancer, || Ok::<_, LabError>(send())).unwrap().unwrap();
}

/// Whether the client gets the answer.
fn arrives(lab: &Lab, balancer: &str, server: IpAddr, patience: Duration) -> bool {
    let client = client(lab, server);
    client.set_read_timeout(Some(patience)).unwrap();
    translate(lab, balancer, server);
    client.recv(&mut [0; 16]).is_ok()
}

/// A balancer that doesn't forward loses what passes through it, and nothing else.
fn forwarding(lab: &Lab, balancer: &str, on: bool) {
    let value = if on { "1" } else { "0" };
    let settings = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    for setting in settings {
        let set = lab.within(balancer, || Ok(std::fs::write(format!("/proc/sys/{setting}"), value)));
        set.unwrap().unwrap();
    }
}

fn goes_back_through(lab: &Lab, balancer: &str, server: IpAddr) {
    forwarding(lab, balancer, true);
    eventually("the answer arrives", || arrives(lab, balancer, server, PATIENCE / 10));
    forwarding(lab, balancer, false);
    assert!(!arrives(lab, balancer, server, PATIENCE / 20), "the answer of {server} went past {balancer}");
    forwarding(lab, balancer, true);
}

#[test]
fn one_arm_answers_to_a_translated_question_go_back_through_the_balancer() {
    let lab = lab("back-one", Topology::OneArm);
    for server in ["192.168.2.101", "fd00:2::102"] {
        let server = server.parse().unwrap();
        goes_back_through(&lab, "lb1", server);
        forwarding(&lab, "lb1", false);
        assert!(ask(&lab, server).starts_with("rs"), "plain questions pass through the router");
    }
}

#[test]
fn the_pairs_servers_answer_through_whichever_balancer_asked() {
    let lab = lab("back-pair", Topology::Pair);
    for balancer in ["lb1", "lb2"] {
        for server in ["192.168.2.101", "fd00:2::102"] {
            goes_back_through(&lab, balancer, server.parse().unwrap());
        }
    }
    // On the back network the gateway is a floating address; the bare lab has it on lb1.
    for server in ["10.0.0.101", "fd00:10::102"] {
        goes_back_through(&lab, "lb1", server.parse().unwrap());
    }
}
