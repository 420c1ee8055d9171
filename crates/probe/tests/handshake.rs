//! TLS handshakes, and what is wrong with certificates.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::process::Command;

use rustls::version::{TLS12, TLS13};
use support::certificates::{Authority, date, shaker};
use support::{
    Kept,
    liar::{Lie, liar},
    server::{Server, free_port},
};

const VERIFY: &str = "type = \"tls\"\nverify = true\nca = \"own.pem\"\nserver_name = \"web.example.org\"";

fn trusting(authority: &Authority) -> Kept {
    Kept { authorities: authority.folder.path().to_owned(), ..Kept::default() }
}

#[tokio::test]
async fn a_handshake_tells_the_version_and_the_certificates_end() {
    let authority = Authority::new("Own");
    let shown = authority.sign(&["web.example.org"], -1, 40);
    let kept = trusting(&authority);
    let until = date(40);
    let port = shaker(&shown, &[&TLS13]).await;
    kept.good(VERIFY, port, &format!("TLS 1.3, certificate until {until}")).await;
    let port = shaker(&shown, &[&TLS12]).await;
    let answer = kept.asked(VERIFY, port).await;
    assert_eq!(answer.reason, format!("TLS 1.2, certificate until {until}"));
    assert_eq!(answer.certificate_ends.unwrap().to_string(), format!("{until}T00:00:00Z"));
}

#[tokio::test]
async fn bad_certificates_are_bad_only_where_they_are_verified() {
    let (authority, other) = (Authority::new("Own"), Authority::new("Other"));
    let kept = trusting(&authority);
    let expired = shaker(&authority.sign(&["web.example.org"], -30, -1), &[&TLS13]).await;
    let early = shaker(&authority.sign(&["web.example.org"], 2, 30), &[&TLS13]).await;
    let named = shaker(&authority.sign(&["mail.example.org", "www.example.net"], -1, 30), &[&TLS13]).await;
    let foreign = shaker(&other.sign(&["web.example.org"], -1, 30), &[&TLS13]).await;
    kept.bad(VERIFY, expired, &format!("TLS: the certificate expired yesterday ({})", date(-1))).await;
    kept.bad(VERIFY, early, &format!("TLS: the certificate is not valid before {}", date(2))).await;
    kept.bad(
        VERIFY,
        named,
        "TLS: the certificate is for mail.example.org, www.example.net, not for web.example.org",
    )
    .await;
    kept.bad(VERIFY, foreign, "TLS: the certificate is signed by nobody who is trusted here").await;
    let system = "type = \"tls\"\nverify = true\nserver_name = \"web.example.org\"";
    kept.bad(system, foreign, "signed by nobody who is trusted here").await;
    let own = shaker(&authority.own(), &[&TLS13]).await;
    kept.bad(VERIFY, own, "TLS: the certificate signed itself as an authority").await;
    for port in [early, named, foreign] {
        kept.good("type = \"tls\"", port, "TLS 1.3, certificate until").await;
    }
    kept.good("type = \"tls\"", expired, &format!("expired on {} (not verified)", date(-1))).await;
}

/// A server with a certificate of version 1 and a short key: what old appliances and some databases make themselves.
fn old_fashioned(version: &str) -> (Server, u16) {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").args(args).current_dir(folder.path()).output();
        let done = done.expect("openssl (install the package openssl)");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let key = ["-newkey", "rsa:1024", "-nodes", "-keyout", "key.pem"];
    openssl(&[&["req", "-out", "req.pem", "-subj", "/CN=old.example.org"], &key[..]].concat());
    openssl(&["x509", "-req", "-in", "req.pem", "-signkey", "key.pem", "-out", "cert.pem", "-days", "30"]);
    let text = openssl(&["x509", "-in", "cert.pem", "-noout", "-text"]);
    assert!(text.contains("Version: 1 (0x0)"), "{text}");
    let port = free_port();
    let mut command = Command::new("openssl");
    command.args([
        "s_server",
        "-www",
        "-cert",
        "cert.pem",
        "-key",
        "key.pem",
        "-cipher",
        "DEFAULT@SECLEVEL=0",
        version,
    ]);
    command.args(["-accept", &format!("127.0.0.1:{port}")]).current_dir(folder.path());
    let mut server = Server::start(&mut command, "openssl", folder);
    server.wait_for(port);
    (server, port)
}

#[tokio::test]
async fn a_certificate_that_nobody_verifies_may_be_of_any_kind() {
    let kept = Kept::default();
    for (version, words) in [("-tls1_3", "TLS 1.3"), ("-tls1_2", "TLS 1.2")] {
        let (server, port) = old_fashioned(version);
        let answer = kept.asked("type = \"tls\"", port).await;
        let until = format!("{words}, certificate until {}", date(30));
        assert_eq!(answer.reason, until, "{}", server.log());
    }
}

#[tokio::test]
async fn without_a_name_the_address_is_verified() {
    let authority = Authority::new("Own");
    let kept = trusting(&authority);
    let check = "type = \"tls\"\nverify = true\nca = \"own.pem\"";
    let right = shaker(&authority.sign(&["127.0.0.1"], -1, 30), &[&TLS13]).await;
    let wrong = shaker(&authority.sign(&["web.example.org"], -1, 30), &[&TLS13]).await;
    kept.good(check, right, "TLS 1.3").await;
    kept.bad(check, wrong, "the certificate is for web.example.org, not for 127.0.0.1").await;
}

#[tokio::test]
async fn who_speaks_no_tls_is_bad() {
    let kept = Kept::default();
    kept.bad("type = \"tls\"", liar(Lie::Flood), "the server speaks no TLS on this port").await;
    kept.bad("type = \"tls\"", free_port(), "connection refused").await;
}
