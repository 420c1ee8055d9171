//! LDAP, against slapd and against servers that lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread,
    time::Duration,
};

use support::{
    Kept,
    certificates::identity,
    liar::{Lie, liar},
    server::{Server, free_port},
};

const BOUND: &str = "type = \"ldap\"\nbind_dn = \"cn=probe,dc=example,dc=org\"\nsecret = \"ldap\"";

/// slapd with one entry and one user: its port in clear text, and the one over TLS.
fn slapd() -> (Server, u16, u16) {
    let (port, tls_port, folder) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let at = folder.path().display().to_string();
    identity(folder.path());
    fs::create_dir(folder.path().join("db")).unwrap();
    let config = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
         TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
         database mdb\nsuffix \"dc=example,dc=org\"\ndirectory {at}/db\n\
         rootdn \"cn=probe,dc=example,dc=org\"\nrootpw pr0be\n\
         access to dn.base=\"ou=hidden,dc=example,dc=org\" by * none\n\
         access to * by * read\n"
    );
    let entries = "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: example\n\n\
                   dn: ou=hidden,dc=example,dc=org\nobjectClass: organizationalUnit\nou: hidden\n";
    let (config_file, entry_file) = (format!("{at}/slapd.conf"), format!("{at}/entries.ldif"));
    fs::write(&config_file, config).unwrap();
    fs::write(&entry_file, entries).unwrap();
    let added = Command::new("/usr/sbin/slapadd")
        .args(["-f", &config_file, "-l", &entry_file])
        .output()
        .expect("slapadd (install the package slapd)");
    assert!(added.status.success(), "{added:?}");
    let urls = format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}");
    let mut server = Server::start(
        Command::new("/usr/sbin/slapd").args(["-f", &config_file, "-h", &urls, "-d", "0"]),
        "slapd",
        folder,
    );
    server.wait_for(port);
    server.wait_for(tls_port);
    (server, port, tls_port)
}

#[tokio::test]
async fn a_directory_takes_a_bind_and_has_the_entry() {
    let (server, port, tls_port) = slapd();
    let kept = Kept { authorities: server.folder.path().to_owned(), ..Kept::secret("ldap", "pr0be") };
    kept.good("type = \"ldap\"", port, "anonymous bind accepted").await;
    kept.good(BOUND, port, "bind accepted").await;
    kept.good(&format!("{BOUND}\nbase_dn = \"dc=example,dc=org\""), port, "the entry is there").await;
    kept.bad("type = \"ldap\"\nbase_dn = \"ou=none,dc=example,dc=org\"", port, "no such object").await;
    kept.bad("type = \"ldap\"\nbase_dn = \"ou=hidden,dc=example,dc=org\"", port, "`base_dn` isn't there")
        .await;
    kept.bad("type = \"ldap\"\nbase_dn = \"nonsense\"", port, "invalid DN").await;
    Kept::secret("ldap", "wrong").bad(BOUND, port, "bind refused: invalid credentials").await;
    for tls in ["starttls = true", "starttls = true\nverify = true\nca = \"cert.pem\""] {
        kept.good(&format!("{BOUND}\n{tls}"), port, "bind accepted").await;
    }
    kept.good(&format!("{BOUND}\ntls = true"), tls_port, "bind accepted").await;
    let (answer, steps) = kept.traced(&format!("{BOUND}\ntls = true"), tls_port).await;
    assert!(answer.certificate_ends.is_some());
    assert!(steps.iter().all(|step| !step.text.contains("pr0be")), "{steps:?}");
}

#[test]
fn an_empty_password_is_none() {
    for empty in ["", "\n", "\r\n"] {
        let error = Kept::secret("ldap", empty).question(BOUND).unwrap_err().to_string();
        assert_eq!(error, "the secret `ldap` can't be used: it is empty");
    }
}

#[tokio::test]
async fn a_directory_without_tls_says_so() {
    let port = scripted(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00");
    Kept::default()
        .bad("type = \"ldap\"\nstarttls = true", port, "StartTLS was refused: protocol error")
        .await;
}

/// Answers what comes first with this.
fn scripted(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(answer);
            thread::sleep(Duration::from_millis(300));
        }
    });
    port
}

#[tokio::test]
async fn whoever_is_no_directory_is_bad_in_time() {
    let kept = Kept::secret("ldap", "pr0be");
    for lie in Lie::ALL {
        kept.bad("type = \"ldap\"\ntimeout = \"300ms\"", liar(lie), "").await;
        kept.bad("type = \"ldap\"\nstarttls = true\ntimeout = \"300ms\"", liar(lie), "").await;
    }
}

#[tokio::test]
async fn messages_that_lie_about_their_lengths_are_refused() {
    let nested: &'static [u8] = Box::leak(b"\x30\x80".repeat(2000).into());
    let cases: [(&'static [u8], &str); 10] = [
        (b"\x30\x84\x01\x00\x00\x00", "more than 65536 bytes"),
        (b"\x30\x84\xff\xff\xff\xff", "more than 65536 bytes"),
        (b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", "no LDAP server"),
        (b"\x30\x80\x00\x00", "no LDAP server"),
        (nested, "no LDAP server"),
        (b"\x30\x00", "no LDAP message"),
        (b"\x30\x0c\x02\x01\x02\x61\x7f\x0a\x01\x00\x04\x00\x04\x00", "no LDAP message"),
        (b"\x30\x0c\x02\x01\x09\x61\x07\x0a\x01\x00\x04\x00\x04\x00", "answered message 9, asked was 2"),
        (b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00", "another operation (0x65)"),
        (
            b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00",
            "ended the session: the server is unavailable",
        ),
    ];
    for (answer, words) in cases {
        Kept::default().bad("type = \"ldap\"\ntimeout = \"1s\"", scripted(answer), words).await;
    }
}
