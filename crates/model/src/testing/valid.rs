//! Random valid configurations.

use super::block::Block;
use super::rng::Rng;

/// A valid `cluster.toml`.
pub(super) fn cluster(rng: &mut Rng) -> Vec<Block> {
    let count = 2 + rng.below(4);
    let mut blocks: Vec<Block> = (0..count).map(|number| service(rng, number)).collect();
    blocks.push(Block::of_list("floating_ip").text("address", format!("10.99.0.{}/24", 1 + rng.below(200))));
    blocks.push(Block::of_list("floating_ip").text("address", "fd99::1/64").text("interface", "eth1"));
    blocks.push(heartbeat(rng));
    blocks.push(layer4(rng));
    blocks.push(
        Block::of_list("health_check")
            .text("name", "alive")
            .text("type", "http")
            .text("path", "/alive")
            .text("interval", "5s")
            .text("timeout", "3s"),
    );
    blocks.push(Block::of_list("certificate").text("name", "www").raw("domains", "[\"www.example.org\"]"));
    let acme = Block::one("acme").text("email", "ops@example.org");
    blocks.push(
        Block::of_list("certificate").text("name", "auto").raw("domains", "[\"a.example.org\"]").child(acme),
    );
    blocks.push(Block::of_list("user").text("name", "root").text("role", "admin"));
    blocks.push(
        Block::of_list("user").text("name", "night").text("role", "operator").raw("services", "[\"svc-0\"]"),
    );
    blocks.push(alerts());
    blocks
}

fn heartbeat(rng: &mut Rng) -> Block {
    Block::one("heartbeat")
        .text("keepalive", "200ms")
        .text("warn_time", "600ms")
        .text("dead_time", format!("{}s", 1 + rng.below(3)))
        .text("initial_dead_time", "10s")
        .raw("udp_port", 6694)
        .raw("auto_failback", rng.below(2) == 0)
        .raw("ping_nodes", "[\"10.99.0.250\"]")
}

fn layer4(rng: &mut Rng) -> Block {
    let timeouts = Block::one("timeouts")
        .text("tcp_established", format!("{}s", 60 + rng.below(900)))
        .text("tcp_fin", "120s")
        .text("tcp_syn", "60s")
        .text("tcp_close", "10s")
        .text("udp", "5m");
    Block::one("layer4")
        .raw("connections", 2048 << rng.below(8))
        .raw("half_open", 131_072)
        .raw("persistence_entries", 262_144)
        .raw("fragments", 16_384)
        .text("tunnel_source4", "10.99.0.21")
        .text("tunnel_source6", "fd99::21")
        .raw("autonat", "[\"eth0\"]")
        .child(timeouts)
}

fn alerts() -> Block {
    Block::one("alerts")
        .raw("email_to", "[\"ops@example.org\"]")
        .text("email_from", "lb@example.org")
        .text("smtp", "mail.example.org:25")
        .text("smtp_security", "starttls")
        .text("smtp_user", "lb")
        .text("smtp_secret", "smtp")
        .text("webhook", "https://hooks.example.org/lb")
        .text("webhook_secret", "hook")
        .text("syslog", "log.example.org:514")
        .text("every", "60s")
        .raw("certificate_days", 21)
}

fn service(rng: &mut Rng, number: usize) -> Block {
    let v4 = rng.below(3) > 0;
    let address = if v4 { format!("10.{}.0.200", number + 1) } else { format!("fd00:{}::200", number + 1) };
    let ports = *rng.pick(&["80", "443", "80,443", "8000-8010", "53,1000-2000"]);
    let block = Block::of_list("service")
        .text("name", format!("svc-{number}"))
        .text("address", address)
        .text("ports", ports)
        .raw("panic_threshold", rng.below(60))
        .text("panic_action", rng.pick(&["all", "fallback"]))
        .text("failback", rng.pick(&["auto", "manual"]))
        .text("slow_start", "30s")
        .raw("enabled", "true")
        .text("description", "one of the services");
    let layer7 = rng.below(3) == 0;
    let block = if layer7 { as_layer7(rng, block) } else { as_layer4(rng, block, v4) };
    let block = block.child(health(rng));
    let mode = block.word("mode").to_owned();
    (0..2 + rng.below(3)).fold(block, |block, server| {
        let ports = block.word("ports").to_owned();
        block.child(self::server(rng, number, server, v4, &mode, &ports))
    })
}

fn as_layer4(rng: &mut Rng, block: Block, v4: bool) -> Block {
    let mode = *rng.pick(&["dr", "nat", "tun"]);
    let protocol = *rng.pick(&["tcp", "udp", "tcp+udp"]);
    let mut block = block
        .raw("layer", 4)
        .text("mode", mode)
        .text("protocol", protocol)
        .text("scheduler", rng.pick(&["rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "maglev"]))
        .text("fallback", if v4 { "127.0.0.1:9081" } else { "[::1]:9081" })
        .text("on_removed", rng.pick(&["reschedule", "reset", "hold"]))
        .child(Block::one("timeouts").text("tcp_established", "600s").text("udp", "60s"));
    if mode == "tun" && rng.below(2) == 0 {
        block = block.text("tunnel", "gue").raw("tunnel_port", 6080);
    }
    if rng.below(2) == 0 {
        block =
            block.raw("persistence", "{ by = \"source\", timeout = \"300s\", prefix4 = 24, prefix6 = 64 }");
    }
    if protocol == "udp" {
        block = block.raw("one_packet", rng.below(2) == 0);
    }
    block
}

fn as_layer7(rng: &mut Rng, block: Block) -> Block {
    let http = rng.below(2) == 0;
    let block = block
        .raw("layer", 7)
        .text("mode", if http { "http" } else { "tcp" })
        .text("scheduler", rng.pick(&["rr", "wlc", "first", "least-time"]))
        .text("fallback", "off")
        .raw("max_connections", 1000 + rng.below(40_000))
        .raw("transparent", "false")
        .text("send_proxy", "v2")
        .child(Block::one("timeouts").text("connect", "5s").text("server", "400s"))
        .child(Block::one("server_tls").raw("verify", "true").text("server_name", "back.example.org"));
    if !http {
        return block.text("persistence", "rdp-cookie");
    }
    let rule = Block::of_list("rule")
        .text("name", "one of the rules")
        .raw("when", "{ path_begins = [\"/a/\"] }")
        .text("action", "redirect")
        .text("to", "https://www.example.org/")
        .raw("status", 308);
    let other = Block::of_list("rule").text("action", "use-servers").raw("servers", "[\"rs-0\"]");
    block
        .raw("persistence", "{ by = \"cookie\", cookie = { name = \"SERVERID\" } }")
        .raw("http2", "true")
        .text("hsts", "4320h")
        .child(Block::one("tls").raw("certificates", "[\"www\", \"auto\"]").text("min_version", "1.2"))
        .child(rule)
        .child(other)
}

fn health(rng: &mut Rng) -> Block {
    let block = Block::one("health")
        .text("interval", format!("{}s", 2 + rng.below(20)))
        .text("timeout", "2s")
        .raw("rise", 1 + rng.below(5))
        .raw("fall", 1 + rng.below(5))
        .text("fast_interval", "500ms")
        .text("flap_window", "1m");
    match rng.below(16) {
        0 => block.text("type", "ping"),
        1 => block.text("type", "connect").raw("port", 8080),
        2 => block
            .text("type", "http")
            .text("path", "/alive")
            .text("expect_status", "200")
            .text("drain_on_status", "503"),
        3 => block.text("type", "tcp").text("send", "PING").text("expect", "PONG"),
        4 => block.text("type", "dns").text("query", "www.example.org").text("record", "A"),
        5 => block.text("type", "mysql").text("user", "probe").text("secret", "mysql-probe"),
        7 => block
            .text("type", "https")
            .raw("verify", "true")
            .text("ca", "own.pem")
            .text("server_name", "a.example.org"),
        8 => block.text("type", "imap").raw("starttls", "true").text("user", "probe").text("secret", "imap"),
        9 => block.text("type", "udp").text("send", "PING").text("expect_regex", "^PONG"),
        10 => {
            block.text("type", "tcp").raw("dialogue", "[\"expect 220\", \"send QUIT\\r\\n\", \"match ^221\"]")
        }
        11 => block.text("type", "pgsql").text("user", "probe").text("secret", "pg").raw("writable", "true"),
        12 => block.text("type", "agent").raw("agent_port", 3333),
        13 => block.text("type", "ldap").text("bind_dn", "cn=probe").text("secret", "ldap"),
        14 => block.text("type", "sip").text("uri", "sip:probe@example.org"),
        6 => block.text("type", "script").text("script", "queue.sh").raw("args", "[\"-q\"]"),
        _ => block.text("use", "alive"),
    }
}

fn server(rng: &mut Rng, service: usize, server: usize, v4: bool, mode: &str, ports: &str) -> Block {
    let crossed = mode == "tun" && rng.below(2) == 0;
    let address = match (v4 != crossed, rng.below(6)) {
        (_, 0) => format!("rs{server}.svc{service}.example.org"),
        (true, _) => format!("10.{}.1.{}", service + 1, server + 1),
        (false, _) => format!("fd00:{}::1:{}", service + 1, server + 1),
    };
    let single = ports.parse::<u16>().is_ok();
    let block = Block::of_list("server")
        .text("name", format!("rs-{server}"))
        .text("address", address)
        .raw("weight", 1 + rng.below(65_535))
        .raw("min_connections", rng.below(100))
        .raw("max_connections", 100 + rng.below(1000))
        .raw("priority", rng.below(3))
        .text("state", rng.pick(&["online", "online", "drain", "halt"]));
    let translated = matches!(mode, "http" | "tcp") || (mode == "nat" && single);
    if translated { block.raw("port", 8000 + rng.below(100)) } else { block }
}

/// A valid `node.toml`.
pub(super) fn node(rng: &mut Rng) -> Vec<Block> {
    let net = 1 + rng.below(200);
    vec![
        Block::one("").text("hostname", format!("lb{net}")),
        Block::of_list("interface")
            .text("name", "eth0")
            .raw("addresses", format!("[\"10.{net}.0.21/24\", \"fd00:{net}::21/64\"]"))
            .raw("mtu", 1500)
            .text("xdp", rng.pick(&["auto", "native", "generic", "off"]))
            .raw("enabled", "true"),
        Block::of_list("interface")
            .text("name", "eth0.7")
            .raw("addresses", format!("[\"10.{net}.7.21/24\"]"))
            .child(Block::one("vlan").text("parent", "eth0").raw("id", 1 + rng.below(4094))),
        Block::of_list("route").text("to", "default").text("via", format!("10.{net}.0.1")),
        Block::of_list("route")
            .text("to", "10.250.0.0/16")
            .text("dev", "eth0.7")
            .raw("table", 7)
            .raw("metric", 10),
        Block::of_list("policy_route")
            .text("from", format!("10.{net}.0.200/32"))
            .raw("table", 7)
            .raw("priority", 100),
        Block::one("dns").raw("servers", format!("[\"10.{net}.0.1\"]")).raw("search", "[\"example.org\"]"),
        Block::one("ntp").raw("servers", "[\"ntp.example.org\"]").text("timezone", "Europe/Berlin"),
        Block::one("web")
            .raw("http_port", 9080)
            .raw("https_port", 9443)
            .raw("listen", format!("[\"10.{net}.0.21\"]"))
            .raw("https_only", "false")
            .raw("allow", "[\"10.0.0.0/8\"]"),
        Block::one("heartbeat")
            .raw("addresses", format!("[\"10.{net}.0.21\"]"))
            .raw("peers", format!("[\"10.{net}.0.22\"]"))
            .text("serial", "/dev/ttyS0")
            .raw("baud", 19_200),
    ]
}
