//! Which server a new connection gets.
mod support;
use keel_abi::DropReason;
use keel_pool::{Outlook, Verdict};
use support::{
    Rig,
    packet::{ACK, FIN, Pkt, RST, SYN},
    service::{VIP, client, cluster, syn},
};

/// The servers of `count` new connections that are opened and stay.
fn sequence(rig: &Rig, count: u32) -> Vec<u8> {
    (0..count).map(|n| rig.open(&client(n), VIP)).collect()
}

fn tally(sequence: &[u8]) -> Vec<usize> {
    let last = sequence.iter().max().copied();
    (101..=last.unwrap_or(100)).map(|server| sequence.iter().filter(|s| **s == server).count()).collect()
}

#[test]
fn schedulers_choose_as_their_definition_says() {
    let dr = |scheduler: &str| format!("mode = \"dr\"\nscheduler = \"{scheduler}\"");
    let three = ["weight = 1", "weight = 2", "weight = 3"];

    let got = sequence(&Rig::new(&cluster(&dr("rr"), &three)), 9);
    assert_eq!(tally(&got), [3, 3, 3]);
    assert!(got.windows(3).all(|w| w[0] != w[1] && w[1] != w[2] && w[0] != w[2]), "in turn: {got:?}");

    let got = sequence(&Rig::new(&cluster(&dr("wrr"), &three)), 60);
    assert_eq!(tally(&got), [10, 20, 30]);
    for n in 1..=60 {
        let tally = |server: u8| got[..n].iter().filter(|s| **s == server).count() as f64;
        for (server, weight) in [(101, 1.0), (102, 2.0), (103, 3.0)] {
            assert!((tally(server) - n as f64 * weight / 6.0).abs() <= 1.0, "after {n}: {got:?}");
        }
    }

    // lc: whoever has fewest. Two of three close; the next two go there.
    let rig = Rig::new(&cluster(&dr("lc"), &["weight = 9", "", ""]));
    let got = sequence(&rig, 6);
    assert_eq!(tally(&got), [2, 2, 2], "least connections ignores weights");
    for n in [0, 1] {
        rig.went_to(&Pkt::tcp(&client(n), VIP, FIN | ACK));
    }
    let mut freed = [got[0], got[1]];
    let mut next = [rig.open(&client(10), VIP), rig.open(&client(11), VIP)];
    freed.sort_unstable();
    next.sort_unstable();
    assert_eq!(next, freed);

    for scheduler in ["wlc", "sed"] {
        let got = sequence(&Rig::new(&cluster(&dr(scheduler), &three)), 60);
        assert_eq!(tally(&got), [10, 20, 30], "{scheduler}");
    }
    // sed: the first connection of a strong and a weak server goes to the strong one.
    let rig = Rig::new(&cluster(&dr("sed"), &["weight = 1", "weight = 3"]));
    assert_eq!(sequence(&rig, 3)[..2], [102, 102]);
    // nq: an idle server first, however weak.
    let got = sequence(&Rig::new(&cluster(&dr("nq"), &["weight = 1", "weight = 9"])), 2);
    assert_eq!(tally(&got), [1, 1]);

    // Hashing: always the same for the same client (sh), destination (dh), flow (maglev).
    for scheduler in ["sh", "dh", "maglev"] {
        let rig = Rig::new(&cluster(&dr(scheduler), &["", "", ""]));
        let again = Rig::new(&cluster(&dr(scheduler), &["", "", ""]));
        let got = sequence(&rig, 60);
        assert_eq!(got, sequence(&again, 60), "two nodes agree");
        match scheduler {
            "dh" => assert!(got.iter().all(|s| *s == got[0])),
            _ => assert!(tally(&got).iter().all(|n| *n > 5), "{scheduler}: {got:?}"),
        }
    }
    let rig = Rig::new(&cluster(&dr("sh"), &["", "", "", ""]));
    let servers: Vec<u8> = (1..50).map(|port| rig.open(&format!("192.0.2.7:{port}"), VIP)).collect();
    assert!(servers.iter().all(|s| *s == servers[0]), "the source decides");
}

#[test]
fn large_pools_are_scheduled_too() {
    for scheduler in ["rr", "wrr", "wlc", "maglev"] {
        let keys = format!("mode = \"dr\"\nscheduler = \"{scheduler}\"");
        let rig = Rig::new(&cluster(&keys, &[""; 80]));
        let got = sequence(&rig, 400);
        let tally = tally(&got);
        assert_eq!(tally.len(), 80, "{scheduler}");
        if scheduler == "rr" {
            assert!(tally.iter().all(|n| *n == 5), "{tally:?}");
        }
    }
}

#[test]
fn a_full_server_takes_no_more_until_three_quarters() {
    let rig = Rig::new(&cluster(
        "mode = \"dr\"\nscheduler = \"rr\"",
        &["max_connections = 4", "max_connections = 4"],
    ));
    assert_eq!(tally(&sequence(&rig, 8)), [4, 4]);
    rig.dropped(&syn(100).build(), DropReason::Overloaded);
    let of_first: Vec<u32> =
        (0..8).filter(|n| rig.went_to(&Pkt::tcp(&client(*n), VIP, ACK)) == 101).collect();
    rig.went_to(&Pkt::tcp(&client(of_first[0]), VIP, FIN | ACK));
    rig.dropped(&syn(100).build(), DropReason::Overloaded);
    rig.went_to(&Pkt::tcp(&client(of_first[1]), VIP, RST));
    assert_eq!(rig.went_to(&syn(100)), 101);
    // Existing connections are never affected.
    assert_eq!(rig.went_to(&Pkt::tcp(&client(of_first[2]), VIP, ACK)), 101);
}

#[test]
fn without_servers_new_connections_are_dropped_and_counted() {
    let cluster = |server: &str| cluster("mode = \"dr\"\nfallback = \"off\"", &[server]);
    let mut rig = Rig::new(&cluster("weight = 0"));
    rig.dropped(&syn(1).build(), DropReason::NoServer);
    rig.apply(&cluster("state = \"halt\""));
    rig.dropped(&syn(1).build(), DropReason::NoServer);
    rig.apply_desired(Rig::desire_with(&cluster(""), down()));
    rig.dropped(&syn(1).build(), DropReason::NoServer);
    assert_eq!(rig.entries("HALF_OPEN"), 0);
}

fn down() -> Outlook {
    Outlook { verdicts: vec![Verdict::Down], ..Outlook::default() }
}

#[test]
fn without_servers_this_nodes_own_fallback_gets_what_is_in_no_connection() {
    for mode in ["dr", "nat", "tun"] {
        let cluster = cluster(&format!("mode = \"{mode}\""), &[""]);
        let mut rig = Rig::new(&cluster);
        let open = Pkt::tcp(&client(1), VIP, ACK);
        assert_eq!(rig.went_to(&syn(1)), 101);
        assert_eq!(rig.went_to(&open), 101);
        let dropped = rig.drop_count(DropReason::NoServer);
        rig.apply_desired(Rig::desire_with(&cluster, down()));
        rig.passes(&syn(2).build());
        rig.passes(&Pkt::tcp(&client(2), VIP, ACK).build());
        rig.passes(&Pkt::tcp(&client(2), VIP, FIN | ACK).build());
        assert_eq!(rig.went_to(&open), 101, "a connection stays where it is");
        assert_eq!(rig.entries("HALF_OPEN"), 0);
        assert_eq!(rig.drop_count(DropReason::NoServer), dropped);
        rig.apply(&cluster);
        assert_eq!(rig.went_to(&syn(3)), 101);
    }
}

#[test]
fn a_fallback_on_another_host_takes_what_no_server_takes_and_keeps_it() {
    let keys = |mode: &str| format!("mode = \"{mode}\"\nfallback = \"192.168.2.150:80\"");
    for mode in ["dr", "nat", "tun"] {
        let cluster = cluster(&keys(mode), &[""]);
        let mut rig = Rig::new(&cluster);
        assert_eq!(tally(&sequence(&rig, 8)), [8], "it takes nothing while a server does");
        rig.apply_desired(Rig::desire_with(&cluster, down()));
        assert_eq!(rig.went_to(&syn(100)), 150);
        assert_eq!(rig.went_to(&Pkt::tcp(&client(100), VIP, ACK)), 150);
        rig.apply(&cluster);
        assert_eq!(rig.went_to(&syn(101)), 101);
        assert_eq!(rig.went_to(&Pkt::tcp(&client(100), VIP, ACK)), 150, "connections with it go on");
    }
}

#[test]
fn nobody_sticks_to_a_fallback_when_servers_are_back() {
    let text = cluster("mode = \"dr\"\npersistence = \"source\"\nfallback = \"192.168.2.150:80\"", &[""]);
    let mut rig = Rig::new(&text);
    rig.apply_desired(Rig::desire_with(&text, down()));
    let from = |port: u16| format!("10.0.0.1:{port}");
    assert_eq!(rig.went_to(&Pkt::tcp(&from(2000), VIP, SYN)), 150);
    assert_eq!(rig.went_to(&Pkt::tcp(&from(2000), VIP, ACK)), 150);
    rig.apply(&text);
    assert_eq!(rig.went_to(&Pkt::tcp(&from(2001), VIP, SYN)), 101);
    assert_eq!(rig.went_to(&Pkt::tcp(&from(2001), VIP, ACK)), 101);
    assert_eq!(rig.went_to(&Pkt::tcp(&from(2000), VIP, ACK)), 150, "connections with it go on");
}

#[test]
fn datagrams_are_none_of_this_nodes_fallbacks() {
    let text = cluster("mode = \"nat\"\nprotocol = \"tcp+udp\"", &[""]);
    let mut rig = Rig::new(&text);
    rig.apply_desired(Rig::desire_with(&text, down()));
    rig.passes(&syn(1).build());
    rig.dropped(&Pkt::udp(&client(1), VIP).build(), DropReason::NoServer);
}

#[test]
fn a_fallback_where_a_server_is_already_is_no_second_one() {
    let text = cluster("mode = \"dr\"\nfallback = \"192.168.2.150:80\"", &[""]);
    let named = text.replace("address = \"192.168.2.101\"", "address = \"sorry.example\"");
    let cluster = keel_model::load_cluster(&named).0.unwrap();
    let leads = |to: &str| {
        let addresses = [(("sorry.example".to_owned(), false), to.parse().unwrap())].into();
        let desired = keel_dataplane::compile(&cluster, &addresses, |_| down());
        desired.services[0].servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(leads("192.168.2.101"), ["s0", "(fallback)"]);
    assert_eq!(leads("192.168.2.150"), ["s0"]);
}

#[test]
fn a_handshake_with_a_server_that_is_down_begins_anew_and_a_connection_goes_on() {
    let text = cluster("mode = \"dr\"\nscheduler = \"rr\"", &["", ""]);
    let mut rig = Rig::new(&text);
    let (kept, refused) = (sequence(&rig, 2), rig.went_to(&syn(100)));
    let down = |server: u8| {
        let verdict = |n| if n == server { Verdict::Down } else { Verdict::Up };
        Rig::desire_with(&text, Outlook { verdicts: [101, 102].map(verdict).to_vec(), ..Outlook::default() })
    };
    assert_eq!(rig.went_to(&syn(100)), refused, "as long as the server is there");
    rig.apply_desired(down(refused));
    assert_ne!(rig.went_to(&syn(100)), refused, "the same port again");
    assert_eq!(rig.counts(&format!("192.168.2.{refused}")).0, 0);
    for (n, server) in kept.iter().enumerate() {
        assert_eq!(rig.went_to(&Pkt::tcp(&client(n as u32), VIP, ACK)), *server);
    }
}
