//! Faults that show only when two things are looked at together, and texts that aren't TOML.

use super::block::Block;
use super::faults::Fault;

/// Faults between the parts of a `cluster.toml`.
pub(super) fn of_cluster(blocks: &[Block]) -> Vec<Fault> {
    let services: Vec<&Block> = blocks.iter().filter(|block| block.name == "service").collect();
    let next = services.len();
    let mut faults = Vec::new();
    for service in &services {
        faults.push(Fault::add(
            "a service called like another",
            vec![],
            named(service.word("name")),
            format!("service[{next}].name"),
        ));
        let upper = service.word("name").to_uppercase();
        faults.push(Fault::add(
            "a service called like another in capitals",
            vec![],
            named(&upper),
            format!("service[{next}].name"),
        ));
        faults.extend(claims(service, next));
    }
    for (number, service) in services.iter().enumerate() {
        faults.extend(servers(number, service, services[(number + 1) % next]));
    }
    faults.extend(lists(blocks));
    for (what, lines) in [
        ("services instead of service", "[[services]]\nname = \"x\"\n"),
        ("a table nobody knows", "[hartbeat]\nkeepalive = \"1s\"\n"),
        ("a table of the node", "[dns]\nservers = []\n"),
        ("a list of the node", "[[interface]]\nname = \"eth0\"\n"),
    ] {
        let path = lines.trim_start_matches('[').split(']').next().unwrap_or_default();
        faults.push(Fault::append(what, lines, path));
    }
    faults.extend(not_toml());
    faults
}

/// Faults between the parts of a `node.toml`.
pub(super) fn of_node() -> Vec<Fault> {
    let mut faults = vec![
        Fault::append("a table of the cluster", "[layer4]\n", "layer4"),
        Fault::append("a service in the wrong file", "[[service]]\nname = \"x\"\n", "service"),
        Fault::append("an interface twice", "[[interface]]\nname = \"eth0\"\n", "interface[2].name"),
        Fault::append("a route to nowhere", "[[route]]\nto = \"10.66.0.0/16\"\n", "route[2]"),
        Fault::append(
            "a router that isn't near",
            "[[route]]\nto = \"10.66.0.0/16\"\nvia = \"172.16.0.1\"\n",
            "route[2].via",
        ),
        Fault::append(
            "a router of the other family",
            "[[route]]\nto = \"fd66::/64\"\nvia = \"10.0.0.1\"\n",
            "route[2].via",
        ),
    ];
    faults.extend(not_toml());
    faults
}

fn not_toml() -> impl Iterator<Item = Fault> {
    let texts = [
        "name = ",
        "[[service",
        "a = 1 b = 2\n",
        "= 5\n",
        "a = \"open\n",
        "a = [1, \n",
        "[x]\n[x]\n",
        "a = 1\na = 2\n",
        "a = 1__0\n",
        "\u{1}\n",
    ];
    texts.into_iter().map(|text| Fault::append(&format!("not TOML: {text:?}"), text, ""))
}

fn named(name: &str) -> Block {
    Block::of_list("service").text("name", name).text("address", "10.222.0.200").text("ports", "80")
}

/// Another service that wants packets this one gets already.
fn claims(service: &Block, next: usize) -> Vec<Fault> {
    let ports = service.word("ports");
    let first = ports.split([',', '-']).next().unwrap_or_default();
    let protocol = if service.get("layer") == Some("7") { "tcp" } else { service.word("protocol") };
    let rival = |ports: &str, protocol: &str| {
        let block = Block::of_list("service").text("name", "rival").text("address", service.word("address"));
        block.text("ports", ports).text("protocol", protocol).text("mode", "tun")
    };
    let path = format!("service[{next}].ports");
    let mut faults = vec![
        Fault::add("the same address and ports twice", vec![], rival(ports, protocol), path.clone()),
        Fault::add("one port twice", vec![], rival(first, protocol), path.clone()),
        Fault::add("ports within the ports of another", vec![], rival("1-65535", "tcp+udp"), path.clone()),
    ];
    if protocol != "udp" {
        let proxy = Block::of_list("service").text("name", "rival").raw("layer", 7);
        let proxy = proxy.text("address", service.word("address")).text("ports", first);
        faults.push(Fault::add("layer 7 on a port in use", vec![], proxy, path));
    }
    faults
}

/// Servers that are there already, or that are another service.
fn servers(number: usize, service: &Block, other: &Block) -> Vec<Fault> {
    let servers: Vec<&Block> = service.children.iter().filter(|child| child.name == "server").collect();
    let next = servers.len();
    let path = |key: &str| format!("service[{number}].server[{next}].{key}");
    let server =
        |name: &str, address: &str| Block::of_list("server").text("name", name).text("address", address);
    let mut faults = Vec::new();
    for known in &servers {
        let (name, address) = (known.word("name"), known.word("address"));
        let twin = server(name, "twin.example.org");
        faults.push(Fault::add("a server called like another", vec![number], twin, path("name")));
        let mut again = server("again", address);
        again.set("port", known.get("port"));
        faults.push(Fault::add("a server that is there already", vec![number], again, path("address")));
    }
    let (own, theirs) = (service.word("address"), other.word("address"));
    if service.get("layer") == Some("4") && own.contains(':') == theirs.contains(':') {
        let block = server("other", theirs);
        faults.push(Fault::add("a server that is another service", vec![number], block, path("address")));
    }
    faults
}

/// Things that may be in a list only once.
fn lists(blocks: &[Block]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, key) in
        [("floating_ip", "address"), ("health_check", "name"), ("certificate", "name"), ("user", "name")]
    {
        let known: Vec<&Block> = blocks.iter().filter(|block| block.name == name).collect();
        for block in &known {
            let what = format!("the same {name} twice");
            faults.push(Fault::add(
                &what,
                vec![],
                (*block).clone(),
                format!("{name}[{}].{key}", known.len()),
            ));
        }
    }
    for service in blocks.iter().filter(|block| block.name == "service") {
        for server in service.children.iter().filter(|child| child.name == "server") {
            let address = server.word("address");
            let Ok(ip) = address.parse::<std::net::IpAddr>() else { continue };
            let block = Block::of_list("floating_ip")
                .text("address", format!("{ip}/{}", if ip.is_ipv4() { 24 } else { 64 }));
            faults.push(Fault::add(
                "a floating IP that is a server",
                vec![],
                block,
                "floating_ip[2].address".to_owned(),
            ));
        }
    }
    faults
}
