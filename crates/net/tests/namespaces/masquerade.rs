//! The autonat table: what is in the kernel, and whose address packets leave with.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
};

use keel_net::{
    nft::{self, AutoNat, Redirect, Rules},
    sysctl,
};
use tokio::{net::UdpSocket, time::timeout};

use crate::lab::{Namespace, PATIENCE, ip};

fn our_table() -> Option<String> {
    let output = Command::new("nft").args(["list", "table", "inet", "evenkeel"]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn our_table_is_found_and_only_ours() {
    Namespace::new().run(async || {
        nft::remove().await.unwrap();
        autonat(&["eth0"], &[]).apply().await.unwrap();
        assert!(our_table().is_some());
        nft::remove().await.unwrap();
        assert_eq!(our_table(), None);
        assert!(Command::new("nft").args(["add", "table", "ip", "evenkeel"]).status().unwrap().success());
        nft::remove().await.expect("a table of that name in another family is not ours");
        let theirs = Command::new("nft").args(["list", "table", "ip", "evenkeel"]).output().unwrap();
        assert!(theirs.status.success());
    });
}

fn autonat(interfaces: &[&str], virtual_ips: &[&str]) -> Rules {
    let autonat = AutoNat {
        interfaces: interfaces.iter().map(|&name| name.into()).collect(),
        virtual_ips: virtual_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    };
    Rules { autonat, redirects: Vec::new() }
}

#[test]
fn the_table_is_replaced_and_removed_without_touching_others() {
    Namespace::new().run(async || {
        assert!(Command::new("nft").args(["add", "table", "inet", "theirs"]).status().unwrap().success());
        nft::remove().await.expect("removing what is not there is fine");

        autonat(&["eth0"], &["10.0.0.9", "fd00:10::9"]).apply().await.unwrap();
        let first = our_table().unwrap();
        for part in ["oifname \"eth0\"", "10.0.0.9", "fd00:10::9", "masquerade"] {
            assert!(first.contains(part), "{part} is not in {first}");
        }

        autonat(&["eth1"], &[]).apply().await.unwrap();
        let second = our_table().unwrap();
        assert!(
            second.contains("eth1") && !second.contains("eth0") && !second.contains("10.0.0.9"),
            "{second}"
        );

        autonat(&[], &["10.0.0.9"]).apply().await.unwrap();
        assert_eq!(our_table(), None);
        assert!(
            Command::new("nft").args(["list", "table", "inet", "theirs"]).output().unwrap().status.success()
        );
    });
}

#[test]
fn redirections_and_masquerading_come_and_go_by_themselves() {
    Namespace::new().run(async || {
        let redirect = |address: &str, ports: &[(u16, u16)], to| Redirect {
            address: address.parse().unwrap(),
            ports: ports.to_vec(),
            to,
        };
        let both = Rules {
            redirects: vec![
                redirect("10.0.0.9", &[(80, 80), (8000, 8010)], 40_001),
                redirect("fd00:10::9", &[(1, 65_535)], 40_002),
            ],
            ..autonat(&["eth0"], &[])
        };
        both.apply().await.unwrap();
        let table = our_table().unwrap();
        for part in [
            "ip daddr 10.0.0.9 tcp dport { 80, 8000-8010 } dnat ip to 10.0.0.9:40001",
            "ip6 daddr fd00:10::9 tcp dport 1-65535 dnat ip6 to [fd00:10::9]:40002",
            "masquerade",
        ] {
            assert!(table.contains(part), "{part} is not in {table}");
        }
        Rules { autonat: AutoNat::default(), ..both.clone() }.apply().await.unwrap();
        let table = our_table().unwrap();
        assert!(table.contains("10.0.0.9:40001") && !table.contains("masquerade"), "{table}");
        Rules { redirects: Vec::new(), ..both }.apply().await.unwrap();
        let table = our_table().unwrap();
        assert!(!table.contains("dnat") && table.contains("masquerade"), "{table}");
    });
}

#[test]
fn a_refused_table_leaves_the_former_one_and_says_why() {
    Namespace::new().run(async || {
        autonat(&["eth0"], &[]).apply().await.unwrap();
        let before = our_table();
        let too_long = "an-interface-name-that-is-too-long";
        let error = autonat(&[too_long], &[]).apply().await.unwrap_err().to_string();
        assert!(error.starts_with("nftables refused our rules: "), "{error}");
        assert!(!error.contains('\n') && !error.contains("0:0"), "{error}");
        assert_eq!(our_table(), before);
    });
}

#[test]
fn servers_leave_with_our_address_and_virtual_ips_with_their_own() {
    let (outside, us, server) = (Namespace::new(), Namespace::new(), Namespace::new());
    us.cable("eth0", &outside, "eth0");
    us.cable("eth1", &server, "eth0");
    for (namespace, interface, v4, v6) in [
        (&outside, "eth0", "192.168.2.1/24", "fd00:2::1/64"),
        (&us, "eth0", "192.168.2.21/24", "fd00:2::21/64"),
        (&us, "eth1", "10.0.0.1/24", "fd00:10::1/64"),
        (&server, "eth0", "10.0.0.101/24", "fd00:10::101/64"),
        // The virtual IP as a DR or TUN server has it; its answers pass us when we are its gateway.
        (&server, "eth0", "192.168.9.9/32", "fd00:9::9/128"),
    ] {
        namespace.address(interface, v4);
        namespace.address(interface, v6);
    }
    server.run(async || {
        ip("route add default via 10.0.0.1");
        ip("-6 route add default via fd00:10::1");
    });
    us.run(async || {
        sysctl::enable_forwarding(sysctl::Family::V4).unwrap();
        sysctl::enable_forwarding(sysctl::Family::V6).unwrap();
        autonat(&["eth0"], &["192.168.9.9", "fd00:9::9"]).apply().await.unwrap();
    });

    for (from, to, arrives_as) in [
        ("10.0.0.101", "192.168.2.1", "192.168.2.21"),
        ("192.168.9.9", "192.168.2.1", "192.168.9.9"),
        ("fd00:10::101", "fd00:2::1", "fd00:2::21"),
        ("fd00:9::9", "fd00:2::1", "fd00:9::9"),
    ] {
        let to: IpAddr = to.parse().unwrap();
        assert_eq!(
            source_seen(&outside, &server, from.parse().unwrap(), to),
            arrives_as.parse::<IpAddr>().unwrap()
        );
    }
}

/// The source address that a datagram of `server` has when it arrives at `outside`.
fn source_seen(outside: &Namespace, server: &Namespace, from: IpAddr, to: IpAddr) -> IpAddr {
    outside.run(async || {
        let receiver = UdpSocket::bind(SocketAddr::new(to, 0)).await.unwrap();
        let to = receiver.local_addr().unwrap();
        server.run(async || {
            let sender = UdpSocket::bind(SocketAddr::new(from, 0)).await.unwrap();
            sender.send_to(b"hello", to).await.unwrap();
        });
        let (_, source) =
            timeout(PATIENCE, receiver.recv_from(&mut [0; 16])).await.expect("it arrives").unwrap();
        source.ip()
    })
}
