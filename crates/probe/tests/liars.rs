//! Every check against every server that doesn't behave: none is believed, none takes longer than allowed, none leaves
//! anything behind, and none holds up the others.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use keel_model::{
    AgentCheck, Check, DnsCheck, DnsRecord, GrpcCheck, Health, HttpCheck, LdapCheck, LoginCheck, RadiusCheck,
    RdpCheck, ScriptCheck, SipCheck, SmtpCheck, TcpCheck, Tls, TlsCheck, UdpCheck,
};
use keel_pool::Outcome;
use keel_probe::{Asker, Files, Pinger, Question, ScriptRunner, Trace, ask, serve_scripts};
use support::{
    certificates::Shown,
    liar::{Lie, liar, tls_liar},
    place,
};
use tokio::net::UnixStream;

const TIMEOUT: Duration = Duration::from_millis(200);
/// A machine that is busy with other tests needs some time to notice that time is over.
const LATE: Duration = Duration::from_millis(300);
const ROUNDS: usize = 50;
/// Rounds in which the allocator and the libraries get what they keep.
const WARM: usize = 10;

/// The simplest check of the type that comes after another one's: a new type has to stand in this row.
fn after(check: &Check, port: u16) -> Option<Check> {
    let word = || "probe".to_owned();
    let login = || LoginCheck { user: Some(word()), secret: Some(word()), ..LoginCheck::default() };
    Some(match check {
        Check::Off => Check::Ping,
        Check::Ping => Check::Connect,
        Check::Connect => Check::Tcp(TcpCheck::default()),
        Check::Tcp(_) => Check::Udp(UdpCheck::default()),
        Check::Udp(_) => Check::Tls(TlsCheck::default()),
        Check::Tls(_) => Check::Http(HttpCheck::default()),
        Check::Http(_) => Check::Https(HttpCheck::default()),
        Check::Https(_) => Check::Dns(dns()),
        Check::Dns(_) => Check::Smtp(SmtpCheck::default()),
        Check::Smtp(_) => Check::Imap(login()),
        Check::Imap(_) => Check::Pop3(login()),
        Check::Pop3(_) => Check::Ftp(login()),
        Check::Ftp(_) => Check::Ldap(LdapCheck::default()),
        Check::Ldap(_) => Check::Mysql(login()),
        Check::Mysql(_) => Check::Pgsql(login()),
        Check::Pgsql(_) => Check::Redis(login()),
        Check::Redis(_) => Check::Radius(RadiusCheck { user: word(), secret: word(), shared_secret: word() }),
        Check::Radius(_) => Check::Sip(SipCheck { udp: true, uri: None }),
        Check::Sip(_) => Check::Nntp(login()),
        Check::Nntp(_) => Check::Rdp(RdpCheck::default()),
        Check::Rdp(_) => Check::Grpc(GrpcCheck::default()),
        Check::Grpc(_) => Check::Script(ScriptCheck { script: word(), args: Vec::new() }),
        Check::Script(_) => Check::Agent(AgentCheck { agent_port: port, ..AgentCheck::default() }),
        Check::Agent(_) => return None,
    })
}

fn dns() -> DnsCheck {
    DnsCheck { query: "www.example.org".to_owned(), record: DnsRecord::A, expect: None, tcp: false }
}

/// Whether nothing that a server says can make the check bad: it asks for no answer, or not for this server's.
fn is_content(check: &Check) -> bool {
    match check {
        Check::Off | Check::Ping | Check::Connect => true,
        Check::Tcp(tcp) => tcp.expect.is_none(),
        Check::Udp(udp) => udp.expect.is_none(),
        _ => false,
    }
}

/// Every type, and some once more in another way.
fn checks(port: u16) -> Vec<Check> {
    let mut all: Vec<Check> = std::iter::successors(Some(Check::Off), |check| after(check, port)).collect();
    let never = Some("said by nobody".to_owned());
    all.push(Check::Tcp(TcpCheck { expect: never.clone(), ..TcpCheck::default() }));
    all.push(Check::Udp(UdpCheck { expect: never, ..UdpCheck::default() }));
    all.push(Check::Dns(DnsCheck { tcp: true, ..dns() }));
    all.push(Check::Sip(SipCheck::default()));
    all.push(Check::Agent(AgentCheck {
        agent_port: port,
        path: Some("/state".to_owned()),
        ..AgentCheck::default()
    }));
    all
}

/// A check, who lies to it, and where.
struct Case {
    check: Check,
    lie: Lie,
    port: u16,
    question: Question,
    timeout: Duration,
}

fn cases(files: &Files<'_>, timeout: Duration, tell: impl Fn(Lie) -> (u16, Vec<Check>)) -> Vec<Case> {
    let of = |lie: Lie| {
        let (port, checks) = tell(lie);
        checks.into_iter().map(move |check| {
            let health = Health { timeout, ..Health::new(check.clone()) };
            Case { check, lie, port, question: Question::new(&health, files).unwrap(), timeout }
        })
    };
    Lie::ALL.into_iter().flat_map(of).collect()
}

/// Those that speak TLS before anything else.
fn tls_checks() -> Vec<Check> {
    let tls = Tls { tls: true, ..Tls::default() };
    let word = || "probe".to_owned();
    let login =
        || LoginCheck { user: Some(word()), secret: Some(word()), tls: tls.clone(), ..LoginCheck::default() };
    vec![
        Check::Https(HttpCheck { tls: tls.clone(), ..HttpCheck::default() }),
        Check::Smtp(SmtpCheck { tls: tls.clone(), ..SmtpCheck::default() }),
        Check::Imap(login()),
        Check::Pop3(login()),
        Check::Ftp(login()),
        Check::Nntp(login()),
        Check::Redis(login()),
        Check::Ldap(LdapCheck { tls: tls.clone(), ..LdapCheck::default() }),
        Check::Grpc(GrpcCheck { tls, ..GrpcCheck::default() }),
    ]
}

impl Case {
    async fn play(&self, asker: &Asker) {
        let answer = ask(&self.question, &place(self.port), asker, &mut Trace::quiet()).await;
        let what = format!("{} against {:?}: {answer:?}", self.check, self.lie);
        assert!(answer.took < self.timeout + LATE.max(self.timeout / 2), "{what}");
        let believed = answer.outcome == Some(Outcome::Good) && is_content(&self.check);
        assert!(believed || answer.outcome == Some(Outcome::Bad), "{what}");
    }
}

/// The process's memory, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until no more than so many descriptors are open: some liars take a second to notice that nobody listens.
async fn eventually_closed(most: usize) {
    let begun = Instant::now();
    while descriptors() > most {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} descriptors, {most} before", descriptors());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that only accepts, asked again and again; how long the answers took, the longest last.
async fn ask_good(asker: &Asker, files: &Files<'_>, playing: &std::cell::Cell<bool>) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(drop));
    let question = Question::new(&Health::new(Check::Connect), files).unwrap();
    let mut took = Vec::new();
    while playing.get() {
        let answer = ask(&question, &place(port), asker, &mut Trace::quiet()).await;
        assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
        took.push(answer.took);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort();
    took
}

/// Both count the process's descriptors.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn no_liar_is_believed_or_waited_for_and_none_leaves_anything_behind() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("probe");
    fs::write(&script, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let secret = |_: &str| Ok(Some(b"a secret".to_vec()));
    let files = Files {
        secret: &secret,
        secrets: folder.path().into(),
        authorities: folder.path().into(),
        scripts: folder.path().into(),
    };
    let (here, there) = UnixStream::pair().unwrap();
    tokio::spawn(serve_scripts(there));
    let pinger = Pinger::open().expect("pings need CAP_NET_RAW");
    let asker = Asker { pinger: Some(pinger), scripts: Some(ScriptRunner::new(here)), ..Asker::default() };
    let cases = cases(&files, TIMEOUT, |lie| {
        let port = liar(lie);
        (port, checks(port))
    });
    let before = descriptors();
    let playing = std::cell::Cell::new(true);
    let play = async {
        let mut warm = 0;
        for round in 0..ROUNDS {
            join_all(cases.iter().map(|case| case.play(&asker))).await;
            if round == WARM {
                warm = memory();
            }
        }
        playing.set(false);
        warm
    };
    let (warm, took) = tokio::join!(play, ask_good(&asker, &files, &playing));
    let late = took.iter().filter(|took| **took > Duration::from_millis(100)).count();
    assert!(late * 20 <= took.len(), "{late} of {} answers took longer: {took:?}", took.len());
    let grown = memory().saturating_sub(warm);
    assert!(grown < 16 * 1024, "{grown} KiB more than the {warm} KiB after {WARM} rounds");
    eventually_closed(before + 4).await;
}

#[tokio::test]
async fn no_liar_behind_tls_is_believed_or_waited_for() {
    let _alone = ALONE.lock().await;
    let secret = |_: &str| Ok(Some(b"a secret".to_vec()));
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let files =
        Files { secret: &secret, secrets: nowhere.clone(), authorities: nowhere.clone(), scripts: nowhere };
    let config = Shown::alone("127.0.0.1").config();
    // Long enough for all handshakes, or nothing would be heard of what comes behind.
    let timeout = Duration::from_secs(2);
    let cases = cases(&files, timeout, |lie| (tls_liar(lie, config.clone()), tls_checks()));
    let asker = Asker::default();
    let before = descriptors();
    for _ in 0..3 {
        join_all(cases.iter().map(|case| case.play(&asker))).await;
    }
    eventually_closed(before + 4).await;
}
