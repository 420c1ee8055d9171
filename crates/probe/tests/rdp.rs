//! Remote desktops: xrdp, and servers that lie. Package: xrdp.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, net::TcpListener, process::Command};

use support::certificates::Shown;
use support::speaker::answer_streams;
use support::{
    Kept,
    server::{Server, free_port},
};

const RDP: &str = "type = \"rdp\"\ntimeout = \"3s\"\n";

fn xrdp(security: &str) -> (Server, u16) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = folder.path().display().to_string();
    let Shown { key, certificate } = Shown::alone("desk.example.org");
    fs::write(folder.path().join("key.pem"), key).unwrap();
    fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    let text = format!(
        "[Globals]\nini_version=1\nfork=false\nport=tcp://127.0.0.1:{port}\nsecurity_layer={security}\n\
         crypt_level=high\ncertificate={path}/cert.pem\nkey_file={path}/key.pem\nssl_protocols=TLSv1.2, TLSv1.3\n\
         [Logging]\nLogFile={path}/xrdp.log\nLogLevel=INFO\nEnableSyslog=false\n"
    );
    let config = folder.path().join("xrdp.ini");
    fs::write(&config, text).unwrap();
    let mut server = Server::start(Command::new("xrdp").args(["-n", "-c"]).arg(config), "xrdp", folder);
    server.wait_for(port);
    (server, port)
}

#[tokio::test]
async fn xrdp_negotiates() {
    let kept = Kept::default();
    // One at a time: the program has one PID file for all.
    for (security, words) in [
        ("negotiate", "negotiates TLS"),
        ("tls", "negotiates TLS"),
        ("rdp", "negotiates standard RDP security"),
    ] {
        let (_server, port) = xrdp(security);
        kept.good(RDP, port, words).await;
        kept.good(&format!("{RDP}user = \"probe\""), port, words).await;
        let smuggling = kept.asked(&format!("{RDP}user = \"a\\r\\nb\""), port).await;
        assert_eq!(smuggling.outcome, None, "{smuggling:?}");
    }
}

#[tokio::test]
async fn what_servers_refuse_is_told() {
    let kept = Kept::default();
    let server = |answer: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        answer_streams(listener, move |_| answer.to_vec());
        port
    };
    let failure = server(&[3, 0, 0, 19, 14, 0xD0, 0, 0, 0, 0, 0, 3, 0, 8, 0, 2, 0, 0, 0]);
    kept.good(RDP, failure, "speaks only standard RDP security (SSL_NOT_ALLOWED_BY_SERVER)").await;
    let failure = server(&[3, 0, 0, 19, 14, 0xD0, 0, 0, 0, 0, 0, 3, 0, 8, 0, 3, 0, 0, 0]);
    kept.bad(RDP, failure, "SSL_CERT_NOT_ON_SERVER").await;
    let disconnect = server(&[3, 0, 0, 11, 6, 0x80, 0, 0, 0, 0, 1]);
    kept.bad(RDP, disconnect, "refused the connection (X.224 disconnect)").await;
    kept.bad(RDP, server(b"SSH-2.0-OpenSSH\r\n"), "answered \"SSH-\", which is no RDP").await;
    kept.bad(RDP, server(&[3, 0, 0xFF, 0xFF, 0]), "which is no RDP").await;
    kept.bad(RDP, server(&[3, 0, 0, 0]), "which is no RDP").await;
    let short = RDP.replace("3s", "250ms");
    kept.bad(&short, server(&[3, 0, 0, 19, 14]), "waiting for the connection confirmation").await;
}
