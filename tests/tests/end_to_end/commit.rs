//! Changes that go back by themselves, revisions, and edits that meet.

use keel_lab::Topology;
use keel_tests::{Rig, Service, config, eventually};
use nix::sys::signal::Signal;

const VIP: &str = "192.168.2.200:80";

fn with_servers(count: u8) -> String {
    let web = Service::new("web", "192.168.2.200", "80").with("scheduler = \"rr\"");
    config(&[web.servers("192.168.2.10", count)])
}

/// How many servers take new connections.
fn in_use(rig: &Rig) -> usize {
    rig.shares(VIP.parse().unwrap(), 6).len()
}

fn rig(test: &str) -> Rig {
    let rig = Rig::up(test, Topology::OneArm);
    rig.apply(&with_servers(3));
    rig
}

#[test]
fn an_unconfirmed_commit_goes_back_by_itself_and_a_confirmed_one_stays() {
    let rig = rig("confirm");
    let before = rig.revision();
    let said = rig.keel_fed(&["apply", "-", "--confirm", "2s"], &with_servers(2)).ok();
    assert!(said.contains("confirm"), "{said}");
    assert_eq!(in_use(&rig), 2);
    assert!(rig.status().pending_confirm.is_some());
    eventually("it goes back", || rig.status().pending_confirm.is_none());
    rig.settle();
    assert_eq!(in_use(&rig), 3);
    assert_eq!(rig.revision(), before + 2, "going back is a revision too");
    assert_eq!(rig.read("/etc/evenkeel/cluster.toml"), with_servers(3));

    rig.keel_fed(&["apply", "-", "--confirm", "3s"], &with_servers(1)).ok();
    rig.keel(&["config", "confirm"]).ok();
    assert!(rig.status().pending_confirm.is_none());
    // Once the time of a second commit is over, that of the confirmed one is too.
    rig.keel(&["server", "set", "web", "rs1", "--weight", "5", "--confirm", "3s"]).ok();
    eventually("the second goes back", || rig.status().pending_confirm.is_none());
    assert_eq!(in_use(&rig), 1);
    assert_eq!(rig.service("web").servers[0].weight, 100);
    rig.keel(&["config", "confirm"]).failed(5);
}

#[test]
fn an_unconfirmed_commit_goes_back_though_keeld_was_away_when_its_time_came() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let rig = rig(&format!("confirm-{}", signal as i32));
        rig.keel_fed(&["apply", "-", "--confirm", "2s"], &with_servers(1)).ok();
        rig.end_daemon(signal);
        assert_eq!(in_use(&rig), 1, "nobody is there to go back");
        rig.start_daemon(&rig.program());
        eventually("it goes back", || rig.status().pending_confirm.is_none());
        rig.settle();
        assert_eq!(in_use(&rig), 3);
        assert_eq!(rig.read("/etc/evenkeel/cluster.toml"), with_servers(3));
    }
}

#[test]
fn history_diff_and_rollback_know_every_revision() {
    let rig = rig("history");
    let first = rig.revision();
    rig.keel(&["server", "set", "web", "rs1", "--weight", "7", "--why", "a smaller machine"]).ok();
    rig.keel(&[
        "service",
        "add",
        "more",
        "--address",
        "192.168.2.201",
        "--ports",
        "80",
        "--server",
        "a=192.168.2.101",
    ])
    .ok();
    let history = rig.keel(&["config", "history"]).ok();
    assert!(history.contains("a smaller machine") && history.contains("root"), "{history}");
    let [from, to] = [first, first + 1].map(|number| number.to_string());
    let diff = rig.keel(&["config", "diff", &from, &to]).ok();
    assert!(diff.contains("weight") && diff.contains('7') && !diff.contains("more"), "{diff}");
    rig.settle();
    assert_eq!(rig.shares("192.168.2.201:80".parse().unwrap(), 2).len(), 1);
    rig.keel(&["config", "rollback", &from]).ok();
    assert_eq!(rig.revision(), first + 3);
    assert_eq!(rig.keel(&["config", "show"]).ok(), with_servers(3));
    assert!(rig.http(None, "192.168.2.201:80".parse().unwrap()).is_err(), "the service is gone again");
    let error = rig.keel(&["config", "rollback", "99"]).failed(1);
    assert!(error.contains("99") && error.contains("history"), "{error}");
    let again = rig.keel_fed(&["apply", "-"], &with_servers(3)).ok();
    assert_eq!(rig.revision(), first + 3, "the same again is no change: {again}");
}

#[test]
fn the_slower_of_two_editors_is_told_what_the_quicker_one_did() {
    let rig = rig("editors");
    let base = rig.revision().to_string();
    rig.keel_fed(&["config", "edit", "--file", "-"], &with_servers(1)).ok();
    rig.keel(&["server", "drain", "web", "rs2", "--if-revision", &base]).ok();
    let error = rig.keel(&["server", "drain", "web", "rs3", "--if-revision", &base]).failed(5);
    assert!(error.contains("rs2") && error.contains("drain"), "{error}");
    let error = rig.keel(&["config", "commit"]).failed(5);
    assert!(error.contains("rs2"), "the candidate was made before that: {error}");
    let state = |number: usize| rig.service("web").servers[number].admin.to_string();
    assert_eq!((state(1), state(2)), ("drain".to_owned(), "online".to_owned()));
    let error = rig.keel(&["service", "add", "web", "--address", "192.168.2.9", "--ports", "1"]);
    assert!(error.code == 3 || error.code == 5, "{error:?}");
    rig.keel(&["config", "discard"]).ok();
    rig.keel(&["config", "commit"]).failed(5);
}

#[test]
fn an_edit_on_disk_is_shown_and_in_force_after_a_restart() {
    let rig = rig("on-disk");
    let before = rig.revision();
    rig.write("/etc/evenkeel/cluster.toml", &format!("# by hand\n{}", with_servers(2)));
    let status = rig.keel(&["status"]).ok();
    assert!(status.contains("edited on disk"), "{status}");
    assert_eq!(in_use(&rig), 3);
    let error = rig.keel(&["server", "drain", "web", "rs1"]).failed(5);
    assert!(error.contains("edited on disk") && error.contains("keel apply"), "{error}");
    rig.end_daemon(Signal::SIGTERM);
    rig.start_daemon(&rig.program());
    assert_eq!((in_use(&rig), rig.revision()), (2, before + 1));
    assert!(!rig.keel(&["status"]).ok().contains("edited on disk"));
    assert!(rig.keel(&["config", "show"]).ok().starts_with("# by hand\n"));
    rig.write("/etc/evenkeel/cluster.toml", &with_servers(1));
    rig.keel(&["apply", "/etc/evenkeel/cluster.toml"]).ok();
    assert_eq!((in_use(&rig), rig.revision()), (1, before + 2));
}

#[test]
fn a_broken_file_on_disk_leaves_the_last_good_revision_in_force() {
    let rig = rig("broken");
    let before = rig.revision();
    rig.end_daemon(Signal::SIGKILL);
    rig.write("/etc/evenkeel/cluster.toml", &with_servers(2).replace("ports", "prots"));
    rig.start_daemon(&rig.program());
    let log = rig.log();
    assert!(log.contains("service[0].prots") && log.contains("last good revision"), "{log}");
    assert_eq!((in_use(&rig), rig.revision()), (3, before));
    let status = rig.keel(&["status"]).ok();
    assert!(status.contains("edited on disk"), "{status}");
    rig.write("/etc/evenkeel/cluster.toml", "not = [toml");
    assert_eq!(rig.keel(&["apply", "/etc/evenkeel/cluster.toml"]).code, 3);
    assert_eq!(in_use(&rig), 3);
}
