//! What a lease saves, and everything that must not be missed because of one.
mod support;
use std::time::Duration;

use keel_abi::{Config, TcpState, connection_flags as flags};
use support::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, Rig, key, now_ns,
    packet::{ACK, FIN, PSH, Pkt, RST, SYN, ip},
    server_mac,
    service::{self, VIP},
};

const CLIENT: &str = "10.0.0.7:40000";
const SERVER: &str = "192.168.2.101:8080";

/// With the servers in turn.
fn cluster(keys: &str, servers: &[&str]) -> String {
    service::cluster(&format!("scheduler = \"rr\"\n{keys}"), servers)
}

fn of_client(flags: u8) -> Pkt {
    Pkt::tcp(CLIENT, VIP, flags)
}

/// A NAT connection in both directions, with a lease for each.
fn nat() -> Rig {
    let rig = Rig::new(&cluster("mode = \"nat\"", &["port = 8080"]));
    rig.open(CLIENT, VIP);
    rig.client_sends(&of_client(PSH | ACK));
    assert_eq!(rig.leases(), 0, "what a client's packets tell has been noted too lately");
    with_leases(&rig);
    rig
}

fn with_leases(rig: &Rig) {
    rig.age("CONNECTIONS", Duration::from_secs(1));
    let answer = of_server(PSH | ACK);
    rig.returns(&answer, &answer.clone().hop().source(VIP).mac(FRONT_MAC, CLIENT_MAC));
    rig.client_sends(&of_client(PSH | ACK));
    assert_eq!(rig.leases(), 2);
}

fn of_server(flags: u8) -> Pkt {
    Pkt::tcp(SERVER, CLIENT, flags).mac(server_mac(ip("192.168.2.101")), BACK_MAC)
}

/// A connection with a lease. Returns the server.
fn leased(rig: &Rig) -> u8 {
    let server = rig.open(CLIENT, VIP);
    rig.age("CONNECTIONS", Duration::from_secs(1));
    assert_eq!(rig.went_to(&of_client(ACK)), server);
    assert_eq!(rig.leases(), 1);
    server
}

#[test]
fn a_connection_that_has_lasted_a_while_gets_one() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let server = rig.open(CLIENT, VIP);
    assert_eq!(rig.went_to(&of_client(ACK)), server);
    assert_eq!(rig.leases(), 0, "neither for a SYN nor for what proves nor for what follows at once");
    rig.age("CONNECTIONS", Duration::from_secs(1));
    for _ in 0..4 {
        assert_eq!(rig.went_to(&of_client(PSH | ACK)), server);
        assert_eq!(rig.leases(), 1);
    }
    let counters = rig.dataplane.server_counters(rig.id(&format!("192.168.2.{server}"))).unwrap();
    assert_eq!((counters.connections, counters.packets_in), (1, 7), "it is counted all the same");
}

#[test]
fn packets_go_by_the_lease_and_not_by_the_table() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let server = leased(&rig);
    // Who removes the entry behind the packet path's back shows where its packets go.
    let mut table = rig.pinned::<keel_abi::FlowKey, keel_abi::Connection>("CONNECTIONS");
    let entry = table.get(&key(CLIENT, VIP, 6), 0).unwrap();
    table.remove(&key(CLIENT, VIP, 6)).unwrap();
    assert_eq!(rig.went_to(&of_client(PSH | ACK)), server);
    assert_eq!(rig.entries("HALF_OPEN"), 0, "no second connection began");
    rig.end_leases();
    table.insert(key(CLIENT, VIP, 6), entry, 0).unwrap();
    assert_eq!(rig.went_to(&of_client(PSH | ACK)), server);
}

#[test]
fn fins_and_resets_are_seen_and_what_follows_keeps_its_way() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &[""]));
    let k = key(CLIENT, VIP, 6);
    leased(&rig);
    rig.went_to(&of_client(FIN | ACK));
    assert_eq!(rig.connection(&k).unwrap().state, TcpState::FinWait as u8);
    assert_eq!(rig.counts("192.168.2.101"), (0, 0, 1));
    assert_eq!(rig.went_to(&of_client(ACK)), 101);
    rig.went_to(&of_client(RST));
    assert_eq!(rig.connection(&k).unwrap().state, TcpState::Close as u8);
}

#[test]
fn a_new_connection_with_the_same_ports_is_not_led_astray() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let first = leased(&rig);
    rig.went_to(&of_client(FIN | ACK));
    // Round robin: the other server's turn.
    let second = rig.went_to(&of_client(SYN));
    assert_ne!(first, second);
    assert_eq!(rig.leases(), 0, "revoked with the old connection");
    for _ in 0..3 {
        assert_eq!(rig.went_to(&of_client(ACK)), second);
    }
}

#[test]
fn a_halted_servers_leases_are_void_at_once() {
    let mut rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let server = leased(&rig);
    let states: Vec<&str> = [101, 102].map(|s| if s == server { "state = \"halt\"" } else { "" }).to_vec();
    rig.apply(&cluster("mode = \"dr\"", &states));
    assert_ne!(rig.went_to(&of_client(PSH | ACK)), server);
}

#[test]
fn a_server_that_takes_over_a_slot_gets_no_leases_with_it() {
    let mut rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let server = leased(&rig);
    let id = rig.id(&format!("192.168.2.{server}"));
    let mut map = rig.array::<keel_abi::Server>("SERVERS");
    let value = map.get(&id, 0).unwrap();
    map.set(id, keel_abi::Server { generation: value.generation + 1, ..value }, 0).unwrap();
    rig.went_to(&of_client(PSH | ACK));
    assert_eq!(rig.connection(&key(CLIENT, VIP, 6)), None, "the entry is not that server's");
    rig.apply(&cluster("mode = \"dr\"", &["", ""]));
}

#[test]
fn both_directions_of_nat_have_one_and_lose_it_together() {
    let rig = nat();
    for _ in 0..3 {
        let answer = of_server(ACK);
        rig.returns(&answer, &answer.clone().hop().source(VIP).mac(FRONT_MAC, CLIENT_MAC));
    }
    rig.client_sends(&of_client(FIN | ACK));
    rig.server_sends(&of_server(FIN | ACK));
    assert_eq!(rig.connection(&key(CLIENT, VIP, 6)).unwrap().state, TcpState::TimeWait as u8);
    rig.client_sends(&of_client(SYN));
    assert_eq!(rig.leases(), 0);
}

#[test]
fn a_client_that_is_reached_another_way_is_answered_there_as_soon_as_without_leases() {
    let elsewhere = [2, 0, 0, 0, 0, 0xc2];
    let answer = of_server(PSH | ACK);
    let back = answer.clone().hop().source(VIP);
    for (packet, expected) in [
        (of_client(PSH | ACK).mac(elsewhere, FRONT_MAC), back.clone().mac(FRONT_MAC, elsewhere)),
        (of_client(PSH | ACK).tag(30), back.mac(FRONT_MAC, CLIENT_MAC).tag(30)),
    ] {
        let rig = nat();
        // What leads to the client was noted within the last quarter second: it is not noted again, and nothing is leased that
        // the entry doesn't know.
        rig.client_sends(&packet);
        std::thread::sleep(Duration::from_millis(300));
        rig.client_sends(&packet);
        rig.returns(&answer, &expected);
    }
}

#[test]
fn datagrams_have_leases_too_and_other_flows_keep_out() {
    let rig = Rig::new(&cluster("mode = \"dr\"\nprotocol = \"tcp+udp\"", &["", ""]));
    let first = rig.went_to(&Pkt::udp(CLIENT, VIP));
    assert_eq!(rig.went_to(&Pkt::udp(CLIENT, VIP)), first);
    let tcp = rig.open(CLIENT, VIP);
    assert_ne!(tcp, first, "round robin: TCP with the same ports is a flow of its own");
    rig.age("CONNECTIONS", Duration::from_secs(1));
    for leases in 1..=2 {
        assert_eq!(rig.went_to(&Pkt::udp(CLIENT, VIP)), first);
        assert_eq!(rig.leases(), leases);
        assert_eq!(rig.went_to(&of_client(ACK)), tcp);
        assert_eq!(rig.leases(), 2);
    }
    assert_eq!(rig.went_to(&Pkt::udp(CLIENT, VIP)), first);
    assert_eq!(rig.went_to(&of_client(ACK)), tcp);
}

#[test]
fn many_flows_share_the_lines_and_each_keeps_its_server() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &["", "", ""]));
    let mut config = rig.array::<Config>("CONFIG");
    let all = config.get(&0, 0).unwrap();
    config.set(0, Config { lease_mask: 255, ..all }, 0).unwrap();
    let client = |n: u32| format!("10.9.{}.{}:{}", n / 250, n % 250 + 1, 2000 + n);
    let servers: Vec<u8> = (0..2500).map(|n| rig.open(&client(n), VIP)).collect();
    rig.age("CONNECTIONS", Duration::from_secs(1));
    for _ in 0..2 {
        for (n, server) in (0..).zip(&servers) {
            assert_eq!(rig.went_to(&Pkt::tcp(&client(n), VIP, PSH | ACK)), *server, "{n}");
        }
    }
    // 256 sets of four: more flows than leases.
    assert!((900..=1024).contains(&rig.leases()), "{}", rig.leases());
    let entry = rig.connection(&key(&client(0), VIP, 6)).unwrap();
    assert_eq!(entry.flags & flags::REVERSE, 0);
}

#[test]
fn the_part_in_use_follows_the_connections_and_not_their_entries() {
    let mut rig = Rig::new(&cluster("mode = \"nat\"", &["port = 8080", "port = 8080"]));
    for n in 0..5000u32 {
        let client = format!("10.9.{}.{}:2000", n / 250, n % 250 + 1);
        rig.client_sends(&Pkt::tcp(&client, VIP, SYN));
        rig.client_sends(&Pkt::tcp(&client, VIP, ACK));
    }
    assert_eq!(rig.entries("CONNECTIONS"), 10_000);
    rig.dataplane.sweep(now_ns()).unwrap();
    let config = rig.array::<Config>("CONFIG").get(&0, 0).unwrap();
    assert_eq!(config.lease_mask + 1, 8192, "5,000 connections");
}

#[test]
fn with_two_flows_for_each_set_nearly_every_one_finds_a_way() {
    const SETS: u32 = 1024;
    let rig = Rig::new(&cluster("mode = \"dr\"", &["", ""]));
    let mut config = rig.array::<Config>("CONFIG");
    let all = config.get(&0, 0).unwrap();
    config.set(0, Config { lease_mask: SETS - 1, ..all }, 0).unwrap();
    let client = |n: u32| format!("10.9.{}.{}:{}", n / 250, n % 250 + 1, 2000 + n);
    for n in 0..2 * SETS {
        rig.open(&client(n), VIP);
    }
    rig.age("CONNECTIONS", Duration::from_secs(1));
    for n in 0..2 * SETS {
        rig.went_to(&Pkt::tcp(&client(n), VIP, PSH | ACK));
    }
    // Clients in a row, spread as at random: 3.7 % are too many for their set of four, give or take 0.4 %.
    let without = 2 * SETS - rig.leases() as u32;
    assert!(without < 130, "{without} of {} flows have no lease", 2 * SETS);
}
