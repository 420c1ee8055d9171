//! Announcements as the other end of the cable sees them.

use std::{net::IpAddr, sync::mpsc, time::Instant};

use keel_net::{Netlink, announce, announce::Announcer};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::lab::{Namespace, PATIENCE, pair};

/// Receives frames in `namespace` until all expected ones came, in order; `act` runs once it listens.
fn expect_frames(namespace: &Namespace, expected: &[Vec<u8>], act: impl FnOnce()) {
    std::thread::scope(|scope| {
        let (listening, ready) = mpsc::channel();
        let seen = scope.spawn(move || {
            namespace.run(async || {
                use std::os::fd::AsRawFd;
                let packets = socket(
                    AddressFamily::Packet,
                    SockType::Raw,
                    SockFlag::SOCK_CLOEXEC,
                    SockProtocol::EthAll,
                )
                .unwrap();
                setsockopt(&packets, ReceiveTimeout, &TimeVal::milliseconds(100)).unwrap();
                listening.send(()).unwrap();
                let (started, mut missing) = (Instant::now(), expected.iter());
                let mut next = missing.next();
                let mut buffer = [0; 2000];
                while let Some(frame) = next {
                    assert!(started.elapsed() < PATIENCE, "did not arrive: {frame:02x?}");
                    let length = recv(packets.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap_or(0);
                    if buffer[..length] == frame[..] {
                        next = missing.next();
                    }
                }
            });
        });
        ready.recv().unwrap();
        act();
        seen.join().unwrap();
    });
}

#[test]
fn the_peer_sees_both_forms_of_arp_byte_by_byte() {
    let (left, right) = pair();
    let mac = left.link("eth0").mac.unwrap();
    let ip = "10.0.0.9".parse().unwrap();
    let expected = [
        announce::arp::gratuitous_request(mac, ip).to_vec(),
        announce::arp::gratuitous_reply(mac, ip).to_vec(),
    ];
    expect_frames(&right, &expected, || send(&left, ip.into()));
}

#[test]
fn the_peer_sees_the_advertisement_byte_by_byte() {
    let (left, right) = pair();
    let mac = left.link("eth0").mac.unwrap();
    let ip = "fd00:10::9".parse().unwrap();
    let host = announce::ndp::unsolicited_advertisement(mac, ip, false).to_vec();
    expect_frames(&right, &[host], || send(&left, ip.into()));

    left.run(async || keel_net::sysctl::enable_forwarding(keel_net::sysctl::Family::V6).unwrap());
    let router = announce::ndp::unsolicited_advertisement(mac, ip, true).to_vec();
    expect_frames(&right, &[router], || send(&left, ip.into()));
}

#[test]
fn loopback_cannot_announce() {
    let namespace = Namespace::new();
    namespace.run(async || {
        let link = Netlink::connect().unwrap().link("lo").await.unwrap();
        let error = Announcer::open(&link, "10.0.0.9".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "interface lo has no Ethernet address, so it cannot announce 10.0.0.9");
    });
}

#[test]
fn an_interface_that_is_down_says_so() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let link = netlink.link("eth0").await.unwrap();
        netlink.set_up(&link, false).await.unwrap();
        let address = "10.0.0.9".parse().unwrap();
        let refused = Announcer::open(&link, address).and_then(|announcer| announcer.announce(address));
        assert!(refused.unwrap_err().to_string().starts_with("announcing 10.0.0.9"), "{address}");
    });
}

fn send(from: &Namespace, address: IpAddr) {
    from.run(async || {
        let link = Netlink::connect().unwrap().link("eth0").await.unwrap();
        Announcer::open(&link, address).unwrap().announce(address).unwrap();
    });
}
