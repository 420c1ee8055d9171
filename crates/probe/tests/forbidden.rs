//! A firewall before the server that forbids the connection and says so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use keel_pool::Outcome;
use keel_probe::{Answer, Asker, Place, Trace, ask};
use nix::sched::{CloneFlags, unshare};
use support::{Kept, place};

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
}

/// What a check finds at a server whose firewall answers with this message of ICMP, in a namespace of its own.
fn rejected(with: &'static str, address: &'static str) -> Answer {
    let apart = thread::spawn(move || {
        // Of this thread alone; it is gone when the thread ends.
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs CAP_SYS_ADMIN");
        run("ip", &["link", "set", "lo", "up"]);
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = format!(
            "table inet f {{ chain i {{ type filter hook input priority 0; tcp dport {port} reject with {with}; }}; }}"
        );
        run("nft", &[&rules]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // On the loopback the first refusal comes while the kernel is still sending, and counts with the second one.
        let question = Kept::default().question("type = \"connect\"\ntimeout = \"3s\"").unwrap();
        let place = Place { address: address.parse().unwrap(), ..place(port) };
        runtime.block_on(ask(&question, &place, &Asker::default(), &mut Trace::quiet()))
    });
    apart.join().unwrap()
}

#[test]
fn a_firewall_that_forbids_the_connection_takes_the_server_down() {
    for with in ["icmpv6 type admin-prohibited", "icmpv6 type policy-fail", "icmpv6 type reject-route"] {
        let answer = rejected(with, "::1");
        assert_eq!(answer.outcome, Some(Outcome::Bad), "{with}: {answer:?}");
        assert!(answer.reason.contains("forbids"), "{with}: {answer:?}");
    }
    let answer = rejected("icmp type admin-prohibited", "127.0.0.1");
    assert_eq!(answer.outcome, Some(Outcome::Bad), "{answer:?}");
}
