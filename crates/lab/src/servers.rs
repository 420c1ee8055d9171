//! What a real server runs: nginx, the UDP echo and iperf3, each waited for until it answers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use crate::error::{During as _, LabError};
use crate::programs::run;

/// The folder of the web server, inside the node.
const FOLDER: &str = "/run/web";
const UDP_PORT: u16 = 9000;
const TCP_PORTS: [u16; 4] = [80, 8080, 443, 5201];
/// `/big`: a file without content on disk.
const BIG: u64 = 256 << 20;
/// `/slow`: at 1 KiB/s it takes about ten seconds.
const SLOW: u64 = 10 << 10;

/// Inside a server: the files that nginx serves, its configuration and its certificate.
pub(crate) fn prepare(name: &str) -> Result<(), LabError> {
    let folder = Path::new(FOLDER);
    let pages = folder.join("pages");
    fs::create_dir_all(&pages).during(|| format!("creating {}", pages.display()))?;
    let write = |file: &str, text: &str| {
        fs::write(folder.join(file), text).during(|| format!("writing {file} of the web server"))
    };
    write("nginx.conf", &nginx(name))?;
    write("pages/health", &format!("CB_IS_OKAY {name}\n"))?;
    for (file, size) in [("big", BIG), ("slow", SLOW)] {
        let file = fs::File::create(pages.join(file)).during(|| format!("creating {file}"))?;
        file.set_len(size).during(|| "sizing a page".to_owned())?;
    }
    certificate(name)
}

/// The command lines of a server's services. `lab` is the program `keel-lab`.
pub(crate) fn services(name: &str, lab: &Path) -> [(&'static str, Vec<String>); 3] {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut echo = vec![lab.display().to_string()];
    echo.extend(words(&format!("udp-echo {name} --port {UDP_PORT}")));
    [
        ("nginx", words(&format!("nginx -p {FOLDER} -c {FOLDER}/nginx.conf"))),
        ("udp-echo", echo),
        ("iperf3", words("iperf3 --server")),
    ]
}

/// Inside a server: whether every service answers.
pub(crate) fn ready() -> bool {
    TCP_PORTS.iter().all(|port| answers_tcp(*port)) && answers_udp().unwrap_or(false)
}

fn answers_tcp(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1)).is_ok()
}

fn answers_udp() -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect((Ipv4Addr::LOCALHOST, UDP_PORT))?;
    socket.send(b"who")?;
    Ok(socket.recv(&mut [0; 64])? > 0)
}

fn certificate(name: &str) -> Result<(), LabError> {
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    let (key, certificate) = (format!("{FOLDER}/key.pem"), format!("{FOLDER}/certificate.pem"));
    let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let about = ["-days", "30", "-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &certificate];
    run("openssl", &[&kind[..], &about[..]].concat())
}

/// Every path answers with the server's name, but `/whoami` (name, client, asked address, path), `/health` (its page can
/// be removed: then 503), `/big` and `/slow`.
fn nginx(name: &str) -> String {
    format!(
        r#"user root;
worker_processes 1;
daemon off;
pid {FOLDER}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  default_type text/plain;
  sendfile on;
  keepalive_requests 1000000;
  client_body_temp_path {FOLDER}/body;
  server {{
    listen 80 backlog=4096;
    listen 8080 backlog=4096;
    listen 443 ssl backlog=4096;
    listen [::]:80 ipv6only=on backlog=4096;
    listen [::]:8080 ipv6only=on backlog=4096;
    listen [::]:443 ssl ipv6only=on backlog=4096;
    ssl_certificate {FOLDER}/certificate.pem;
    ssl_certificate_key {FOLDER}/key.pem;
    add_header X-Server {name} always;
    root {FOLDER}/pages;
    location / {{ return 200 "{name}\n"; }}
    location = /whoami {{ return 200 "{name} client=$remote_addr:$remote_port at=$server_addr:$server_port $request_uri\n"; }}
    location = /health {{ try_files $uri =503; }}
    location = /index.pl {{ try_files /health =503; }}
    location = /big {{ }}
    location = /slow {{ limit_rate 1k; }}
  }}
}}
"#
    )
}
