//! `xtask demo`: the pair in a lab, each way of forwarding shown from the client's side, a server drained while it works.
//! With `CI=true` it walks once and removes the lab; else the lab stays until Ctrl-C.

mod stage;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::build;
use stage::{PREFIX, Stage, ask, inside};

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/cluster.toml");
/// How long servers may take to be reached and a change to show.
const PATIENCE: Duration = Duration::from_secs(20);
/// The size of a server's `/slow`, which takes about ten seconds.
const SLOW: &str = "10240";

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 7] = [
    ("Configuration: `keel apply` puts a whole cluster.toml in force", configure),
    ("DR: the server answers the client itself, past the load balancer", || {
        show("http://192.168.2.200/", &["rs1", "rs2", "rs3"])
    }),
    ("DR over IPv6", || show("http://[fd00:2::200]/", &["rs1", "rs2"])),
    ("NAT: port 80 of the VIP is port 8080 of servers on the back network", || {
        show("http://192.168.2.201/", &["rs1", "rs2"])
    }),
    ("TUN: inside UDP (GUE), once in IPv4 and once in IPv6", || {
        show("http://192.168.2.202/", &["rs2", "rs3"])
    }),
    ("Drain: no new work for a server; what it is sending goes on", drain),
    ("Overview", overview),
];

/// Builds, plays, and tidies up or stays.
pub(crate) fn play() -> Result<()> {
    build::ready()?;
    build::binaries()?;
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return once();
    }
    let (stage, walked) = walk()?;
    title("It stays until Ctrl-C. Meanwhile, in another terminal:");
    println!("  target/release/keel-lab exec --prefix {PREFIX} lb1 -- keel status");
    println!("  target/release/keel-lab exec --prefix {PREFIX} client -- curl -s http://192.168.2.200/");
    stage.stay()?;
    walked
}

/// Plays and tidies up, with binaries that are there.
pub(crate) fn once() -> Result<()> {
    let (stage, walked) = walk()?;
    stage.strike()?;
    walked
}

/// Sets the stage and goes through all steps; the second is whether they went well.
fn walk() -> Result<(Stage, Result<()>)> {
    title("A pair of load balancers with three servers, a router and a client");
    let stage = Stage::set()?;
    let mut failed = 0;
    for (name, step) in STEPS {
        title(name);
        if let Err(error) = step() {
            println!("  FAILED: {error:#}");
            failed += 1;
        }
    }
    let walked = match failed {
        0 => Ok(()),
        _ => Err(anyhow!("{failed} of {} steps of the demo failed", STEPS.len())),
    };
    Ok((stage, walked))
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn configure() -> Result<()> {
    print_indented(&keel(&["apply", CLUSTER])?);
    Ok(())
}

/// Asks until every expected server has answered, shows the last answers, and refuses any other answer.
fn show(url: &str, servers: &[&str]) -> Result<()> {
    println!("  client$ curl {url}");
    let wanted: BTreeSet<&str> = servers.iter().copied().collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answers: Vec<String> = (0..2 * servers.len()).filter_map(|_| fetch(url).ok()).collect();
        let seen: BTreeSet<&str> = answers.iter().map(String::as_str).collect();
        if seen == wanted {
            println!("  {}", answers.join(" "));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "wanted answers of {wanted:?}, got {answers:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn fetch(url: &str) -> Result<String> {
    Ok(ask("client", &["curl", "-gsS", "--fail", "--max-time", "2", url])?.trim().to_owned())
}

/// A transfer of ten seconds runs from one server while that server is drained.
fn drain() -> Result<()> {
    let url = "http://192.168.2.200/slow";
    let words = ["curl", "-sS", "-D", "/dev/stderr", "-o", "/dev/null", "-w", "%{size_download}", url];
    let mut transfer = inside("client", &words);
    let transfer = transfer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting curl")?;
    std::thread::sleep(Duration::from_secs(1));
    // All three may have the transfer; drained is the one that has.
    let server = sender()?;
    println!("  {server} is sending for ten seconds; lb1$ keel server drain web-dr {server}");
    keel(&["server", "drain", "web-dr", &server])?;
    let others: Vec<&str> = ["rs1", "rs2", "rs3"].into_iter().filter(|name| *name != server).collect();
    show("http://192.168.2.200/", &others)?;
    let output = transfer.wait_with_output().context("waiting for the transfer")?;
    let (size, head) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(size == SLOW && head.contains(&server), "the transfer from {server} broke after {size} bytes");
    println!("  the transfer ended complete; lb1$ keel server online web-dr {server}");
    keel(&["server", "online", "web-dr", &server])?;
    show("http://192.168.2.200/", &["rs1", "rs2", "rs3"])
}

/// The server that holds an established connection to the drained service's VIP.
fn sender() -> Result<String> {
    let filter = ["ss", "-Htn", "state", "established", "src", "192.168.2.200"];
    for server in ["rs1", "rs2", "rs3"] {
        if !ask(server, &filter)?.trim().is_empty() {
            return Ok(server.to_owned());
        }
    }
    bail!("no server has the transfer")
}

fn overview() -> Result<()> {
    print_indented(&keel(&["status"])?);
    println!("  lb1$ keel drops");
    print_indented(&keel(&["drops"])?);
    Ok(())
}

fn keel(words: &[&str]) -> Result<String> {
    ask("lb1", &[&["keel"], words].concat())
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}
