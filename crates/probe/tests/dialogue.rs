//! Send and expect.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{io::Write, net::TcpListener, thread};

use support::{
    Kept,
    liar::{Lie, liar},
    server::free_port,
};

/// Greets, and answers each line with another.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _ = writer.write_all(b"220 hello\r\n");
                for line in std::io::BufRead::lines(std::io::BufReader::new(stream)) {
                    let Ok(line) = line else { return };
                    let _ = writer.write_all(format!("250 you said {line}\r\n").as_bytes());
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_dialogue_goes_turn_by_turn() {
    let kept = Kept::default();
    let port = greeter();
    kept.good("type = \"connect\"", port, "connection opens").await;
    kept.good("type = \"tcp\"\nexpect = \"220\"", port, "answered as expected").await;
    let turns = "type = \"tcp\"\ndialogue = [\"expect 220\", \"send a\\r\\n\", \"match said a\\r\", \"send b\\r\\n\", \"expect said b\"]";
    kept.good(turns, port, "answered as expected").await;
    let wrong = "type = \"tcp\"\ntimeout = \"300ms\"\ndialogue = [\"expect 220\", \"expect 220\"]";
    kept.bad(wrong, port, "no answer in 300ms while waiting for the expected answer").await;
}

#[tokio::test]
async fn what_was_said_instead_is_told() {
    let kept = Kept::default();
    kept.bad("type = \"tcp\"\nexpect = \"220\"", liar(Lie::Close), "closed without a word, expected \"220\"")
        .await;
    kept.bad("type = \"connect\"", free_port(), "connection refused").await;
}

#[tokio::test]
async fn a_datagram_that_is_refused_is_bad_and_silence_is_not() {
    let kept = Kept::default();
    let silent = liar(Lie::Hang);
    kept.good("type = \"udp\"\nsend = \"x\"\ntimeout = \"200ms\"", silent, "no refusal").await;
    kept.bad(
        "type = \"udp\"\nsend = \"x\"\nexpect = \"y\"\ntimeout = \"200ms\"",
        silent,
        "no answer in 200ms",
    )
    .await;
    kept.bad("type = \"udp\"\nsend = \"x\"\ntimeout = \"500ms\"", free_port(), "connection refused").await;
}
