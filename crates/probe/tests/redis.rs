//! Redis, against redis-server and against servers that lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread,
    time::Duration,
};

use keel_pool::Outcome;
use support::{
    Kept,
    certificates::identity,
    liar::{Lie, liar},
    server::{Server, free_port},
};

fn redis(args: &[&str]) -> (Server, u16) {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder.path());
    let mut server =
        Server::start(command.args(["--port", &port.to_string()]).args(args), "redis-server", folder);
    server.wait_for(port);
    (server, port)
}

/// Answers every piece that comes with the next of these.
fn scripted(answers: &'static [&'static [u8]]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            for answer in answers {
                if matches!(stream.read(&mut buffer), Ok(1..)) {
                    let _ = stream.write_all(answer);
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    port
}

#[tokio::test]
async fn a_primary_answers_and_a_replica_refuses_writes() {
    let (_primary, port) = redis(&[]);
    let kept = Kept::default();
    kept.good("type = \"redis\"", port, "PONG").await;
    kept.good("type = \"redis\"\nwritable = true", port, "it is the primary").await;
    let (_replica, replica) = redis(&["--replicaof", "127.0.0.1", &port.to_string()]);
    kept.good("type = \"redis\"", replica, "PONG").await;
    let words = format!("it is a replica of 127.0.0.1:{port}: writes are refused");
    kept.bad("type = \"redis\"\nwritable = true", replica, &words).await;
    // Its primary isn't there, and what it has may be old.
    let gone = free_port().to_string();
    let (_orphan, orphan) = redis(&["--replicaof", "127.0.0.1", &gone, "--replica-serve-stale-data", "no"]);
    kept.bad("type = \"redis\"", orphan, "it is a replica that has lost its primary: MASTERDOWN").await;
}

#[tokio::test]
async fn a_login_is_accepted_or_refused_in_words() {
    let (_server, port) = redis(&["--requirepass", "s3cret", "--user", "probe", "on", ">pr0be", "+ping"]);
    let kept = Kept::secret("redis", "s3cret\n");
    kept.good("type = \"redis\"\nsecret = \"redis\"", port, "login accepted, PONG").await;
    kept.good("type = \"redis\"\nsecret = \"redis\"\nwritable = true", port, "it is the primary").await;
    kept.bad("type = \"redis\"", port, "it asks for a password, and the check has no `secret`: NOAUTH").await;
    kept.bad("type = \"redis\"\nuser = \"nobody\"\nsecret = \"redis\"", port, "login refused: WRONGPASS")
        .await;
    let probe = Kept::secret("redis", "pr0be");
    let health = "type = \"redis\"\nuser = \"probe\"\nsecret = \"redis\"";
    probe.good(health, port, "login accepted").await;
    probe.bad(&format!("{health}\nwritable = true"), port, "the user may not ask this: NOPERM").await;
    let (_, steps) = probe.traced(health, port).await;
    assert!(steps.iter().all(|step| !step.text.contains("pr0be")), "{steps:?}");
}

#[tokio::test]
async fn what_a_server_repeats_of_a_password_is_not_shown() {
    const LONG: &str = "correct-horse-battery-staple-and-some-more-of-it";
    let health = "type = \"redis\"\nuser = \"probe\"\nsecret = \"redis\"";
    let said = format!("-ERR unknown command 'AUTH', with args beginning with: 'probe' '{LONG}' \r\n");
    let cases: [(&str, &'static [u8]); 2] =
        [(LONG, said.leak().as_bytes()), ("x7q2", b"-ERR what is x7q2 meant to be, x7q2?\r\n")];
    for (secret, answer) in cases {
        let port = scripted(Vec::leak(vec![answer]));
        let (answer, steps) = Kept::secret("redis", secret).traced(health, port).await;
        assert_eq!(answer.outcome, Some(Outcome::Bad), "{answer:?}");
        assert!(answer.reason.contains("login refused: ERR") && answer.reason.contains('…'), "{answer:?}");
        let head = &secret[..4];
        assert!(!answer.reason.contains(head), "{answer:?}");
        assert!(steps.iter().all(|step| !step.text.contains(head)), "{steps:?}");
    }
}

#[tokio::test]
async fn redis_is_asked_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    identity(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let tls_port = free_port().to_string();
    let (mut server, _) = redis(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        cert.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
        "--tls-auth-clients",
        "no",
    ]);
    let port = tls_port.parse().unwrap();
    server.wait_for(port);
    let kept = Kept { authorities: folder.path().to_owned(), ..Kept::default() };
    let answer = kept.asked("type = \"redis\"\ntls = true\nverify = true\nca = \"cert.pem\"", port).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(answer.certificate_ends.is_some());
}

#[tokio::test]
async fn whoever_is_no_redis_is_bad_in_time() {
    let kept = Kept::secret("redis", "s3cret");
    for lie in Lie::ALL {
        for health in ["", "secret = \"redis\"\n"] {
            kept.bad(&format!("type = \"redis\"\ntimeout = \"300ms\"\n{health}"), liar(lie), "").await;
        }
    }
}

#[tokio::test]
async fn answers_that_lie_about_their_lengths_are_refused() {
    let kept = Kept::default();
    let health = "type = \"redis\"\nwritable = true\ntimeout = \"500ms\"";
    let cases: [(&'static [u8], &str); 9] = [
        (b"$16777216\r\n", "more than 65536 bytes"),
        (b"$18446744073709551615\r\n", "more than 65536 bytes"),
        (b"*-2\r\n", "no Redis server"),
        (b"*0\r\n", "ROLE"),
        (b"*1000000000\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "lists in lists"),
        (b"*3\r\n$6\r\nmaster!!\r\n", "longer than it says"),
        (b"$-1\r\n", "answered ROLE with \"nothing\""),
        (b"*1\r\n$8\r\nsentinel\r\n", "its role is sentinel"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it is still loading its data: LOADING"),
    ];
    for (answer, words) in cases {
        let answers = Box::leak(Box::new([&b"+PONG\r\n"[..], answer]));
        kept.bad(health, scripted(answers), words).await;
    }
    let endless: &'static [u8] = Box::leak([&b"*99999\r\n"[..], &b":1\r\n".repeat(4000)].concat().into());
    kept.bad(health, scripted(Box::leak(Box::new([&b"+PONG\r\n"[..], endless]))), "more than 1024 values")
        .await;
    kept.bad("type = \"redis\"", scripted(&[b"-LOADING wait\r\n"]), "it is still loading").await;
}
