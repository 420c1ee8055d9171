//! Housekeeping, slots and restarts.
mod support;
use std::time::Duration;

use keel_abi::{Connection, DropReason, FlowKey};
use keel_dataplane::{FrameVerdict, Sizes};
use support::{
    BACK_MAC, Rig, key, now_ns,
    packet::{ACK, FIN, PSH, Pkt, RST, SYN, ip},
    server_mac,
};

fn cluster(keys: &str, servers: &[u8]) -> String {
    let mut text = format!(
        "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\nprotocol = \"tcp+udp\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n"
    );
    for server in servers {
        text += &format!("[[service.server]]\nname = \"s{server}\"\naddress = \"192.168.2.{server}\"\n");
    }
    text
}

const VIP: &str = "192.168.2.200:80";

fn client(n: u32) -> String {
    format!("10.0.{}.{}:1000", n / 200, 1 + n % 200)
}

fn total(rig: &Rig) -> (i64, i64, i64) {
    rig.servers()
        .iter()
        .map(|(id, _)| rig.counts_of(*id))
        .fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
}

#[test]
fn idle_connections_go_by_their_states_limit_and_the_counts_with_them() {
    for mode in ["dr", "nat"] {
        let mut rig = Rig::new(&cluster(&format!("mode = \"{mode}\""), &[101, 102, 103]));
        let entries = if mode == "nat" { 2 } else { 1 };
        for n in 0..400 {
            rig.client_sends(&Pkt::tcp(&client(n), VIP, SYN));
            if n >= 100 {
                rig.client_sends(&Pkt::tcp(&client(n), VIP, ACK));
            }
            if n >= 200 {
                rig.client_sends(&Pkt::tcp(&client(n), VIP, FIN | ACK));
            }
            if n >= 300 {
                let udp = Pkt::udp(&client(n), VIP);
                rig.client_sends(&udp);
                rig.client_sends(&udp);
            }
        }
        assert_eq!(total(&rig), (100, 200, 200));
        let mut step = |by: u64, left: (i64, i64, i64), removed: u64| {
            for table in ["CONNECTIONS", "HALF_OPEN"] {
                rig.age(table, Duration::from_secs(by));
            }
            let swept = rig.dataplane.sweep(now_ns()).unwrap();
            assert_eq!((swept.removed, total(&rig)), (removed, left), "{mode} after {by} s more");
            assert_eq!(rig.entries("CONNECTIONS"), (left.1 + left.2) as usize * entries);
        };
        step(30, (100, 200, 200), 0);
        step(31, (0, 200, 200), 100); // tcp_syn 60 s
        step(60, (0, 200, 0), 200); // tcp_fin 120 s
        step(180, (0, 100, 0), 100); // udp 300 s
        step(600, (0, 0, 0), 100); // tcp_established 900 s
        if mode == "dr" {
            assert_eq!(rig.entries("HALF_OPEN"), 0);
        }
    }
}

#[test]
fn a_busy_connection_stays_whatever_direction_is_busy() {
    let mut rig = Rig::new(&cluster("mode = \"nat\"", &[101]));
    rig.client_sends(&Pkt::tcp(&client(1), VIP, SYN));
    rig.client_sends(&Pkt::tcp(&client(1), VIP, ACK));
    for _ in 0..4 {
        rig.age("CONNECTIONS", Duration::from_secs(800));
        let answer = Pkt::tcp("192.168.2.101:80", &client(1), PSH | ACK)
            .mac(server_mac(ip("192.168.2.101")), BACK_MAC);
        assert_eq!(rig.server_sends(&answer).verdict, FrameVerdict::Redirect);
        // Without the lease it is the time in the other direction's entry that counts.
        rig.end_leases();
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!((rig.entries("CONNECTIONS"), total(&rig)), (2, (0, 1, 0)));
    }
    for _ in 0..4 {
        rig.age("CONNECTIONS", Duration::from_secs(800));
        rig.client_sends(&Pkt::tcp(&client(1), VIP, PSH | ACK));
        rig.end_leases();
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!((rig.entries("CONNECTIONS"), total(&rig)), (2, (0, 1, 0)));
    }
    // A sweep that finds one direction busy has noted it for the other.
    rig.age("CONNECTIONS", Duration::from_secs(800));
    assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().removed, 0);
}

#[test]
fn a_connection_whose_packets_go_by_leases_is_not_idle() {
    for (keys, entries) in [("mode = \"dr\"", 1), ("mode = \"nat\"", 2)] {
        let mut rig = Rig::new(&cluster(keys, &[101]));
        rig.client_sends(&Pkt::tcp(&client(1), VIP, SYN));
        rig.client_sends(&Pkt::tcp(&client(1), VIP, ACK));
        rig.age("CONNECTIONS", Duration::from_secs(1));
        rig.client_sends(&Pkt::tcp(&client(1), VIP, PSH | ACK));
        assert_eq!(rig.leases(), 1);
        // As if the idle time had just been made so short that the lease is longer.
        rig.age_but_no_lease("CONNECTIONS", Duration::from_secs(901));
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!((rig.entries("CONNECTIONS"), rig.leases()), (entries, 0), "{keys}");
        rig.age("CONNECTIONS", Duration::from_secs(901));
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!(rig.entries("CONNECTIONS"), 0, "{keys}");
    }
}

#[test]
fn a_forged_reset_does_not_end_a_connection_in_use() {
    let mut rig = Rig::new(&cluster("mode = \"dr\"", &[101, 102]));
    let server = rig.open(&client(1), VIP);
    rig.age("CONNECTIONS", Duration::from_secs(1));
    rig.went_to(&Pkt::tcp(&client(1), VIP, PSH | ACK));
    assert_eq!(rig.leases(), 1);
    rig.went_to(&Pkt::tcp(&client(1), VIP, RST));
    assert_eq!(rig.leases(), 0, "a lease would hide that it goes on");
    for _ in 0..3 {
        rig.age("CONNECTIONS", Duration::from_secs(9));
        assert_eq!(rig.went_to(&Pkt::tcp(&client(1), VIP, PSH | ACK)), server);
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!(rig.entries("CONNECTIONS"), 1);
    }
    rig.age("CONNECTIONS", Duration::from_secs(11));
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(rig.entries("CONNECTIONS"), 0);
}

#[test]
fn a_reply_entry_without_its_connection_goes_too() {
    let mut rig = Rig::new(&cluster("mode = \"nat\"", &[101]));
    rig.client_sends(&Pkt::tcp(&client(1), VIP, SYN));
    rig.client_sends(&Pkt::tcp(&client(1), VIP, ACK));
    rig.pinned::<FlowKey, Connection>("CONNECTIONS").remove(&key(&client(1), VIP, 6)).unwrap();
    rig.age("CONNECTIONS", Duration::from_secs(901));
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(rig.entries("CONNECTIONS"), 0);
}

#[test]
fn handshakes_that_do_not_end_are_reported() {
    let mut rig = Rig::new(&cluster("mode = \"nat\"", &[101]));
    rig.client_sends(&Pkt::tcp(&client(1), VIP, SYN));
    rig.client_sends(&Pkt::tcp(&client(2), VIP, SYN));
    let answer =
        Pkt::tcp("192.168.2.101:80", &client(2), SYN | ACK).mac(server_mac(ip("192.168.2.101")), BACK_MAC);
    rig.server_sends(&answer);
    assert!(rig.dataplane.sweep(now_ns()).unwrap().stuck.is_empty());
    rig.age("HALF_OPEN", Duration::from_secs(4));
    let swept = rig.dataplane.sweep(now_ns()).unwrap();
    let stuck = swept.stuck[&rig.id("192.168.2.101")];
    assert_eq!((stuck.connections, stuck.answered), (2, 1));
}

#[test]
fn a_removed_servers_slot_comes_back_and_old_entries_do_not_reach_its_next_user() {
    let keys = "mode = \"dr\"\nscheduler = \"rr\"\non_removed = \"hold\"";
    let mut rig = Rig::new(&cluster(keys, &[101, 102]));
    let old = (0..).map(client).find(|c| rig.open(c, VIP) == 102).unwrap();
    let slot = rig.id("192.168.2.102");
    let k = key(&old, VIP, 6);
    let ghost = rig.connection(&k).unwrap();
    rig.apply(&cluster(keys, &[101]));
    assert!(rig.dataplane.sweep(now_ns()).unwrap().released.is_empty(), "it still has a connection");
    assert_eq!(rig.went_to(&Pkt::tcp(&old, VIP, ACK)), 102, "hold");
    rig.age("CONNECTIONS", Duration::from_secs(901));
    assert!(rig.dataplane.sweep(now_ns()).unwrap().released.is_empty(), "it might have spoken again");
    assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().released, [slot]);
    let counted = rig.dataplane.retired_counters(0);
    assert!(counted.connections > 0, "its counters are kept for the service's sums");

    rig.apply(&cluster(keys, &[101, 103]));
    assert_eq!(rig.id("192.168.2.103"), slot, "the slot is used again");
    assert_eq!(rig.counts("192.168.2.103"), (0, 0, 0));
    // An entry that somehow outlived its server: void, and not discounted from the new one.
    rig.pinned::<FlowKey, Connection>("CONNECTIONS")
        .insert(k, Connection { seen_ns: now_ns(), ..ghost }, 0)
        .unwrap();
    rig.went_to(&Pkt::tcp(&old, VIP, PSH | ACK));
    assert!(rig.connection(&k).is_none());
    assert_eq!(rig.counts("192.168.2.103").1, 0);
    let fresh = rig.servers().iter().find(|(id, _)| *id == slot).unwrap().1;
    assert_eq!(fresh.generation, ghost.generation + 1);
    assert_eq!(rig.drop_count(DropReason::Internal), 0);
}

#[test]
fn connections_of_a_removed_server_wait_a_minute_for_their_answer() {
    for mode in ["dr", "nat"] {
        let keys = format!("mode = \"{mode}\"\nscheduler = \"rr\"\non_removed = \"reset\"");
        let mut rig = Rig::new(&cluster(&keys, &[101, 102]));
        for n in 0..20 {
            rig.client_sends(&Pkt::tcp(&client(n), VIP, SYN));
            rig.client_sends(&Pkt::tcp(&client(n), VIP, ACK));
        }
        let slot = rig.id("192.168.2.102");
        rig.apply(&cluster(&keys, &[101]));
        assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().removed, 0);
        rig.age("CONNECTIONS", Duration::from_secs(61));
        let swept = rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!((swept.removed, swept.released), (10, vec![]));
        assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().released, [slot]);
        assert_eq!(rig.entries("CONNECTIONS"), if mode == "nat" { 20 } else { 10 });
        assert_eq!(rig.counts("192.168.2.101"), (0, 10, 0));
    }
}

#[test]
fn pending_counts_lost_by_eviction_are_corrected_exactly() {
    let mut rig = Rig::new(&cluster("mode = \"dr\"", &[101, 102]));
    for n in 0..40 {
        rig.client_sends(&Pkt::tcp(&client(n), VIP, SYN));
    }
    let mut table = rig.pinned::<FlowKey, Connection>("HALF_OPEN");
    for n in 0..4 {
        table.remove(&key(&client(n), VIP, 6)).unwrap();
    }
    assert_eq!(total(&rig), (40, 0, 0));
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(total(&rig), (40, 0, 0), "a few might have left during the walk");
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(total(&rig), (36, 0, 0));
    for n in 4..40 {
        table.remove(&key(&client(n), VIP, 6)).unwrap();
    }
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(total(&rig), (0, 0, 0), "many can't have");
    for _ in 0..3 {
        rig.dataplane.sweep(now_ns()).unwrap();
        assert_eq!(total(&rig), (0, 0, 0));
    }
}

/// Counts and tables disagree by a little, as after a race of two CPUs for one connection: one counts too much, one too
/// little, in every class.
#[test]
fn counts_that_drifted_by_one_either_way_are_put_right_by_the_second_sweep() {
    for mode in ["dr", "nat"] {
        let mut rig = Rig::new(&cluster(&format!("mode = \"{mode}\""), &[101]));
        for n in 0..30 {
            rig.client_sends(&Pkt::tcp(&client(n), VIP, SYN));
            if n >= 10 {
                rig.client_sends(&Pkt::tcp(&client(n), VIP, ACK));
            }
            if n >= 20 {
                rig.client_sends(&Pkt::tcp(&client(n), VIP, FIN | ACK));
            }
        }
        let id = rig.id("192.168.2.101");
        assert_eq!(total(&rig), (10, 10, 10));
        for drift in [(1, -1, 1), (-1, 1, -1), (0, 2, 0), (3, 0, -2), (-4, -1, 0), (-11, 0, -11)] {
            rig.set_counts(id, (10 + drift.0, 10 + drift.1, 10 + drift.2));
            rig.dataplane.sweep(now_ns()).unwrap();
            assert_ne!(total(&rig), (10, 10, 10), "{mode} {drift:?}: one look is no proof");
            rig.dataplane.sweep(now_ns()).unwrap();
            assert_eq!(total(&rig), (10, 10, 10), "{mode} {drift:?}");
            rig.dataplane.sweep(now_ns()).unwrap();
            assert_eq!(total(&rig), (10, 10, 10), "{mode} {drift:?}: only once");
        }
    }
}

#[test]
fn a_table_that_fills_up_is_told_and_what_it_refuses_is_counted_and_forwarded() {
    for mode in ["dr", "nat"] {
        let sizes = Sizes { connections: 1024, half_open: 16_384, persistence: 4096, fragments: 1024 };
        let mut rig = Rig::sized(sizes);
        rig.apply(&cluster(&format!("mode = \"{mode}\"\npersistence = \"source\""), &[101, 102]));
        let room = if mode == "nat" { 512 } else { 1024 };
        let fill = |rig: &mut Rig| {
            let swept = rig.dataplane.sweep(now_ns()).unwrap();
            let shown = swept.fullness.iter().map(|fill| (fill.map, fill.entries, fill.capacity));
            (shown.collect::<Vec<_>>(), swept.fullness[0].is_nearly_full())
        };
        let open = |rig: &Rig, clients: std::ops::Range<u32>| {
            for n in clients {
                rig.client_sends(&Pkt::tcp(&client(n), VIP, SYN));
                let run = rig.client_sends(&Pkt::tcp(&client(n), VIP, ACK));
                assert_eq!(run.verdict, FrameVerdict::Redirect);
            }
        };
        open(&rig, 0..room * 79 / 100);
        let (shown, nearly) = fill(&mut rig);
        let entries = u64::from(room * 79 / 100) * if mode == "nat" { 2 } else { 1 };
        let clients = u64::from(room * 79 / 100);
        let expected =
            [("CONNECTIONS", entries, 1024), ("HALF_OPEN", 0, 16_384), ("PERSISTENCE", clients, 4096)];
        assert_eq!((shown.as_slice(), nearly), (&expected[..], false), "{mode}");
        open(&rig, room * 79 / 100..room * 81 / 100);
        assert!(fill(&mut rig).1);
        open(&rig, room * 81 / 100..room);
        assert_eq!(rig.dataplane.totals().unwrap().table_full, 0);
        open(&rig, room..room + 20);
        assert_eq!(rig.dataplane.totals().unwrap().table_full, 20, "{mode}");
        assert_eq!(total(&rig), (20, i64::from(room), 0));
        // They are established as soon as there is room.
        rig.client_sends(&Pkt::tcp(&client(0), VIP, FIN | ACK));
        rig.age("CONNECTIONS", Duration::from_secs(200));
        assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().removed, 1);
        rig.client_sends(&Pkt::tcp(&client(room), VIP, PSH | ACK));
        assert_eq!(total(&rig), (19, i64::from(room), 0));
    }
}

#[test]
fn a_restart_changes_nothing_for_connections() {
    let text = cluster("mode = \"nat\"\nscheduler = \"rr\"", &[101, 102, 103]);
    let rig = Rig::new(&text);
    let servers: Vec<u8> = (0..50).map(|n| rig.open(&client(n), VIP)).collect();
    let (before, counts) = (rig.servers(), total(&rig));
    let mut rig = rig.restart();
    assert!(rig.dataplane.is_active().unwrap());
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(
            rig.went_to(&Pkt::tcp(&client(n as u32), VIP, PSH | ACK)),
            *server,
            "before anything is applied"
        );
    }
    let desired = rig.desired.clone();
    let ops = keel_dataplane::plan(rig.dataplane.shadow(), &desired).unwrap();
    assert!(ops.iter().all(|op| matches!(op, keel_dataplane::Op::Table(..))), "{ops:?}");
    assert!(rig.dataplane.apply(&desired).unwrap() <= 1, "one table at most");
    assert_eq!(rig.dataplane.apply(&desired).unwrap(), 0);
    assert_eq!((rig.servers(), total(&rig)), (before, counts));
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(rig.went_to(&Pkt::tcp(&client(n as u32), VIP, PSH | ACK)), *server);
    }
}
