//! Whole commands against an appliance in memory, over a real socket in a temporary folder.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use keel_api::fake::Fake;
use keel_api::{bind, serve, socket_path};
use keel_cli::{Terminal, code, run};
use serde_json::Value;

const TERMINAL: Terminal = Terminal { width: Some(80), color: false, err_color: false, unicode: true };

struct Appliance {
    dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<io::Result<()>>,
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Ended {
    code: u8,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

impl Appliance {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = bind(&socket_path(dir.path())).unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Fake::default()), std::future::pending()));
        Self { dir, server }
    }

    async fn keel(&self, line: &str) -> Ended {
        keel_in(self.dir.path(), line).await
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Runs one line, split at spaces, with the folder as run and configuration folder.
async fn keel_in(dir: &std::path::Path, line: &str) -> Ended {
    let folder = dir.to_str().unwrap();
    let folders = ["--run-dir", folder, "--config-dir", folder];
    let args = std::iter::once("keel").chain(line.split(' ')).chain(folders).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(args, &TERMINAL, &mut out, &mut err).await;
    Ended { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[tokio::test]
async fn every_command_that_looks_answers_in_text_and_in_json() {
    let appliance = Appliance::start();
    let lines = [
        "status",
        "service list",
        "service show HTTP-Cluster",
        "floating list",
        "persistence",
        "persistence HTTP-Cluster --client 192.168.3.10",
        "config show",
        "config history",
        "connections --limit 2",
        "connections --client [192.168.3.10]:50514",
        "explain 192.168.3.10 192.168.1.100:80",
        "explain [2001:db8::1]:99 [2001:db8::2]:53 udp",
        "drops --all",
        "alerts",
        "perf",
        "realserver HTTP-Cluster --os windows",
        "version",
    ];
    for line in lines {
        let text = appliance.keel(line).await;
        assert_eq!((text.code, text.err.as_str()), (code::SUCCESS, ""), "{line}");
        assert!(text.out.ends_with('\n') && text.out.len() > 4, "{line}: {}", text.out);
        let json = appliance.keel(&format!("{line} --json")).await;
        assert_eq!(json.code, code::SUCCESS, "{line}");
        assert!(json.json().is_object() || json.json().is_array(), "{line}");
    }
}

#[tokio::test]
async fn a_server_is_drained_and_the_history_knows_why() {
    let appliance = Appliance::start();
    let drained = appliance.keel("server drain HTTP-Cluster IIS1 --json").await;
    assert_eq!(drained.json()["revision"], 2);
    let status = appliance.keel("status --json").await.json();
    assert_eq!(status["services"][0]["servers"][0]["state"], "draining");
    let history = appliance.keel("config history --json").await.json();
    let why = history[0]["why"].as_str().unwrap();
    assert!(why.starts_with("keel server drain HTTP-Cluster IIS1"), "{why}");
    let text = appliance.keel("server halt HTTP-Cluster IIS1 --why broken").await;
    assert!(text.out.starts_with("Revision 3 is in force, after 2.\n"), "{}", text.out);
}

#[tokio::test]
async fn services_and_servers_are_added_changed_and_removed() {
    let appliance = Appliance::start();
    let lines = [
        "service add web --address 2001:db8::80 --ports 80 --server a=[2001:db8::1]:8080 --mode nat",
        "service set web --scheduler maglev health.interval=2s",
        "server add web b 10.0.0.2:8080 --weight 50",
        "server set HTTP-Cluster IIS1 --weight 7",
        "server rm HTTP-Cluster IIS1",
        "server rm HTTP-Cluster IIS1 --if-exists",
        "service rm web",
        "service rm web --if-exists",
    ];
    for line in lines {
        let ended = appliance.keel(line).await;
        assert_eq!(ended.code, code::SUCCESS, "{line}: {}", ended.err);
    }
    let history = appliance.keel("config history --json").await.json();
    let newest: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|r| r["changes"][0].as_str()).collect();
    assert_eq!(newest[0], "service web removed");
    assert!(newest[3].contains(r#"address = "10.0.0.2", port = 8080, weight = 50"#), "{newest:?}");
    assert!(newest[5].contains(r#"address = "2001:db8::80""#), "{newest:?}");
}

#[tokio::test]
async fn floating_addresses_are_added_and_removed() {
    let appliance = Appliance::start();
    let added = appliance.keel("floating add 10.9.0.1/24 --interface eth1").await;
    assert_eq!(added.out, "Revision 2 is in force, after 1.\n  floating address 10.9.0.1/24 added\n");
    let all = appliance.keel("floating list --json").await.json();
    assert_eq!((&all[2]["address"], &all[2]["interface"]), (&"10.9.0.1/24".into(), &"eth1".into()));
    assert_eq!(appliance.keel("floating add 10.9.0.1/24").await.code, code::CONFLICT);
    assert_eq!(appliance.keel("floating rm 10.9.0.1").await.code, code::SUCCESS);
    let gone = appliance.keel("floating rm 10.9.0.1").await;
    assert_eq!(gone.code, code::FAILURE);
    assert!(gone.err.contains("use one of: 10.0.0.1/24"), "{}", gone.err);
    assert_eq!(appliance.keel("floating rm 10.9.0.1 --if-exists").await.code, code::SUCCESS);
}

#[tokio::test]
async fn clients_that_stick_are_listed_and_let_go() {
    let appliance = Appliance::start();
    let one = appliance.keel("persistence --client 192.168.3.10 --json").await.json();
    assert_eq!((&one["total"], &one["clients"][0]["server"]), (&1.into(), &"IIS1".into()));
    let gone = appliance.keel("persistence HTTP-Cluster --client 192.168.3.10 --clear").await;
    assert_eq!(gone.out, "1 client let go.\n");
    assert_eq!(appliance.keel("persistence --json").await.json()["total"], 2);
    assert_eq!(appliance.keel("persistence HTTP-Cluster --clear --json").await.json()["clients"], 2);
    assert_eq!(appliance.keel("persistence").await.out, "0 of 0 clients shown\n");
}

#[tokio::test]
async fn the_candidate_is_edited_compared_committed_and_confirmed() {
    let appliance = Appliance::start();
    let file = appliance.file("new.toml", "# cluster.toml\n# more\n");
    assert_eq!(appliance.keel(&format!("config edit --file {file}")).await.code, code::SUCCESS);
    assert!(appliance.keel("config diff").await.out.contains("+# more"));
    let committed = appliance.keel("config commit --confirm 10m").await;
    assert!(
        committed.out.contains("comes back in 10m unless you run: keel config confirm"),
        "{}",
        committed.out
    );
    assert!(appliance.keel("status").await.out.contains("waits"));
    assert_eq!(appliance.keel("config confirm").await.out, "Revision 2 is confirmed and stays.\n");
    assert_eq!(appliance.keel("config confirm").await.code, code::CONFLICT);
    assert_eq!(appliance.keel("config rollback 1").await.code, code::SUCCESS);
    assert_eq!(appliance.keel("config show").await.out, "# cluster.toml\n");
    assert_eq!(appliance.keel("config rollback 99").await.code, code::FAILURE);
    assert_eq!(appliance.keel("config discard").await.code, code::SUCCESS);
    assert_eq!(appliance.keel("config show --candidate").await.code, code::FAILURE);
}

#[tokio::test]
async fn a_refused_configuration_is_exit_code_3_with_every_place() {
    let appliance = Appliance::start();
    let file = appliance.file("wrong.toml", "bad one\nbad two\n");
    let ended = appliance.keel(&format!("apply {file}")).await;
    assert_eq!(ended.code, code::REFUSED);
    assert_eq!(
        ended.err,
        "keel: the configuration is refused, nothing was changed: it has 2 errors.\n  \
         error: service[0].weight (line 1): \"bad one\" is not a weight; write a number from 0 to 65535\n  \
         error: service[0].weight (line 2): \"bad two\" is not a weight; write a number from 0 to 65535\n\
         What to do: correct the places named and try again\n"
    );
    let json = appliance.keel(&format!("apply {file} --json")).await;
    let document: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(
        (document["type"].as_str(), document["problems"].as_array().unwrap().len()),
        (Some("refused"), 2)
    );
}

#[tokio::test]
async fn the_second_editor_is_exit_code_5_and_sees_the_difference() {
    let appliance = Appliance::start();
    let mine = appliance.file("mine.toml", "# mine\n");
    let yours = appliance.file("yours.toml", "# yours\n");
    assert_eq!(appliance.keel(&format!("apply {mine} --if-revision 1")).await.code, code::SUCCESS);
    let ended = appliance.keel(&format!("apply {yours} --if-revision 1")).await;
    assert_eq!(ended.code, code::CONFLICT);
    assert!(ended.err.contains("+# mine") && ended.err.contains("What to do"), "{}", ended.err);
    assert_eq!(appliance.keel("service add DNS --ports 53").await.code, code::CONFLICT);
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_known_ones() {
    let ended = Appliance::start().keel("server drain HTTP-Cluster IIS9").await;
    assert_eq!(ended.code, code::FAILURE);
    assert_eq!(
        ended.err,
        "keel: no such server: there is no server called \"IIS9\".\nWhat to do: use one of: IIS1, IIS2\n"
    );
}

#[tokio::test]
async fn without_a_daemon_the_exit_code_is_4_and_the_way_to_start_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let ended = keel_in(dir.path(), "status").await;
    assert_eq!(ended.code, code::UNREACHABLE);
    assert!(ended.err.contains("keeld is not running here"), "{}", ended.err);
    assert!(ended.err.contains("systemctl start keeld"), "{}", ended.err);
    let version = keel_in(dir.path(), "version").await;
    assert_eq!(version.code, code::SUCCESS);
}

#[tokio::test]
async fn mistakes_in_the_command_line_are_exit_code_2() {
    let appliance = Appliance::start();
    let lines = [
        "explain 10.0.0.1 10.0.0.2",
        "explain 10.0.0.1 10.0.0.2:80 icmp",
        "config commit --confirm 10",
        "server set HTTP-Cluster IIS1",
        "server set HTTP-Cluster IIS1 --weight 65536",
        "connections --state OPEN",
        "persistence --clear",
        "floating add 10.0.0.300",
        "nonsense",
    ];
    for line in lines {
        let ended = appliance.keel(line).await;
        assert_eq!(ended.code, code::USAGE, "{line}");
        assert!(!ended.err.is_empty() && ended.out.is_empty(), "{line}");
    }
    let help = appliance.keel("server --help").await;
    assert_eq!((help.code, help.err.as_str()), (code::SUCCESS, ""));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let ended = Appliance::start().keel("apply /nonexistent/cluster.toml").await;
    assert_eq!(ended.code, code::FAILURE);
    assert!(ended.err.contains("/nonexistent/cluster.toml"), "{}", ended.err);
}

/// The real program, because what happens to a closed pipe depends on the process.
#[test]
fn a_closed_pipe_is_no_reason_to_complain() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keel"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn standard_input_is_read_for_a_dash() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keel"))
        .args(["config", "validate", "-", "--config-dir"])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"nonsense = 1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(code::REFUSED)));
    assert!(String::from_utf8(output.stdout).unwrap().contains("nonsense"));
}

#[tokio::test]
async fn a_file_is_validated_without_a_daemon_with_every_problem_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let check = async |text: &str| {
        std::fs::write(dir.path().join("cluster.toml"), text).unwrap();
        (keel_in(dir.path(), "config validate").await, keel_in(dir.path(), "config validate --json").await)
    };
    let good = "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"192.0.2.80\"\nports = \"80\"\n\
                [[service.server]]\nname = \"a\"\naddress = \"192.0.2.11\"\n";
    let (text, json) = check(good).await;
    assert_eq!(text.code, code::SUCCESS, "{}", text.out);
    assert!(text.out.ends_with("is valid: 1 service, 1 server\n"), "{}", text.out);
    assert_eq!(json.json()["valid"], true);

    let (text, json) = check(&good.replace("\"80\"", "\"0\"").replace("layer", "lair")).await;
    assert_eq!((text.code, json.code), (code::REFUSED, code::REFUSED));
    assert!(text.out.contains("service[0].ports (line 5)"), "{}", text.out);
    assert!(text.out.contains("`lair`"), "{}", text.out);
    assert!(json.json()["problems"].as_array().unwrap().len() >= 2);

    std::fs::write(dir.path().join("node.toml"), "").unwrap();
    let node = keel_in(dir.path(), &format!("config validate {}/node.toml", dir.path().display())).await;
    assert!(node.out.contains("node.toml"), "{}", node.out);
}
