//! Whom a machine asks, in which order, and what is said when nobody knows.
use std::time::Instant;

use super::*;
use crate::lookup::name_server::{Mood, NameServer};
use hickory_resolver::proto::op::ResponseCode;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn asked(name: &str, v6: bool) -> Asked {
    Asked { name: name.to_owned(), v6 }
}

/// As many name servers as there are addresses, and a machine that asks them.
fn setup<const N: usize>(addresses: [&str; N], search: &[&str]) -> ([NameServer; N], Setup) {
    let running = addresses.map(|address| NameServer::at(&format!("{address}:0")));
    let manner = Manner { over_tcp: false, edns: false };
    let servers = running.iter().map(|server| Server::new(server.address(), manner).unwrap()).collect();
    let search = search.iter().map(|domain| (*domain).to_owned()).collect();
    (running, Setup { hosts: Hosts::default(), servers: Ok(servers), search, ndots: 1 })
}

async fn look_up(setup: &Setup, name: &str, v6: bool) -> Result<(IpAddr, u64), String> {
    setup.look_up(&asked(name, v6)).await.map(|found| (found.address, found.ttl.as_secs()))
}

#[test]
fn the_preferred_family_and_then_the_lowest_address_is_chosen() {
    let addresses: Vec<IpAddr> = ["fd00::1", "10.0.0.2", "10.0.0.1"].map(ip).into();
    assert_eq!(choose(&addresses, false), Some(addresses[2]));
    assert_eq!(choose(&addresses, true), Some(addresses[0]));
    assert_eq!(choose(&addresses[1..], true), Some(addresses[2]), "another family is better than none");
    assert_eq!(choose(&[], true), None);
}

#[tokio::test]
async fn the_other_family_is_asked_for_only_if_there_is_none_of_the_preferred() {
    let ([running], setup) = setup(["127.0.0.1"], &[]);
    running.set("both.example", 60, &["fd00::2", "10.0.0.2", "fd00::1", "10.0.0.1"]);
    running.set("four.example", 30, &["10.0.0.4"]);
    assert_eq!(look_up(&setup, "both.example", false).await, Ok((ip("10.0.0.1"), 60)));
    assert_eq!(running.asked_for_kind("both.example", RecordType::AAAA), 0);
    assert_eq!(look_up(&setup, "both.example", true).await, Ok((ip("fd00::1"), 60)));
    assert_eq!(look_up(&setup, "four.example", true).await, Ok((ip("10.0.0.4"), 30)));
    let why = look_up(&setup, "none.example", true).await.unwrap_err();
    assert_eq!(why, "the name server 127.0.0.1 says the name doesn't exist");
    assert_eq!(running.asked_for("none.example"), 1, "no such name is none of either family");
    running.set("empty.example", 60, &[]);
    let why = look_up(&setup, "empty.example", false).await.unwrap_err();
    assert_eq!(why, "the name has no address, says the name server 127.0.0.1");
    running.set("blocked.example", 60, &["0.0.0.0"]);
    let why = look_up(&setup, "blocked.example", false).await.unwrap_err();
    assert!(why.contains("gives 0.0.0.0, which is the unspecified address"), "{why}");
}

#[tokio::test]
async fn a_name_server_that_fails_or_is_slow_is_not_waited_for_if_there_is_another() {
    let ([first, second], setup) = setup(["127.0.0.1", "127.0.0.2"], &[]);
    second.set("rs1.example", 60, &["10.0.0.1"]);
    for mood in [Mood::Refusing(ResponseCode::ServFail), Mood::Raving, Mood::Silent] {
        first.be(mood);
        let started = Instant::now();
        assert_eq!(look_up(&setup, "rs1.example", false).await, Ok((ip("10.0.0.1"), 60)), "{mood:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{mood:?}: {:?}", started.elapsed());
    }
    let before = second.asked_for("rs1.example");
    first.be(Mood::Helpful);
    first.set("rs1.example", 60, &["10.0.0.9"]);
    assert_eq!(look_up(&setup, "rs1.example", false).await, Ok((ip("10.0.0.9"), 60)), "they have an order");
    assert_eq!(second.asked_for("rs1.example"), before);
}

#[tokio::test]
async fn who_failed_and_how_is_said_of_each() {
    let ([first, second], setup) = setup(["127.0.0.1", "127.0.0.2"], &[]);
    first.be(Mood::Silent);
    second.be(Mood::Refusing(ResponseCode::Refused));
    assert_eq!(
        look_up(&setup, "rs1.example", false).await.unwrap_err(),
        "no answer from the name server 127.0.0.1 within 4s; the name server 127.0.0.2 refuses to answer (REFUSED)"
    );
    second.be(Mood::Silent);
    assert_eq!(
        look_up(&setup, "rs1.example", false).await.unwrap_err(),
        "no answer from the name servers 127.0.0.1, 127.0.0.2 within 4s"
    );
}

#[tokio::test]
async fn domains_are_searched_until_one_has_the_name() {
    let ([running], setup) = setup(["127.0.0.1"], &["corp.example", "lab.example"]);
    running.set("rs1.lab.example", 60, &["10.0.0.1"]);
    running.set("rs2.dc", 60, &["10.0.0.2"]);
    running.set("rs2.dc.corp.example", 60, &["10.0.0.3"]);
    assert_eq!(look_up(&setup, "rs1", false).await, Ok((ip("10.0.0.1"), 60)));
    assert_eq!(
        look_up(&setup, "rs2.dc", false).await,
        Ok((ip("10.0.0.2"), 60)),
        "with a dot as it stands first"
    );
    running.forget("rs2.dc");
    assert_eq!(look_up(&setup, "rs2.dc", false).await, Ok((ip("10.0.0.3"), 60)));
    let why = look_up(&setup, "rs9", false).await.unwrap_err();
    assert_eq!(
        why,
        "the name server 127.0.0.1 says the name doesn't exist (nor is there rs9.corp.example, rs9.lab.example)"
    );
}

#[tokio::test]
async fn a_failure_is_no_reason_to_take_another_name_or_family() {
    let ([running], mut setup) = setup(["127.0.0.1"], &["corp.example"]);
    setup.ndots = 2;
    running.set("rs1.dc", 60, &["10.0.0.1", "fd00::1"]);
    running.be(Mood::Refusing(ResponseCode::ServFail));
    assert!(look_up(&setup, "rs1.dc", false).await.unwrap_err().contains("SERVFAIL"));
    assert_eq!(running.asked_for("rs1.dc.corp.example"), 1);
    assert_eq!(running.asked_for_kind("rs1.dc.corp.example", RecordType::AAAA), 0);
    assert_eq!(running.asked_for("rs1.dc"), 0);
}

#[tokio::test]
async fn what_the_machine_knows_itself_is_asked_of_nobody() {
    let ([running], mut setup) = setup(["127.0.0.1"], &[]);
    setup.hosts = Hosts::parse("10.0.0.1 rs1.example\n10.0.0.2 localhost\n");
    running.set("rs1.example", 60, &["fd00::1"]);
    assert_eq!(look_up(&setup, "rs1.example", true).await, Ok((ip("10.0.0.1"), ALWAYS.as_secs())));
    assert_eq!(look_up(&setup, "localhost", false).await, Ok((ip("10.0.0.2"), ALWAYS.as_secs())));
    assert_eq!(look_up(&setup, "rs.localhost", true).await, Ok((ip("::1"), ALWAYS.as_secs())));
    assert_eq!(running.asked_for("rs1.example"), 0);
}

fn files(folder: &Path) -> Files {
    Files { hosts: folder.join("hosts"), resolv_conf: folder.join("resolv.conf") }
}

fn servers(resolver: &Resolver) -> Result<Vec<IpAddr>, String> {
    let setup = resolver.current().setup.clone();
    setup.servers.as_ref().map(|servers| servers.iter().map(|s| s.address).collect()).map_err(Clone::clone)
}

#[test]
fn files_are_read_again_when_they_change_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    std::fs::write(&files.resolv_conf, "nameserver 192.0.2.1\n").unwrap();
    let resolver = Resolver::new(files.clone(), Dns::default());
    assert_eq!(servers(&resolver), Ok(vec![ip("192.0.2.1")]));
    let first = resolver.refresh();
    assert_eq!(resolver.refresh(), first);
    std::fs::write(&files.resolv_conf, "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(resolver.refresh(), first, "it says the same");

    std::fs::write(&files.resolv_conf, "nameserver 192.0.2.12\n").unwrap();
    let second = resolver.refresh();
    assert_ne!(second, first);
    assert_eq!(servers(&resolver), Ok(vec![ip("192.0.2.12")]));

    std::fs::write(&files.hosts, "10.0.0.1 rs1\n").unwrap();
    let third = resolver.refresh();
    assert_ne!(third, second);
    assert_eq!(resolver.current().setup.hosts.addresses("rs1"), [ip("10.0.0.1")]);

    std::fs::remove_file(&files.resolv_conf).unwrap();
    assert_ne!(resolver.refresh(), third);
    let why = servers(&resolver).unwrap_err();
    assert!(why.contains("resolv.conf can't be read (No such file"), "{why}");
}

#[test]
fn a_file_without_name_servers_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    for (text, words) in [
        ("search corp.example\n", "resolv.conf lists none, and node.toml has none under [dns]"),
        ("nameserver fe80::1%eth0\n", "resolv.conf lists only fe80::1%eth0, and neither link-local"),
    ] {
        std::fs::write(&files.resolv_conf, text).unwrap();
        let why = servers(&Resolver::new(files.clone(), Dns::default())).unwrap_err();
        assert!(why.starts_with("there is no name server to ask: ") && why.contains(words), "{why}");
    }
}

#[test]
fn what_node_toml_gives_takes_the_place_of_the_systems() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    std::fs::write(&files.resolv_conf, "nameserver 192.0.2.1\nsearch corp.example\noptions ndots:3\n")
        .unwrap();
    let given = |servers: &[&str], search: &[&str]| Dns {
        servers: servers.iter().map(|server| ip(server)).collect(),
        search: search.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    for (dns, expected, search) in [
        (given(&[], &[]), vec![ip("192.0.2.1")], "corp.example"),
        (given(&["192.0.2.7", "fd00::7"], &[]), vec![ip("192.0.2.7"), ip("fd00::7")], "corp.example"),
        (given(&[], &["lab.example"]), vec![ip("192.0.2.1")], "lab.example"),
        (given(&["192.0.2.7"], &["lab.example"]), vec![ip("192.0.2.7")], "lab.example"),
    ] {
        let resolver = Resolver::new(files.clone(), dns);
        assert_eq!(servers(&resolver), Ok(expected));
        let setup = resolver.current().setup.clone();
        assert_eq!((setup.search.as_slice(), setup.ndots), ([search.to_owned()].as_slice(), 3));
    }
    std::fs::remove_file(&files.resolv_conf).unwrap();
    assert_eq!(servers(&Resolver::new(files, given(&["192.0.2.7"], &[]))), Ok(vec![ip("192.0.2.7")]));
}
