//! What the journal says about commits, confirmations and roll-backs.

use std::time::Duration;

use keel_api::Intent;
use nix::sys::signal::Signal;

use crate::machine::{Machine, SMALL, eventually};

/// The journal's lines, shortened to who, what and whether.
fn journal(machine: &Machine) -> Vec<String> {
    let line = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}: {}", part("who"), part("action"), part("subject"), part("outcome"))
    };
    machine.read("state/audit/audit.jsonl").lines().map(line).collect()
}

fn to_be_confirmed(machine: &Machine, text: &str, seconds: u64) {
    let intent = Intent { confirm: Some(Duration::from_secs(seconds)), ..Intent::default() };
    machine.ask(async |client| client.apply(text, &intent).await).unwrap();
}

#[test]
fn commits_confirmations_and_roll_backs_are_all_written_down() {
    let mut machine = Machine::new();
    machine.start();
    to_be_confirmed(&machine, &format!("# two\n{SMALL}"), 600);
    machine.ask(async |client| client.confirm().await).unwrap();
    machine.ask(async |client| client.confirm().await).unwrap_err();
    to_be_confirmed(&machine, &format!("# three\n{SMALL}"), 2);
    machine.write("etc/cluster.toml", "[[service]]\nnme = \"web\"\n");
    eventually("it goes back", || machine.status().revision == 4);
    machine.ask(async |client| client.rollback(1, &Intent::default()).await).unwrap();
    assert_eq!(machine.read("etc/cluster.toml"), SMALL);
    assert_eq!(machine.read("etc/cluster.toml.edited-3"), "[[service]]\nnme = \"web\"\n");

    to_be_confirmed(&machine, &format!("# six\n{SMALL}"), 1);
    machine.end(Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(1100));
    machine.start();
    let expected = [
        "root commit revision 2: done",
        "root confirm revision 2: done",
        "root confirm : refused",
        "root commit revision 3: done",
        "evenkeel rollback revision 4: done",
        "root rollback revision 5: done",
        "root commit revision 6: done",
        "evenkeel rollback revision 7: done",
    ];
    assert_eq!(journal(&machine), expected);
}

#[test]
fn an_edit_taken_up_at_the_start_is_written_down() {
    let mut machine = Machine::new();
    machine.start();
    machine.end(Signal::SIGTERM);
    machine.write("etc/cluster.toml", &format!("# two\n{SMALL}"));
    machine.start();
    assert_eq!(journal(&machine), ["root commit revision 2: done"]);
}
