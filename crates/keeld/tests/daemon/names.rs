//! Servers given by name.

use std::time::{Duration, Instant};

use crate::machine::{Machine, SMALL, eventually, mode};

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
