//! Our own nftables table, `inet evenkeel`, written through the `nft` command in one transaction.
//!
//! Nobody else's tables are read or touched.

use std::{io, net::IpAddr, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{NetError, Result};

const FAMILY: &str = "inet";
const TABLE: &str = "evenkeel";
/// `NFPROTO_INET`
const FAMILY_NUMBER: u8 = 1;
/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Masquerading of the real servers' own traffic, so that servers whose gateway we are reach the world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoNat {
    /// Names of the interfaces whose own address replaces the servers' addresses on the way out.
    pub interfaces: Vec<String>,
    /// Virtual IPs: packets that carry one as their source are left alone, they answer a client of a service.
    pub virtual_ips: Vec<IpAddr>,
}

/// Connections to some ports of an address of this machine go to another port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The address.
    pub address: IpAddr,
    /// The ports that are asked for, as ranges.
    pub ports: Vec<(u16, u16)>,
    /// The port that answers.
    pub to: u16,
}

impl Redirect {
    fn rule(&self) -> Value {
        let (protocol, family) = if self.address.is_ipv4() { ("ip", "ip") } else { ("ip6", "ip6") };
        let payload =
            |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
        let ports: Vec<Value> = (self.ports.iter())
            .map(|(first, last)| if first == last { json!(first) } else { json!({"range": [first, last]}) })
            .collect();
        json!({"add": {"rule": {
            "family": FAMILY, "table": TABLE, "chain": "fallback",
            "comment": "no server takes connections: the fallback answers",
            "expr": [
                matches("==", payload(protocol, "daddr"), json!(self.address)),
                matches("==", payload("tcp", "dport"), json!({"set": ports})),
                {"dnat": {"family": family, "addr": self.address, "port": self.to}},
            ],
        }}})
    }
}

/// All rules of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Masquerading.
    pub autonat: AutoNat,
    /// Redirections.
    pub redirects: Vec<Redirect>,
}

impl Rules {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.autonat.interfaces.is_empty() && self.redirects.is_empty()
    }

    /// The transaction that replaces whatever table of ours there is, without a moment in between.
    pub fn ruleset(&self) -> Value {
        let mut commands = replace_table();
        if !self.autonat.interfaces.is_empty() {
            commands.extend(self.autonat.commands());
        }
        if !self.redirects.is_empty() {
            commands.push(json!({"add": {"chain": {
                "family": FAMILY, "table": TABLE, "name": "fallback",
                "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept",
            }}}));
            commands.extend(self.redirects.iter().map(Redirect::rule));
        }
        json!({ "nftables": commands })
    }

    /// Puts these rules in force in place of the former ones; if there are none the table is removed.
    ///
    /// # Errors
    /// [`NetError::ToolMissing`], [`NetError::Nft`], [`NetError::RunTool`].
    pub async fn apply(&self) -> Result<()> {
        if self.is_empty() {
            return remove().await;
        }
        run("our rules", &self.ruleset()).await
    }
}

impl AutoNat {
    fn commands(&self) -> Vec<Value> {
        let mut commands = Vec::new();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = self.virtual_ips.iter().partition(|ip| ip.is_ipv4());
        commands.push(add_set("virtual_ips4", "ipv4_addr", &v4));
        commands.push(add_set("virtual_ips6", "ipv6_addr", &v6));
        commands.push(json!({"add": {"chain": {
            "family": FAMILY, "table": TABLE, "name": "autonat",
            "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept",
        }}}));
        commands.push(self.masquerade("ip", "@virtual_ips4"));
        commands.push(self.masquerade("ip6", "@virtual_ips6"));
        commands
    }

    fn masquerade(&self, protocol: &str, except: &str) -> Value {
        let from_us = json!({"fib": {"result": "type", "flags": ["saddr"]}});
        let source = json!({"payload": {"protocol": protocol, "field": "saddr"}});
        json!({"add": {"rule": {
            "family": FAMILY, "table": TABLE, "chain": "autonat",
            "comment": "servers' own traffic leaves with our address",
            "expr": [
                matches("==", json!({"meta": {"key": "oifname"}}), json!({"set": self.interfaces})),
                matches("!=", source, json!(except)),
                // What this machine itself sends has an address already, and it was chosen.
                matches("!=", from_us, json!("local")),
                {"masquerade": null},
            ],
        }}})
    }
}

/// Removes our table. If there is none, nothing is run: a machine that uses none of this needs no `nft`.
///
/// # Errors
/// [`NetError::ToolMissing`], [`NetError::Nft`], [`NetError::RunTool`].
pub async fn remove() -> Result<()> {
    if !is_there() {
        return Ok(());
    }
    let mut commands = replace_table();
    commands.pop();
    run("removing our table", &json!({ "nftables": commands })).await
}

/// Add, delete, add: the first makes the second succeed, the third starts empty.
fn replace_table() -> Vec<Value> {
    let table = json!({"table": {"family": FAMILY, "name": TABLE}});
    vec![json!({ "add": table }), json!({ "delete": table }), json!({ "add": table })]
}

fn add_set(name: &str, kind: &str, elements: &[IpAddr]) -> Value {
    let mut set = json!({"family": FAMILY, "table": TABLE, "name": name, "type": kind});
    if !elements.is_empty() {
        let mut elements = elements.to_vec();
        elements.sort();
        elements.dedup();
        set["elem"] = json!(elements);
    }
    json!({"add": {"set": set}})
}

fn matches(operator: &str, left: Value, right: Value) -> Value {
    json!({"match": {"op": operator, "left": left, "right": right}})
}

/// Whether our table is there: somebody may have flushed all rules. Where the kernel doesn't say, yes.
pub fn is_there() -> bool {
    crate::nft_table::exists(FAMILY_NUMBER, TABLE).unwrap_or(true)
}

async fn run(doing: &'static str, commands: &Value) -> Result<()> {
    run_program("nft", doing, commands, PATIENCE).await
}

async fn run_program(program: &str, doing: &'static str, commands: &Value, patience: Duration) -> Result<()> {
    let ran = |source| NetError::RunTool { tool: "nft", source };
    let spawned = Command::new(program)
        .args(["-j", "-f", "-"])
        // A daemon's PATH may lack the administrator's folders.
        .env("PATH", path_with_sbin())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(NetError::ToolMissing { tool: "nft", package: "nftables" });
        }
        Err(e) => return Err(ran(e)),
    };
    let finish = async {
        if let Some(mut stdin) = child.stdin.take() {
            // nft may refuse before it read everything; its message says more than our broken pipe.
            let _ = stdin.write_all(commands.to_string().as_bytes()).await;
        }
        child.wait_with_output().await
    };
    // It is killed with the future: whoever waits holds up everything else.
    let Ok(output) = timeout(patience, finish).await else {
        return Err(NetError::Nft { doing, message: format!("it did not end within {patience:?}") });
    };
    let output = output.map_err(ran)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetError::Nft { doing, message: complaint(&String::from_utf8_lossy(&output.stderr)) })
}

fn path_with_sbin() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// The sentences of nft's complaint, without its places in a file that nobody can open and without its underlining.
fn complaint(stderr: &str) -> String {
    let sentences: Vec<_> =
        stderr.lines().filter_map(|line| line.split_once("Error: ").map(|(_, text)| text.trim())).collect();
    match (sentences.is_empty(), stderr.trim()) {
        (false, _) => sentences.join("; "),
        (true, "") => "it gave no reason".to_owned(),
        (true, text) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_keeps_its_sentences_only() {
        let stderr = "internal:0:0-0: Error: Could not process rule: Operation not supported\n\nlist table x\n      ^^^\n";
        assert_eq!(complaint(stderr), "Could not process rule: Operation not supported");
        assert_eq!(complaint("netlink: cannot open\n"), "netlink: cannot open");
        assert_eq!(complaint(""), "it gave no reason");
    }

    #[tokio::test]
    async fn one_that_hangs_is_given_up() {
        use std::os::unix::fs::PermissionsExt as _;
        let program = std::env::temp_dir().join(format!("nft-that-hangs-{}", std::process::id()));
        std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let (path, patience) = (program.to_str().unwrap(), Duration::from_millis(100));
        let error = run_program(path, "a test", &json!({}), patience).await.unwrap_err();
        std::fs::remove_file(&program).unwrap();
        assert!(error.to_string().contains("did not end within 100ms"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_nft_names_the_package_that_brings_it() {
        let error = run_program("nft-that-is-not-there", "a test", &json!({}), PATIENCE).await.unwrap_err();
        assert_eq!(error.to_string(), "`nft` is not installed: apt-get install nftables");
    }

    #[test]
    fn virtual_ips_are_sorted_into_their_familys_set() {
        let nat = AutoNat {
            interfaces: vec!["eth0".into()],
            virtual_ips: ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).into(),
        };
        let ruleset = Rules { autonat: nat, redirects: Vec::new() }.ruleset();
        let sets: Vec<_> =
            ruleset["nftables"].as_array().unwrap().iter().filter_map(|c| c["add"].get("set")).collect();
        assert_eq!(sets[0]["elem"], json!(["10.0.0.1", "10.0.0.2"]));
        assert_eq!(sets[1]["elem"], json!(["fd00::1"]));
    }
}
