//! FTP: vsftpd, and servers that lie. Package: vsftpd.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, process::Command};

use keel_pool::Outcome;
use support::certificates::Shown;
use support::speaker::{Say, say, speaker};
use support::{
    Kept,
    server::{Server, free_port},
};

fn vsftpd(implicit: bool) -> (Server, u16) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = folder.path().display().to_string();
    let Shown { key, certificate } = Shown::alone("ftp.example.org");
    fs::write(folder.path().join("key.pem"), key).unwrap();
    fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let implicit = if implicit { "YES" } else { "NO" };
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\n\
         local_enable=YES\nsecure_chroot_dir={path}/empty\nanon_root={path}/empty\nssl_enable=YES\n\
         implicit_ssl={implicit}\nrsa_cert_file={path}/cert.pem\nrsa_private_key_file={path}/key.pem\n\
         ssl_tlsv1=YES\nforce_local_logins_ssl=YES\nallow_anon_ssl=YES\nxferlog_enable=NO\ndelay_failed_login=0\n\
         seccomp_sandbox=NO\nftpd_banner=files\n"
    );
    let config = folder.path().join("vsftpd.conf");
    fs::write(&config, text).unwrap();
    let mut server = Server::start(Command::new("vsftpd").arg(config), "vsftpd", folder);
    server.wait_for(port);
    (server, port)
}

#[tokio::test]
async fn vsftpd_greets_and_lets_the_right_user_in() {
    let (server, port) = vsftpd(false);
    let kept = Kept { authorities: server.folder.path().to_owned(), ..Kept::secret("ftp", "wrong") };
    let check = |more: &str| format!("type = \"ftp\"\ntimeout = \"4s\"\n{more}");
    kept.good(&check(""), port, "greets").await;
    kept.good(&check("user = \"anonymous\""), port, "login accepted").await;
    kept.good(&check("user = \"anonymous\"\nsecret = \"ftp\"\nstarttls = true"), port, "login accepted")
        .await;
    let verified = "starttls = true\nverify = true\nca = \"cert.pem\"\nserver_name = ";
    let answer = kept.asked(&check(&format!("{verified}\"ftp.example.org\"")), port).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(answer.certificate_ends.is_some());
    kept.bad(&check(&format!("{verified}\"x.example.org\"")), port, "not for x.example.org").await;
    let login = "user = \"nobody\"\nsecret = \"ftp\"\n";
    kept.bad(&check(login), port, "login refused: 530 Non-anonymous").await;
    kept.bad(&check(&format!("{login}starttls = true")), port, "login refused: 530 Login incorrect").await;
    kept.bad(&check("tls = true"), port, "the server speaks no TLS on this port").await;
}

#[tokio::test]
async fn vsftpd_speaks_tls_from_the_first_byte() {
    let (_server, port) = vsftpd(true);
    let check = "type = \"ftp\"\ntimeout = \"4s\"\ntls = true\nuser = \"anonymous\"";
    Kept::default().good(check, port, "login accepted").await;
}

#[tokio::test]
async fn what_ftp_servers_refuse_is_told() {
    let kept = Kept::secret("ftp", "right");
    let server = |auth: &'static str| {
        speaker("220-welcome\r\n 220 of a sort\r\nwhatever\r\n\r\n220 really\r\n", move |line| match line {
            "USER probe" => say("331 and the password?\r\n"),
            "PASS right" => say("230-in\r\n230 you are in\r\n"),
            "USER account" => say("332 and the account?\r\n"),
            "AUTH TLS" => say(auth),
            "QUIT" => Say::Bye("221 bye\r\n".to_owned()),
            _ => say("530 no\r\n"),
        })
    };
    let port = server("534 no TLS\r\n");
    kept.good("type = \"ftp\"", port, "greets").await;
    kept.good("type = \"ftp\"\nuser = \"probe\"\nsecret = \"ftp\"", port, "login accepted").await;
    kept.bad("type = \"ftp\"\nuser = \"account\"", port, "login refused: 332").await;
    kept.bad("type = \"ftp\"\nstarttls = true", port, "AUTH TLS refused: 534 no TLS").await;
    let injecting = server("234 go\r\n230 injected\r\n");
    kept.bad("type = \"ftp\"\nstarttls = true", injecting, "clear text where TLS should begin").await;
    kept.bad("type = \"ftp\"", speaker("120 in 5 minutes\r\n", |_| say("")), "120 in 5 minutes").await;
    kept.bad("type = \"ftp\"", speaker("421 too many\r\n", |_| say("")), "greeted with: 421").await;
    let endless = speaker(&"220-\r\n".repeat(100_000), |_| say(""));
    kept.bad("type = \"ftp\"", endless, "more than 65536 bytes").await;
    let missing = kept.asked("type = \"ftp\"\nuser = \"probe\"", port).await;
    assert_eq!(missing.outcome, None, "{missing:?}");
}
