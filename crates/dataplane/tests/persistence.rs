//! The persistence tables as userspace sees them, after what packets did to them.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod support;
use std::net::IpAddr;

use keel_dataplane::PersistenceRow;
use support::{
    Rig, now_ns,
    packet::{Pkt, SYN, ip},
};

const STICKY: &str = "persistence = { by = \"source\", timeout = \"60s\", prefix4 = 24, prefix6 = 64 }";

fn service(name: &str, vip: &str, keys: &str, servers: [&str; 2]) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nmode = \"dr\"\nscheduler = \"rr\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n[[service.server]]\nname = \"s1\"\naddress = \"{}\"\n\
         [[service.server]]\nname = \"s2\"\naddress = \"{}\"\n",
        servers[0], servers[1]
    )
}

fn both() -> String {
    service("four", "192.168.2.200", STICKY, ["192.168.2.101", "192.168.2.102"])
        + &service("six", "fd00:2::200", STICKY, ["fd00:2::101", "fd00:2::102"])
}

fn rows(rig: &Rig, now_ns: u64) -> Vec<PersistenceRow> {
    let mut rows = Vec::new();
    rig.dataplane.persistence(now_ns, |row| rows.push(row)).unwrap();
    rows.sort_by_key(|row| row.client);
    rows
}

fn clients(rig: &Rig) -> Vec<(IpAddr, bool)> {
    rows(rig, now_ns()).iter().map(|row| (row.client, row.proved)).collect()
}

#[test]
fn every_client_that_sticks_is_listed_once_with_its_server_and_its_time() {
    let rig = Rig::new(&both());
    let server = rig.open("192.0.2.7:1000", "192.168.2.200:80");
    rig.open("192.0.2.9:1000", "192.168.2.200:80");
    rig.open("[2001:db8::7]:1000", "[fd00:2::200]:80");
    rig.went_to(&Pkt::tcp("192.0.3.7:1000", "192.168.2.200:80", SYN));
    let expected = [(ip("192.0.2.0"), true), (ip("192.0.3.0"), false), (ip("2001:db8::"), true)];
    assert_eq!(clients(&rig), expected);
    let all = rows(&rig, now_ns());
    let address = rig.dataplane.shadow().servers[&all[0].server].addr;
    assert_eq!(IpAddr::from(address), ip(&format!("192.168.2.{server}")));
    assert_ne!(all[0].service, all[2].service);
    let left = all[0].expires_ns - now_ns();
    assert!((55_000_000_000..=60_000_000_000).contains(&left), "{left}");
    assert_eq!(rows(&rig, now_ns() + 61_000_000_000), [], "who is away too long is free");
}

#[test]
fn a_client_whose_server_is_out_is_not_listed() {
    let mut rig = Rig::new(&both());
    rig.open("192.0.2.7:1000", "192.168.2.200:80");
    rig.open("192.0.3.7:1000", "192.168.2.200:80");
    let text =
        both().replacen("address = \"192.168.2.101\"", "address = \"192.168.2.101\"\nstate = \"halt\"", 1);
    rig.apply(&text);
    assert_eq!(rows(&rig, now_ns()).len(), 1);
    rig.apply(&text.replace("\"halt\"", "\"drain\""));
    assert_eq!(rows(&rig, now_ns()).len(), 2, "draining honours persistence");
}

#[test]
fn forgotten_clients_are_scheduled_anew_and_others_keep_their_server() {
    let rig = Rig::new(&both());
    let first = rig.open("192.0.2.7:1000", "192.168.2.200:80");
    let second = rig.open("192.0.3.7:1000", "192.168.2.200:80");
    rig.open("[2001:db8::7]:1000", "[fd00:2::200]:80");
    rig.went_to(&Pkt::tcp("192.0.4.7:1000", "192.168.2.200:80", SYN));
    let four = rows(&rig, now_ns())[0].service;
    assert_eq!(
        rig.dataplane
            .forget_clients(now_ns(), |slot, client| slot == four && client == ip("192.0.2.0"))
            .unwrap(),
        1
    );
    assert_eq!(clients(&rig).len(), 3);
    let anew: Vec<u8> = (0..4)
        .map(|port| {
            let server = rig.went_to(&Pkt::tcp(&format!("192.0.2.7:{port}"), "192.168.2.200:80", SYN));
            rig.dataplane.forget_clients(now_ns(), |_, client| client == ip("192.0.2.0")).unwrap();
            server
        })
        .collect();
    assert!(anew.iter().any(|server| *server != first), "{anew:?}");
    assert_eq!(rig.open("192.0.3.7:2000", "192.168.2.200:80"), second, "the others keep theirs");
    assert!(rig.dataplane.forget_clients(now_ns(), |slot, _| slot == four).unwrap() == 2);
    assert_eq!(clients(&rig), [(ip("2001:db8::"), true)]);
}
