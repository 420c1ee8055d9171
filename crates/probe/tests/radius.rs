//! RADIUS, against FreeRADIUS and against servers that lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    collections::HashMap,
    fs,
    net::UdpSocket,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use support::{
    Kept,
    server::{Server, free_port},
};

const HEALTH: &str = "type = \"radius\"\nuser = \"probe\"\nsecret = \"password\"\nshared_secret = \"shared\"";

fn kept(password: &str, shared: &str) -> Kept {
    let secrets = HashMap::from([("password", password.to_owned()), ("shared", shared.to_owned())]);
    Kept { secrets, ..Kept::default() }
}

/// FreeRADIUS with one user, and one that it asks for more.
fn freeradius() -> (Server, u16) {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let at = folder.path().display().to_string();
    let users = "probe Cleartext-Password := \"pr0be-with-more-than-16-bytes\"\n\
                 more Auth-Type := Accept, Response-Packet-Type := Access-Challenge\n\tReply-Message = \"your token\"\n\
                 gone Auth-Type := Reject\n\tReply-Message = \"the account is closed\"\n";
    fs::write(folder.path().join("users"), users).unwrap();
    let config = format!(
        "raddbdir = {at}\nrun_dir = {at}\npidfile = {at}/pid\ndictionary = /etc/freeradius/3.0\n\
         security {{\n reject_delay = 0\n require_message_authenticator = yes\n}}\n\
         modules {{\n files {{\n  filename = {at}/users\n }}\n pap {{ }}\n}}\n\
         client local {{\n ipaddr = 127.0.0.1\n secret = sh4red\n require_message_authenticator = yes\n}}\n\
         server default {{\n listen {{\n  type = auth\n  ipaddr = 127.0.0.1\n  port = {port}\n }}\n\
         authorize {{\n  files\n  pap\n }}\n authenticate {{\n  Auth-Type PAP {{\n   pap\n  }}\n }}\n}}\n"
    );
    fs::write(folder.path().join("radiusd.conf"), config).unwrap();
    let mut command = Command::new("freeradius");
    let server = Server::start(command.args(["-X", "-n", "radiusd", "-d", &at]), "freeradius", folder);
    let begun = Instant::now();
    while !server.log().contains("Ready to process requests") {
        assert!(begun.elapsed() < Duration::from_secs(20), "not started: {}", server.log());
        thread::sleep(Duration::from_millis(20));
    }
    (server, port)
}

#[tokio::test]
async fn a_user_is_let_in_refused_or_asked_for_more() {
    let (_server, port) = freeradius();
    let right = kept("pr0be-with-more-than-16-bytes\n", "sh4red");
    right.good(HEALTH, port, "login accepted").await;
    right.good(&HEALTH.replace("probe", "more"), port, "it asks for more: your token").await;
    right.bad(&HEALTH.replace("probe", "gone"), port, "login refused: the account is closed").await;
    kept("wrong", "sh4red").bad(HEALTH, port, "login refused").await;
    // It doesn't believe the Message-Authenticator, and is silent.
    let words = "no answer in 300ms while waiting for an answer (a RADIUS server says nothing to a client";
    kept("pr0be", "another").bad(&format!("{HEALTH}\ntimeout = \"300ms\""), port, words).await;
    let (_, steps) = right.traced(HEALTH, port).await;
    assert!(steps.iter().all(|step| !step.text.contains("pr0be") && !step.text.contains("sh4red")));
}

/// Answers each datagram with what this makes of it and of how many came before.
fn answering(answer: impl Fn(&[u8], usize) -> Vec<u8> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        for count in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
            let answer = answer(&buffer[..length], count);
            if !answer.is_empty() {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    port
}

#[tokio::test]
async fn a_lost_request_is_sent_again_as_it_was() {
    let first = std::sync::Mutex::new(Vec::new());
    let port = answering(move |request, count| {
        if count == 0 {
            *first.lock().unwrap() = request.to_vec();
            return Vec::new();
        }
        assert_eq!(*first.lock().unwrap(), request);
        [&[3, request[1], 0, 20][..], &[0; 16]].concat()
    });
    kept("pr0be", "sh4red")
        .bad(&format!("{HEALTH}\ntimeout = \"3s\""), port, "answered with another shared secret")
        .await;
}

#[tokio::test]
async fn late_answers_to_others_are_dropped() {
    let port = answering(|request, _| [&[2, request[1].wrapping_add(1), 0, 20][..], &[0; 16]].concat());
    kept("pr0be", "sh4red").bad(&format!("{HEALTH}\ntimeout = \"300ms\""), port, "no answer in 300ms").await;
}

#[tokio::test]
async fn whoever_is_no_radius_is_bad_in_time() {
    let kept = kept("pr0be", "sh4red");
    let health = format!("{HEALTH}\ntimeout = \"300ms\"");
    for length in [[0, 0], [0, 19], [0xff, 0xff], [0, 21]] {
        let port = answering(move |request, _| [&[2, request[1]], &length[..], &[0; 16]].concat());
        kept.bad(&health, port, "this is no RADIUS answer").await;
    }
    kept.bad(&health, free_port(), "connection refused").await;
}
