//! Faults of services on layer 4 and of servers.

use super::block::Block;
use super::faults::Faults;
use super::values::{ADDRESSES, DURATIONS, NAMES, NO_VIP, PORT, PORTS};

/// What is wrong in any service, and in one on layer 4.
pub(super) fn service(faults: &mut Faults<'_>) {
    any_service(faults);
    let block = faults.block;
    if block.get("layer") != Some("4") {
        return;
    }
    words(faults);
    persistence(faults);
    fallback(faults);
    let mode = block.word("mode");
    if mode != "tun" {
        faults.set("tunnel", "\"ip\"");
        faults.set("tunnel", "\"gue\"");
        faults.set("tunnel_port", "6080");
    } else {
        faults.each("tunnel", &["\"gre\"", "\"ipip\"", "\"\""]);
        faults.change(&[("tunnel", Some("\"ip\"")), ("tunnel_port", Some("6080"))], "tunnel_port");
        faults.change(&[("tunnel", Some("\"gue\"")), ("tunnel_port", Some("0"))], "tunnel_port");
        faults.change(&[("tunnel", Some("\"gue\"")), ("tunnel_port", Some("65536"))], "tunnel_port");
    }
    if block.word("protocol") != "udp" {
        faults.set("one_packet", "true");
    }
    for (key, value) in [
        ("max_connections", "5"),
        ("transparent", "true"),
        ("accept_proxy", "false"),
        ("send_proxy", "\"v2\""),
        ("forwarded_for", "true"),
        ("http2", "true"),
        ("redirect_to_https", "true"),
        ("hsts", "\"4320h\""),
        ("compress", "true"),
        ("scheduler_header", "\"X-Tenant\""),
        ("tls", "{ certificates = [\"www\"] }"),
        ("server_tls", "{ verify = true }"),
        ("rule", "[{ action = \"respond\", status = 403 }]"),
    ] {
        faults.set(key, value);
    }
}

fn any_service(faults: &mut Faults<'_>) {
    faults.each("name", NAMES);
    faults.each("address", ADDRESSES);
    faults.each("address", NO_VIP);
    faults.each("ports", PORTS);
    faults.each("panic_threshold", &["101", "-1", "\"50%\"", "70000"]);
    faults.each("panic_action", &["\"none\"", "\"\"", "1"]);
    faults.each("failback", &["\"never\"", "true"]);
    faults.each("slow_start", DURATIONS);
    faults.each("layer", &["0", "3", "5", "-4", "\"4\"", "\"seven\""]);
    faults.each("description", &["\"\"", "\"  \""]);
    faults.each(
        "fallback",
        &[
            "\"127.0.0.1\"",
            "\"nowhere\"",
            "\"127.0.0.1:0\"",
            "\"127.0.0.1:99999\"",
            "\"\"",
            "\"0.0.0.0:80\"",
            "\"224.0.0.1:80\"",
        ],
    );
    for key in ["name", "address", "ports"] {
        faults.required(key);
    }
    faults.each("persistence", &["\"cooky\"", "5", "true", "[\"source\"]", "\"\""]);
}

fn words(faults: &mut Faults<'_>) {
    faults.each("mode", &["\"http\"", "\"tcp\"", "\"DR\"", "\"snat\"", "\"\"", "\"gate\""]);
    faults.each("protocol", &["\"TCP\"", "\"sctp\"", "\"tcp,udp\"", "\"\"", "\"icmp\""]);
    faults.each(
        "scheduler",
        &[
            "\"first\"",
            "\"uri\"",
            "\"header\"",
            "\"least-time\"",
            "\"wllc\"",
            "\"WLC\"",
            "\"\"",
            "\"random\"",
        ],
    );
    faults.each("on_removed", &["\"drop\"", "\"rest\"", "\"\""]);
    faults.each("hash_source_port", &["1", "\"yes\""]);
    faults.each("one_packet", &["1", "\"no\""]);
}

fn persistence(faults: &mut Faults<'_>) {
    for (table, at) in [
        ("{ by = \"source\", timeout = \"0s\" }", "timeout"),
        ("{ by = \"source\", timeout = 300 }", "timeout"),
        ("{ by = \"source\", timeout = \"300\" }", "timeout"),
        ("{ by = \"source\", timeout = \"400d\" }", "timeout"),
        ("{ by = \"source\", prefix4 = 33 }", "prefix4"),
        ("{ by = \"source\", prefix4 = 0 }", "prefix4"),
        ("{ by = \"source\", prefix4 = \"24\" }", "prefix4"),
        ("{ by = \"source\", prefix6 = 129 }", "prefix6"),
        ("{ by = \"source\", prefix6 = -1 }", "prefix6"),
        ("{ by = \"cookie\" }", "by"),
        ("{ by = \"rdp-cookie\" }", "by"),
        ("{ by = \"soruce\" }", "by"),
        ("{ by = 4 }", "by"),
        ("{ by = \"source\", tiemout = \"300s\" }", "tiemout"),
        ("{ by = \"source\", table_size = 10240 }", "table_size"),
        ("{ by = \"source\", cookie = { name = \"A\" } }", "cookie"),
    ] {
        faults.set_at("persistence", table, &format!("persistence.{at}"));
    }
    faults.each("persistence", &["\"cookie\"", "\"app-cookie\"", "\"tls-session\""]);
}

fn fallback(faults: &mut Faults<'_>) {
    let block = faults.block;
    let v4 = !block.word("address").contains(':');
    faults.set("fallback", if v4 { "\"[::1]:9081\"" } else { "\"127.0.0.1:9081\"" });
    faults.set("fallback", if v4 { "\"[fd88::1]:80\"" } else { "\"10.88.0.1:80\"" });
    let own = if v4 {
        format!("\"{}:80\"", block.word("address"))
    } else {
        format!("\"[{}]:80\"", block.word("address"))
    };
    faults.set("fallback", &own);
    if block.word("mode") != "nat" {
        faults.set("fallback", if v4 { "\"10.88.0.1:7\"" } else { "\"[fd88::1]:7\"" });
    }
}

/// What is wrong in a server, given its service.
pub(super) fn server(faults: &mut Faults<'_>, service: &Block) {
    faults.each("name", NAMES);
    faults.each("address", ADDRESSES);
    faults.each("port", PORT);
    faults.each("weight", &["65536", "-1", "\"100\"", "1e3", "70000", "9223372036854775807"]);
    faults.each("priority", &["65536", "-1", "\"0\""]);
    faults.each("min_connections", &["-1", "4294967296", "\"few\"", "5000"]);
    faults.each("max_connections", &["-1", "4294967296", "\"many\""]);
    faults.each("state", &["\"up\"", "\"drian\"", "\"Online\"", "\"\"", "true"]);
    faults.required("name");
    faults.required("address");
    if service.get("layer") == Some("4") {
        layer4_server(faults, service);
    }
}

fn layer4_server(faults: &mut Faults<'_>, service: &Block) {
    let (mode, vip) = (service.word("mode"), service.word("address"));
    faults.each("address", &["\"127.0.0.1\"", "\"::1\""]);
    faults.set("address", &format!("\"{vip}\""));
    if mode != "tun" {
        faults.set("address", if vip.contains(':') { "\"10.77.0.7\"" } else { "\"fd77::7\"" });
    }
    let several = service.word("ports").parse::<u16>().is_err();
    match mode {
        "nat" if several => faults.each("port", &["8080", "80"]),
        "nat" => {}
        _ => faults.each("port", &["7", "8080", "65535"]),
    }
}
