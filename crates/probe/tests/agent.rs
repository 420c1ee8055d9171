//! Feedback agents, over TCP and by HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use keel_pool::Outcome;
use support::{
    Kept,
    liar::{Lie, liar},
    server::free_port,
};

/// Says `text` to whoever comes, after it heard something if `first`; it stays until the other one goes.
fn agent(text: &'static str, first: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 1024];
            if first && stream.read(&mut buffer).is_err() {
                continue;
            }
            let _ = stream.write_all(text.as_bytes());
            if text.ends_with('\n') {
                let _ = stream.read(&mut buffer);
            }
        }
    });
    port
}

/// The check of an agent on this port. The server's own port matters nothing.
fn check(port: u16, more: &str) -> String {
    format!("type = \"agent\"\nagent_port = {port}\ntimeout = \"400ms\"\n{more}")
}

#[tokio::test]
async fn agents_tell_state_and_share() {
    let kept = Kept::default();
    let asked = async |text, more: &str| {
        let answer = kept.asked(&check(agent(text, !more.is_empty()), more), free_port()).await;
        (answer.outcome, answer.share, answer.reason)
    };
    let (good, drain, bad) = (Some(Outcome::Good), Some(Outcome::Drain), Some(Outcome::Bad));
    assert_eq!(asked("75%\n", "").await, (good, Some(75), "the agent says 75%".to_owned()));
    assert_eq!(asked("up ready 40%", "").await, (good, Some(40), "the agent says up, 40%".to_owned()));
    assert_eq!(asked("drain\r\n", "").await, (drain, None, "the agent says drain".to_owned()));
    assert_eq!(asked("0\n", "").await, (drain, Some(0), "the agent says 0%".to_owned()));
    let down = "the agent says down: disk full".to_owned();
    assert_eq!(asked("down # disk full\n", "").await, (bad, None, down));
    assert_eq!(asked("up\n", "send = \"state?\\n\"").await, (good, None, "the agent says up".to_owned()));
    let puzzled = "the agent said \"EHLO there\", which is not understood".to_owned();
    assert_eq!(asked("EHLO there\n", "").await, (bad, None, puzzled));
}

#[tokio::test]
async fn agents_are_asked_by_http() {
    let kept = Kept::default();
    let path = "agent_path = \"/load?x=1\"";
    let share = agent("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\nup 12%\n", true);
    let answer = kept.asked(&check(share, path), free_port()).await;
    assert_eq!((answer.outcome, answer.share), (Some(Outcome::Good), Some(12)), "{answer:?}");
    let missing = agent("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true);
    kept.bad(&check(missing, path), free_port(), "the agent answered HTTP 404, expected 200").await;
    let empty = agent("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true);
    kept.bad(&check(empty, path), free_port(), "the agent said nothing").await;
}

#[tokio::test]
async fn what_an_agent_says_beside_is_noted() {
    let port = agent("up maxconn:30\n", false);
    let (_, steps) = Kept::default().traced(&check(port, ""), free_port()).await;
    let noted = steps.iter().any(|step| step.text == "the agent also said \"maxconn:30\", which is not used");
    assert!(noted, "{steps:?}");
}

#[tokio::test]
async fn agents_that_lie_are_bad() {
    let kept = Kept::default();
    for more in ["", "send = \"x\"", "agent_path = \"/\""] {
        for lie in Lie::ALL {
            let began = Instant::now();
            let answer = kept.asked(&check(liar(lie), more), free_port()).await;
            assert_eq!(answer.outcome, Some(Outcome::Bad), "{lie:?} {more}: {answer:?}");
            assert!(began.elapsed() < Duration::from_secs(2), "{lie:?} {more}");
        }
    }
    kept.bad(&check(free_port(), ""), free_port(), "connection refused").await;
    kept.bad(&check(liar(Lie::FloodLine), ""), free_port(), "more than 4096 bytes while waiting").await;
}
