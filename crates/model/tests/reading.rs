//! What the readers make of particular files, and what they say about particular mistakes.

use std::time::Duration;

use keel_model::{
    Check, Encapsulation, Host, Mode4, PersistenceBy, Problem, Protocol4, Scheduler4, Service, Severity,
    check_together, load_cluster, load_node,
};

/// The example of the design, word for word.
const DESIGN: &str = r#"
# cluster.toml
[[service]]
name = "HTTP-Cluster"
layer = 4                        # 4 | 7
address = "192.168.1.100"        # IPv4 or IPv6
ports = "80,443,8000-8010"
protocol = "tcp"                 # layer 4: tcp | udp | tcp+udp
mode = "dr"                      # layer 4: dr | nat | tun      layer 7: http | tcp
scheduler = "wlc"                # rr wrr lc wlc sh dh maglev sed nq | layer 7 also: first, uri, header, least-time
persistence = { by = "source", timeout = "300s", prefix4 = 32, prefix6 = 128 }
fallback = "127.0.0.1:9081"
panic_threshold = 0              # % of servers up below which all are used; 0 = off
enabled = true

[service.health]
type = "http"
path = "/index.pl?action=is_alive"
expect_status = "200"
expect_body = "CB_IS_OKAY"       # substring; expect_regex for a pattern
drain_on_status = "503"          # this answer drains instead of failing
interval = "4s"
timeout = "2s"
rise = 2
fall = 3

[[service.server]]
name = "IIS1"
address = "192.168.1.110"        # or a host name, followed when DNS changes
port = 80                        # layer 4 NAT and layer 7
weight = 100                     # 0..65535
min_connections = 0
max_connections = 0
priority = 0                     # higher number = used only when every lower group is down
state = "online"                 # online | drain | halt

[[floating_ip]]
address = "10.0.0.1/24"          # e.g. a floating default gateway for NAT mode

[heartbeat]
keepalive = "200ms"
warn_time = "600ms"
dead_time = "1s"
initial_dead_time = "10s"
udp_port = 6694
auto_failback = false
ping_nodes = []
"#;

const MINIMAL: &str = r#"
[[service]]
name = "web"
address = "10.0.0.200"
ports = "80"

[[service.server]]
name = "a"
address = "10.0.0.1"
"#;

fn refused(text: &str) -> Vec<Problem> {
    let (cluster, problems) = load_cluster(text);
    assert!(cluster.is_none(), "it was accepted: {text}");
    problems.into_iter().filter(Problem::is_error).collect()
}

/// The one error of the minimal file after a replacement.
fn told(old: &str, new: &str) -> String {
    let problems = refused(&MINIMAL.replacen(old, new, 1));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

fn minimal(old: &str, new: &str) -> Service {
    let (cluster, problems) = load_cluster(&MINIMAL.replacen(old, new, 1));
    cluster.unwrap_or_else(|| panic!("{problems:#?}")).services.remove(0)
}

#[test]
fn the_example_of_the_design_loads() {
    let (cluster, problems) = load_cluster(DESIGN);
    let cluster = cluster.unwrap();
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{problems:#?}");
    let service = &cluster.services[0];
    let Check::Http(http) = &service.health.check else { panic!("{:?}", service.health) };
    assert_eq!(http.expect_body.as_deref(), Some("CB_IS_OKAY"));
    assert!(http.drain_on_status.as_ref().is_some_and(|set| set.contains(503)));
    assert_eq!(cluster.floating_addresses().len(), 2);
}

#[test]
fn what_is_not_written_is_as_the_product_says() {
    let service = minimal("", "");
    let layer4 = service.as_layer4().unwrap();
    assert_eq!(
        (layer4.protocol, layer4.mode, layer4.scheduler),
        (Protocol4::Tcp, Mode4::Dr, Scheduler4::Wlc)
    );
    assert_eq!((service.persistence.clone(), service.panic_threshold, service.enabled), (None, 0, true));
    assert_eq!(service.fallback, Some("127.0.0.1:9081".parse().unwrap()));
    let health = &service.health;
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(4), Duration::from_secs(2)));
    assert_eq!((&health.check, health.rise, health.fall), (&Check::Connect, 2, 3));
    let server = &service.servers[0];
    assert_eq!(
        (server.weight, server.min_connections, server.max_connections, server.priority),
        (100, 0, 0, 0)
    );
    let persistent = minimal("ports", "persistence = \"source\"\nports").persistence.unwrap();
    assert_eq!((persistent.by, persistent.timeout), (PersistenceBy::Source, Duration::from_secs(300)));
    let layer7 = minimal("ports", "layer = 7\npersistence = \"cookie\"\nports");
    assert_eq!(layer7.as_layer7().unwrap().max_connections, 40_000);
    let persistent = layer7.persistence.unwrap();
    assert_eq!((persistent.timeout, persistent.table_size), (Duration::from_secs(1800), Some(10_240)));
    assert_eq!(persistent.cookie.unwrap().name, "SERVERID");
}

#[test]
fn an_empty_file_is_an_empty_cluster() {
    let (cluster, problems) = load_cluster("");
    assert_eq!((cluster.unwrap(), problems), (keel_model::Cluster::default(), vec![]));
    assert_eq!(load_node("").0.unwrap(), keel_model::Node::default());
}

#[test]
fn defaults_follow_what_they_depend_on() {
    assert_eq!(minimal("ports", "protocol = \"udp\"\nports").fallback, None);
    assert_eq!(minimal("ports", "protocol = \"udp\"\nports").health.check, Check::Ping);
    let six = MINIMAL.replace("10.0.0.200", "fd00::200").replace("10.0.0.1", "fd00::1");
    assert_eq!(load_cluster(&six).0.unwrap().services[0].fallback, Some("[::1]:9081".parse().unwrap()));
    let hash =
        |text: &str| minimal("ports", &format!("scheduler = {text}\nports")).as_layer4().unwrap().hash_ports;
    assert_eq!(
        (hash("\"sh\""), hash("\"maglev\""), hash("\"maglev\"\nhash_source_port = false")),
        (false, true, false)
    );
    let quick = minimal("[[service.server]]", "[service.health]\ninterval = \"1s\"\n\n[[service.server]]");
    assert_eq!(quick.health.timeout, Duration::from_secs(1));
}

#[test]
fn tunnels_are_ip_unless_told_otherwise() {
    let mode =
        |text: &str| minimal("ports", &format!("mode = \"tun\"\n{text}\nports")).as_layer4().unwrap().mode;
    assert_eq!(mode(""), Mode4::Tun(Encapsulation::Ip));
    assert_eq!(mode("tunnel = \"gue\""), Mode4::Tun(Encapsulation::Gue { port: 6080 }));
    assert_eq!(mode("tunnel = \"gue\"\ntunnel_port = 7"), Mode4::Tun(Encapsulation::Gue { port: 7 }));
}

#[test]
fn a_named_check_may_have_another_rhythm() {
    let check = "[[health_check]]\nname = \"alive\"\ntype = \"ping\"\ninterval = \"9s\"\nfall = 7\n";
    let used = MINIMAL
        .replace("[[service.server]]", "[service.health]\nuse = \"alive\"\nrise = 5\n\n[[service.server]]");
    let health = load_cluster(&format!("{used}{check}")).0.unwrap().services[0].health.clone();
    assert_eq!(
        (health.check, health.interval, health.rise, health.fall),
        (Check::Ping, Duration::from_secs(9), 5, 7)
    );
    assert_eq!(health.uses.unwrap(), "alive");
}

#[test]
fn servers_may_be_names() {
    let service = minimal("\"10.0.0.1\"", "\"Web.Example.org\"");
    assert_eq!(service.servers[0].address, Host::Name("web.example.org".to_owned()));
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_file() {
    let text = "[[service]]\nname = \"a b\"\naddress = \"127.0.0.1\"\nports = \"0\"\nmodde = \"dr\"\n[heartbeat]\nkeepalive = 5\n";
    let paths: Vec<(String, Option<usize>)> =
        refused(text).into_iter().map(|problem| (problem.path, problem.line)).collect();
    let expected = [
        ("service[0].name", 2),
        ("service[0].address", 3),
        ("service[0].ports", 4),
        ("service[0].modde", 5),
        ("heartbeat.keepalive", 7),
    ];
    assert_eq!(paths, expected.map(|(path, line)| (path.to_owned(), Some(line))));
}

#[test]
fn a_misspelt_key_finds_its_word() {
    let text = told("ports", "sheduler = \"rr\"\nports");
    assert_eq!(
        text,
        "error: service[0].sheduler (line 5): unknown key `sheduler`: did you mean `scheduler`?"
    );
    let text = told("address = \"10.0.0.1\"", "address = \"10.0.0.1\"\nweigth = 5");
    assert_eq!(
        text,
        "error: service[0].server[0].weigth (line 10): unknown key `weigth`: did you mean `weight`?"
    );
}

#[test]
fn port_translation_is_refused_with_the_reason() {
    let text = told("address = \"10.0.0.1\"", "address = \"10.0.0.1\"\nport = 8080");
    assert!(text.starts_with("error: service[0].server[0].port"), "{text}");
    assert!(text.contains("DR can't translate ports") && text.contains("mode = \"nat\""), "{text}");
    assert!(
        minimal("address = \"10.0.0.1\"", "address = \"10.0.0.1\"\nport = 80").servers[0].port == Some(80)
    );
    let nat = MINIMAL
        .replace("ports = \"80\"", "ports = \"80\"\nmode = \"nat\"")
        .replace("\"10.0.0.1\"", "\"10.0.0.1\"\nport = 8080");
    assert!(load_cluster(&nat).0.is_some());
    let several = refused(&nat.replace("\"80\"", "\"80-81\""));
    assert!(several[0].text.contains("several ports"), "{several:?}");
}

#[test]
fn only_checks_of_ports_in_dr_and_tun_go_through_the_vip() {
    let health = |mode: &str, kind: &str| {
        let health = format!("mode = \"{mode}\"\nhealth = {{ type = \"{kind}\", through = \"vip\" }}");
        MINIMAL.replace("ports = \"80\"", &format!("ports = \"80\"\n{health}"))
    };
    for mode in ["dr", "tun"] {
        assert!(load_cluster(&health(mode, "connect")).0.is_some());
        assert!(load_cluster(&health(mode, "udp\", expect = \"x")).0.is_some());
    }
    let told = |mode: &str, kind: &str| {
        let problems = refused(&health(mode, kind));
        assert_eq!((problems.len(), &*problems[0].path), (1, "service[0].health"), "{problems:?}");
        problems[0].text.clone()
    };
    let nat = told("nat", "http");
    assert!(nat.contains("in NAT mode servers see their own address"), "{nat}");
    let ping = told("dr", "ping");
    assert!(ping.contains("a check of type ping can't go through the VIP"), "{ping}");
    let silent = told("dr", "udp");
    assert!(silent.contains("silence may as well mean"), "{silent}");
}

/// The lines of a check, as the minimal file's own.
fn with_check(lines: &str) -> String {
    format!("ports = \"80\"\n[service.health]\n{lines}")
}

#[test]
fn what_looks_wrong_in_a_check_and_is_right() {
    for lines in [
        "type = \"http\"\nhost = \"2001:db8::80\"",
        "type = \"https\"\nhost = \"[2001:db8::80]:8443\"",
        "type = \"dns\"\nquery = \".\"\nrecord = \"NS\"",
        "type = \"dns\"\nquery = \"192.0.2.1\"\nrecord = \"PTR\"",
        "type = \"redis\"\nsecret = \"redis\"",
        "type = \"pgsql\"\ndatabase = \"shop\"",
        "type = \"ftp\"\nuser = \"anonymous\"",
        "type = \"mysql\"\nuser = \"probe\"",
    ] {
        minimal("ports = \"80\"", &with_check(lines));
    }
}

#[test]
fn what_a_check_lacks_is_told_with_the_remedy() {
    let told = |lines: &str| told("ports = \"80\"", &with_check(lines));
    for (lines, words) in [
        ("type = \"ldap\"\nbind_dn = \"cn=probe\"", "`bind_dn` is of no use without `secret`"),
        ("type = \"ldap\"\nsecret = \"x\"", "`secret` is of no use without `bind_dn`"),
        (
            "type = \"pop3\"\nuser = \"probe\"",
            "`user` is of no use without `secret`: write that too, or remove it",
        ),
        ("type = \"nntp\"\nsecret = \"x\"", "`secret` is of no use without `user`"),
        ("type = \"mysql\"\ndatabase = \"x\"", "`database` is of no use without `user`"),
        ("type = \"dns\"\nquery = \"192.0.2.1\"", "write record = \"PTR\", or a name"),
        ("type = \"sip\"\nuri = \"sips:a@b\"", "write \"sip:a@b\""),
    ] {
        let told = told(lines);
        assert!(told.contains(words), "{lines}: {told}");
    }
}

#[test]
fn families_mix_only_in_tunnels_and_proxies() {
    let text = told("\"10.0.0.1\"", "\"fd00::1\"");
    assert!(text.contains("is IPv6 and the service 10.0.0.200 is IPv4"), "{text}");
    let mixed = MINIMAL.replace("\"10.0.0.1\"", "\"fd00::1\"");
    assert!(!refused(&mixed.replace("ports", "mode = \"nat\"\nports")).is_empty());
    assert!(load_cluster(&mixed.replace("ports", "mode = \"tun\"\nports")).0.is_some());
    assert!(load_cluster(&mixed.replace("ports", "layer = 7\nports")).0.is_some());
}

#[test]
fn a_scheduler_of_layer_7_is_told_what_layer_4_has() {
    let text = told("ports", "scheduler = \"least-time\"\nports");
    assert!(
        text.contains("needs layer 7") && text.contains("rr, wrr, lc, wlc, sed, nq, sh, dh, maglev"),
        "{text}"
    );
}

#[test]
fn wrong_types_are_problems_with_advice() {
    let text = told("ports = \"80\"", "ports = 80");
    assert!(text.contains("`ports` must be text, not a number: write for example ports = \"80\""), "{text}");
    let text = told("address = \"10.0.0.1\"", "address = \"10.0.0.1\"\nweight = \"5\"");
    assert!(text.contains("write for example weight = 5"), "{text}");
    let text = told("[[service.server]]", "[service.server]");
    assert!(text.contains("[[service.server]]"), "{text}");
}

#[test]
fn what_does_no_harm_is_a_warning() {
    let warned = |text: &str| {
        let (cluster, problems) = load_cluster(text);
        assert!(cluster.is_some(), "{problems:?}");
        problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    let (alone, _) = MINIMAL.split_at(MINIMAL.find("[[service.server]]").unwrap());
    assert_eq!(warned(alone), ["service[0]"]);
    assert_eq!(warned(&MINIMAL.replace("\"10.0.0.1\"", "\"10.0.0.1\"\nweight = 0")), ["service[0]"]);
    assert_eq!(
        warned(&MINIMAL.replace("ports", "panic_threshold = 50\nports")),
        ["service[0].panic_threshold"]
    );
    assert_eq!(warned(MINIMAL), [""; 0]);
}

#[test]
fn a_service_that_is_off_claims_nothing() {
    let twice = format!(
        "{MINIMAL}\n[[service]]\nname = \"other\"\naddress = \"10.0.0.200\"\nports = \"80\"\nenabled = false\n"
    );
    assert!(load_cluster(&twice).0.is_some());
    assert_eq!(refused(&twice.replace("enabled = false", ""))[0].path, "service[1].ports");
}

#[test]
fn proxied_services_may_be_chained_but_packets_may_not() {
    let chain = |first: u8, second: u8| {
        format!(
            "[[service]]\nname = \"a\"\nlayer = {first}\naddress = \"10.0.0.1\"\nports = \"80\"\n[[service.server]]\nname = \"b\"\naddress = \"10.0.0.2\"\n\
             [[service]]\nname = \"b\"\nlayer = {second}\naddress = \"10.0.0.2\"\nports = \"80\"\n"
        )
    };
    assert!(load_cluster(&chain(7, 7)).0.is_some());
    for (first, second) in [(4, 7), (7, 4), (4, 4)] {
        assert_eq!(refused(&chain(first, second))[0].path, "service[0].server[0].address");
    }
}

const NODE: &str = "hostname = \"lb1\"\n[[interface]]\nname = \"eth0\"\naddresses = [\"10.0.0.21/24\"]\n[[route]]\nto = \"default\"\nvia = \"10.0.0.254\"\n";

fn together(cluster: &str) -> Vec<Problem> {
    let (cluster, problems) = load_cluster(cluster);
    let cluster = cluster.unwrap_or_else(|| panic!("{problems:?}"));
    check_together(&cluster, &load_node(NODE).0.expect("the node is valid"))
}

#[test]
fn a_vip_may_not_be_an_interface_address() {
    let problems = together(&MINIMAL.replace("10.0.0.200", "10.0.0.21"));
    assert_eq!((problems[0].path.as_str(), problems[0].severity), ("service[0].address", Severity::Error));
    assert!(problems[0].text.contains("own address of eth0 on lb1"), "{}", problems[0]);
    assert_eq!(together(MINIMAL), []);
}

#[test]
fn files_that_do_not_fit_together_are_told_where() {
    let paths = |cluster: &str| together(cluster).into_iter().map(|problem| problem.path).collect::<Vec<_>>();
    assert_eq!(paths(&MINIMAL.replace("\"10.0.0.1\"", "\"10.0.0.21\"")), ["service[0].server[0].address"]);
    assert_eq!(paths(&MINIMAL.replace("10.0.0.200", "10.0.0.254")), ["service[0].address"]);
    assert_eq!(paths(&MINIMAL.replace("10.0.0.200", "10.9.0.200")), ["service[0].address"]);
    assert_eq!(paths("[[floating_ip]]\naddress = \"10.0.0.21/24\""), ["floating_ip[0].address"]);
    assert_eq!(paths("[[floating_ip]]\naddress = \"10.7.0.1/24\""), ["floating_ip[0].address"]);
    assert_eq!(
        paths("[[floating_ip]]\naddress = \"10.7.0.1/24\"\ninterface = \"eth9\""),
        ["floating_ip[0].interface"]
    );
    assert_eq!(paths("[layer4]\nautonat = [\"eth7\"]"), ["layer4.autonat[0]"]);
}
