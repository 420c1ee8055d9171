//! PostgreSQL: a primary, its standby, and servers that lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use keel_pool::Outcome;
use support::{
    Kept,
    certificates::identity,
    liar::{Lie, liar},
    server::{Server, free_port},
};

const PROBE: &str = "type = \"pgsql\"\nuser = \"probe\"\nsecret = \"pg\"\ndatabase = \"shop\"";

/// The folder of the programs, which Debian puts beside each other by version.
fn programs() -> PathBuf {
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .find(|bin| bin.join("initdb").exists())
        .expect("initdb (install the package postgresql)")
}

/// A command of the user that the package made: no server of PostgreSQL runs as root.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(programs().join(program)).current_dir("/");
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// A server that doesn't wait for its clients when it ends.
struct Postgres {
    server: Server,
    data: PathBuf,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = as_postgres("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(&self.data).output();
    }
}

impl Postgres {
    fn log(&self) -> String {
        self.server.log()
    }
}

fn start(data: &Path, port: u16, folder: tempfile::TempDir, args: &[&str]) -> Postgres {
    let mut command = as_postgres("postgres");
    command.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.arg("-k").arg(folder.path()).args(args);
    let mut server = Server::start(&mut command, "postgresql", folder);
    server.wait_for(port);
    Postgres { server, data: data.to_owned() }
}

fn given_to_postgres(folder: &Path) {
    done(Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder));
}

/// A primary with users for every way to sign in.
fn primary() -> (Postgres, u16) {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    identity(folder.path());
    given_to_postgres(folder.path());
    done(Command::new("chmod").arg("600").arg(folder.path().join("key.pem")));
    let data = folder.path().join("data");
    done(as_postgres("initdb").args(["-N", "-A", "trust", "-D"]).arg(&data));
    let access = "host all trusted 127.0.0.1/32 trust\nhost all clear 127.0.0.1/32 password\n\
                  host all old 127.0.0.1/32 md5\nhost replication postgres 127.0.0.1/32 trust\n\
                  host all postgres 127.0.0.1/32 trust\nhost all probe,clear 127.0.0.1/32 scram-sha-256\n";
    fs::write(data.join("pg_hba.conf"), access).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let tls = format!("ssl=on\nssl_cert_file='{}'\nssl_key_file='{}'\n", cert.display(), key.display());
    fs::write(data.join("postgresql.auto.conf"), tls).unwrap();
    let server = start(&data, port, folder, &["-c", "fsync=off"]);
    let begun = Instant::now();
    while !server.log().contains("ready to accept connections") {
        assert!(begun.elapsed() < Duration::from_secs(20), "not started: {}", server.log());
        thread::sleep(Duration::from_millis(20));
    }
    let mut psql = as_postgres("psql");
    psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "postgres"]);
    for statement in [
        "CREATE ROLE probe LOGIN PASSWORD 'pr0be'",
        "CREATE ROLE clear LOGIN PASSWORD 'pr0be'",
        "CREATE ROLE trusted LOGIN",
        "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'pr0be'",
        "CREATE DATABASE shop",
    ] {
        psql.args(["-c", statement]);
    }
    done(&mut psql);
    (server, port)
}

#[tokio::test]
async fn a_server_is_asked_in_every_way_it_lets_users_in() {
    let (server, port) = primary();
    let kept = Kept { authorities: server.server.folder.path().to_owned(), ..Kept::secret("pg", "pr0be\n") };
    kept.good("type = \"pgsql\"", port, "asks for a login").await;
    kept.good("type = \"pgsql\"\ntls = true", port, "asks for a login").await;
    kept.good(PROBE, port, "login accepted").await;
    kept.good(&format!("{PROBE}\nwritable = true"), port, "login accepted, takes writes").await;
    for tls in ["tls = true", "tls = true\nverify = true\nca = \"cert.pem\""] {
        let (answer, steps) = kept.traced(&format!("{PROBE}\nwritable = true\n{tls}"), port).await;
        assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
        assert!(answer.certificate_ends.is_some());
        assert!(steps.iter().all(|step| !step.text.contains("pr0be")), "{steps:?}");
    }
    kept.good(&PROBE.replace("\"probe\"", "\"old\""), port, "login accepted").await;
    kept.good(&PROBE.replace("\"probe\"", "\"trusted\""), port, "login accepted").await;
    // Nobody hung up in the middle of anything.
    assert!(!server.log().contains("reset by peer"), "{}", server.log());
    let clear = PROBE.replace("\"probe\"", "\"clear\"");
    kept.bad(&clear, port, "the server wants the password in clear text: turn `tls` on").await;
    kept.good(&format!("{clear}\ntls = true"), port, "login accepted").await;
    let nowhere = PROBE.replace("\"shop\"", "\"nowhere\"");
    kept.bad(&nowhere, port, "login refused: database \"nowhere\" does not exist").await;
    let words = "login refused: password authentication failed for user \"probe\"";
    Kept::secret("pg", "wrong").bad(PROBE, port, words).await;
    a_standby_refuses_writes(&kept, &server, port).await;
}

async fn a_standby_refuses_writes(kept: &Kept, primary: &Postgres, primary_port: u16) {
    let folder = tempfile::tempdir().unwrap();
    given_to_postgres(folder.path());
    let data = folder.path().join("data");
    done(as_postgres("pg_basebackup").args(["-h", "127.0.0.1", "-p", &primary_port.to_string()]).args([
        "-U",
        "postgres",
        "-R",
        "-c",
        "fast",
        "--no-sync",
        "-D",
        data.to_str().unwrap(),
    ]));
    let port = free_port();
    let standby = start(&data, port, folder, &[]);
    let begun = Instant::now();
    while kept.asked(PROBE, port).await.outcome != Some(Outcome::Good) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}{}", standby.log(), primary.log());
        thread::sleep(Duration::from_millis(50));
    }
    kept.bad(&format!("{PROBE}\nwritable = true"), port, "it is a standby: writes are refused").await;
    drop(standby);
    // The folder went with the standby: another one that lets nobody in.
    let folder = tempfile::tempdir().unwrap();
    given_to_postgres(folder.path());
    let data = folder.path().join("data");
    done(as_postgres("initdb").args(["-N", "-A", "trust", "-D"]).arg(&data));
    fs::write(data.join("standby.signal"), "").unwrap();
    given_to_postgres(&data);
    let port = free_port();
    let _closed = start(&data, port, folder, &["-c", "hot_standby=off", "-c", "restore_command=false"]);
    for health in ["type = \"pgsql\"", PROBE] {
        kept.bad(health, port, "refused: the database system is").await;
    }
}

/// Answers every piece that comes with the next of these.
fn scripted(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            for answer in &answers {
                if matches!(stream.read(&mut buffer), Ok(1..)) {
                    let _ = stream.write_all(answer);
                }
            }
            let _ = stream.read(&mut buffer);
        }
    });
    port
}

#[tokio::test]
async fn whoever_is_no_postgresql_is_bad_in_time() {
    let kept = Kept::secret("pg", "pr0be");
    for lie in Lie::ALL {
        for health in ["type = \"pgsql\"", "type = \"pgsql\"\ntls = true", PROBE] {
            kept.bad(&format!("{health}\ntimeout = \"300ms\""), liar(lie), "").await;
        }
    }
}

#[tokio::test]
async fn messages_that_lie_are_refused() {
    let kept = Kept::secret("pg", "pr0be");
    let health = format!("{PROBE}\nwritable = true\ntimeout = \"500ms\"");
    let ok = b"R\0\0\0\x08\0\0\0\0".to_vec();
    let scram = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0".to_vec();
    let rounds = b"R\0\0\0\x2e\0\0\0\x0br=abc,s=AAAAAAAAAAAAAAAAAAAAAA==,i=9999999".to_vec();
    let cases: [(Vec<Vec<u8>>, &str); 12] = [
        (vec![b"R\xff\xff\xff\xff\0\0\0\0".to_vec()], "no PostgreSQL server"),
        (vec![b"R\0\0\0\0\0\0\0\0".to_vec()], "no PostgreSQL server"),
        (vec![b"R\x01\0\0\0\0\0\0\0".to_vec()], "no PostgreSQL server"),
        (vec![b"R\0\0\0\x06\0\0".to_vec()], "makes no sense"),
        (vec![b"Esorry, too many clients already\n\0".to_vec()], "refused: sorry, too many clients already"),
        (vec![b"E\0\0\0\x14C53300\0Mfull\0\0\0\0".to_vec()], "refused: full"),
        (vec![b"R\0\0\0\x08\0\0\0\x07".to_vec()], "a login that checks don't know (method 7)"),
        (vec![b"S\0\0\0\x04".repeat(300)], "notices without end"),
        (vec![[&ok[..], b"Z\0\0\0\x05I"].concat(), b"D\0\0\0\x06\xff\xff".to_vec()], "makes no sense"),
        (vec![ok.clone(), b"Z\0\0\0\x05I".to_vec()], ""),
        (vec![scram.clone(), b"R\0\0\0\x0d\0\0\0\x0br=abc".to_vec()], "SCRAM makes no sense"),
        (vec![scram, rounds], "SCRAM makes no sense"),
    ];
    for (answers, words) in cases {
        kept.bad(&health, scripted(answers), words).await;
    }
    kept.bad("type = \"pgsql\"\ntls = true", scripted(vec![b"N".to_vec()]), "the server offers no TLS").await;
    let early = scripted(vec![b"SE\0\0\0\x05".to_vec()]);
    kept.bad("type = \"pgsql\"\ntls = true", early, "in clear text where TLS should begin").await;
}
