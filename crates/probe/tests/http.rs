//! HTTP checks, against nginx and against servers that don't behave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keel_pool::Outcome;
use keel_probe::{Asker, Place, Trace, ask};
use support::certificates::Authority;
use support::{
    Kept,
    liar::{Lie, liar},
    server::{Server, free_port},
};

/// nginx with a plain port, one for TLS, and one for HTTP/2 alone.
struct Nginx {
    plain: u16,
    tls: u16,
    two: u16,
    authority: Authority,
    _server: Server,
}

const PLACES: &str = r#"
    location / { return 200 "hello, CB_IS_OKAY\n"; }
    location = /503 { return 503; }
    location = /401 { return 401; }
    location = /echo { return 200 "$request_method|$http_host|$http_user_agent|$http_x_probe|$http_connection|$http_content_length|$server_protocol|$ssl_server_name|"; }
    location = /old { return 302 /new/place; }
    location = /new/place { absolute_redirect off; return 301 /; }
    location = /loop { return 307 /loop; }
    location = /away { return 302 http://192.0.2.1/; }
    location = /up { return 301 https://$http_host/; }
    location = /secret { auth_basic "x"; auth_basic_user_file users; try_files /page =404; }
"#;

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let authority = Authority::new("Own");
        let shown = authority.sign(&["web.example.org"], -1, 30);
        let (plain, tls, two) = (free_port(), free_port(), free_port());
        let write = |name: &str, text: &str| fs::write(at.join(name), text).unwrap();
        write("certificate.pem", &shown.certificate);
        write("key.pem", &shown.key);
        write("users", "probe:{PLAIN}open sesame\n");
        write("page", "inside\n");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", at.display()))
            .concat();
        write(
            "nginx.conf",
            &format!(
                "daemon off;\nuser root;\nworker_processes 1;\npid {at}/pid;\nerror_log stderr;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{\naccess_log off;\n{temporary}root {at};\n\
                 server {{ listen 127.0.0.1:{plain};\n{PLACES} }}\n\
                 server {{ listen 127.0.0.1:{two} http2;\n{PLACES} }}\n\
                 server {{ listen 127.0.0.1:{tls} ssl http2;\nssl_certificate certificate.pem;\n\
                 ssl_certificate_key key.pem;\n{PLACES} }}\n}}\n",
                at = at.display()
            ),
        );
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(at).arg("-c").arg(at.join("nginx.conf"));
        let mut server = Server::start(&mut command, "nginx-light", folder);
        for port in [plain, tls, two] {
            server.wait_for(port);
        }
        Self { plain, tls, two, authority, _server: server }
    }
}

#[tokio::test]
async fn status_and_body_decide() {
    let (nginx, kept) = (Nginx::start(), Kept::default());
    let port = nginx.plain;
    let http = |more: &str| format!("type = \"http\"\n{more}");
    for (more, words) in [
        ("", "HTTP 200"),
        ("method = \"HEAD\"", "HTTP 200"),
        ("path = \"/503\"\nexpect_status = \"200,500-599\"", "HTTP 503"),
        ("expect_body = \"CB_IS_OKAY\"", "HTTP 200"),
        (
            "expect_regex = \"^hello, [A-Z_]+\\n$\"\nrefuse_body = \"ERROR\"\nrefuse_regex = \"(?i)fail\"",
            "HTTP 200",
        ),
    ] {
        let answer = kept.asked(&http(more), port).await;
        assert_eq!((answer.outcome, &*answer.reason), (Some(Outcome::Good), words), "{more}");
    }
    for (more, words) in [
        ("path = \"/503\"", "HTTP 503, expected 200"),
        ("path = \"/401\"\nexpect_status = \"200-299\"", "HTTP 401, expected 200-299"),
        ("expect_body = \"CB_IS_FINE\"", "HTTP 200, but the body lacks \"CB_IS_FINE\""),
        ("expect_regex = \"^OKAY$\"", "HTTP 200, but the body lacks /^OKAY$/"),
        ("expect_body = \"hello\"\nrefuse_body = \"IS_OKAY\"", "HTTP 200, but the body contains \"IS_OKAY\""),
        ("refuse_regex = \"IS_[OK]{2}AY\"", "HTTP 200, but the body contains /IS_[OK]{2}AY/"),
        ("path = \"/old\"", "HTTP 302, expected 200"),
    ] {
        let answer = kept.asked(&http(more), port).await;
        assert_eq!((answer.outcome, &*answer.reason), (Some(Outcome::Bad), words), "{more}");
    }
    let answer = kept.asked(&http("path = \"/503\"\ndrain_on_status = \"503\""), port).await;
    assert_eq!((answer.outcome, &*answer.reason), (Some(Outcome::Drain), "HTTP 503 drains"));
}

#[tokio::test]
async fn both_versions_with_and_without_tls() {
    let nginx = Nginx::start();
    let kept = Kept { authorities: nginx.authority.folder.path().to_owned(), ..Kept::default() };
    let two = "version = \"2\"\npath = \"/echo\"\nexpect_body = \"|HTTP/2.0|\"";
    kept.good(&format!("type = \"http\"\n{two}"), nginx.two, "HTTP 200").await;
    kept.good(&format!("type = \"https\"\n{two}"), nginx.tls, "HTTP 200").await;
    let one = "type = \"https\"\npath = \"/echo\"\nexpect_body = \"|close||HTTP/1.1||\"";
    kept.good(one, nginx.tls, "HTTP 200").await;
    let verified = "type = \"https\"\nverify = true\nca = \"own.pem\"\npath = \"/echo\"";
    let named = format!("{verified}\nhost = \"web.example.org:8443\"\nexpect_body = \"|web.example.org|\"");
    let answer = kept.asked(&named, nginx.tls).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    assert!(answer.certificate_ends.is_some());
    let asked = format!(
        "{verified}\nhost = \"other.example.org\"\nserver_name = \"web.example.org\"\nexpect_body = \"GET|other.example.org|\""
    );
    kept.good(&asked, nginx.tls, "HTTP 200").await;
    kept.bad(verified, nginx.tls, "TLS: the certificate is for web.example.org, not for 127.0.0.1").await;
    let body = "expect_body = \"CB_IS_OKAY\"\nversion = \"2\"\nexpect_status = \"200\"";
    kept.good(&format!("type = \"http\"\n{body}"), nginx.two, "HTTP 200").await;
    kept.bad("type = \"http\"\nversion = \"2\"\npath = \"/503\"", nginx.two, "HTTP 503, expected 200").await;
}

#[tokio::test]
async fn the_wrong_language_is_told() {
    let (nginx, kept) = (Nginx::start(), Kept::default());
    kept.bad("type = \"https\"", nginx.plain, "TLS: the server speaks no TLS on this port").await;
    kept.bad("type = \"http\"", nginx.tls, "HTTP 400, expected 200").await;
    kept.bad("type = \"http\"\nversion = \"2\"", nginx.plain, "speaks no HTTP/2").await;
    kept.bad("type = \"http\"", nginx.two, "speaks no HTTP/1.1, but HTTP/2").await;
}

#[tokio::test]
async fn requests_are_what_the_check_says() {
    let (nginx, kept) = (Nginx::start(), Kept::default());
    let port = nginx.plain;
    let agent = concat!("evenkeel-health/", env!("CARGO_PKG_VERSION"));
    let echo = |more: &str, back: &str| {
        format!("type = \"http\"\npath = \"/echo\"\n{more}\nexpect_body = \"{back}\"")
    };
    let usual = format!("GET|127.0.0.1:{port}|{agent}||close||HTTP/1.1|");
    kept.good(&echo("", &usual), port, "HTTP 200").await;
    let own = "host = \"shop.example.org\"\nheaders = [\"X-Probe: yes\", \"user-agent: mine\"]";
    kept.good(&echo(own, "GET|shop.example.org|mine|yes|close|"), port, "HTTP 200").await;
    let post = "method = \"POST\"\nbody = \"a=b\"";
    kept.good(&echo(post, "|close|3|HTTP/1.1|"), port, "HTTP 200").await;
    kept.good(&echo("method = \"PUT\"", "|close|0|HTTP/1.1|"), port, "HTTP 200").await;
    kept.good(&echo("method = \"OPTIONS\"", "OPTIONS|"), port, "HTTP 200").await;
}

#[tokio::test]
async fn an_ipv6_server_is_named_in_brackets() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &request[..length]].concat()).unwrap();
        }
    });
    let check = format!("type = \"http\"\nexpect_body = \"Host: [::1]:{port}\\r\\n\"");
    let question = Kept::default().question(&check).unwrap();
    let place = Place { address: "::1".parse().unwrap(), ..support::place(port) };
    let answer = ask(&question, &place, &Asker::default(), &mut Trace::quiet()).await;
    assert_eq!((answer.outcome, &*answer.reason), (Some(Outcome::Good), "HTTP 200"));
}

#[tokio::test]
async fn a_login_is_tried_and_never_shown() {
    let nginx = Nginx::start();
    let check =
        "type = \"http\"\npath = \"/secret\"\nuser = \"probe\"\nsecret = \"web\"\nexpect_body = \"inside\"";
    let (answer, steps) = Kept::secret("web", "open sesame\n").traced(check, nginx.plain).await;
    assert_eq!(answer.outcome, Some(Outcome::Good), "{answer:?}");
    let told: Vec<&str> = steps.iter().map(|step| &*step.text).collect();
    let all = told.join("\n");
    assert!(!all.contains("sesame") && !all.contains("Basic") && all.contains("authorization: (not shown)"));
    for part in [
        "connected to",
        "sent GET /secret HTTP/1.1, host: 127.0.0.1",
        "received HTTP/1.1 200 OK, server: nginx",
        "received 7 bytes: inside\\n",
        "looked at 7 bytes",
    ] {
        assert!(all.contains(part), "{part} is missing in {all}");
    }
    Kept::secret("web", "wrong").bad(check, nginx.plain, "HTTP 401, expected 200").await;
}

#[tokio::test]
async fn a_login_that_is_repeated_is_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    support::speaker::answer_streams(listener, |request| request.to_vec());
    let check = "type = \"http\"\nuser = \"probe\"\nsecret = \"web\"";
    let (answer, steps) = Kept::secret("web", "open sesame").traced(check, port).await;
    assert_eq!(answer.outcome, Some(Outcome::Bad), "{answer:?}");
    let shown = steps.iter().map(|step| &*step.text).collect::<String>() + &answer.reason;
    assert!(shown.contains("Authorization: Basic …"), "{shown}");
    // "probe:open sesame"
    assert!(!shown.contains("cHJvYmU6") && !shown.contains("c2VzYW1l"), "{shown}");
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_server_only() {
    let (nginx, kept) = (Nginx::start(), Kept::default());
    let follow = |path: &str| format!("type = \"http\"\nfollow_redirects = true\npath = \"{path}\"");
    kept.good(&(follow("/old") + "\nexpect_body = \"OKAY\""), nginx.plain, "HTTP 200").await;
    kept.bad(&follow("/loop"), nginx.plain, "more than 5 redirects, the last one to /loop").await;
    kept.bad(&follow("/away"), nginx.plain, "HTTP 302 leads to \"http://192.0.2.1/\": not followed").await;
    kept.bad(&follow("/up"), nginx.plain, "HTTP 301 leads to \"https://127.0.0.1").await;
    let two = "type = \"https\"\nversion = \"2\"\nfollow_redirects = true\npath = \"/old\"";
    kept.good(two, nginx.tls, "HTTP 200").await;
}

/// Hears a request, and answers with what `says` writes.
fn raw(says: fn(&mut TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = says(&mut stream);
            });
        }
    });
    port
}

#[tokio::test]
async fn answers_without_end_end() {
    let kept = Kept::default();
    let http = |more: &str| format!("type = \"http\"\ntimeout = \"3s\"\n{more}");
    let headers = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"X-More: and more\r\n")?;
        }
    });
    kept.bad(&http(""), headers, "headers are too many").await;
    let header = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")?;
        loop {
            stream.write_all(&[b'x'; 4096])?;
        }
    });
    kept.bad(&http(""), header, "headers are too many, or longer than 65536 bytes").await;
    let chunks = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let some = b"1\r\nx\r\n".repeat(1000);
        loop {
            stream.write_all(&some)?;
        }
    });
    kept.good(&http(""), chunks, "HTTP 200").await;
    kept.bad(&http("expect_body = \"y\""), chunks, "HTTP 200, but the body lacks \"y\" in its first MiB")
        .await;
    kept.bad(&http("expect_regex = \"y+$\""), chunks, "lacks /y+$/ in its first MiB").await;
    let informed = raw(|stream| {
        loop {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
    });
    kept.bad("type = \"http\"\ntimeout = \"300ms\"", informed, "no answer in 300ms").await;
}

#[tokio::test]
async fn what_is_certain_needs_no_end() {
    let kept = Kept::default();
    let open = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstate: ")?;
        thread::sleep(Duration::from_millis(20));
        stream.write_all(b"OK")?;
        stream.read(&mut [0; 64]).map(drop)
    });
    kept.good("type = \"http\"\nexpect_body = \"OK\"", open, "HTTP 200").await;
    let waiting = "type = \"http\"\ntimeout = \"300ms\"\nrefuse_body = \"ERROR\"";
    kept.bad(waiting, open, "no answer in 300ms while reading the body").await;
}

#[tokio::test]
async fn broken_answers_are_bad() {
    let kept = Kept::default();
    let short = raw(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"));
    kept.bad("type = \"http\"\nexpect_body = \"OK\"", short, "connection closed while reading the body")
        .await;
    let old = raw(|stream| stream.write_all(b"<html>It works</html>\n"));
    kept.bad("type = \"http\"", old, "speaks no HTTP: it said \"<html>It works</html>").await;
    let shell = raw(|stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
    kept.bad("type = \"http\"", shell, "speaks no HTTP: it said \"SSH-2.0-OpenSSH_9.2").await;
    let alert = raw(|stream| stream.write_all(&[0x15, 3, 1, 0, 2, 2, 0x46]));
    kept.bad("type = \"http\"", alert, "speaks no HTTP, but TLS").await;
    let twice = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    });
    kept.bad("type = \"http\"", twice, "HTTP").await;
    kept.bad("type = \"http\"", free_port(), "connection refused").await;
}

#[tokio::test]
async fn liars_are_bad() {
    let kept = Kept::default();
    for check in ["http", "https"] {
        for version in ["1.1", "2"] {
            let check = format!("type = \"{check}\"\nversion = \"{version}\"\ntimeout = \"300ms\"");
            for lie in Lie::ALL {
                let began = Instant::now();
                let answer = kept.asked(&check, liar(lie)).await;
                assert_eq!(answer.outcome, Some(Outcome::Bad), "{lie:?} {check}: {answer:?}");
                assert!(began.elapsed() < Duration::from_secs(2), "{lie:?} {check}");
            }
        }
    }
}

#[tokio::test]
async fn no_task_is_left_when_time_is_over() {
    let kept = Kept::default();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    kept.bad("type = \"http\"\nversion = \"2\"\ntimeout = \"100ms\"", liar(Lie::Hang), "no answer in 100ms")
        .await;
    let begun = Instant::now();
    while tasks() > before {
        assert!(begun.elapsed() < Duration::from_secs(5), "tasks are left");
        tokio::task::yield_now().await;
    }
}
