//! Faults of health checks and of the tables that stand alone, in both files.

use super::faults::Faults;
use super::values::{DURATIONS, FLAGS, NAMES, NETS, PORT};

const NO_HOSTS: &[&str] =
    &["\"10.0.0.300\"", "\"0.0.0.0\"", "\"224.0.0.1\"", "\"127.0.0.1\"", "\"a b\"", "7", "\"10.0.0.1/24\""];

/// What is wrong in a check.
pub(super) fn health(faults: &mut Faults<'_>) {
    faults.each("interval", DURATIONS);
    faults.each("timeout", DURATIONS);
    faults.set("timeout", "\"61s\"");
    faults.set("timeout", "\"30m\"");
    faults.each("rise", &["0", "-1", "1001", "\"2\""]);
    faults.each("fall", &["0", "-1", "1001", "\"3\""]);
    faults.each("port", PORT);
    faults.each("fast_interval", DURATIONS);
    faults.set("fast_interval", "\"61s\"");
    faults.each("flap_window", &["\"-1s\"", "60", "\"2d\"", "\"soon\""]);
    faults.each("address", &["\"10.0.0.300\"", "\"0.0.0.0\"", "\"a b\"", "7"]);
    faults.each("through", &["\"vpi\"", "\"\"", "1"]);
    faults.change(&[("address", Some("\"10.9.9.9\"")), ("through", Some("\"vip\""))], "address");
    faults.each("require", &["\"some\"", "\"any\""]);
    let named = faults.block.name == "health_check";
    if named {
        faults.each("name", NAMES);
        faults.required("name");
        faults.required("type");
        faults.set("use", "\"alive\"");
    }
    if faults.block.get("use").is_some() {
        faults.each("use", &["\"alvie\"", "\"\"", "\"a b\""]);
        for (key, value) in
            [("type", "\"ping\""), ("path", "\"/x\""), ("verify", "true"), ("agent_port", "3333")]
        {
            faults.set(key, value);
        }
        return;
    }
    faults.each("type", &["\"pnig\"", "\"negotiate\"", "\"\"", "\"HTTP\""]);
    faults.each("password", &["\"hunter2\""]);
    match faults.block.word("type") {
        "http" => http(faults),
        "dns" => {
            faults.required("query");
            faults.each(
                "query",
                &["\"\"", "\"a b\"", "\"x..y\"", "\"..\"", "\"192.0.2.1\"", "\"2001:db8::1\""],
            );
            faults.each("record", &["\"a\"", "\"ANY\"", "1"]);
        }
        "script" => {
            faults.required("script");
            faults.each("script", &["\"/bin/sh\"", "\"../x\"", "\"\"", "\"a b\""]);
            faults.each("args", &["\"-q\""]);
            faults.set_at("args", "[1]", "args[0]");
        }
        "tcp" => {
            faults.each("expect_regex", &["\"(\"", "\"[a\"", "\"\""]);
            faults.each("send", &["\"\"", "7"]);
            faults.set("database", "\"x\"");
            if faults.block.get("send").is_some() {
                faults.change(&[("dialogue", Some("[\"expect a\"]")), ("expect", None)], "send");
            } else {
                faults.set_at("dialogue", "[\"hello\"]", "dialogue[0]");
                faults.set_at("dialogue", "[\"expect a\", \"match (\"]", "dialogue[1]");
            }
            faults.set("verify", "true");
        }
        "udp" => faults.set("tls", "true"),
        "https" => {
            faults.each("ca", &["\"../x\"", "\"\"", "7"]);
            faults.change(&[("verify", Some("false"))], "ca");
            faults.set("tls", "true");
            faults.set_at("headers", "[\"X-Probe\"]", "headers[0]");
            faults.set_at("headers", "[\"X: a\", \"Host: a\"]", "headers[1]");
            faults.set("body", "\"x\"");
            faults.each("version", &["\"3\"", "2"]);
        }
        "imap" => {
            faults.set_at("tls", "true", "starttls");
            faults.each("starttls", &["\"yes\""]);
            faults.set("writable", "true");
            faults.change(&[("secret", None)], "user");
            faults.change(&[("user", None)], "secret");
        }
        "pgsql" => {
            faults.change(&[("user", None)], "writable");
            faults.change(&[("user", None), ("writable", None)], "secret");
            faults.set("starttls", "true");
        }
        "agent" => {
            faults.each("agent_port", PORT);
            faults.each("agent_path", &["\"load\"", "7"]);
            faults.change(&[("agent_path", Some("\"/load\"")), ("send", Some("\"x\""))], "send");
        }
        "mysql" => {
            faults.each("secret", &["\"a/b\"", "\"\"", "7"]);
            faults.each("expect_status", &["\"200\""]);
            faults.change(&[("user", None)], "secret");
            faults.change(&[("user", None), ("secret", None), ("database", Some("\"shop\""))], "database");
        }
        "ldap" => {
            faults.change(&[("secret", None)], "bind_dn");
            faults.change(&[("bind_dn", None)], "secret");
        }
        "sip" => faults.each("uri", &["\"probe@example.org\"", "\"sips:probe@example.org\"", "\"\""]),
        "connect" => faults.change(&[("type", None), ("use", Some("\"nobody\""))], "use"),
        _ => faults.each("query", &["\"www.example.org\""]),
    }
}

fn http(faults: &mut Faults<'_>) {
    faults.each("path", &["\"alive\"", "\"\"", "\"/a b\"", "\"/ü\""]);
    faults.each("expect_status", &["\"abc\"", "\"99\"", "\"600\"", "\"300-200\"", "200", "\"\""]);
    faults.each("drain_on_status", &["\"200\"", "\"x\"", "503"]);
    faults.each("expect_regex", &["\"(\"", "\"*\""]);
    faults.each("method", &["\"get\"", "\"PATCH\""]);
    faults.each("refuse_regex", &["\"(\""]);
    faults.each("follow_redirects", FLAGS);
    faults.each("host", &["\"a b\"", "\"\"", "\"x..y\""]);
    faults.each("query", &["\"x\""]);
    faults.set("verify", "true");
    faults.set("secret", "\"web\"");
    faults.change(&[("method", Some("\"HEAD\"")), ("expect_body", Some("\"x\""))], "method");
}

/// What is wrong in a table of idle times.
pub(super) fn timeouts(faults: &mut Faults<'_>) {
    let keys: Vec<String> = faults.block.keys.iter().map(|(key, _)| key.clone()).collect();
    keys.iter().for_each(|key| faults.each(key, DURATIONS));
}

/// What is wrong in a table that stands alone.
pub(super) fn of(faults: &mut Faults<'_>) {
    match faults.block.name {
        "" => faults.each("hostname", &["\"\"", "\"a b\"", "\"-lb\"", "\"x..y\"", "\"10.0.0.1\""]),
        "floating_ip" => {
            faults.each("address", NETS);
            faults.required("address");
            faults.each("interface", &["\"\"", "\"lo\"", "\"a b\"", "\"interface-of-16c\"", "\"a/b\""]);
        }
        "heartbeat" if faults.block.get("keepalive").is_some() => cluster_heartbeat(faults),
        "heartbeat" => node_heartbeat(faults),
        "layer4" => layer4(faults),
        "certificate" => {
            faults.each("name", NAMES);
            faults.required("name");
            faults.each_item("domains", &["\"a b\"", "\"\"", "7", "\"x..y\"", "\"*\""]);
            if faults.block.find("acme").is_some() {
                faults.required("domains");
                faults.set("domains", "[]");
            }
        }
        "acme" => {
            faults.each("email", &["\"ops\"", "\"@x\"", "\"a b@example.org\"", "\"\""]);
            faults.each("directory", &["\"http://example.org/\"", "\"https://\"", "\"x\""]);
        }
        "user" => {
            faults.each("name", NAMES);
            faults.each("role", &["\"root\"", "\"edtior\"", "\"\""]);
            faults.required("name");
            faults.required("role");
            faults.set("password", "\"hunter2\"");
            if faults.block.word("role") == "admin" {
                faults.each("role", &["\"viewer\"", "\"editor\""]);
                faults.change(&[("services", Some("[\"svc-0\"]"))], "role");
            } else {
                faults.set_at("services", "[\"svc-0\", \"nobody\"]", "services[1]");
            }
        }
        "alerts" => {
            faults.each_item("email_to", &["\"ops\"", "7", "\"a@b c\""]);
            faults.each("email_from", &["\"ops\"", "\"\""]);
            faults.each("smtp", &["\"mail\"", "\"mail:0\"", "\"mail:x\"", "\"a b:25\"", "\"10.0.0.1:0\""]);
            faults.required("smtp");
            faults.each("smtp_security", &["\"ssl\"", "true"]);
            faults.change(&[("smtp_secret", None)], "smtp_user");
            faults.change(&[("smtp_user", None)], "smtp_secret");
            faults.change(&[("webhook", None)], "webhook_secret");
            faults.each("syslog", &["\"log\"", "\"log:0\"", "514"]);
            faults.each("every", DURATIONS);
            faults.each("certificate_days", &["-1", "367", "\"21\""]);
            faults.each("webhook", &["\"ftp://x/\"", "\"https://\"", "\"x\"", "\"\""]);
        }
        _ => node(faults),
    }
}

fn cluster_heartbeat(faults: &mut Faults<'_>) {
    for key in ["keepalive", "warn_time", "dead_time", "initial_dead_time"] {
        faults.each(key, DURATIONS);
    }
    faults.set_at("keepalive", "\"5s\"", "warn_time");
    faults.set_at("keepalive", "\"600ms\"", "warn_time");
    faults.set_at("warn_time", "\"8s\"", "dead_time");
    faults.set("dead_time", "\"300ms\"");
    faults.set("initial_dead_time", "\"500ms\"");
    faults.set("warn_time", "\"200ms\"");
    faults.each("udp_port", PORT);
    faults.each("auto_failback", FLAGS);
    faults.each_item("ping_nodes", NO_HOSTS);
}

fn layer4(faults: &mut Faults<'_>) {
    for key in ["connections", "half_open", "persistence_entries", "fragments"] {
        faults.each(key, &["0", "1023", "-1", "67108865", "\"all\""]);
    }
    faults
        .each("tunnel_source4", &["\"fd99::1\"", "\"0.0.0.0\"", "\"127.0.0.1\"", "\"x\"", "\"10.0.0.1/24\""]);
    faults.each("tunnel_source6", &["\"10.0.0.1\"", "\"::\"", "\"::1\"", "\"ff02::1\"", "\"x\""]);
    faults.each_item("autonat", &["\"\"", "\"a b\"", "\"lo\"", "7"]);
}

fn node_heartbeat(faults: &mut Faults<'_>) {
    faults.each_item("addresses", NO_HOSTS);
    faults.each_item("addresses", &["\"10.254.0.1\""]);
    faults.each_item("peers", NO_HOSTS);
    faults.each_item("peers", &["\"10.0.0.1:0\"", "\"10.0.0.1:x\""]);
    faults.each("serial", &["\"ttyS0\"", "\"\"", "\"/etc/passwd\"", "\"/dev/../x\""]);
    faults.each("baud", &["0", "1200", "19201", "\"fast\""]);
}

fn node(faults: &mut Faults<'_>) {
    match faults.block.name {
        "interface" => {
            faults.each("name", &["\"\"", "\"lo\"", "\"a b\"", "\"a/b\"", "\"interface-of-16c\"", "\"..\""]);
            faults.required("name");
            faults.each_item("addresses", NETS);
            faults.each("mtu", &["0", "575", "65536", "\"1500\""]);
            faults.each("xdp", &["\"fast\"", "\"Native\"", "\"\""]);
            faults.each("enabled", FLAGS);
        }
        "vlan" => {
            faults.each("id", &["0", "4095", "-1", "\"7\""]);
            faults.required("id");
            faults.required("parent");
            faults.each("parent", &["\"\"", "\"eth0.7\"", "\"a b\""]);
        }
        "route" => {
            faults.each("to", &["\"everywhere\"", "\"10.0.0.0/33\"", "\"\"", "7"]);
            faults.required("to");
            faults.each("via", &["\"10.0.0.1/24\"", "\"router\"", "\"\"", "\"0.0.0.0\"", "\"224.0.0.1\""]);
            faults.each("dev", &["\"eth9\"", "\"\"", "\"lo\""]);
            faults.each("table", &["0", "-1", "\"main\""]);
            faults.each("metric", &["-1", "\"low\""]);
        }
        "policy_route" => {
            faults.each("from", &["\"10.0.0.1\"", "\"10.0.0.1/24\"", "\"x\"", "\"10.0.0.0/33\""]);
            faults.required("from");
            faults.required("table");
            faults.each("table", &["0", "-1"]);
            faults.each("priority", &["0", "32766", "-1"]);
        }
        "dns" => {
            faults.each_item("servers", &["\"dns.example.org\"", "\"10.0.0.1/24\"", "\"10.0.0.1:53\"", "7"]);
            faults.each_item("search", &["\"a b\"", "\"\"", "\"x..y\""]);
        }
        "ntp" => {
            faults.each_item("servers", &["\"a b\"", "\"10.0.0.1:123\"", "\"10.0.0.300\"", "\"\""]);
            faults.each("timezone", &["\"\"", "\"/etc/localtime\"", "\"a b\""]);
        }
        "web" => {
            faults.each("http_port", PORT);
            faults.each("https_port", PORT);
            faults.set("https_port", "9080");
            faults.set_at("http_port", "9443", "https_port");
            faults.each("https_only", FLAGS);
            faults.each_item("listen", &["\"x\"", "\"10.0.0.1:80\"", "\"10.0.0.1/24\""]);
            faults.each_item("allow", &["\"10.0.0.1\"", "\"10.0.0.1/8\"", "\"x\"", "\"10.0.0.0/33\""]);
        }
        _ => {}
    }
}
