//! SMTP, IMAP, POP3 and NNTP: exim, dovecot, leafnode, and servers that lie.
//! Packages: exim4-daemon-light, dovecot-imapd, dovecot-pop3d, leafnode.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, net::TcpListener, os::fd::OwnedFd, path::Path, process::Command, thread};

use keel_pool::Outcome;
use support::certificates::Shown;
use support::speaker::{Say, say, speaker};
use support::{
    Kept,
    server::{Server, free_port},
};

const PASSWORD: &str = "s3cret \"quoted\\ ";

/// A folder with a key and a certificate for mail.example.org, that everybody may look into.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let Shown { key, certificate } = Shown::alone("mail.example.org");
    fs::write(folder.path().join("key.pem"), key).unwrap();
    fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    folder
}

/// Which may refer to the folder's certificate as `cert.pem`.
fn kept(folder: &Path, password: &str) -> Kept {
    Kept { authorities: folder.to_owned(), ..Kept::secret("mail", password) }
}

fn exim() -> (Server, u16, u16) {
    let (folder, plain, tls) = (folder(), free_port(), free_port());
    let path = folder.path().display();
    let text = format!(
        "exim_user = root\nexim_group = root\nnever_users =\nprimary_hostname = mail.example.org\n\
         spool_directory = {path}\nlog_file_path = {path}/%slog\nlocal_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = {plain} : {tls}\ntls_on_connect_ports = {tls}\ntls_advertise_hosts = *\n\
         tls_certificate = {path}/cert.pem\ntls_privatekey = {path}/key.pem\nhost_lookup =\n\
         keep_environment =\nrfc1413_query_timeout = 0s\nacl_smtp_helo = helo\n\
         begin acl\nhelo:\n  deny condition = ${{if eq{{$sender_helo_name}}{{banned.example.org}}}}\n  accept\n"
    );
    let config = folder.path().join("exim.conf");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("exim4");
    command.arg("-C").arg(config).args(["-bdf", "-oP", ""]);
    let mut server = Server::start(&mut command, "exim4-daemon-light", folder);
    server.wait_for(plain);
    server.wait_for(tls);
    (server, plain, tls)
}

#[tokio::test]
async fn exim_answers_in_clear_text_and_in_tls() {
    let (server, plain, tls) = exim();
    let kept = kept(server.folder.path(), "");
    kept.good("type = \"smtp\"", plain, "answers EHLO").await;
    kept.good("type = \"smtp\"\nstarttls = true", plain, "answers EHLO over TLS").await;
    kept.good("type = \"smtp\"\ntls = true", tls, "answers EHLO over TLS").await;
    let verified = "type = \"smtp\"\nstarttls = true\nverify = true\nca = \"cert.pem\"\nserver_name = ";
    let (answer, steps) = kept.traced(&format!("{verified}\"mail.example.org\""), plain).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(answer.certificate_ends.is_some());
    assert!(steps.iter().any(|step| step.text.contains("QUIT")), "it takes leave");
    kept.bad(&format!("{verified}\"other.example.org\""), plain, "not for other.example.org").await;
    kept.bad("type = \"smtp\"\nhello = \"banned.example.org\"", plain, "HELO refused: 550").await;
    kept.bad("type = \"smtp\"\ntls = true", plain, "the server speaks no TLS on this port").await;
    kept.bad("type = \"smtp\"\ntimeout = \"300ms\"", tls, "while waiting for the greeting").await;
}

#[tokio::test]
async fn what_smtp_servers_refuse_is_told() {
    let kept = Kept::default();
    let busy = speaker("421-we are\r\n421 too busy\r\n", |_| say(""));
    kept.bad("type = \"smtp\"", busy, "greeted with: 421 too busy").await;
    let closed = speaker("554 no service here\r\n", |_| say(""));
    kept.bad("type = \"smtp\"", closed, "greeted with: 554 no service here").await;
    let old = speaker("220 old\r\n", |line| match line {
        line if line.starts_with("HELO ") => say("250 hello\r\n"),
        "QUIT" => Say::Bye("221 bye\r\n".to_owned()),
        _ => say("500 what?\r\n"),
    });
    kept.good("type = \"smtp\"", old, "answers EHLO").await;
    kept.bad("type = \"smtp\"\nstarttls = true", old, "does not offer STARTTLS").await;
    let promises = |answer: &'static str| {
        speaker("220 x\r\n", move |line| {
            say(if line == "STARTTLS" { answer } else { "250-x\r\n250 starttls\r\n" })
        })
    };
    let starttls = "type = \"smtp\"\nstarttls = true\ntimeout = \"2s\"";
    kept.bad(starttls, promises("454 not now\r\n"), "STARTTLS refused: 454 not now").await;
    kept.bad(starttls, promises("220 go\r\n250 injected\r\n"), "clear text where TLS should begin").await;
    // Silent at the farewell: the verdict stands.
    let rude = speaker("220 x\r\n", |line| say(if line == "QUIT" { "" } else { "250 x\r\n" }));
    kept.good("type = \"smtp\"\ntimeout = \"400ms\"", rude, "answers EHLO").await;
    let mixed = speaker("220 x\r\n", |_| say("250-x\r\n354 y\r\n"));
    kept.bad("type = \"smtp\"", mixed, "a reply 250 went on with \"354 y\"").await;
    let endless = speaker(&"220-\r\n".repeat(100_000), |_| say(""));
    kept.bad("type = \"smtp\"", endless, "more than 65536 bytes").await;
}

/// IMAP and POP3, plain and TLS: the ports in this order. Nobody waits longer for having been wrong before.
fn dovecot() -> (Server, [u16; 4]) {
    let (folder, ports) = (folder(), [(); 4].map(|()| free_port()));
    let path = folder.path().display();
    let listener = |protocol: &str, plain: u16, tls: u16| {
        format!(
            "service {protocol}-login {{\n  inet_listener {protocol} {{\n    address = 127.0.0.1\n    port = {plain}\n  }}\n  \
             inet_listener {protocol}s {{\n    address = 127.0.0.1\n    port = {tls}\n    ssl = yes\n  }}\n}}\n"
        )
    };
    let text = format!(
        "base_dir = {path}/run\nstate_dir = {path}/run\nlog_path = /dev/stderr\nprotocols = imap pop3\nssl = yes\n\
         ssl_cert = <{path}/cert.pem\nssl_key = <{path}/key.pem\nfirst_valid_uid = 1\n\
         mail_location = maildir:{path}/mail\nauth_mechanisms = plain\nauth_failure_delay = 0\nauth_username_chars =\n\
         service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n\
         passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u {path}/users\n}}\n\
         userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={path}/mail\n}}\n{}{}",
        listener("imap", ports[0], ports[1]),
        listener("pop3", ports[2], ports[3]),
    );
    fs::write(folder.path().join("users"), format!("probe:{{PLAIN}}{PASSWORD}\ngrüße:{{PLAIN}}{PASSWORD}\n"))
        .unwrap();
    let config = folder.path().join("dovecot.conf");
    fs::write(&config, text).unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    // Mail is nobody's: dovecot opens no mailbox as root.
    fs::create_dir(folder.path().join("mail")).unwrap();
    std::os::unix::fs::chown(folder.path().join("mail"), Some(65_534), Some(65_534)).unwrap();
    let mut command = Command::new("dovecot");
    command.arg("-F").arg("-c").arg(config);
    let mut server = Server::start(&mut command, "dovecot-imapd and dovecot-pop3d", folder);
    for port in ports {
        server.wait_for(port);
    }
    (server, ports)
}

#[tokio::test]
async fn dovecot_lets_the_right_user_in() {
    let (server, [imap, imaps, pop3, pop3s]) = dovecot();
    let right = kept(server.folder.path(), PASSWORD);
    let wrong = kept(server.folder.path(), "wrong");
    for (kind, plain, tls) in [("imap", imap, imaps), ("pop3", pop3, pop3s)] {
        let check = |more: &str| format!("type = \"{kind}\"\ntimeout = \"4s\"\n{more}");
        right.good(&check(""), plain, "greets").await;
        right.good(&check("tls = true"), tls, "greets").await;
        right.bad(&check("tls = true"), plain, "the server speaks no TLS on this port").await;
        let login = "user = \"probe\"\nsecret = \"mail\"\n";
        right.good(&check(login), plain, "login accepted").await;
        let (answer, steps) = right.traced(&check(&format!("{login}starttls = true")), plain).await;
        assert_eq!((answer.outcome, answer.reason.as_str()), (Some(Outcome::Good), "login accepted"));
        assert!(answer.certificate_ends.is_some());
        assert!(!steps.iter().any(|step| step.text.contains("s3cret")), "a password is in the trace");
        right.good(&check(&format!("{login}tls = true")), tls, "login accepted").await;
        wrong.bad(&check(login), plain, "login refused: ").await;
    }
    let literal = "type = \"imap\"\nuser = \"grüße\"\nsecret = \"mail\"\ntimeout = \"4s\"";
    right.good(literal, imap, "login accepted").await;
    wrong
        .bad("type = \"imap\"\nuser = \"probe\"\nsecret = \"mail\"", imap, "NO [AUTHENTICATIONFAILED]")
        .await;
}

#[tokio::test]
async fn what_mail_servers_refuse_is_told() {
    let kept = Kept::secret("mail", "x");
    let login = "\nuser = \"probe\"\nsecret = \"mail\"";
    let imap = |greeting: &str, capabilities: &'static str, starttls: &'static str| {
        speaker(greeting, move |line| match line.split_once(' ') {
            Some((tag, "CAPABILITY")) => {
                say(&format!("* CAPABILITY IMAP4rev1 {capabilities}\r\n{tag} OK done\r\n"))
            }
            Some((tag, "STARTTLS")) => say(&format!("{tag} {starttls}\r\n")),
            Some((_, "LOGOUT")) => Say::Bye("* BYE\r\n".to_owned()),
            _ => say("* BYE going down\r\n"),
        })
    };
    // What dovecot says where the mailboxes can't be opened.
    let broken = speaker("* OK hi\r\n", |line| match line.split_once(' ') {
        Some((tag, "CAPABILITY")) => say(&format!("{tag} OK\r\n")),
        Some((tag, _)) => Say::Bye(format!("{tag} OK Logged in, but\r\n* BYE Internal error\r\n")),
        None => say(""),
    });
    kept.bad(&format!("type = \"imap\"{login}"), broken, "hung up: BYE Internal error").await;
    let closed = imap("* OK hi\r\n", "LOGINDISABLED STARTTLS", "BAD no");
    kept.good("type = \"imap\"", closed, "greets").await;
    kept.bad(&format!("type = \"imap\"{login}"), closed, "accepts no LOGIN without TLS").await;
    kept.bad("type = \"imap\"\nstarttls = true", closed, "STARTTLS refused: BAD no").await;
    kept.bad(&format!("type = \"imap\"{login}"), imap("* OK\r\n", "", ""), "hung up: BYE going down").await;
    kept.bad("type = \"imap\"\nstarttls = true", imap("* OK\r\n", "", ""), "not offer STARTTLS").await;
    let injecting = imap("* OK\r\n", "STARTTLS", "OK\r\n* OK injected");
    kept.bad("type = \"imap\"\nstarttls = true", injecting, "clear text where TLS should begin").await;
    kept.bad("type = \"imap\"", imap("* BYE too many\r\n", "", ""), "greeted with BYE too many").await;
    let known = imap("* PREAUTH hi\r\n", "STARTTLS", "OK");
    kept.good(&format!("type = \"imap\"{login}"), known, "PREAUTH").await;
    kept.bad("type = \"imap\"\nstarttls = true", known, "no STARTTLS is possible").await;
    let endless = speaker("* OK\r\n", |_| say(&"* 1 EXISTS\r\n".repeat(50_000)));
    kept.bad(&format!("type = \"imap\"{login}"), endless, "more than 65536 bytes").await;

    let locked = speaker("+OK\r\n", |line| match line {
        "PASS x" => say("-ERR [IN-USE] somebody reads\r\n"),
        "STLS" => say("-ERR no TLS\r\n"),
        _ => say("+OK\r\n"),
    });
    kept.good(&format!("type = \"pop3\"{login}"), locked, "the mailbox is in use").await;
    kept.bad("type = \"pop3\"\nstarttls = true", locked, "STLS refused: no TLS").await;
    let parrot = speaker("+OK\r\n", |line| match line.strip_prefix("PASS ") {
        Some(password) => say(&format!("-ERR no user has the password {password}\r\n")),
        None => say("+OK\r\n"),
    });
    let (answer, steps) =
        Kept::secret("mail", PASSWORD.trim()).traced(&format!("type = \"pop3\"{login}"), parrot).await;
    assert_eq!(answer.reason, "login refused: no user has the password …");
    assert!(!steps.iter().any(|step| step.text.contains("s3cret")), "a password is in the trace");
    kept.bad("type = \"pop3\"", speaker("-ERR busy\r\n", |_| say("")), "greeted with: busy").await;
}

#[tokio::test]
async fn what_cannot_be_said_in_a_line_is_not_asked() {
    let port = speaker("220 x\r\n", |_| say("250 x\r\n"));
    for kind in ["imap", "pop3", "nntp", "ftp"] {
        let smuggler = Kept::secret("mail", "x\r\nDELE 1");
        let check = format!("type = \"{kind}\"\nuser = \"probe\"\nsecret = \"mail\"");
        let answer = smuggler.asked(&check, port).await;
        assert_eq!(answer.outcome, None, "{answer:?}");
        assert!(answer.reason.contains("the secret holds the end of a line"), "{answer:?}");
        let check = format!("type = \"{kind}\"\nuser = \"probe\\r\\nDELE 1\"\nsecret = \"mail\"");
        assert_eq!(Kept::secret("mail", "x").asked(&check, port).await.outcome, None);
    }
}

/// Leafnode speaks with its input and output, as inetd lets it; it takes no name of the examples for its own.
fn leafnode() -> (tempfile::TempDir, u16) {
    let folder = folder();
    let config = folder.path().join("leafnode.conf");
    fs::write(&config, "server = news.example.net\nexpire = 20\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(Path::new("/usr/sbin/leafnode").exists(), "install the package leafnode");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (input, output) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
            let script = "hostname news.home.arpa; exec /usr/sbin/leafnode -F \"$1\"";
            let mut command = Command::new("unshare");
            command.args(["--uts", "sh", "-c", script, "sh"]).arg(&config).stdin(input).stdout(output);
            let mut child = command.spawn().unwrap();
            thread::spawn(move || child.wait());
        }
    });
    (folder, port)
}

/// A news server as RFC 3977, 4642 and 4643 describe it: none that can sign in is small enough for a test.
fn news() -> u16 {
    speaker("201 news, no posting\r\n", |line| match line {
        "STARTTLS" => Say::ThenTls("382 go on\r\n".to_owned()),
        "AUTHINFO USER probe" => say("381 and the password?\r\n"),
        "AUTHINFO USER trusted" => say("281 welcome\r\n"),
        "AUTHINFO USER clear" => say("483 only with TLS\r\n"),
        "AUTHINFO PASS right" => say("281 welcome\r\n"),
        "AUTHINFO PASS left" => say("481 wrong password\r\n"),
        "QUIT" => Say::Bye("205 bye\r\n".to_owned()),
        _ => say("500 what?\r\n"),
    })
}

#[tokio::test]
async fn news_servers_greet_and_let_the_right_user_in() {
    let (_folder, leafnode) = leafnode();
    let kept = Kept::default();
    kept.good("type = \"nntp\"\ntimeout = \"4s\"", leafnode, "greets, posting allowed").await;
    kept.bad("type = \"nntp\"\nstarttls = true\ntimeout = \"4s\"", leafnode, "STARTTLS refused: 500").await;
    let news = news();
    let (right, wrong) = (Kept::secret("news", "right"), Kept::secret("news", "left"));
    kept.good("type = \"nntp\"", news, "greets, posting prohibited").await;
    kept.good("type = \"nntp\"\nuser = \"trusted\"", news, "login accepted").await;
    let login = "type = \"nntp\"\nuser = \"probe\"\nsecret = \"news\"";
    right.good(login, news, "login accepted").await;
    right.good(&format!("{login}\nstarttls = true"), news, "login accepted").await;
    wrong.bad(login, news, "login refused: 481 wrong password").await;
    kept.bad("type = \"nntp\"\nuser = \"clear\"", news, "login refused: 483 only with TLS").await;
    kept.bad("type = \"nntp\"", speaker("400 full\r\n", |_| say("")), "greeted with: 400 full").await;
    assert_eq!(
        kept.asked("type = \"nntp\"\nuser = \"probe\"", news).await.outcome,
        None,
        "no password to send"
    );
}
