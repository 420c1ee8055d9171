//! The seed of the hashes.

use nix::sys::signal::Signal;

use crate::machine::{Machine, SMALL, mode};

const WEB: &str = "
[[service]]
name = \"web\"
address = \"10.0.0.200\"
ports = \"80\"
scheduler = \"sh\"
server = [
    { name = \"rs1\", address = \"10.0.0.1\" }, { name = \"rs2\", address = \"10.0.0.2\" },
    { name = \"rs3\", address = \"10.0.0.3\" }, { name = \"rs4\", address = \"10.0.0.4\" },
]
";

/// Which server each of many clients would get.
fn choices(machine: &Machine) -> String {
    let choice = |host: u8| {
        let query = keel_api::ExplainQuery {
            client: [10, 1, 1, host].into(),
            client_port: None,
            vip: [10, 0, 0, 200].into(),
            vip_port: 80,
            protocol: keel_api::Protocol::Tcp,
        };
        let answer = machine.ask(async |client| client.explain(query).await).unwrap();
        answer.server.unwrap_or_else(|| panic!("{}", answer.summary))
    };
    (1..=32).map(choice).collect::<Vec<_>>().join(" ")
}

fn with_neighbours() -> Machine {
    let machine = Machine::new();
    for host in 2..=4 {
        machine.world(&format!("ip address add 10.0.0.{host}/24 dev eth0"));
    }
    machine.write("etc/cluster.toml", &[SMALL, WEB].concat());
    machine
}

#[test]
fn a_seed_is_made_once_and_decides_who_gets_whom() {
    let mut machine = with_neighbours();
    machine.start();
    let (first, seed) = (choices(&machine), machine.read("state/hash-seed"));
    assert_eq!((seed.len(), mode(&machine.path("state/hash-seed"))), (17, 0o600));
    machine.end(Signal::SIGTERM);
    machine.detach();
    machine.start();
    assert_eq!((choices(&machine), machine.read("state/hash-seed")), (first.clone(), seed.clone()));

    // Tables keep the seed that they were filled with, whatever the file says.
    machine.end(Signal::SIGTERM);
    machine.write("state/hash-seed", "0123456789abcdef\n");
    machine.start();
    assert_eq!(choices(&machine), first);
    machine.end(Signal::SIGTERM);
    std::fs::remove_file(machine.path("state/hash-seed")).unwrap();
    machine.start();
    assert_eq!(machine.read("state/hash-seed"), seed, "the one in use is kept");
    machine.end(Signal::SIGTERM);
    machine.detach();
    machine.write("state/hash-seed", "0123456789abcdef\n");
    machine.start();
    assert_ne!(choices(&machine), first);
}

#[test]
fn two_installations_with_the_same_seed_choose_alike() {
    let choose = || {
        let mut machine = with_neighbours();
        std::fs::create_dir(machine.path("state")).unwrap();
        machine.write("state/hash-seed", "00000000000004d2\n");
        machine.start();
        choices(&machine)
    };
    assert_eq!(choose(), choose());
}
