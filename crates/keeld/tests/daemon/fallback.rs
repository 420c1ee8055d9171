//! Who answers when no server can, as clients at the other end of the cable see it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use keel_api::{ExplainQuery, Protocol, Verdict};
use nix::sys::signal::Signal;

use crate::machine::{Machine, SMALL, eventually};

/// A service in each family whose only server is the other end of the cable, which nobody serves until a test does.
fn cluster(more: &str) -> String {
    let service = |name: &str, vip: &str, server: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nports = \"80,8000-8010\"\n{more}\n[service.health]\n\
             type = \"connect\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nrise = 1\nfall = 1\n\
             [[service.server]]\nname = \"rs1\"\naddress = \"{server}\"\n"
        )
    };
    let four = service("four", "10.0.0.200", "10.0.0.1");
    let six = service("six", "fd00:10::200", "fd00:10::1");
    format!("{SMALL}\n{four}{six}")
}

fn answers_itself(machine: &Machine) {
    eventually("the fallback is in use", || machine.services().iter().all(|s| s.fallback_in_use));
}

/// What a client at the other end of the cable gets for its words, until the connection is closed. A reset is an error.
fn told(machine: &Machine, to: &str, words: &[u8]) -> Result<String, ErrorKind> {
    machine.in_the_world(|| ask(to.parse().unwrap(), words))
}

fn ask(to: SocketAddr, words: &[u8]) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(words).map_err(|error| error.kind())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
    Ok(answer)
}

const GET: &[u8] = b"GET /basket HTTP/1.1\r\nHost: shop\r\n\r\n";

#[test]
fn clients_of_a_service_without_servers_get_a_page_that_says_so() {
    let mut machine = Machine::new();
    machine.start();
    machine.apply(&cluster(""));
    answers_itself(&machine);
    for to in ["10.0.0.200:80", "10.0.0.200:8005", "[fd00:10::200]:80", "[fd00:10::200]:8010"] {
        let page = told(&machine, to, GET).unwrap();
        assert!(page.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{to}: {page}");
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("Connection: close") && head.contains("Retry-After: "), "{head}");
        assert!(body.contains("unavailable") && body.ends_with("</html>\n"), "{body}");
        let head_only = told(&machine, to, b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
        assert_eq!(head_only.split_once("\r\n\r\n").unwrap(), (head, ""));
    }
    // A request with a body that isn't read first, and one that comes in pieces.
    // More than buffers hold: whoever doesn't read it on breaks off the client in the middle of its request.
    let mut upload = b"POST /form HTTP/1.1\r\nHost: shop\r\nContent-Length: 30000000\r\n\r\n".to_vec();
    upload.resize(upload.len() + 30_000_000, b'x');
    assert!(told(&machine, "10.0.0.200:80", &upload).unwrap().starts_with("HTTP/1.1 503 "));
    // The same for whoever asks the page itself.
    let itself = machine.within(|| ask("127.0.0.1:9081".parse().unwrap(), &upload)).unwrap();
    assert!(itself.starts_with("HTTP/1.1 503 "), "{itself}");
    // What isn't HTTP is let go at once: a TLS client's hello, an SSH client's banner.
    for words in [b"\x16\x03\x01\x02\x00\x01\x00".as_slice(), b"SSH-2.0-client\r\n"] {
        let started = Instant::now();
        let answer = told(&machine, "10.0.0.200:80", words);
        assert!(matches!(answer.as_deref(), Ok("") | Err(ErrorKind::ConnectionReset)), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    // Not a port of the service.
    assert_eq!(told(&machine, "10.0.0.200:81", GET), Err(ErrorKind::ConnectionRefused));

    let four = machine.services().into_iter().find(|service| service.name == "four").unwrap();
    assert_eq!((four.fallback.as_deref(), four.fallback_in_use), (Some("127.0.0.1:9081"), true));
    let query = ExplainQuery {
        client: "10.0.0.1".parse().unwrap(),
        client_port: None,
        vip: "10.0.0.200".parse().unwrap(),
        vip_port: 80,
        protocol: Protocol::Tcp,
    };
    let explained = machine.ask(async |client| client.explain(query).await).unwrap();
    assert_eq!(explained.verdict, Verdict::Fallback);
    assert!(explained.summary.ends_with("goes to the fallback 127.0.0.1:9081"), "{}", explained.summary);
    let metrics = machine.ask(async |client| client.metrics().await).unwrap();
    assert!(metrics.contains("evenkeel_service_fallback{service=\"four\"} 1\n"), "{metrics}");
}

#[test]
fn the_fallback_goes_with_the_servers_return_and_survives_kills_and_flushes() {
    let mut machine = Machine::new();
    machine.start();
    machine.apply(&cluster(""));
    answers_itself(&machine);
    machine.end(Signal::SIGKILL);
    machine.start();
    answers_itself(&machine);
    assert!(told(&machine, "10.0.0.200:80", GET).unwrap().starts_with("HTTP/1.1 503 "));

    let listeners =
        machine.in_the_world(|| ["10.0.0.1:80", "[fd00:10::1]:80"].map(|at| TcpListener::bind(at).unwrap()));
    eventually("the server is back", || machine.services().iter().all(|s| !s.fallback_in_use));
    eventually("no rule is left", || machine.run("nft list ruleset").is_empty());
    let sockets = machine.run("ss -Hltn src 10.0.0.200");
    assert_eq!(sockets, "", "no way is left open");
    drop(listeners);
    answers_itself(&machine);
    assert!(told(&machine, "[fd00:10::200]:80", GET).unwrap().starts_with("HTTP/1.1 503 "));
    machine.apply(&cluster("fallback = \"off\""));
    eventually("nobody answers", || machine.services().iter().all(|s| !s.fallback_in_use));
    assert_eq!(machine.run("nft list ruleset"), "");
    let nobody = told(&machine, "10.0.0.200:80", GET);
    assert!(matches!(nobody, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{nobody:?}");
}

#[test]
fn clients_that_cant_be_led_there_meet_nobody() {
    let mut machine = Machine::new();
    let nft = machine.run("which nft").trim().to_owned();
    let original = machine.path("nft.original");
    std::fs::copy(&nft, &original).unwrap();
    machine.stand_in(&nft, "nft", "#!/bin/sh\necho 'Error: not now' >&2\nexit 1\n");
    machine.run(&format!("chmod 755 {}", machine.path("nft").display()));
    machine.start();
    // A program of the node that is meant for its administrators.
    let own = machine.within(|| TcpListener::bind("0.0.0.0:80").unwrap());
    machine.apply(&cluster(""));
    eventually("it is noticed", || {
        machine.services().iter().all(|service| service.reason.contains("rs1"))
            && machine.read("log").contains("not now")
    });
    let nobody = told(&machine, "10.0.0.200:80", GET);
    assert!(matches!(nobody, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{nobody:?}");
    assert!(machine.services().iter().all(|s| !s.fallback_in_use));
    own.set_nonblocking(true).unwrap();
    assert_eq!(own.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    machine.write("nft", &format!("#!/bin/sh\nexec {} \"$@\"\n", original.display()));
    let mended = Instant::now();
    while !machine.services().iter().all(|s| s.fallback_in_use) {
        assert!(mended.elapsed() < Duration::from_secs(45), "it isn't tried again");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(told(&machine, "10.0.0.200:80", GET).unwrap().starts_with("HTTP/1.1 503 "));
    machine.run("nft flush ruleset");
    eventually("flushed rules are back", || !machine.run("nft list ruleset").is_empty());
    assert!(told(&machine, "10.0.0.200:80", GET).unwrap().starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_fallback_on_the_nodes_own_addresses_is_refused() {
    let mut machine = Machine::new();
    machine.start();
    for address in ["10.0.0.21:80", "10.0.0.200:80"] {
        let text = cluster(&format!("mode = \"nat\"\nfallback = \"{address}\""));
        let four = text[..text.find("[[service]]\nname = \"six\"").unwrap()].to_owned();
        let other = four
            .replace("name = \"four\"", "name = \"other\"")
            .replace("10.0.0.200\"\nports", "10.0.0.201\"\nports");
        let both = format!(
            "{}{}",
            cluster("").split("[[service]]\nname = \"six\"").next().unwrap(),
            other.trim_start_matches(SMALL)
        );
        let refused =
            machine.ask(async |client| client.apply(&both, &keel_api::Intent::default()).await).unwrap_err();
        assert!(format!("{refused:?}").contains("service[1].fallback"), "{address}: {refused:?}");
        assert!(format!("{refused:?}").contains("127.0.0.1:80"), "{address}: {refused:?}");
    }
}

#[test]
fn another_program_of_this_machine_can_be_the_fallback() {
    let mut machine = Machine::new();
    machine.start();
    let own = machine.within(|| TcpListener::bind("127.0.0.1:8888").unwrap());
    let echo = thread::spawn(move || {
        let (mut stream, _) = own.accept().unwrap();
        let mut words = String::new();
        stream.read_to_string(&mut words).unwrap();
        stream.write_all(words.to_uppercase().as_bytes()).unwrap();
    });
    let text = cluster("fallback = \"127.0.0.1:8888\"");
    let only_four = &text[..text.find("[[service]]\nname = \"six\"").unwrap()];
    machine.apply(only_four);
    answers_itself(&machine);
    let answer = machine.in_the_world(|| {
        let mut stream = TcpStream::connect("10.0.0.200:80").unwrap();
        stream.write_all(b"not http at all").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer, "NOT HTTP AT ALL");
    echo.join().unwrap();
    // Nobody is there any more: clients are let go, the daemon goes on.
    let answer = told(&machine, "10.0.0.200:80", GET);
    assert!(matches!(answer.as_deref(), Ok("") | Err(ErrorKind::ConnectionReset)), "{answer:?}");
}

#[test]
fn many_clients_that_say_nothing_leave_room_for_others() {
    let mut machine = Machine::new();
    machine.start();
    machine.apply(&cluster(""));
    answers_itself(&machine);
    let silent = machine
        .in_the_world(|| (0..1500).map(|_| TcpStream::connect("10.0.0.200:80").unwrap()).collect::<Vec<_>>());
    // Those that were let in are let go after a while, so there is room again.
    eventually("others are answered", || {
        told(&machine, "10.0.0.200:80", GET).is_ok_and(|page| page.starts_with("HTTP/1.1 503 "))
    });
    drop(silent);
    assert!(machine.services().iter().all(|s| s.fallback_in_use));
}
