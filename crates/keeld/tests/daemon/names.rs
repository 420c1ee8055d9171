//! Servers given by name.

use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;

use crate::{
    machine::{Machine, SMALL, eventually, mode},
    name_server::{Mood, NameServer},
};

const HOSTS: &str = "127.0.0.1 localhost\n10.0.0.1 rs1.example\n";

fn web(weight: u16) -> String {
    format!(
        "{SMALL}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\n\n[[service.server]]\n\
         name = \"rs1\"\naddress = \"rs1.example\"\nweight = {weight}\n"
    )
}

#[test]
fn a_restart_without_name_servers_keeps_the_last_addresses() {
    let mut machine = Machine::new();
    machine.write("hosts", HOSTS);
    machine.start();
    assert!(machine.apply(&web(1)).warnings.is_empty());
    let address = |machine: &Machine| machine.services()[0].servers[0].ip;
    assert_eq!(address(&machine), Some("10.0.0.1".parse().unwrap()));
    eventually("the answer is written down", || machine.read("state/names.json").contains("rs1.example"));
    assert_eq!(mode(&machine.path("state/names.json")), 0o600);

    machine.write("hosts", "127.0.0.1 localhost\n");
    let _mute = machine.mute_name_server();
    machine.restart();
    assert_eq!(address(&machine), Some("10.0.0.1".parse().unwrap()));
    eventually("the status says so", || {
        let warnings = machine.status().warnings;
        let about = warnings.iter().find(|warning| warning.subject == "web/rs1");
        about.is_some_and(|w| {
            w.text.contains("name not resolved: rs1.example") && w.text.contains("is used on")
        })
    });
}

#[test]
fn a_slow_name_server_holds_up_neither_a_change_nor_an_answer() {
    let mut machine = Machine::new();
    let _mute = machine.mute_name_server();
    machine.start();
    let started = Instant::now();
    let done = machine.apply(&web(1));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let warning = &done.warnings[0];
    assert_eq!(warning.path, "service[0].server[0].address");
    assert!(warning.text.starts_with("name not resolved: rs1.example: no answer"), "{warning:?}");

    // The look-up in the background is under way for seconds.
    for _ in 0..20 {
        let started = Instant::now();
        let server = machine.services().remove(0).servers.remove(0);
        assert!(server.reason.starts_with("name not resolved: "), "{}", server.reason);
        assert!(machine.status().warnings.iter().any(|w| w.subject == "web/rs1"));
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }

    machine.write("hosts", HOSTS);
    assert!(machine.apply(&web(2)).warnings.is_empty());
    assert_eq!(machine.services()[0].servers[0].ip, Some("10.0.0.1".parse().unwrap()));

    // A resolver that is still waiting doesn't hold up the end.
    let started = Instant::now();
    machine.restart();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn two_names_of_one_machine_are_one_server_and_it_is_said() {
    let mut machine = Machine::new();
    machine.write("hosts", &format!("{HOSTS}10.0.0.1 alias.example\n"));
    machine.start();
    let text = web(1) + "\n[[service.server]]\nname = \"rs2\"\naddress = \"alias.example\"\n";
    let done = machine.apply(&text);
    let warned = &done.warnings[0];
    assert_eq!(warned.path, "service[0].server[1].address");
    assert!(warned.text.contains("alias.example is at 10.0.0.1, where rs1 is already"), "{warned:?}");
    let reasons: Vec<String> =
        machine.services()[0].servers.iter().map(|server| server.reason.clone()).collect();
    assert!(!reasons[0].starts_with("not used") && reasons[1].starts_with("not used: "), "{reasons:?}");
    let warnings = machine.status().warnings;
    let warning = warnings.iter().find(|warning| warning.subject == "web/rs2").unwrap();
    assert_eq!(warning.remedy.as_deref(), Some("remove one of the two: keel server rm web rs2"));

    machine.write("hosts", &format!("{HOSTS}10.0.0.2 alias.example\n"));
    machine.restart();
    eventually("it has moved", || !machine.services()[0].servers[1].reason.starts_with("not used"));
}

const RESOLV_CONF: &str = "nameserver 127.0.0.1\n";

/// One service with these servers, by name.
fn services(names: &[&str]) -> String {
    let mut text =
        format!("{SMALL}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\n");
    for (i, name) in names.iter().enumerate() {
        text += &format!("\n[[service.server]]\nname = \"rs{}\"\naddress = \"{name}\"\n", i + 1);
    }
    text
}

/// A machine that asks a name server at this address, which is its own.
fn with_name_server(address: &str) -> (Machine, NameServer) {
    let machine = Machine::new();
    machine.write("resolv.conf", RESOLV_CONF);
    let names = machine.within(|| NameServer::at(&format!("{address}:53")));
    (machine, names)
}

fn address(machine: &Machine, server: usize) -> Option<String> {
    machine.services()[0].servers[server].ip.map(|ip| ip.to_string())
}

fn warning(machine: &Machine, subject: &str) -> Option<String> {
    let warnings = machine.status().warnings;
    warnings.into_iter().find(|warning| warning.subject == subject).map(|warning| warning.text)
}

#[test]
fn a_server_follows_its_name_as_often_as_the_ttl_says() {
    let (mut machine, names) = with_name_server("127.0.0.1");
    names.set("often.example", 2, &["10.0.0.1"]);
    names.set("seldom.example", 300, &["10.0.0.2"]);
    machine.start();
    let done = machine.apply(&services(&["often.example", "seldom.example"]));
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    assert_eq!(
        (address(&machine, 0), address(&machine, 1)),
        (Some("10.0.0.1".into()), Some("10.0.0.2".into()))
    );

    let before = names.asked_for("often.example");
    eventually("the TTL is over", || names.asked_for("often.example") > before);
    let seldom = names.asked_for("seldom.example");
    names.set("often.example", 2, &["10.0.0.3"]);
    names.set("seldom.example", 300, &["10.0.0.4"]);
    let moved = Instant::now();
    eventually("the server has moved", || address(&machine, 0).as_deref() == Some("10.0.0.3"));
    assert!(moved.elapsed() < Duration::from_secs(5), "{:?}", moved.elapsed());
    eventually("it is asked for again and again", || names.asked_for("often.example") > before + 3);
    assert_eq!(names.asked_for("seldom.example"), seldom, "nothing is asked before its time");
    assert_eq!(address(&machine, 1).as_deref(), Some("10.0.0.2"));
}

#[test]
fn a_name_server_that_falls_silent_leaves_the_last_answer_and_it_is_said() {
    let (mut machine, names) = with_name_server("127.0.0.1");
    names.set("rs1.example", 2, &["10.0.0.1"]);
    machine.start();
    machine.apply(&services(&["rs1.example"]));
    for (mood, words) in [
        (Mood::Silent, "no answer from the name server 127.0.0.1 within 4s"),
        (
            Mood::Refusing(ResponseCode::ServFail),
            "the name server 127.0.0.1 says that it can't find out (SERVFAIL)",
        ),
    ] {
        names.be(mood);
        eventually(words, || {
            warning(&machine, "web/rs1").is_some_and(|text| {
                text.starts_with(&format!("name not resolved: rs1.example: {words}; the address of "))
                    && text.ends_with(", 10.0.0.1, is used on")
            })
        });
        assert_eq!(address(&machine, 0).as_deref(), Some("10.0.0.1"));
    }
    names.be(Mood::Helpful);
    names.forget("rs1.example");
    eventually("a name that is gone keeps its address too", || {
        warning(&machine, "web/rs1")
            .is_some_and(|text| text.contains("127.0.0.1 says the name doesn't exist; the address"))
    });
    assert_eq!(address(&machine, 0).as_deref(), Some("10.0.0.1"));

    names.set("rs1.example", 2, &["10.0.0.2"]);
    eventually("it has moved", || address(&machine, 0).as_deref() == Some("10.0.0.2"));
    assert_eq!(warning(&machine, "web/rs1"), None);
}

#[test]
fn names_that_have_answers_do_not_wait_for_those_that_have_none() {
    let (mut machine, names) = with_name_server("127.0.0.1");
    let silent: Vec<String> = (1..=60).map(|i| format!("dead{i}.example")).collect();
    silent.iter().for_each(|name| names.ignore(name));
    names.set("rs1.example", 2, &["10.0.0.1"]);
    machine.start();
    let all: Vec<&str> = ["rs1.example"].into_iter().chain(silent.iter().map(String::as_str)).collect();
    machine.apply(&services(&all));
    eventually("they fail, a few at a time", || {
        let warnings = machine.status().warnings;
        warnings.iter().any(|w| w.text.contains("no answer from the name server 127.0.0.1 within 4s"))
    });
    for address_now in ["10.0.0.2", "10.0.0.3"] {
        names.set("rs1.example", 2, &[address_now]);
        let moved = Instant::now();
        eventually("it has moved", || address(&machine, 0).as_deref() == Some(address_now));
        assert!(moved.elapsed() < Duration::from_secs(5), "{:?}", moved.elapsed());
    }
}

#[test]
fn other_name_servers_in_resolv_conf_are_asked_at_once() {
    let (mut machine, names) = with_name_server("127.0.0.1");
    let others = machine.in_the_world(|| NameServer::at("10.0.0.1:53"));
    names.set("rs1.example", 3600, &["10.0.0.1"]);
    others.set("rs1.example", 3600, &["10.0.0.2"]);
    others.set("rs2.lab.example", 3600, &["10.0.0.3"]);
    machine.start();
    machine.apply(&services(&["rs1.example", "rs2"]));
    assert_eq!(address(&machine, 0).as_deref(), Some("10.0.0.1"));
    assert_eq!(address(&machine, 1), None);

    machine.write("resolv.conf", "nameserver 10.0.0.1\nsearch lab.example\n");
    eventually("the other one is asked", || address(&machine, 0).as_deref() == Some("10.0.0.2"));
    eventually("its domain is searched", || address(&machine, 1).as_deref() == Some("10.0.0.3"));
    assert_eq!(warning(&machine, "web/rs2"), None);

    machine.write("resolv.conf", "# nobody\n");
    eventually("without one it is said", || {
        warning(&machine, "web/rs1")
            .is_some_and(|text| text.contains("there is no name server to ask: /etc/resolv.conf lists none"))
    });
    assert_eq!(address(&machine, 0).as_deref(), Some("10.0.0.2"));

    machine.write("hosts", "127.0.0.1 localhost\n10.0.0.4 rs1.example\n");
    eventually("/etc/hosts needs none", || address(&machine, 0).as_deref() == Some("10.0.0.4"));
}

#[test]
fn the_name_servers_of_node_toml_are_asked_instead() {
    let (mut machine, names) = with_name_server("127.0.0.1");
    let given = machine.in_the_world(|| NameServer::at("10.0.0.1:53"));
    names.set("rs1.example", 60, &["10.0.0.1"]);
    given.set("rs1.example", 60, &["10.0.0.2"]);
    given.set("rs2.lab.example", 60, &["10.0.0.3"]);
    let node = machine.read("etc/node.toml");
    machine.write(
        "etc/node.toml",
        &format!("{node}\n[dns]\nservers = [\"10.0.0.1\"]\nsearch = [\"lab.example\"]\n"),
    );
    machine.start();
    machine.apply(&services(&["rs1.example", "rs2", "rs3"]));
    eventually("they answer", || {
        address(&machine, 0).as_deref() == Some("10.0.0.2")
            && address(&machine, 1).as_deref() == Some("10.0.0.3")
    });
    assert_eq!(names.asked_for("rs1.example"), 0);
    let warnings = machine.status().warnings;
    let about = warnings.iter().find(|warning| warning.subject == "web/rs3").unwrap();
    assert!(
        about.remedy.as_deref().is_some_and(|remedy| remedy.starts_with("`host rs3 10.0.0.1`")),
        "{about:?}"
    );
}
