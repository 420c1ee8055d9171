//! What whole applications ask of a balancer's judgement: a database tier, a gRPC service beside a plain one, servers that
//! say themselves how much they can take, and somebody who answers when none of them can.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use keel_api::{HealthFilter, HealthVerdict, ServerHealth};
use keel_lab::Topology;
use keel_tests::{Plan, Rig, Service, config, eventually};
use tokio::net::TcpStream;

fn health(rig: &Rig, service: &str, server: &str) -> ServerHealth {
    let filter = HealthFilter { service: Some(service.to_owned()), server: Some(server.to_owned()) };
    rig.ask(async |client| client.health(&filter).await).unwrap().remove(0)
}

fn verdict(rig: &Rig, service: &str, server: &str) -> HealthVerdict {
    health(rig, service, server).verdict
}

fn weight(rig: &Rig, service: &str, server: &str) -> u16 {
    let status = rig.service(service);
    status.servers.iter().find(|known| known.name == server).unwrap().effective_weight
}

/// PostgreSQL on a server; its files go with the lab.
struct Database<'a> {
    rig: &'a Rig,
    node: &'static str,
}

impl<'a> Database<'a> {
    const BIN: &'static str = "PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH; cd /run/pg";

    fn new(rig: &'a Rig, node: &'static str) -> Self {
        rig.run(node, &["sh", "-c", "install -d -o postgres /run/pg"]).ok();
        Self { rig, node }
    }

    fn primary(self) -> Self {
        self.run(
            "initdb -N -A trust -D data >/dev/null && echo 'host all,replication all 192.168.0.0/16 trust' >> data/pg_hba.conf",
        );
        self.start();
        self
    }

    fn standby_of(self, primary: &str) -> Self {
        self.run(&format!("pg_basebackup -h {primary} -U postgres -R -c fast --no-sync -D data"));
        self.start();
        self
    }

    fn run(&self, command: &str) -> String {
        let line = format!("{}; {command}", Self::BIN);
        self.rig.run(self.node, &["runuser", "-u", "postgres", "--", "sh", "-c", &line]).ok()
    }

    fn start(&self) {
        let options =
            "-c listen_addresses=* -c unix_socket_directories=/run/pg -c fsync=off -c shared_buffers=8MB";
        self.run(&format!("pg_ctl -w -D data -l log -o '{options}' start >/dev/null"));
    }

    fn kill(&self) {
        self.run("kill -9 $(head -1 data/postmaster.pid); while kill -0 $(head -1 data/postmaster.pid) 2>/dev/null; do sleep 0.1; done; rm data/postmaster.pid");
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let line = format!("{}; pg_ctl -m immediate -D data stop || true", Self::BIN);
        self.rig.run(self.node, &["runuser", "-u", "postgres", "--", "sh", "-c", &line]);
    }
}

#[test]
fn a_database_tier_writes_to_the_primary_only_and_never_goes_back_by_itself() {
    let rig = Rig::up("app-database", Topology::OneArm);
    let first = Database::new(&rig, "rs1").primary();
    let second = Database::new(&rig, "rs2").standby_of("192.168.2.101");
    let tier = Service::new("db", "192.168.2.200", "5432")
        .with(
            "fallback = \"off\"\nfailback = \"manual\"\n[service.health]\ntype = \"pgsql\"\nuser = \"postgres\"\n\
             database = \"postgres\"\nsecret = \"db\"\nwritable = true\ninterval = \"500ms\"\nfast_interval = \"200ms\"",
        )
        .server("rs1", "192.168.2.101", &[])
        .server("rs2", "192.168.2.102", &["priority = 1"]);
    rig.run(
        "lb1",
        &["sh", "-c", "umask 077; mkdir -p /etc/evenkeel/secrets; echo unused > /etc/evenkeel/secrets/db"],
    )
    .ok();
    rig.apply(&config(&[tier]));
    let ask = |statement: &str| {
        let said = rig.run("client", &["psql", "-h", "192.168.2.200", "-U", "postgres", "-Atc", statement]);
        (said.code == 0).then(|| said.out.trim().to_owned())
    };
    eventually("the primary is up", || verdict(&rig, "db", "rs1") == HealthVerdict::Up);
    assert_eq!(verdict(&rig, "db", "rs2"), HealthVerdict::Down);
    assert_eq!(health(&rig, "db", "rs2").reason, "it is a standby: writes are refused");
    ask("create table orders as select 1 as number").expect("it takes writes");

    first.kill();
    eventually("the primary is down", || verdict(&rig, "db", "rs1") == HealthVerdict::Down);
    second.run("pg_ctl -w -D data promote >/dev/null");
    eventually("the former standby takes writes", || ask("insert into orders values (2)").is_some());

    // The old primary comes back as it was: writable, and without what was written meanwhile.
    first.start();
    eventually("it looks well", || verdict(&rig, "db", "rs1") == HealthVerdict::Up);
    for _ in 0..5 {
        assert_eq!(ask("select count(*) from orders").as_deref(), Some("2"), "nobody meets it");
    }
    rig.end_daemon(nix::sys::signal::Signal::SIGKILL);
    rig.start_daemon(&rig.program());
    for _ in 0..5 {
        assert_eq!(ask("select count(*) from orders").as_deref(), Some("2"), "also after keeld was killed");
    }
    eventually("it looks well again", || verdict(&rig, "db", "rs1") == HealthVerdict::Up);
    rig.keel(&["service", "failback", "db"]).ok();
    eventually("by hand it gets its place back", || {
        ask("select count(*) from orders").as_deref() == Some("1")
    });
}

/// A gRPC server that answers questions for its health as it is told.
struct Grpc {
    serving: Arc<AtomicBool>,
    _thread: JoinHandle<()>,
}

impl Grpc {
    fn new(rig: &Rig, node: &str) -> Self {
        let listener = rig.inside(node, || TcpListener::bind("0.0.0.0:8001").unwrap());
        listener.set_nonblocking(true).unwrap();
        let serving = Arc::new(AtomicBool::new(true));
        let told = serving.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, told.clone()));
                }
            });
        });
        Self { serving, _thread: thread }
    }
}

async fn serve(stream: TcpStream, serving: Arc<AtomicBool>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        answer(&request, respond, serving.load(Ordering::Relaxed));
    }
}

/// `HealthCheckResponse { status }` as the gRPC health checking protocol has it: 1 is SERVING, 2 is not.
fn answer(request: &Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, serving: bool) {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let status = if serving { 1 } else { 2 };
    let _ = stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let _ = stream.send_trailers(trailers);
}

#[test]
fn a_dual_centre_application_has_grpc_on_one_port_and_plain_tcp_on_others() {
    let rig = Rig::up("app-grpc", Topology::OneArm);
    let servers: Vec<Grpc> = ["rs1", "rs2"].iter().map(|node| Grpc::new(&rig, node)).collect();
    let fast = "interval = \"500ms\"\nfast_interval = \"200ms\"\ntimeout = \"400ms\"";
    let grpc = Service::new("grpc", "192.168.2.200", "8001")
        .with(&format!("[service.health]\ntype = \"grpc\"\n{fast}"))
        .servers("192.168.2.10", 2);
    let plain = Service::new("plain", "192.168.2.200", "80,8080")
        .with(&format!("scheduler = \"rr\"\n[service.health]\ntype = \"connect\"\n{fast}"))
        .servers("192.168.2.10", 2);
    rig.apply(&config(&[grpc, plain]));
    eventually("both centres serve", || {
        ["rs1", "rs2"].iter().all(|s| verdict(&rig, "grpc", s) == HealthVerdict::Up)
    });
    servers[0].serving.store(false, Ordering::Relaxed);
    eventually("one says that it isn't serving", || verdict(&rig, "grpc", "rs1") == HealthVerdict::Down);
    assert!(health(&rig, "grpc", "rs1").reason.contains("NOT_SERVING"), "{:?}", health(&rig, "grpc", "rs1"));
    eventually("it takes nobody", || weight(&rig, "grpc", "rs1") == 0);
    assert!(weight(&rig, "grpc", "rs2") > 0);
    assert_eq!(verdict(&rig, "plain", "rs1"), HealthVerdict::Up, "its other ports have their own check");
    assert_eq!(rig.shares("192.168.2.200:8080".parse().unwrap(), 8)["rs1"], 4);
    servers[0].serving.store(true, Ordering::Relaxed);
    eventually("it serves again", || weight(&rig, "grpc", "rs1") > 0);
}

/// An agent that says what it is told to whoever connects.
fn agent(rig: &Rig, node: &str, says: &str) -> Arc<Mutex<String>> {
    let listener = rig.inside(node, || TcpListener::bind("0.0.0.0:3333").unwrap());
    let words = Arc::new(Mutex::new(says.to_owned()));
    let told = words.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = writeln!(stream, "{}", told.lock().unwrap());
        }
    });
    words
}

#[test]
fn agents_say_how_much_their_servers_can_take_and_who_comes_back_starts_slowly() {
    let rig = Rig::up("app-agents", Topology::OneArm);
    let words: Vec<_> = ["rs1", "rs2"].iter().map(|node| agent(&rig, node, "100%")).collect();
    let say = |server: usize, what: &str| *words[server].lock().unwrap() = what.to_owned();
    let service = Service::new("web", "192.168.2.200", "80")
        .with("scheduler = \"wrr\"\nslow_start = \"5s\"\n[service.health]\ntype = \"agent\"\ninterval = \"300ms\"\nfast_interval = \"200ms\"")
        .servers("192.168.2.10", 2)
        .each("weight = 100");
    rig.apply(&config(&[service]));
    let vip: SocketAddr = "192.168.2.200:80".parse().unwrap();
    eventually("both take all", || weight(&rig, "web", "rs1") == 100 && weight(&rig, "web", "rs2") == 100);
    say(0, "25%");
    eventually("a quarter of the weight", || weight(&rig, "web", "rs1") == 25);
    let shares = rig.shares(vip, 100);
    assert_eq!((shares["rs1"], shares["rs2"]), (20, 80));
    say(0, "drain");
    eventually("no new work", || verdict(&rig, "web", "rs1") == HealthVerdict::Drain);
    eventually("in force", || weight(&rig, "web", "rs1") == 0);
    assert_eq!(rig.shares(vip, 10)["rs2"], 10);
    say(0, "down#maintenance");
    eventually("down", || verdict(&rig, "web", "rs1") == HealthVerdict::Down);
    assert!(health(&rig, "web", "rs1").reason.contains("maintenance"), "{:?}", health(&rig, "web", "rs1"));
    say(0, "up 100%");
    eventually("it is back", || weight(&rig, "web", "rs1") > 0);
    let (began, mut seen) = (Instant::now(), Vec::new());
    eventually("it has its whole weight", || {
        let now = weight(&rig, "web", "rs1");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        now == 100
    });
    assert!(seen[0] <= 20 && seen.is_sorted() && seen.len() > 5, "step by step: {seen:?}");
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn handshakes_that_come_to_no_end_have_a_server_asked_long_before_its_interval() {
    let rig = Rig::alone("app-traffic", Topology::OneArm);
    let slow = "scheduler = \"rr\"\n[service.health]\ntype = \"connect\"\ninterval = \"1h\"\nfast_interval = \"200ms\"\ntimeout = \"200ms\"\nfall = 2";
    rig.apply(&config(&[Service::new("web", "192.168.2.200", "80").with(slow).servers("192.168.2.10", 3)]));
    let plan = Plan { fresh: vec![("192.168.2.200:80".parse().unwrap(), 6)], ..Plan::default() };
    let (_, ()) = rig.under_load(&plan, |load| {
        load.more(50);
        load.take().unharmed();
        let rules = "nft 'add table ip gone; add chain ip gone in { type filter hook input priority 0; }; add rule ip gone in tcp dport 80 drop'";
        rig.run("rs1", &["sh", "-c", rules]).ok();
        let silent = Instant::now();
        eventually("rs1 is out", || verdict(&rig, "web", "rs1") == HealthVerdict::Down);
        // Each of the clients waits for it in the end, so half a second passes until that is seen; then two answers of 200 ms.
        let took = silent.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        eventually("nobody meets it any more", || {
            load.more(50);
            load.take().failures.is_empty()
        });
    });
}

#[test]
fn when_no_server_can_the_fallback_answers_in_every_mode_and_family() {
    for topology in [Topology::OneArm, Topology::TwoArm] {
        let rig = Rig::up("app-fallback", topology);
        let two_arm = topology == Topology::TwoArm;
        let (mode, network, network6) =
            if two_arm { ("nat", "10.0.0.10", "fd00:10::10") } else { ("dr", "192.168.2.10", "fd00:2::10") };
        let checked = format!(
            "mode = \"{mode}\"\n[service.health]\ntype = \"http\"\npath = \"/health\"\ninterval = \"500ms\"\nfast_interval = \"100ms\""
        );
        let elsewhere = |to: &str| checked.replacen("\n", &format!("\nfallback = \"{to}\"\n"), 1);
        let page = [
            Service::new("four", "192.168.2.200", "80").with(&checked).servers(network, 2),
            Service::new("six", "fd00:2::200", "80").with(&checked).servers(network6, 2),
        ];
        let other = [
            Service::new("other4", "192.168.2.201", "80")
                .with(&elsewhere(&format!("{network}3:80")))
                .servers(network, 2),
            Service::new("other6", "fd00:2::201", "80")
                .with(&elsewhere(&format!("[{network6}3]:80")))
                .servers(network6, 2),
        ];
        let gateways =
            "[[floating_ip]]\naddress = \"10.0.0.1/24\"\n[[floating_ip]]\naddress = \"fd00:10::1/64\"\n";
        let gateways = if two_arm { gateways } else { "" };
        rig.apply(&(gateways.to_owned() + &config(&[&page[..], &other[..]].concat())));
        let heal = |well: bool| {
            for server in ["rs1", "rs2"] {
                let command =
                    if well { "echo CB_IS_OKAY > /run/web/pages/health" } else { "rm /run/web/pages/health" };
                rig.run(server, &["sh", "-c", command]).ok();
            }
            eventually("the fallback answers, or not", || {
                rig.services().iter().all(|s| s.fallback_in_use != well)
            });
        };
        let status = |url: &str| {
            let curl = ["curl", "-gs", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", url];
            rig.run("client", &curl).out
        };
        for _ in 0..2 {
            for name in ["192.168.2.200", "192.168.2.201"] {
                assert!(["rs1\n", "rs2\n"].contains(&rig.get(&format!("http://{name}/")).as_str()));
            }
            heal(false);
            for url in ["http://192.168.2.200/", "http://[fd00:2::200]/x?y"] {
                let text = rig.get(url);
                assert!(text.contains("unavailable"), "{url}: {text}");
                assert_eq!(status(url), "503");
            }
            for url in ["http://192.168.2.201/", "http://[fd00:2::201]/"] {
                assert_eq!(rig.get(url), "rs3\n", "{url}");
            }
            let said = rig.keel(&["status"]);
            assert!(said.out.contains("answers"), "{}", said.out);
            heal(true);
        }
    }
}
