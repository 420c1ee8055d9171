//! MySQL and MariaDB: against mariadbd, a small server that speaks what only MySQL does, and servers that lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, net::TcpStream, process::Command};

use keel_pool::Outcome;
use support::{
    Kept,
    certificates::identity,
    liar::{Lie, liar},
    mysql::{Sha2, acting, error, greeting, packet, sha2},
    server::{Server, free_port},
};

const PROBE: &str = "type = \"mysql\"\nuser = \"probe\"\nsecret = \"db\"";

fn mariadb() -> (Server, u16) {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let at = folder.path().display().to_string();
    identity(folder.path());
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
        .arg(format!("--datadir={at}/data"))
        .output()
        .expect("mariadb-install-db (install the package mariadb-server)");
    assert!(made.status.success(), "{made:?}");
    let statements = "CREATE DATABASE shop;\nCREATE USER probe IDENTIFIED BY 'pr0be';\n\
                      CREATE USER ed IDENTIFIED VIA ed25519 USING PASSWORD('pr0be');\nGRANT SELECT ON shop.* TO probe;\n";
    let statements = format!("INSTALL SONAME 'auth_ed25519';\n{statements}");
    fs::write(folder.path().join("init.sql"), statements).unwrap();
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    command.args(["--max-connections=10", "--innodb-buffer-pool-size=8M"]);
    for (key, value) in [
        ("port", port.to_string()),
        ("datadir", format!("{at}/data")),
        ("socket", format!("{at}/socket")),
        ("pid-file", format!("{at}/pid")),
        ("init-file", format!("{at}/init.sql")),
        ("ssl-cert", format!("{at}/cert.pem")),
        ("ssl-key", format!("{at}/key.pem")),
    ] {
        command.arg(format!("--{key}={value}"));
    }
    let mut server = Server::start(&mut command, "mariadb-server", folder);
    server.wait_for(port);
    (server, port)
}

fn say(server: &Server, statement: &str) -> String {
    let socket = server.folder.path().join("socket");
    let said = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "-N", "--socket"])
        .arg(socket)
        .args(["-e", statement])
        .output()
        .expect("mariadb (install the package mariadb-client)");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[tokio::test]
async fn mariadb_is_asked_in_every_way() {
    let (server, port) = mariadb();
    let kept = Kept { authorities: server.folder.path().to_owned(), ..Kept::secret("db", "pr0be\n") };
    kept.good("type = \"mysql\"", port, "MariaDB 1").await;
    kept.good("type = \"mysql\"\ntls = true", port, "MariaDB 1").await;
    kept.good(PROBE, port, "accepts the login").await;
    kept.good(&format!("{PROBE}\ndatabase = \"shop\""), port, "accepts the login").await;
    let words = "login refused: Access denied for user 'probe'@'%' to database 'mysql'";
    kept.bad(&format!("{PROBE}\ndatabase = \"mysql\""), port, words).await;
    Kept::secret("db", "wrong")
        .bad(PROBE, port, "login refused: Access denied for user 'probe'@'127.0.0.1'")
        .await;
    kept.bad(
        &PROBE.replace("\"probe\"", "\"ed\""),
        port,
        "signs in with client_ed25519, which checks don't know",
    )
    .await;
    let tls = format!("{PROBE}\nwritable = true\ntls = true\nverify = true\nca = \"cert.pem\"");
    let (answer, steps) = kept.traced(&tls, port).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(answer.certificate_ends.is_some() && answer.reason.contains("accepts the login and writes"));
    assert!(steps.iter().all(|step| !step.text.contains("pr0be")), "{steps:?}");
    say(&server, "SET GLOBAL read_only = 1");
    kept.good(PROBE, port, "accepts the login").await;
    kept.bad(&format!("{PROBE}\nwritable = true"), port, "it is a replica: writes are refused").await;
    // Whoever is in the middle of a login has a place, too.
    let mut held = Vec::new();
    let begun = std::time::Instant::now();
    while !kept.asked("type = \"mysql\"", port).await.reason.contains("refused: Too many connections") {
        assert!(begun.elapsed().as_secs() < 10, "{}", server.log());
        held.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    drop(held);
    // Its accounts are for others: it works, and TLS and logins can't be seen.
    say(&server, "DELETE FROM mysql.global_priv WHERE Host <> 'localhost'; FLUSH PRIVILEGES");
    let words = "Host '127.0.0.1' is not allowed to connect to this MariaDB server";
    kept.good("type = \"mysql\"", port, &format!("answers: {words}")).await;
    kept.bad("type = \"mysql\"\ntls = true", port, &format!("refused: {words}")).await;
    kept.bad(PROBE, port, &format!("refused: {words}")).await;
}

#[tokio::test]
async fn caching_sha2_goes_every_way() {
    let kept = Kept::secret("db", "pr0be");
    let wrong = Kept::secret("db", "wrong");
    for how in [Sha2::Fast, Sha2::Full, Sha2::Switch] {
        let port = sha2(how);
        kept.good(PROBE, port, "MySQL 8.0.36 accepts the login").await;
        wrong.bad(PROBE, port, "login refused: Access denied").await;
        kept.good("type = \"mysql\"", port, "MySQL 8.0.36 answers").await;
    }
    let port = sha2(Sha2::Tls);
    kept.good(&format!("{PROBE}\ntls = true"), port, "MySQL 8.0.36 accepts the login").await;
    wrong.bad(&format!("{PROBE}\ntls = true"), port, "login refused: Access denied").await;
}

#[tokio::test]
async fn whoever_is_no_mysql_is_bad_in_time() {
    let kept = Kept::secret("db", "pr0be");
    for lie in Lie::ALL {
        for health in ["type = \"mysql\"", "type = \"mysql\"\ntls = true", PROBE] {
            kept.bad(&format!("{health}\ntimeout = \"300ms\""), liar(lie), "").await;
        }
    }
}

#[tokio::test]
async fn packets_that_lie_are_refused() {
    let kept = Kept::secret("db", "pr0be");
    let health = format!("{PROBE}\nwritable = true\ntimeout = \"500ms\"");
    let hello = || greeting(false, "mysql_native_password");
    let (ok, two) = (packet(2, &[0, 0, 0, 2, 0, 0, 0]), packet(1, &[2]));
    let endless = [two.clone(), (2..200).flat_map(|number| packet(number, b"\x01a")).collect()].concat();
    let cases: [(Vec<Vec<u8>>, &str); 14] = [
        (vec![b"\xff\xff\xff\0".to_vec()], "no MySQL server"),
        (vec![b"\0\0\0\0".to_vec()], "empty packet"),
        (vec![packet(3, &greeting(false, "x")[4..])], "out of order: number 3, expected 0"),
        (vec![packet(0, b"\x09old\0")], "no MySQL server"),
        (vec![packet(0, b"\x0a8.0")], "its greeting is incomplete"),
        (vec![error(0, 1129, "", "Host '127.0.0.1' is blocked")], "refused: Host '127.0.0.1' is blocked"),
        (vec![hello(), b"\xff\xff\xff\x02".to_vec()], "more than 65536 bytes"),
        (vec![hello(), packet(9, &[0])], "out of order: number 9, expected 2"),
        (vec![hello(), packet(2, &[0xfe])], "before MySQL 4.1"),
        (vec![hello(), packet(2, b"\xfemysql_clear_password\0")], "in clear text (mysql_clear_password)"),
        (vec![hello(), packet(2, b"\xfemysql_native")], "makes no sense"),
        (vec![hello(), packet(2, &[1, 4])], "makes no sense"),
        (
            vec![hello(), ok.clone(), packet(1, &[0xfe, 255, 255, 255, 255, 255, 255, 255, 255])],
            "two columns",
        ),
        (vec![hello(), ok, endless], "makes no sense"),
    ];
    for (answers, words) in cases {
        kept.bad(&health, acting(answers), words).await;
    }
    let port = acting(vec![hello()]);
    kept.bad(&format!("{PROBE}\ntls = true"), port, "MySQL 8.0.36 offers no TLS").await;
    // It greets, and keeps a stranger waiting: that is no fault.
    kept.good("type = \"mysql\"\ntimeout = \"400ms\"", acting(vec![hello()]), "answers").await;
    for (code, words) in [(1129, "Host '127.0.0.1' is blocked"), (1040, "Too many connections")] {
        let port = acting(vec![error(0, code, "", words)]);
        kept.bad("type = \"mysql\"", port, &format!("refused: {words}")).await;
    }
    let full = vec![hello(), error(2, 1040, "08004", "Too many connections")];
    kept.bad("type = \"mysql\"", acting(full), "refused: Too many connections").await;
}
