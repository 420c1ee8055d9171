//! Virtual addresses on an interface with a gateway of its own.

use crate::machine::{Machine, SMALL};

fn service(address: &str) -> String {
    format!("{SMALL}\n[[service]]\nname = \"web\"\naddress = \"{address}\"\nports = \"80\"\n")
}

#[test]
fn what_leaves_from_a_virtual_address_goes_through_its_interfaces_gateway() {
    let mut machine = Machine::new();
    machine.plug_in_another_card();
    let node = [
        machine.read("etc/node.toml"),
        "[[interface]]\nname = \"eth1\"\naddresses = [\"10.1.0.21/24\", \"fd00:11::21/64\"]\n".to_owned(),
        "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\n".to_owned(),
        "[[route]]\nto = \"default\"\nvia = \"10.1.0.1\"\ntable = 101\n".to_owned(),
        "[[route]]\nto = \"default\"\nvia = \"fd00:11::1\"\ntable = 106\n".to_owned(),
    ];
    machine.write("etc/node.toml", &node.concat());
    machine.start();
    let rules = |machine: &Machine| {
        let lines = [machine.run("ip -4 rule"), machine.run("ip -6 rule")].concat();
        lines.lines().filter(|line| line.starts_with("1000")).map(str::to_owned).collect::<Vec<_>>()
    };
    let way =
        |machine: &Machine, to: &str, from: &str| machine.run(&format!("ip route get {to} from {from}"));
    assert_eq!(rules(&machine), [""; 0]);

    machine.apply(&service("10.1.0.200"));
    assert_eq!(rules(&machine).len(), 2);
    assert!(way(&machine, "203.0.113.9", "10.1.0.200").contains("via 10.1.0.1 dev eth1"));
    assert!(way(&machine, "203.0.113.9", "10.0.0.21").contains("via 10.0.0.1 dev eth0"));
    assert!(
        way(&machine, "10.0.0.77", "10.1.0.200").contains("dev eth0"),
        "what is near is reached directly"
    );

    machine.restart();
    assert_eq!(rules(&machine).len(), 2, "they are taken over, not doubled");

    machine.apply(&service("fd00:11::200"));
    assert!(way(&machine, "2001:db8::9", "fd00:11::200").contains("via fd00:11::1 dev eth1"));
    assert_eq!(rules(&machine).len(), 2, "those of the former address are gone");

    machine.apply(&service("10.0.0.200"));
    assert_eq!(rules(&machine), [""; 0]);
}
