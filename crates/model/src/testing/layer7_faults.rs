//! Faults of services on layer 7 and of what is in them.

use super::block::Block;
use super::faults::Faults;
use super::values::{DURATIONS, FLAGS};

const HTTP: &str = "http";

/// What is wrong in a service on layer 7.
pub(super) fn service(faults: &mut Faults<'_>) {
    let block = faults.block;
    if block.get("layer") != Some("7") {
        return;
    }
    for (key, value) in [
        ("tunnel", "\"ip\""),
        ("tunnel_port", "6080"),
        ("one_packet", "false"),
        ("hash_source_port", "true"),
        ("on_removed", "\"hold\""),
        ("protocol", "\"udp\""),
        ("protocol", "\"tcp+udp\""),
    ] {
        faults.set(key, value);
    }
    faults.each("mode", &["\"dr\"", "\"nat\"", "\"tun\"", "\"htpp\"", "\"\""]);
    faults.each("scheduler", &["\"wllc\"", "\"fastest\"", "\"\""]);
    faults.each("max_connections", &["0", "-1", "\"many\"", "10000001"]);
    faults.each("send_proxy", &["\"v3\"", "2", "\"\""]);
    faults.each("transparent", FLAGS);
    faults.each("accept_proxy", FLAGS);
    faults.set("scheduler_header", "\"X-Tenant\"");
    if block.word("mode") == HTTP {
        http(faults);
    } else {
        tcp(faults);
    }
}

fn http(faults: &mut Faults<'_>) {
    faults.each("hsts", DURATIONS);
    for key in ["http2", "compress", "forwarded_for", "redirect_to_https"] {
        faults.each(key, FLAGS);
    }
    faults.each("persistence", &["\"rdp-cookie\"", "\"tls-session\"", "\"app-cookie\""]);
    faults.change(&[("scheduler", Some("\"header\""))], "scheduler_header");
    faults.change(
        &[("scheduler", Some("\"header\"")), ("scheduler_header", Some("\"X Y\""))],
        "scheduler_header",
    );
    for (table, at) in [
        ("{ by = \"rdp-cookie\" }", "by"),
        ("{ by = \"app-cookie\", cookie = { max_idle = \"1h\" } }", "cookie.name"),
        ("{ by = \"cookie\", cookie = { name = \"a b\" } }", "cookie.name"),
        ("{ by = \"cookie\", cookie = { max_idle = \"0s\" } }", "cookie.max_idle"),
        ("{ by = \"cookie\", cookie = { max_lief = \"1h\" } }", "cookie.max_lief"),
        ("{ by = \"cookie\", cookie = 5 }", "cookie"),
        ("{ by = \"cookie\", table_size = 0 }", "table_size"),
    ] {
        faults.set_at("persistence", table, &format!("persistence.{at}"));
    }
    let rule = || Block::of_list("rule");
    faults.below("a rule without action", rule().raw("when", "{ path_begins = [\"/\"] }"), "rule[2].action");
    let stranger = rule().text("action", "use-servers").raw("servers", "[\"rs-0\", \"rs-99\"]");
    faults.below("a rule naming a stranger", stranger, "rule[2].servers[1]");
    faults.below(
        "a rule naming nobody",
        rule().text("action", "use-servers").raw("servers", "[]"),
        "rule[2].servers",
    );
    for (when, at) in [
        ("{ path_begins = [\"a\"] }", "path_begins[0]"),
        ("{ path_regex = \"(\" }", "path_regex"),
        ("{ method = [\"get\"] }", "method[0]"),
        ("{ source = [\"10.0.0.1\"] }", "source[0]"),
        ("{ source = [\"10.0.0.1/8\"] }", "source[0]"),
        ("{ source = \"10.0.0.0/8\" }", "source"),
        ("{ header = { name = \"X Y\" } }", "header.name"),
        ("{ header = { contains = \"x\" } }", "header.name"),
        ("{ path = \"/x\" }", "path"),
    ] {
        let block = rule().raw("when", when).text("action", "respond").raw("status", 403);
        faults.below(&format!("a rule when {when}"), block, &format!("rule[2].when.{at}"));
    }
}

fn tcp(faults: &mut Faults<'_>) {
    for (key, value) in [
        ("forwarded_for", "true"),
        ("http2", "false"),
        ("redirect_to_https", "true"),
        ("hsts", "\"4320h\""),
        ("compress", "true"),
        ("rule", "[{ action = \"respond\", status = 403 }]"),
        ("scheduler", "\"uri\""),
        ("persistence", "\"cookie\""),
        ("persistence", "\"forwarded-for\""),
    ] {
        faults.set(key, value);
    }
    faults.change(
        &[("scheduler", Some("\"header\"")), ("scheduler_header", Some("\"X-Tenant\""))],
        "scheduler",
    );
}

/// What is wrong in a rule or in a table of TLS.
pub(super) fn inner(faults: &mut Faults<'_>) {
    match faults.block.name {
        "rule" if faults.block.word("action") == "redirect" => {
            faults.each("action", &["\"redirct\"", "\"\""]);
            faults.each("status", &["200", "404", "99", "600", "\"302\""]);
            faults.each("to", &["\"\"", "7"]);
            faults.required("to");
            faults.set("servers", "[\"rs-0\"]");
            faults.set("header", "\"X\"");
        }
        "rule" => {
            faults.required("action");
            faults.required("servers");
            faults.each("servers", &["[]", "\"rs-0\""]);
            faults.set_at("servers", "[\"a b\"]", "servers[0]");
            faults.set("to", "\"/x\"");
            faults.each("not", FLAGS);
        }
        "tls" => {
            faults.required("certificates");
            faults.each("certificates", &["[]", "\"www\""]);
            faults.set_at("certificates", "[\"www\", \"wwww\"]", "certificates[1]");
            faults.set_at("certificates", "[7]", "certificates[0]");
            faults.each("min_version", &["\"1.1\"", "1.2", "\"tls1.2\""]);
        }
        _ => {
            faults.each("verify", FLAGS);
            faults.each("server_name", &["\"a b\"", "\"\"", "\"x..y\""]);
        }
    }
}
