//! What is left of the daemon on a machine that it is taken away from.

use nix::sys::signal::Signal;

use crate::machine::{Machine, SMALL, eventually};

const SETTINGS: [&str; 4] = [
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.conf.eth0.send_redirects",
];

fn nat() -> String {
    let service = |name: &str, address: &str, server: &str| {
        format!(
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nports = \"80\"\nmode = \"nat\"\n\n\
             [[service.server]]\nname = \"rs1\"\naddress = \"{server}\"\n"
        )
    };
    [
        SMALL.to_owned(),
        service("four", "10.0.0.200", "10.0.0.1"),
        service("six", "fd00:10::200", "fd00:10::1"),
    ]
    .concat()
}

/// Everything that a daemon changes, as the machine's own tools show it.
fn machine(machine: &Machine) -> Vec<String> {
    let mut seen: Vec<String> = SETTINGS.iter().map(|name| machine.run(&format!("sysctl {name}"))).collect();
    let offloads = machine.run("ethtool -k eth0");
    let shown =
        |line: &&str| line.starts_with("rx-vlan-offload") || line.starts_with("generic-receive-offload");
    seen.extend(offloads.lines().filter(shown).map(str::to_owned));
    for list in ["ip neighbour", "ip -4 rule", "ip -6 rule", "ip address show up scope global dev eth0"] {
        let text = machine.run(list);
        // Times and the states of neighbours pass by themselves.
        let lasting = text.lines().filter(|line| list != "ip neighbour" || line.contains("managed"));
        seen.extend(lasting.map(str::to_owned));
    }
    seen.push(machine.run("nft list ruleset"));
    seen
}

#[test]
fn detaching_puts_back_what_was_changed_before_any_restart() {
    let mut appliance = Machine::new();
    appliance.start();
    appliance.end(Signal::SIGTERM);
    appliance.detach();
    let before = machine(&appliance);
    assert!(before.contains(&"rx-vlan-offload: on".to_owned()), "{before:#?}");

    appliance.start();
    appliance.apply(&nat());
    eventually("the servers' neighbours are kept", || {
        appliance.run("ip neighbour").matches("managed").count() == 2
    });
    let working = machine(&appliance);
    for part in ["net.ipv4.ip_forward = 1", "net.ipv4.conf.eth0.send_redirects = 0"] {
        assert!(working.iter().any(|line| line.trim() == part), "{part} is not in {working:#?}");
    }
    assert!(working.contains(&"rx-vlan-offload: off".to_owned()), "{working:#?}");

    // A process that finds everything as it wants it must not take that for how it was.
    appliance.end(Signal::SIGKILL);
    appliance.start();
    appliance.restart();
    // Meanwhile somebody has changed one thing again; that is theirs.
    appliance.run("sysctl -qw net.ipv4.conf.eth0.send_redirects=1");
    appliance.end(Signal::SIGTERM);
    let done = appliance.detach();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(machine(&appliance), before);
    assert!(!appliance.path("run/former.json").exists());
    assert!(appliance.detach().status.success(), "once more is fine");
}

#[test]
fn nft_is_run_only_for_something_to_add_or_to_remove() {
    let mut appliance = Machine::new();
    let nft = appliance.run("which nft").trim().to_owned();
    let original = appliance.path("nft.original");
    std::fs::copy(&nft, &original).unwrap();
    let calls = appliance.path("calls");
    let script = format!("#!/bin/sh\necho call >>{}\nexec {} \"$@\"\n", calls.display(), original.display());
    appliance.stand_in(&nft, "nft", &script);
    appliance.run(&format!("chmod 755 {}", appliance.path("nft").display()));
    let called = |appliance: &Machine| appliance.read("calls").lines().count();

    appliance.start();
    appliance.apply(&nat());
    appliance.restart();
    appliance.end(Signal::SIGTERM);
    assert!(appliance.detach().status.success());
    assert_eq!(called(&appliance), 0, "autonat was never wanted");

    appliance.start();
    let with_autonat = nat().replace("[layer4]", "[layer4]\nautonat = [\"eth0\"]");
    appliance.apply(&with_autonat);
    assert_eq!(called(&appliance), 1);
    appliance.end(Signal::SIGKILL);
    appliance.write("etc/cluster.toml", &nat());
    appliance.start();
    assert_eq!(called(&appliance), 2, "a table that an earlier process left is removed");
    assert_eq!(appliance.run("nft list ruleset"), "");
}

#[test]
fn a_neighbour_that_leads_to_no_server_any_more_is_let_go() {
    let mut appliance = Machine::new();
    appliance.start();
    appliance.apply(&nat());
    let kept = |machine: &Machine| machine.run("ip neighbour").matches("managed").count();
    eventually("the servers' neighbours are kept", || kept(&appliance) == 2);
    // The way to a removed server goes with the first change after its last connection.
    let mut change = 0;
    eventually("they are let go", || {
        change += 1;
        appliance.apply(&format!("# {change}\n{SMALL}"));
        kept(&appliance) == 0
    });
}
