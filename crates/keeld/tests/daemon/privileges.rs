//! What the daemon may do, and what it says when it may not.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use crate::machine::{Machine, SMALL};

/// NET_ADMIN, NET_RAW, SYS_ADMIN, PERFMON, BPF by their numbers in `linux/capability.h`.
const KEPT: u64 = 1 << 12 | 1 << 13 | 1 << 21 | 1 << 38 | 1 << 39;

/// Needs the tables read back.
const QUERY: keel_api::ExplainQuery = keel_api::ExplainQuery {
    client: IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)),
    client_port: None,
    vip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200)),
    vip_port: 80,
    protocol: keel_api::Protocol::Tcp,
};

/// A field of each thread's status.
fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t").map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {field} in {text}"))
    };
    threads.map(status).collect()
}

#[test]
fn every_thread_has_what_is_needed_and_nothing_else_and_all_of_it_works() {
    let mut machine = Machine::new();
    machine.start();
    let text = format!(
        "{}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\nmode = \"nat\"\n\n\
         [[service.server]]\nname = \"rs1\"\naddress = \"10.0.0.1\"\n",
        SMALL.replace("[layer4]", "[layer4]\nautonat = [\"eth0\"]")
    );
    for restarted in [false, true] {
        assert_eq!(machine.apply(&text).warnings, [], "restarted: {restarted}");
        assert!(machine.run("nft list ruleset").contains("masquerade"));
        let answer = machine.ask(async |client| client.explain(QUERY).await).unwrap();
        assert_eq!(answer.server.as_deref(), Some("rs1"), "{}", answer.summary);
        for field in ["CapEff", "CapPrm", "CapBnd"] {
            let sets = of_threads(machine.pid(), field);
            assert!(sets.len() >= 3, "{sets:?}");
            assert!(sets.iter().all(|set| u64::from_str_radix(set, 16) == Ok(KEPT)), "{field}: {sets:?}");
        }
        for (field, value) in
            [("CapAmb", "0000000000000000"), ("CapInh", "0000000000000000"), ("NoNewPrivs", "1")]
        {
            let values = of_threads(machine.pid(), field);
            assert!(values.iter().all(|found| found == value), "{field}: {values:?}");
        }
        assert_eq!(machine.status().warnings, []);
        machine.restart();
    }
}

#[test]
fn a_missing_capability_is_named_with_the_remedy() {
    let machine = Machine::new();
    for name in ["net_admin", "net_raw", "bpf", "perfmon"] {
        let without = format!("-{name}");
        let output = machine.keeld(&["setpriv", "--bounding-set", &without], &[]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{name}: {error}");
        let named = format!("CAP_{}", name.to_uppercase());
        assert!(error.contains(&format!("lacks {named}")), "{error}");
        assert!(error.contains("CapabilityBoundingSet=") && error.contains("start it as root"), "{error}");
    }
}

#[test]
fn without_the_one_that_is_only_wanted_it_runs_and_says_what_is_missing() {
    let mut machine = Machine::new();
    let text = format!(
        "{SMALL}\n[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\n\n[[service.server]]\n\
         name = \"rs1\"\naddress = \"10.0.0.1\"\n"
    );
    machine.write("etc/cluster.toml", &text);
    for _ in 0..2 {
        machine.start_by(&["setpriv", "--bounding-set", "-sys_admin"]);
        assert!(machine.read("log").contains("lacks CAP_SYS_ADMIN"), "{}", machine.read("log"));
        assert_eq!(machine.status().warnings, []);
        let error = machine.ask(async |client| client.explain(QUERY).await).unwrap_err();
        assert!(format!("{error:?}").contains("not permitted"), "{error:?}");
        machine.end(nix::sys::signal::Signal::SIGTERM);
    }
}
