//! A lab comes up whole or not at all, labs of different names live side by side, and none leaves anything behind.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{bare, binaries, eventually, get, lab};
use keel_lab::{Lab, LabError, Options, Topology, running};

const OWNER: &str = "KEEL_TEST_LAB_OWNER";

/// The processes in the lab's nodes.
fn inhabitants(lab: &Lab) -> Vec<u32> {
    let number = |path: &str| fs::metadata(path).ok().map(|data| data.ino());
    let processes = || {
        let entries = fs::read_dir("/proc").unwrap();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for node in &lab.state().nodes {
        let here = lab.within(&node.name, || Ok(number("/proc/thread-self/ns/net"))).unwrap();
        assert!(here.is_some());
        all.extend(processes().into_iter().filter(|pid| number(&format!("/proc/{pid}/ns/net")) == here));
    }
    all
}

/// A program without an executable is one that ended and is not collected yet.
fn runs(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn machine() -> Vec<String> {
    let output = |command: &[&str]| {
        let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    vec![
        output(&["ip", "netns"]),
        output(&["ip", "-br", "link"]),
        output(&["ip", "addr"]),
        output(&["hostname"]),
        fs::read_to_string("/proc/self/mounts").unwrap(),
    ]
}

fn is_up(prefix: &str) -> bool {
    running().iter().any(|lab| lab.prefix == prefix)
}

#[test]
fn down_leaves_nothing_behind() {
    let before = machine();
    let lab = lab("down", Topology::Pair);
    let prefix = lab.state().prefix.clone();
    let folder = format!("/run/evenkeel-lab/{prefix}");
    let mut sleeper = lab.spawn("client", &["sleep", "1000"]).unwrap();
    let processes = inhabitants(&lab);
    assert!(processes.len() > 10 && processes.iter().all(|pid| runs(*pid)), "{processes:?}");
    assert!(Path::new(&folder).exists() && is_up(&prefix));
    lab.down().unwrap();
    assert!(!sleeper.wait().unwrap().success(), "it was not ended");
    let left: Vec<&u32> = processes.iter().filter(|pid| runs(**pid)).collect();
    assert!(left.is_empty(), "processes {left:?} are left");
    assert!(!Path::new(&folder).exists() && !is_up(&prefix));
    assert_eq!(machine(), before);
}

#[test]
fn a_failed_up_names_the_step_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    symlink(binaries().join("keel-lab"), folder.path().join("keel-lab")).unwrap();
    let daemon = folder.path().join("keeld");
    fs::write(&daemon, "#!/bin/sh\necho the daemon is unwell\nexit 1\n").unwrap();
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options { appliance: true, binaries: Some(folder.path().to_path_buf()), ..bare("failed") };
    let before = machine();
    let error = Lab::up(Topology::OneArm, &options).unwrap_err().to_string();
    assert!(error.contains("keeld on lb1") && error.contains("the daemon is unwell"), "{error}");
    assert!(!is_up(&options.prefix));
    assert!(!Path::new("/run/evenkeel-lab").join(&options.prefix).exists());
    assert_eq!(machine(), before);
}

#[test]
fn labs_of_different_names_live_side_by_side() {
    let (first, second) = (lab("side-a", Topology::OneArm), lab("side-b", Topology::Tunnel));
    first.exec("rs1", &["rm", "/run/web/pages/health"]).unwrap();
    assert_eq!(get(&second, "http://10.9.0.101/health"), "CB_IS_OKAY rs1\n");
    drop(first);
    assert_eq!(get(&second, "http://10.9.0.101/"), "rs1\n");
}

#[test]
fn a_name_is_taken_only_once() {
    let lab = lab("twice", Topology::OneArm);
    let again = Lab::up(Topology::OneArm, &bare("twice"));
    assert!(matches!(again, Err(LabError::Exists { .. })), "{again:?}");
    assert_eq!(get(&lab, "http://192.168.2.101/"), "rs1\n");
}

#[test]
fn unknown_labs_and_nodes_are_told() {
    let lab = lab("unknown", Topology::OneArm);
    let error = lab.exec("rs9", &["true"]).unwrap_err().to_string();
    assert!(error.contains("no node `rs9`; it has") && error.contains("rs2"), "{error}");
    let error = Lab::open("no-such-lab").unwrap_err().to_string();
    assert!(error.contains("keel-lab list"), "{error}");
    assert!(matches!(Lab::open("../etc"), Err(LabError::BadPrefix { .. })));
}

/// Runs itself once more as a process that makes a lab and is then ended without any chance to tidy up.
#[test]
fn a_lab_ends_with_the_process_that_made_it() {
    if let Ok(prefix) = std::env::var(OWNER) {
        let _lab = Lab::up(Topology::OneArm, &Options { prefix, ..bare("owned") }).unwrap();
        std::process::abort();
    }
    let prefix = format!("owned-{}", std::process::id());
    let owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_lab_ends_with_the_process_that_made_it"])
        .env(OWNER, &prefix)
        .output()
        .unwrap();
    assert!(!owner.status.success());
    assert!(Path::new("/run/evenkeel-lab").join(&prefix).exists(), "the lab was never made");
    eventually("the lab's nodes end", || !is_up(&prefix));
    Lab::open(&prefix).unwrap().down().unwrap();
}

#[test]
fn the_command_line_makes_lists_uses_and_removes_a_lab() {
    let prefix = format!("cli-{}", std::process::id());
    let program = || Command::new(binaries().join("keel-lab"));
    // The folder is found from where the command is called, not from where a lab's processes run.
    let arguments = ["up", "--no-appliance", "--servers", "1", "--binaries", ".", "--prefix", &prefix];
    let up = program().current_dir(binaries()).args(arguments).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let list = program().args(["list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let lab = list.as_array().unwrap().iter().find(|lab| lab["prefix"] == prefix.as_str()).unwrap();
    assert_eq!(lab["topology"], "one-arm");
    assert_eq!(lab["nodes"][4]["links"][0]["ipv6"], "fd00:2::101");
    let status = ["exec", "rs1", "--prefix", &prefix, "--", "sh", "-c", "exit 7"];
    assert_eq!(program().args(status).status().unwrap().code(), Some(7));
    let echo = ["exec", "--prefix", &prefix, "client", "--", "curl", "-s", "http://192.168.2.101/"];
    assert_eq!(program().args(echo).output().unwrap().stdout, b"rs1\n");
    assert!(program().args(["down", "--prefix", &prefix]).status().unwrap().success());
    assert!(!program().args(["down", "--prefix", &prefix]).status().unwrap().success());
}

#[test]
fn a_lab_in_the_foreground_goes_when_it_is_told_to() {
    let prefix = format!("front-{}", std::process::id());
    let mut lab = Command::new(binaries().join("keel-lab"))
        .args(["up", "--no-appliance", "--foreground", "--servers", "1", "--prefix", &prefix])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("ready")));
    assert!(is_up(&prefix));
    Command::new("sh").args(["-c", &format!("kill -INT {}", lab.id())]).status().unwrap();
    assert!(lab.wait().unwrap().success());
    assert!(!Path::new("/run/evenkeel-lab").join(&prefix).exists());
}
