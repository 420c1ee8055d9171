//! DNS: nsd, and servers that lie. Package: nsd.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    process::Command,
};

use keel_pool::Outcome;
use support::speaker::{answer_datagrams, answer_streams, datagrams};
use support::{
    Kept,
    server::{Server, free_port},
};

/// `many` has more than a datagram holds.
fn zone() -> String {
    let many: String = (0..200).map(|last| format!("many A 192.0.2.{last}\n")).collect();
    format!(
        "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\n@ MX 10 mail\n\
         ns A 192.0.2.53\nwww A 192.0.2.7\nwww A 192.0.2.8\nwww AAAA 2001:db8::7\nweb CNAME www\n\
         text TXT \"v=spf1 \" \"-all\"\n_sip._udp SRV 0 5 5060 sip\nsip A 192.0.2.60\n{many}"
    )
}

fn nsd() -> (Server, u16) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = folder.path().display().to_string();
    fs::write(folder.path().join("forward"), zone()).unwrap();
    let reverse = "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 60\n@ SOA ns.example.org. h.example.org. 1 60 60 60 60\n\
                   @ NS ns.example.org.\n7 PTR www.example.org.\n";
    fs::write(folder.path().join("reverse"), reverse).unwrap();
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n\
         \x20 zonesdir: \"{path}\"\n  database: \"\"\n  zonelistfile: \"{path}/zone.list\"\n\
         \x20 xfrdfile: \"{path}/xfrd.state\"\n  xfrdir: \"{path}\"\n  pidfile: \"\"\n  logfile: \"{path}/nsd.log\"\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: example.org\n  zonefile: forward\n\
         zone:\n  name: 2.0.192.in-addr.arpa\n  zonefile: reverse\n"
    );
    let config = folder.path().join("nsd.conf");
    fs::write(&config, text).unwrap();
    let mut server = Server::start(Command::new("nsd").args(["-d", "-c"]).arg(config), "nsd", folder);
    server.wait_for(port);
    (server, port)
}

fn check(query: &str, record: &str, more: &str) -> String {
    format!("type = \"dns\"\nquery = \"{query}\"\nrecord = \"{record}\"\n{more}")
}

#[tokio::test]
async fn nsd_answers_every_type_over_udp_and_tcp() {
    let (_server, port) = nsd();
    let kept = Kept::default();
    for over in ["", "over_tcp = true\n"] {
        for (query, record, expected) in [
            ("www.example.org", "A", "192.0.2.8"),
            ("WWW.Example.Org", "AAAA", "2001:DB8:0::7"),
            ("example.org", "MX", "10 mail.example.org"),
            ("example.org", "NS", "NS.example.org."),
            ("example.org", "SOA", "ns.example.org hostmaster.example.org 7 3600 600 86400 60"),
            ("text.example.org", "TXT", "v=spf1 -all"),
            ("_sip._udp.example.org", "SRV", "0 5 5060 sip.example.org"),
            ("192.0.2.7", "PTR", "www.example.org"),
            ("web.example.org", "CNAME", "www.example.org"),
            ("web.example.org", "A", "192.0.2.7"),
        ] {
            let expect = format!("{over}expect = \"{expected}\"");
            kept.good(&check(query, record, &expect), port, "answered as expected").await;
            let wrong = format!("{over}expect = \"wrong\"");
            kept.bad(&check(query, record, &wrong), port, ", expected wrong").await;
        }
        kept.good(&check("www.example.org", "A", over), port, "answers A www.example.org").await;
        let none = check("none.example.org", "A", over);
        kept.bad(&none, port, "NXDOMAIN: none.example.org does not exist").await;
        kept.bad(&check("www.example.org", "MX", over), port, "no MX record for www.example.org").await;
        kept.bad(&check("www.example.net", "A", over), port, "REFUSED").await;
    }
    let (answer, steps) =
        kept.traced(&check("many.example.org", "A", "expect = \"192.0.2.199\""), port).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(steps.iter().any(|step| step.text.contains("truncated")), "it should not fit into a datagram");
}

/// The question as an answer: without EDNS, with these flags.
fn answered(question: &[u8], flags: u8, code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80 | flags;
    answer[3] = code;
    // Additional records are none, and the last eleven bytes are EDNS.
    if answer[11] == 1 {
        answer[11] = 0;
        answer.truncate(answer.len() - 11);
    }
    answer
}

/// The same with an address, whose name is a pointer to `at`.
fn with_address(question: &[u8], at: u8) -> Vec<u8> {
    let mut answer = answered(question, 0, 0);
    answer[7] = 1;
    answer.extend_from_slice(&[0xC0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    answer
}

#[tokio::test]
async fn answers_are_doubted() {
    let kept = Kept::default();
    let www = check("www.example.org", "A", "timeout = \"400ms\"");
    kept.good(&www, datagrams(|question| vec![with_address(question, 12)]), "answers A").await;
    let servfail = datagrams(|question| vec![answered(question, 0, 2)]);
    kept.bad(&www, servfail, "SERVFAIL: the server can't answer").await;
    let other_id = datagrams(|question| {
        let mut answer = with_address(question, 12);
        answer[0] ^= 1;
        vec![answer]
    });
    kept.bad(&www, other_id, "no answer in 400ms while waiting for an answer to this question").await;
    // Somebody else's answers before the server's own.
    let contested = datagrams(|question| {
        let mut forged = answered(question, 0, 3);
        forged[1] ^= 1;
        vec![Vec::new(), forged, question.to_vec(), with_address(question, 12)]
    });
    kept.good(&www, contested, "answers A").await;
    let other_question = datagrams(|question| {
        let mut answer = with_address(question, 12);
        answer[13] = b'x';
        vec![answer]
    });
    kept.bad(&www, other_question, "answered another question than was asked").await;
    // The name of the record points to itself, and after itself.
    let question_length = 12 + "www.example.org".len() as u8 + 2 + 4;
    for at in [question_length, question_length + 1, 255] {
        let loops = datagrams(move |question| vec![with_address(question, at)]);
        kept.bad(&www, loops, "the answer is broken").await;
    }
    let counts = datagrams(|question| {
        let mut answer = answered(question, 0, 0);
        answer[6..12].fill(0xFF);
        vec![answer]
    });
    kept.bad(&www, counts, "the answer is broken").await;
    let questions = datagrams(|question| {
        let mut answer = answered(question, 0, 0);
        answer[4..6].fill(0xFF);
        vec![answer]
    });
    kept.bad(&www, questions, "more than one question").await;
    let cut = datagrams(|question| {
        let mut answer = with_address(question, 12);
        answer.truncate(answer.len() - 3);
        vec![answer]
    });
    kept.bad(&www, cut, "the answer is broken").await;
}

#[tokio::test]
async fn who_does_not_know_edns_is_asked_without_and_who_loses_a_datagram_again() {
    let kept = Kept::default();
    let old = datagrams(|question| {
        vec![if question[11] == 1 { answered(question, 0, 1) } else { with_address(question, 12) }]
    });
    kept.good(&check("www.example.org", "A", ""), old, "answers A").await;
    kept.bad(&check("www.example.org", "A", ""), datagrams(|q| vec![answered(q, 0, 1)]), "FORMERR").await;
    let mut heard = 0;
    let forgetful = datagrams(move |question| {
        heard += 1;
        if heard == 1 { Vec::new() } else { vec![with_address(question, 12)] }
    });
    kept.good(&check("www.example.org", "A", "timeout = \"3s\""), forgetful, "answers A").await;
}

/// As it goes over TCP.
fn framed(answer: &[u8]) -> Vec<u8> {
    [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], answer].concat()
}

#[tokio::test]
async fn truncation_leads_to_tcp_and_tcp_is_doubted_as_well() {
    let kept = Kept::default();
    let www = check("www.example.org", "A", "timeout = \"400ms\"");
    let both = |answer: fn(&[u8]) -> Vec<u8>| {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let port = listener.local_addr().unwrap().port();
        // Truncated in the middle of anything.
        answer_datagrams(socket, |question| vec![answered(question, 2, 0)[..20].to_vec()]);
        answer_streams(listener, move |question| answer(&question[2..]));
        port
    };
    let good = both(|question| framed(&with_address(question, 12)));
    kept.good(&www, good, "answers A").await;
    kept.bad(&www, both(|_| vec![0, 0]), "which is no answer").await;
    kept.bad(&www, both(|question| framed(&question[..12])), "which is no answer").await;
    kept.bad(&www, both(|_| vec![255, 255, 1]), "no answer in 400ms while waiting for an answer over TCP")
        .await;
    // Only UDP listens.
    let alone = datagrams(|question| vec![answered(question, 2, 0)]);
    kept.bad(&www, alone, "connection refused").await;
}

#[tokio::test]
async fn whoever_refuses_is_bad() {
    let kept = Kept::default();
    kept.bad(&check("www.example.org", "A", ""), free_port(), "connection refused").await;
}
