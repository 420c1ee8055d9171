//! Whether people are told, by a daemon that runs, what happens to servers.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use jiff::ToSpan as _;
use keel_api::{AlertChannelKind, Client, HealthFilter, HealthVerdict, Intent, ServerAction};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::machine::{Machine, SMALL, eventually};

const SECRET: &str = "between us";

/// A service with two servers at the other end of the cable, looked at ten times a second.
fn cluster(alerts: &str) -> String {
    let servers: String =
        [1, 2].map(|n| format!("[[service.server]]\nname = \"rs{n}\"\naddress = \"10.0.0.{n}\"\n")).concat();
    format!(
        "{SMALL}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\nfallback = \"off\"\n\
         [service.health]\ntype = \"connect\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nrise = 1\nfall = 2\n{servers}\n\
         [alerts]\nevery = \"1s\"\n{alerts}"
    )
}

/// Takes connections until it is dropped.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(machine: &Machine, address: &str) -> Self {
        let listener = machine.in_the_world(|| TcpListener::bind(address).unwrap());
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request to the webhook.
struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let mut request = Self { head, body: Vec::new() };
        request.body = vec![0; request.header("content-length").parse().unwrap()];
        reader.read_exact(&mut request.body).unwrap();
        request
    }

    fn header(&self, name: &str) -> &str {
        let fields = self.head.iter().filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap()
    }

    /// What it says, if it is signed as it should be.
    fn report(&self) -> Value {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signed = [self.header("x-evenkeel-timestamp").as_bytes(), b".", &self.body].concat();
        let digits: String =
            hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.header("x-evenkeel-signature"), format!("sha256={digits}"));
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Receives reports on the machine's own loopback.
fn webhook(machine: &Machine) -> mpsc::Receiver<Request> {
    let listener = machine.within(|| TcpListener::bind("127.0.0.1:8088").unwrap());
    let (requests, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = Request::read(&stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if requests.send(request).is_err() {
                return;
            }
        }
    });
    received
}

/// Reports until one is as wanted: all of them.
#[track_caller]
fn reports(received: &mpsc::Receiver<Request>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    while !found.last().is_some_and(&wanted) {
        match received.recv_timeout(Duration::from_secs(20)) {
            Ok(request) => found.push(request.report()),
            Err(error) => panic!("{error} after {found:#?}"),
        }
    }
    found
}

/// Every event: to whom it happened, how bad, why.
fn events(reports: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = reports.iter().flat_map(|report| report["events"].as_array().unwrap());
    all.map(|event| {
        let subject = &event["subject"];
        let subject = [&subject["service"], &subject["server"]].map(text).join("/");
        (subject, text(&event["severity"]), text(&event["text"]))
    })
    .collect()
}

fn happened(events: &[(String, String, String)], subject: &str, severity: &str) -> bool {
    events.iter().any(|(of, how, _)| (of.as_str(), how.as_str()) == (subject, severity))
}

fn machine() -> Machine {
    let machine = Machine::new();
    machine.world("ip address add 10.0.0.2/24 dev eth0");
    machine
}

fn verdict(machine: &Machine, server: &str) -> HealthVerdict {
    let filter = HealthFilter { service: Some("web".to_owned()), server: Some(server.to_owned()) };
    machine.ask(async |client| client.health(&filter).await).unwrap()[0].verdict
}

fn wait_for(machine: &Machine, server: &str, wanted: HealthVerdict) {
    eventually(&format!("{server} is {}", wanted.as_str()), || verdict(machine, server) == wanted);
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_told_to_a_webhook_and_to_syslog() {
    let mut machine = machine();
    let (first, second) = (Server::new(&machine, "10.0.0.1:80"), Server::new(&machine, "10.0.0.2:80"));
    let received = webhook(&machine);
    let syslog = machine.within(|| UdpSocket::bind("127.0.0.1:514").unwrap());
    syslog.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    machine.keep_secret("hook", &format!("{SECRET}\n"));
    let channels =
        "webhook = \"http://127.0.0.1:8088/hook\"\nwebhook_secret = \"hook\"\nsyslog = \"127.0.0.1:514\"\n";
    machine.write("etc/cluster.toml", &cluster(channels));
    machine.start();
    wait_for(&machine, "rs1", HealthVerdict::Up);
    wait_for(&machine, "rs2", HealthVerdict::Up);

    drop(first);
    let told = reports(&received, |report| report["open_count"] == 1);
    let [(subject, severity, text)] = &events(&told)[..] else { panic!("{told:#?}") };
    assert_eq!(
        (subject.as_str(), severity.as_str()),
        ("web/rs1", "problem"),
        "and nothing when they came up"
    );
    assert!(text.to_lowercase().contains("refused"), "{text}");
    let mut message = [0; 2048];
    let length = syslog.recv(&mut message).unwrap();
    let message = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(message.contains("PROBLEM") && message.contains("web/rs1"), "{message}");

    drop(second);
    let told = events(&reports(&received, |report| report["open_count"] == 3));
    assert!(happened(&told, "web/rs2", "problem") && happened(&told, "web/", "problem"), "{told:?}");
    let words = &told.iter().find(|(subject, ..)| subject == "web/").unwrap().2;
    assert_eq!(words, "0 of 2 servers are up: nobody answers");

    let _back = [Server::new(&machine, "10.0.0.1:80"), Server::new(&machine, "10.0.0.2:80")];
    let told = events(&reports(&received, |report| report["all_clear"] == true));
    for subject in ["web/rs1", "web/rs2", "web/"] {
        assert!(happened(&told, subject, "recovered"), "{subject}: {told:?}");
    }
    let alerts = machine.ask(async |client| client.alerts().await).unwrap();
    let working = |kind| alerts.channels.iter().any(|c| c.channel == kind && c.last_success.is_some());
    assert!(working(AlertChannelKind::Webhook) && working(AlertChannelKind::Syslog), "{alerts:?}");
    let tested = machine.ask(async |client| client.test_alerts().await).unwrap();
    assert!(tested.len() == 2 && tested.iter().all(|test| test.sent), "{tested:?}");
    let told = reports(&received, |_| true);
    assert_eq!(told[0]["events"][0]["text"], "this is a test: alerts arrive");
}

#[test]
fn a_server_taken_out_by_hand_is_no_alert_and_ends_the_trouble_that_it_was() {
    let mut machine = machine();
    let (first, second) = (Server::new(&machine, "10.0.0.1:80"), Server::new(&machine, "10.0.0.2:80"));
    let received = webhook(&machine);
    machine.keep_secret("hook", SECRET);
    machine.write(
        "etc/cluster.toml",
        &cluster("webhook = \"http://127.0.0.1:8088/\"\nwebhook_secret = \"hook\"\n"),
    );
    machine.start();
    wait_for(&machine, "rs1", HealthVerdict::Up);
    wait_for(&machine, "rs2", HealthVerdict::Up);
    let halt = |server: &str| {
        let act = async |client: Client| {
            client.act_on_server("web", server, ServerAction::Halt, &Intent::default()).await
        };
        machine.ask(act).unwrap();
    };
    halt("rs1");
    drop(first);
    wait_for(&machine, "rs1", HealthVerdict::Down);
    drop(second);
    let told = events(&reports(&received, |report| report["open_count"] == 2));
    assert!(happened(&told, "web/rs2", "problem") && happened(&told, "web/", "problem"), "{told:?}");
    assert!(told.iter().all(|(subject, ..)| subject != "web/rs1"), "{told:?}");
    halt("rs2");
    let told = reports(&received, |report| report["all_clear"] == true);
    assert_eq!(told.last().unwrap()["open_count"], 0);
    assert!(happened(&events(&told), "web/rs2", "notice"), "{told:?}");
}

/// Shows a certificate that ends in so many days to whoever comes.
fn tls_server(machine: &Machine, address: &str, days: i64) {
    let listener = machine.in_the_world(|| TcpListener::bind(address).unwrap());
    let ends = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).saturating_add(days.days()).date();
    let mut params = rcgen::CertificateParams::new(vec!["web".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(ends.year().into(), ends.month() as u8, ends.day() as u8);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
}

#[test]
fn a_certificate_that_ends_soon_is_told_and_one_that_doesnt_is_not() {
    let mut machine = machine();
    tls_server(&machine, "10.0.0.1:443", 5);
    tls_server(&machine, "10.0.0.2:443", 60);
    let received = webhook(&machine);
    machine.keep_secret("hook", SECRET);
    let channels = "webhook = \"http://127.0.0.1:8088/hook\"\nwebhook_secret = \"hook\"\n";
    let text = cluster(channels).replace("type = \"connect\"", "type = \"tls\"\nport = 443\nverify = false");
    let text = text
        .replace("timeout = \"100ms\"", "timeout = \"2s\"")
        .replace("interval = \"100ms\"", "interval = \"4s\"");
    machine.write("etc/cluster.toml", &text);
    machine.start();
    wait_for(&machine, "rs1", HealthVerdict::Up);
    wait_for(&machine, "rs2", HealthVerdict::Up);
    let told = reports(&received, |report| report["open_count"] == 1);
    let event = &told[0]["events"][0];
    assert_eq!(event["subject"]["certificate"], "of web/rs1 at 10.0.0.1:443");
    assert_eq!(event["severity"], "problem");
    let words = event["text"].as_str().unwrap();
    assert!(words.contains("ends") && words.contains(" days"), "{words}");
    assert_eq!(told.iter().flat_map(|report| report["events"].as_array().unwrap()).count(), 1);
    drop(told);
    machine.apply(&text.replace("[alerts]\n", "[alerts]\ncertificate_days = 2\n"));
    let told = reports(&received, |report| report["all_clear"] == true);
    assert_eq!(told.last().unwrap()["open_count"], 0);
}

#[test]
fn a_channel_that_fails_is_warned_of_and_holds_up_neither_the_daemon_nor_its_end() {
    let mut machine = machine();
    // Takes connections, and says nothing ever.
    let silent = machine.within(|| TcpListener::bind("127.0.0.1:8088").unwrap());
    let _servers = [Server::new(&machine, "10.0.0.1:80"), Server::new(&machine, "10.0.0.2:80")];
    machine.write("etc/cluster.toml", &cluster("syslog = \"nowhere.invalid:514\"\n"));
    machine.stand_in(
        "/etc/resolv.conf",
        "nobody.conf",
        "options attempts:1 timeout:1\nnameserver 127.0.0.9\n",
    );
    machine.start();
    let tested = machine.ask(async |client| client.test_alerts().await).unwrap();
    assert!(tested.len() == 1 && !tested[0].sent, "{tested:?}");

    machine.apply(&cluster("webhook = \"http://127.0.0.1:8088/\"\nwebhook_secret = \"missing\"\n"));
    let warned = |machine: &Machine, wanted: &str| {
        let warnings = machine.status().warnings;
        warnings.iter().any(|w| w.subject == "alerts" && w.text.contains(wanted) && w.remedy.is_some())
    };
    assert!(warned(&machine, "there is no secret called `missing`"), "{:?}", machine.status().warnings);

    machine.apply(&cluster("webhook = \"http://127.0.0.1:8088/\"\n"));
    assert!(!warned(&machine, ""), "the new settings weren't tried");
    machine.world("ip link set eth0 down");
    let (_held, _) = silent.accept().unwrap();
    let started = Instant::now();
    assert!(machine.services()[0].name == "web" && started.elapsed() < Duration::from_secs(1));
    machine.end(Signal::SIGTERM);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}
