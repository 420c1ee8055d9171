//! How checks take leave: a server must not find its connection reset, which it may note at every check.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustls::{ServerConnection, StreamOwned};
use support::{Kept, certificates::Shown};

type Ends = Receiver<std::io::Result<usize>>;

/// Answers what comes first, and tells how each connection ended.
fn server(greeting: &'static [u8], answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> (u16, Ends) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, ends) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut room = [0; 4096];
            let _ = stream.write_all(greeting);
            if greeting.is_empty()
                && let Ok(length) = stream.read(&mut room)
            {
                let _ = stream.write_all(&answer(&room[..length]));
            }
            let _ = sender.send(stream.read(&mut room));
        }
    });
    (port, ends)
}

/// The check is made, and the server sees the connection's end.
async fn ends_well(health: &str, (port, ends): (u16, Ends)) {
    let answer = Kept::default().asked(health, port).await;
    let end = tokio::task::spawn_blocking(move || ends.recv_timeout(Duration::from_secs(10)).unwrap());
    let end = end.await.unwrap();
    assert!(matches!(end, Ok(0)), "{health}: {end:?}, {answer:?}");
}

fn dns(request: &[u8]) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[4] |= 0x80;
    answer
}

fn sip(request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let repeated = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = request.lines().filter(|line| repeated.iter().any(|name| line.starts_with(name)));
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn checks_say_goodbye() {
    let none = |_: &[u8]| Vec::new();
    let confirmed = |_: &[u8]| vec![3, 0, 0, 19, 14, 0xD0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 1, 0, 0, 0];
    ends_well("type = \"tcp\"\nexpect = \"220\"", server(b"220 hello\r\n", none)).await;
    ends_well("type = \"rdp\"", server(b"", confirmed)).await;
    ends_well("type = \"dns\"\nquery = \"www.example.org\"\nover_tcp = true", server(b"", dns)).await;
    ends_well("type = \"sip\"\nudp = false", server(b"", sip)).await;
    let agent = server(b"up 50%\r\n", none);
    ends_well(&format!("type = \"agent\"\nagent_port = {}", agent.0), agent).await;
}

/// Programs count clients that connect and say nothing: MySQL refuses a host after a hundred of them.
#[tokio::test]
async fn a_connection_that_only_opens_is_nothing_to_the_servers_program() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = Kept::default();
    for _ in 0..5 {
        kept.good("type = \"connect\"", port, "connection opens").await;
    }
    let accepted = listener.accept();
    assert!(accepted.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    // And one that does say something is accepted, so the listener would have seen them.
    kept.bad(
        "type = \"http\"\ntimeout = \"100ms\"",
        port,
        "no answer in 100ms while waiting for the HTTP answer",
    )
    .await;
    listener.accept().unwrap();
}

#[tokio::test]
async fn a_handshake_ends_with_a_goodbye_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, ends) = channel();
    let config = Shown::alone("web.example.org").config();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            // Without close_notify this is an unexpected end.
            let _ = sender.send(stream.read(&mut [0; 64]));
        }
    });
    ends_well("type = \"tls\"", (port, ends)).await;
}
