//! The instructions name the actual addresses and ports, and every system and mode has an answer.

use keel_model::realserver::{GATEWAY, Instructions, Os, gateway_for, instructions};
use keel_model::{Cluster, load_cluster};

fn cluster(service: &str, servers: &[&str], rest: &str) -> Cluster {
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(number, address)| {
            format!("[[service.server]]\nname = \"rs{number}\"\naddress = \"{address}\"\n")
        })
        .collect();
    let text = format!("[[service]]\nname = \"web\"\nports = \"80\"\n{service}\n{servers}\n{rest}");
    let (cluster, problems) = load_cluster(&text);
    cluster.unwrap_or_else(|| panic!("{problems:?}\n{text}"))
}

fn told(cluster: &Cluster, os: Os) -> Instructions {
    let service = &cluster.services[0];
    instructions(service, os, gateway_for(cluster, service))
}

fn commands(instructions: &Instructions) -> Vec<&str> {
    instructions.steps.iter().flat_map(|step| &step.commands).map(String::as_str).collect()
}

#[test]
fn dr_on_linux_owns_the_vip_silently() {
    let cluster = cluster("address = \"192.168.2.200\"", &["192.168.2.101"], "");
    let told = told(&cluster, Os::Linux);
    let expected = [
        "sysctl -w net.ipv4.conf.all.arp_ignore=1",
        "sysctl -w net.ipv4.conf.all.arp_announce=2",
        "printf '%s\\n' net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 > /etc/sysctl.d/60-evenkeel.conf",
        "ip address add 192.168.2.200/32 dev lo",
    ];
    assert_eq!(commands(&told), expected);
    assert_eq!(told.undo[0].commands, ["ip address del 192.168.2.200/32 dev lo"]);
    assert!(told.to_string().contains("tcp port 80"));
}

#[test]
fn dr_over_ipv6_turns_duplicate_detection_off() {
    let cluster = cluster("address = \"fd00:2::200\"", &["fd00:2::101"], "");
    let told = told(&cluster, Os::Linux);
    assert!(commands(&told).contains(&"sysctl -w net.ipv6.conf.lo.accept_dad=0"));
    assert!(commands(&told).contains(&"ip -6 address add fd00:2::200/128 dev lo nodad"));
}

#[test]
fn dr_on_windows_uses_the_weak_host_model() {
    let cluster = cluster("address = \"192.168.2.200\"", &["192.168.2.101"], "");
    let told = told(&cluster, Os::Windows);
    let expected = [
        "netsh interface ipv4 add address \"loopback\" 192.168.2.200 255.255.255.255",
        "netsh interface ipv4 set interface \"loopback\" metric=254",
        "netsh interface ipv4 set interface \"net\" weakhostreceive=enabled",
        "netsh interface ipv4 set interface \"loopback\" weakhostreceive=enabled",
        "netsh interface ipv4 set interface \"loopback\" weakhostsend=enabled",
    ];
    assert_eq!(commands(&told), expected);
}

#[test]
fn nat_names_the_floating_gateway_or_says_that_there_is_none() {
    let gateway = "[[floating_ip]]\naddress = \"10.0.0.1/24\"";
    let with = cluster("address = \"192.168.2.200\"\nmode = \"nat\"", &["10.0.0.101"], gateway);
    assert!(commands(&told(&with, Os::Linux)).contains(&"ip route replace default via 10.0.0.1"));
    assert!(commands(&told(&with, Os::Bsd)).contains(&"route -4 change default 10.0.0.1"));
    let without = cluster("address = \"192.168.2.200\"\nmode = \"nat\"", &["10.0.0.101"], "");
    let told = told(&without, Os::Linux);
    assert!(commands(&told).contains(&format!("ip route replace default via {GATEWAY}").as_str()));
    assert!(told.notes[0].starts_with(GATEWAY));
}

#[test]
fn tun_sets_up_one_device_for_each_family() {
    let tun = "address = \"192.168.2.200\"\nmode = \"tun\"";
    let told = told(&cluster(tun, &["10.9.0.101", "fd00:9::102"], ""), Os::Linux);
    let commands = commands(&told);
    for expected in [
        "modprobe ipip",
        "ip address add 192.168.2.200/32 dev tunl0",
        "sysctl -w net.ipv4.conf.tunl0.rp_filter=0",
        "sysctl -w net.ipv4.conf.all.rp_filter=0",
        "ip -6 tunnel change ip6tnl0 mode any",
        "ip address add 192.168.2.200/32 dev ip6tnl0",
        "iptables -t mangle -A OUTPUT -s 192.168.2.200 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1440",
    ] {
        assert!(commands.contains(&expected), "{expected}\n{told}");
    }
}

#[test]
fn tun_of_ipv6_inside_ipv4_uses_sit() {
    let told = told(&cluster("address = \"fd00:2::200\"\nmode = \"tun\"", &["10.9.0.101"], ""), Os::Linux);
    assert!(commands(&told).contains(&"ip -6 address add fd00:2::200/128 dev sit0 nodad"));
}

#[test]
fn gue_opens_its_port() {
    let gue = "address = \"192.168.2.200\"\nmode = \"tun\"\ntunnel = \"gue\"\ntunnel_port = 6666";
    let cluster = cluster(gue, &["10.9.0.101"], "");
    assert!(commands(&told(&cluster, Os::Linux)).contains(&"ip fou add port 6666 gue"));
    assert!(told(&cluster, Os::Bsd).steps[0].text.contains("tunnel = \"ip\""));
}

#[test]
fn tun_on_windows_says_what_to_do_instead() {
    let told =
        told(&cluster("address = \"192.168.2.200\"\nmode = \"tun\"", &["10.9.0.101"], ""), Os::Windows);
    assert!(told.summary.starts_with("Not possible"));
    assert!(told.steps[0].text.contains("mode = \"dr\"") && told.steps[0].text.contains("layer = 7"));
}

#[test]
fn layer_7_needs_nothing_unless_it_is_transparent() {
    let plain = cluster("layer = 7\naddress = \"192.168.2.200\"", &["10.0.0.101"], "");
    assert!(told(&plain, Os::Linux).steps.is_empty());
    let transparent =
        cluster("layer = 7\ntransparent = true\naddress = \"192.168.2.200\"", &["10.0.0.101"], "");
    assert!(!told(&transparent, Os::Linux).steps.is_empty());
}

#[test]
fn every_system_and_mode_says_something_with_the_vip_in_it() {
    let modes = [
        "mode = \"dr\"",
        "mode = \"nat\"",
        "mode = \"tun\"",
        "mode = \"tun\"\ntunnel = \"gue\"",
        "layer = 7",
    ];
    for mode in modes {
        for (vip, server) in [("192.168.2.200", "192.168.2.101"), ("fd00:2::200", "fd00:2::101")] {
            let cluster = cluster(&format!("address = \"{vip}\"\n{mode}"), &[server], "");
            for os in Os::ALL {
                let text = told(&cluster, *os).to_string();
                assert!(text.len() > 150, "{text}");
                assert!(!text.contains("todo"), "{text}");
            }
        }
    }
}
