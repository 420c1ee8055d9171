//! A process that commits without pause is killed fifty times; the store it leaves is always in order.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test, like the test itself")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use keel_store::{Commit, Store};

/// Tells the child where its store is.
const HOME: &str = "KEEL_STORE_TEST_HOME";
const ROUNDS: u64 = 50;

fn open(home: &Path) -> Store {
    Store::open_at(&home.join("etc"), &home.join("lib"), Timestamp::UNIX_EPOCH).unwrap().0
}

/// A text that tells its number and is longer than a page.
fn text(number: u64) -> String {
    format!("# {number}\n").repeat(2000)
}

fn number_in(text: &str) -> u64 {
    text.lines().next().map_or(0, |line| line.trim_start_matches("# ").parse().unwrap())
}

/// The child's work.
fn commit_until_killed(home: &Path) {
    let mut store = open(home);
    let mut acknowledge = std::io::stderr();
    for number in number_in(store.running_text()) + 1.. {
        let text = text(number);
        // Every third waits to be confirmed, so that its file is written too; the next but one confirms.
        let confirm_by = (number % 3 == 0).then_some(Timestamp::MAX);
        let commit = Commit {
            text: &text,
            expected: Some(store.current().number),
            who: "ann",
            confirm_by,
            ..Commit::default()
        };
        store.commit(&commit).unwrap();
        if number % 3 == 2 && store.pending().is_some() {
            store.confirm().unwrap();
        }
        writeln!(acknowledge, "acknowledged {number}").unwrap();
    }
}

/// Runs the child until it has acknowledged one commit and then some time longer; returns its last acknowledgement.
fn run_and_kill(home: &Path, longer: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_fifty_times_the_store_is_always_in_order", "--nocapture"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: &str| line.strip_prefix("acknowledged ").and_then(|n| n.parse().ok());
    let first = lines.find_map(|line| number(&line)).expect("the child commits");
    thread::sleep(longer);
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(|line| number(&line)).last().unwrap_or(first)
}

#[test]
fn killed_fifty_times_the_store_is_always_in_order() {
    // The child is this very test, told by its environment what it is.
    if let Some(home) = std::env::var_os(HOME) {
        return commit_until_killed(Path::new(&home));
    }
    let home = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        // Spread over the few milliseconds that a commit takes, so that every step is hit.
        let acknowledged = run_and_kill(home.path(), Duration::from_micros(round * 7919 % 20_000));
        let store = open(home.path());
        let found = number_in(store.running_text());
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{found} found, {acknowledged} acknowledged"
        );
        assert_eq!(store.running_text(), text(found));
        assert_eq!(store.edited_on_disk().unwrap(), None);
        let history = store.history(20).unwrap();
        assert_eq!(history[0].number, store.current().number);
        for pair in history.windows(2) {
            assert_eq!((pair[0].parent, pair[0].number), (pair[1].number, pair[1].number + 1));
            assert_eq!(number_in(&store.text_of(pair[0].number).unwrap()), pair[0].number - 1);
        }
    }
}
