//! SIP: kamailio, and servers that lie. Package: kamailio.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, net::TcpListener, process::Command, time::Duration};

use keel_pool::Outcome;
use support::speaker::{answer_streams, datagrams};
use support::{
    Kept,
    server::{Server, free_port},
};

const UDP: &str = "type = \"sip\"\ntimeout = \"3s\"\n";
const TCP: &str = "type = \"sip\"\nudp = false\ntimeout = \"3s\"\n";

fn kamailio() -> (Server, u16) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let text = format!(
        "debug=1\nlog_stderror=yes\nchildren=1\ntcp_children=1\nlisten=udp:127.0.0.1:{port}\n\
         listen=tcp:127.0.0.1:{port}\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\nrequest_route {{\n  \
         if (method==\"OPTIONS\" && $rU==\"gone\") {{ sl_send_reply(\"404\",\"Not here\"); exit; }}\n  \
         if (method==\"OPTIONS\") {{ sl_send_reply(\"200\",\"OK\"); exit; }}\n  sl_send_reply(\"405\",\"No\");\n}}\n"
    );
    let config = folder.path().join("kamailio.cfg");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-m", "16", "-M", "4", "-f"]).arg(config).arg("-Y").arg(folder.path());
    let mut server = Server::start(&mut command, "kamailio", folder);
    server.wait_for(port);
    (server, port)
}

#[tokio::test]
async fn kamailio_answers_options_over_udp_and_tcp() {
    let (_server, port) = kamailio();
    let kept = Kept::default();
    for over in [UDP, TCP] {
        kept.good(over, port, "SIP 200").await;
        kept.good(&format!("{over}uri = \"sip:probe@example.org\""), port, "SIP 200").await;
        let gone = format!("{over}uri = \"sip:gone@example.org\"");
        kept.bad(&gone, port, "SIP 404 Not here, expected 2xx").await;
        let smuggling = format!("{over}uri = \"sip:a\\r\\nVia: x\"");
        assert_eq!(kept.asked(&smuggling, port).await.outcome, None);
    }
}

/// An answer to the request: its Via, Call-ID and CSeq, as they were.
fn answer(request: &[u8], status: &str, more: &str) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let kept: Vec<_> = request
        .lines()
        .filter(|line| ["Via:", "Call", "CSeq"].contains(&line.get(..4).unwrap_or("")))
        .collect();
    format!("SIP/2.0 {status}\r\n{}\r\n{more}\r\n", kept.join("\r\n")).into_bytes()
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again_and_a_provisional_answer_waited_out() {
    let kept = Kept::default();
    let mut heard = 0;
    let forgetful = datagrams(move |request| {
        heard += 1;
        if heard == 1 { Vec::new() } else { vec![answer(request, "200 OK", "")] }
    });
    let answered = kept.asked(UDP, forgetful).await;
    assert_eq!(answered.outcome, Some(Outcome::Good), "{answered:?}");
    assert!(answered.took >= Duration::from_millis(500), "{answered:?}");
    let trying =
        datagrams(|request| vec![answer(request, "100 Trying", ""), answer(request, "204 Fine", "")]);
    kept.good(UDP, trying, "SIP 204").await;
    let only_trying = datagrams(|request| vec![answer(request, "100 Trying", "")]);
    let short = UDP.replace("3s", "300ms");
    kept.bad(&short, only_trying, "no answer in 300ms while waiting for the answer to OPTIONS").await;
}

#[tokio::test]
async fn other_answers_are_not_ours() {
    let kept = Kept::default();
    let short = UDP.replace("3s", "300ms");
    let changed = |from: &'static str, to: &'static str| {
        datagrams(move |request| {
            let text = String::from_utf8(answer(request, "200 OK", "")).unwrap();
            vec![text.replace(from, to).into_bytes()]
        })
    };
    for (from, to) in [("Call-ID: ", "Call-ID: x"), ("1 OPTIONS", "2 OPTIONS"), ("z9hG4bK", "z9hG4bKx")] {
        kept.bad(&short, changed(from, to), "what came was none").await;
    }
    kept.bad(UDP, datagrams(|request| vec![answer(request, "503 Full", "")]), "SIP 503 Full").await;
    let mixed = datagrams(|request| vec![b"junk".to_vec(), request.to_vec(), answer(request, "200 OK", "")]);
    kept.good(UDP, mixed, "SIP 200").await;
}

#[tokio::test]
async fn bytes_over_tcp_are_doubted() {
    let kept = Kept::default();
    let server = |answer: fn(&[u8]) -> Vec<u8>| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        answer_streams(listener, answer);
        port
    };
    let provisional = server(|request| {
        let trying = answer(request, "100 Trying", "Content-Length: 4\r\n");
        [b"\r\n\r\n", trying.as_slice(), b"body", &answer(request, "200 OK", "l: 0\r\n")].concat()
    });
    kept.good(TCP, provisional, "SIP 200").await;
    let body = server(|request| answer(request, "100 Trying", "Content-Length: 99999999999\r\n"));
    kept.bad(TCP, body, "more than 65536 bytes").await;
    let body = server(|request| answer(request, "100 Trying", "Content-Length: -1\r\n"));
    kept.bad(TCP, body, "a body of \"-1\" bytes").await;
    let other = server(|request| {
        String::from_utf8(answer(request, "200 OK", "")).unwrap().replace("1 OPT", "7 OPT").into_bytes()
    });
    kept.bad(TCP, other, "answered another request than ours").await;
    let endless = server(|_| [&b"SIP/2.0 200 OK\r\n"[..], &b"a: b\r\n".repeat(50_000)].concat());
    kept.bad(TCP, endless, "more than 65536 bytes").await;
    kept.bad(TCP, server(|_| b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n".to_vec()), "no SIP answer")
        .await;
}

#[tokio::test]
async fn whoever_refuses_is_bad() {
    let kept = Kept::default();
    kept.bad(UDP, free_port(), "connection refused").await;
}
