//! Send and expect.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{io::Write, net::TcpListener, thread, time::Duration};

use keel_probe::{Asker, Trace, ask};
use support::{
    Kept,
    liar::{Lie, liar},
    place,
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

/// Says these with a little time between them, and then what an endless iterator brings.
fn in_pieces(pieces: &'static [&'static str], then: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            for piece in pieces {
                let _ = stream.write_all(piece.as_bytes());
                thread::sleep(Duration::from_millis(10));
            }
            let bytes = then.iter().cycle().take_while(|byte| stream.write_all(&[**byte]).is_ok());
            bytes.for_each(|_| thread::sleep(Duration::from_micros(100)));
        }
    });
    port
}

#[tokio::test]
async fn a_pattern_does_not_depend_on_pieces() {
    let kept = Kept::default();
    let port = in_pieces(&["OK", "AY, but it FAILED"], b"");
    kept.bad("type = \"tcp\"\ndialogue = [\"match ^OK$\"]", port, "answered \"OKAY, but it FAILED\"").await;
    kept.bad("type = \"tcp\"\nexpect_regex = \"^OK$\"", port, "answered \"OKAY, but it FAILED\"").await;
    let port = in_pieces(&["250-o", "ne\r\n250 tw", "o\r\n"], b"");
    let turns = r#"dialogue = ["match ^250-.*", "match ^\\s+250 .*", "match ^\\s+$"]"#;
    kept.good(&format!("type = \"tcp\"\n{turns}"), port, "answered as expected").await;
    // At the end, and where it pauses, what came is all.
    kept.good("type = \"tcp\"\nexpect_regex = \"^OK$\"", in_pieces(&["O", "K"], b""), "answered").await;
    let silent = scripted(b"OK");
    kept.good("type = \"tcp\"\nexpect_regex = \"^OK$\"", silent, "answered").await;
    kept.good("type = \"tcp\"\nexpect_regex = \"^OK$\"\ntimeout = \"60ms\"", silent, "answered").await;
}

/// Says this and waits.
fn scripted(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(text);
            let _ = std::io::Read::read(&mut stream, &mut [0; 64]);
        }
    });
    port
}

/// What this thread has worked.
fn worked() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[tokio::test]
async fn a_server_that_sends_single_bytes_keeps_nobody_busy() {
    let kept = Kept::default();
    let junk: &'static str = String::leak("junk".repeat(12_000));
    let port = in_pieces(Vec::leak(vec![junk]), b"junk");
    for wanted in ["expect = \"said by nobody\"", "expect_regex = \"said by [a-z]+body\""] {
        let question = kept.question(&format!("type = \"tcp\"\ntimeout = \"1s\"\n{wanted}")).unwrap();
        let before = worked();
        let answer = ask(&question, &place(port), &Asker::default(), &mut Trace::quiet()).await;
        let worked = worked() - before;
        assert!(answer.reason.contains("no answer in 1s"), "{wanted}: {answer:?}");
        assert!(worked < Duration::from_millis(250), "{wanted}: {worked:?}");
    }
    let (_, steps) = kept.traced("type = \"tcp\"\ntimeout = \"1s\"\nexpect = \"said by nobody\"", port).await;
    assert!(steps.len() < 600, "{} steps", steps.len());
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
    let answer = kept.asked("type = \"udp\"\nsend = \"x\"\ntimeout = \"1s\"", silent).await;
    assert!(answer.took >= Duration::from_millis(900), "a refusal may come late: {answer:?}");
    kept.bad(
        "type = \"udp\"\nsend = \"x\"\nexpect = \"y\"\ntimeout = \"200ms\"",
        silent,
        "no answer in 200ms",
    )
    .await;
    kept.bad("type = \"udp\"\nsend = \"x\"\ntimeout = \"500ms\"", free_port(), "connection refused").await;
}
