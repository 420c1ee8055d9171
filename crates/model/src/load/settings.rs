//! Reads the tables of `cluster.toml` that stand alone: heartbeat, layer 4, certificates, users, alerts.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::{address_fault, bare_address, parse_bare, parse_interface_address};
use super::checks;
use super::layer4::IDLE;
use super::node::interface_name;
use crate::cluster::{
    Acme, Alerts, Certificate, FloatingIp, Heartbeat, Layer4Settings, Layer4Timeouts, MailSecurity, User,
};
use crate::host::name_fault;
use crate::reader::{Read, Table};

const BEAT: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(600);
const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const ENTRIES: RangeInclusive<u32> = 1024..=67_108_864;

/// Reads `[[floating_ip]]`.
pub(super) fn read_floating_ip(at: &Table<'_>) -> Option<FloatingIp> {
    let address = at.text("address").and_then(|text| match parse_interface_address(text) {
        Ok(net) => Read::Is(net),
        Err(fault) => {
            at.error("address", fault);
            Read::Wrong
        }
    });
    let address = at.present("address", "\"10.0.0.1/24\"", address);
    let interface = at.text("interface").and_then(|text| interface_name(at, "interface", text)).optional();
    let description = at.filled("description").optional();
    at.finish();
    Some(FloatingIp { address: address?, interface: interface?, description: description? })
}

/// Reads `[heartbeat]`.
pub(super) fn read_heartbeat(at: &Table<'_>) -> Option<Heartbeat> {
    let usual = Heartbeat::default();
    let keepalive = at.duration("keepalive", BEAT).or(usual.keepalive);
    let warn_time = at.duration("warn_time", BEAT).or(usual.warn_time);
    let dead_time = at.duration("dead_time", BEAT).or(usual.dead_time);
    let initial_dead_time = at.duration("initial_dead_time", BEAT).or(usual.initial_dead_time);
    let udp_port = at.port("udp_port").or(usual.udp_port);
    let auto_failback = at.flag("auto_failback").or(usual.auto_failback);
    let ping_nodes = at.list_with("ping_nodes", reachable).or(Vec::new());
    at.finish();
    Some(Heartbeat {
        keepalive: keepalive?,
        warn_time: warn_time?,
        dead_time: dead_time?,
        initial_dead_time: initial_dead_time?,
        udp_port: udp_port?,
        auto_failback: auto_failback?,
        ping_nodes: ping_nodes?,
    })
}

/// An address another host can have, or what is wrong with it.
pub(super) fn reachable(text: &str) -> Result<std::net::IpAddr, String> {
    let address = parse_bare(text)?;
    let loopback = address.is_loopback().then_some("a loopback address, which is this node itself");
    match address_fault(address).or(loopback) {
        None => Ok(address),
        Some(fault) => Err(format!("{address} is {fault}: write an address of another host")),
    }
}

/// Reads `[layer4]`.
pub(super) fn read_layer4(at: &Table<'_>) -> Option<Layer4Settings> {
    let usual = Layer4Settings::default();
    let connections = at.number("connections", ENTRIES).or(usual.connections);
    let half_open = at.number("half_open", ENTRIES).or(usual.half_open);
    let persistence_entries = at.number("persistence_entries", ENTRIES).or(usual.persistence_entries);
    let fragments = at.number("fragments", ENTRIES).or(usual.fragments);
    let timeouts = at.table("timeouts").and_then(|table| read_timeouts(&table));
    let tunnel_source4 = tunnel_source(at, "tunnel_source4", true);
    let tunnel_source6 = tunnel_source(at, "tunnel_source6", false);
    let autonat = at.texts("autonat").and_then(|texts| {
        let names = texts.iter().map(|(place, text)| interface_name(at, place, text).ok());
        names.collect::<Option<Vec<_>>>().map_or(Read::Wrong, Read::Is)
    });
    let autonat = autonat.or(Vec::new());
    at.finish();
    Some(Layer4Settings {
        connections: connections?,
        half_open: half_open?,
        persistence_entries: persistence_entries?,
        fragments: fragments?,
        timeouts: timeouts?,
        tunnel_source4: match tunnel_source4? {
            Some(std::net::IpAddr::V4(address)) => Some(address),
            _ => None,
        },
        tunnel_source6: match tunnel_source6? {
            Some(std::net::IpAddr::V6(address)) => Some(address),
            _ => None,
        },
        autonat: autonat?,
    })
}

fn tunnel_source(at: &Table<'_>, key: &'static str, v4: bool) -> Option<Option<std::net::IpAddr>> {
    let read = bare_address(at, key).and_then(|address| {
        let family = if v4 { "IPv4" } else { "IPv6" };
        let fault =
            match address_fault(address).or_else(|| address.is_loopback().then_some("a loopback address")) {
                _ if address.is_ipv4() != v4 => {
                    format!("{address} is of the other family: write an {family} address")
                }
                Some(fault) => format!("{address} is {fault}: write an address of the appliance"),
                None => return Read::Is(address),
            };
        at.error(key, fault);
        Read::Wrong
    });
    read.optional()
}

fn read_timeouts(at: &Table<'_>) -> Option<Layer4Timeouts> {
    let usual = Layer4Timeouts::default();
    let tcp_established = at.duration("tcp_established", IDLE).or(usual.tcp_established);
    let tcp_fin = at.duration("tcp_fin", IDLE).or(usual.tcp_fin);
    let tcp_syn = at.duration("tcp_syn", IDLE).or(usual.tcp_syn);
    let tcp_close = at.duration("tcp_close", IDLE).or(usual.tcp_close);
    let udp = at.duration("udp", IDLE).or(usual.udp);
    at.finish();
    Some(Layer4Timeouts {
        tcp_established: tcp_established?,
        tcp_fin: tcp_fin?,
        tcp_syn: tcp_syn?,
        tcp_close: tcp_close?,
        udp: udp?,
    })
}

/// Reads `[[certificate]]`.
pub(super) fn read_certificate(at: &Table<'_>) -> Option<Certificate> {
    let name = at.required("name", "\"www\"");
    let domains = at.list_with("domains", domain);
    let acme = at.table("acme");
    let wants_acme = acme.as_ref().is_some_and(Table::is_written);
    let acme = acme.and_then(|table| read_acme(&table));
    let domains = if wants_acme {
        at.present("domains", "[\"www.example.org\"]", domains)
    } else {
        domains.or(Vec::new())
    };
    at.finish();
    if wants_acme && domains.as_ref().is_some_and(Vec::is_empty) {
        at.error("domains", "an authority needs to know for whom: write domains = [\"www.example.org\"]");
        return None;
    }
    Some(Certificate { name: name?, domains: domains?, acme: acme? })
}

fn domain(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    match name_fault(name) {
        None => Ok(text.to_ascii_lowercase()),
        Some(fault) => Err(format!("`{text}` is not a host name: {fault}")),
    }
}

fn read_acme(at: &Table<'_>) -> Option<Option<Acme>> {
    let directory = at.filled("directory").and_then(|url| web_address(at, "directory", url, &["https://"]));
    let directory = directory.or(Acme::DIRECTORY.to_owned());
    let email = at.text("email").and_then(|text| read_of(at, "email", mail_address(text))).optional();
    at.finish();
    if at.is_written() { Some(Some(Acme { directory: directory?, email: email? })) } else { Some(None) }
}

fn read_of<T>(at: &Table<'_>, key: &str, result: Result<T, String>) -> Read<T> {
    match result {
        Ok(value) => Read::Is(value),
        Err(fault) => {
            at.error(key, fault);
            Read::Wrong
        }
    }
}

fn web_address(at: &Table<'_>, key: &str, url: String, schemes: &[&str]) -> Read<String> {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    let good = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(|c| c.is_ascii_graphic())
    });
    if good {
        return Read::Is(url);
    }
    at.error(key, format!("`{url}` is not a web address: write for example \"{}example.org/\"", schemes[0]));
    Read::Wrong
}

fn mail_address(text: &str) -> Result<String, String> {
    let good = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && user.chars().all(|c| c.is_ascii_graphic()) && name_fault(host).is_none()
    });
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a mail address: write for example \"ops@example.org\""))
    }
}

/// Reads `[[user]]`.
pub(super) fn read_user(at: &Table<'_>) -> Option<User> {
    let name = at.required("name", "\"alice\"");
    let role = at.present("role", "\"operator\"", at.word("role"));
    let services = at.list("services").or(Vec::new());
    at.finish_with(|key| {
        key.starts_with("pass").then(|| {
            "passwords don't belong in this file: set it when signing in or with the users' page".to_owned()
        })
    });
    Some(User { name: name?, role: role?, services: services? })
}

/// Reads `[alerts]`.
pub(super) fn read_alerts(at: &Table<'_>) -> Option<Alerts> {
    let email_to = at.list_with("email_to", mail_address).or(Vec::new());
    let email_from =
        at.text("email_from").and_then(|text| read_of(at, "email_from", mail_address(text))).optional();
    let smtp = at.text("smtp").and_then(|text| read_of(at, "smtp", relay(text))).optional();
    let webhook = at
        .filled("webhook")
        .and_then(|url| web_address(at, "webhook", url, &["https://", "http://"]))
        .optional();
    let usual = Alerts::default();
    let smtp_security = at.word("smtp_security").or(usual.smtp_security);
    let smtp_user = at.filled("smtp_user").optional();
    let smtp_secret = checks::secret(at, "smtp_secret").optional();
    let webhook_secret = checks::secret(at, "webhook_secret").optional();
    let syslog = at.text("syslog").and_then(|text| read_of(at, "syslog", relay(text))).optional();
    let every = at.duration("every", EVERY).or(usual.every);
    let certificate_days = at.number("certificate_days", 0..=366).or(usual.certificate_days);
    at.finish_with(checks::hint);
    if email_to.as_ref().is_some_and(|to| !to.is_empty()) && matches!(smtp, Some(None)) {
        at.error("smtp", "there is somebody to write to, but no mail relay: write for example smtp = \"mail.example.org:25\"");
        return None;
    }
    let together =
        [("smtp_user", "smtp_secret"), ("smtp_secret", "smtp_user"), ("webhook_secret", "webhook")];
    if checks::is_lone(at, &together) {
        return None;
    }
    if at.has("smtp_user") && smtp_security == Some(MailSecurity::Off) {
        at.warn(
            "smtp_security",
            "the password goes over the network in clear text: write \"starttls\" or \"tls\"",
        );
    }
    Some(Alerts {
        email_to: email_to?,
        email_from: email_from?,
        smtp: smtp?,
        smtp_security: smtp_security?,
        smtp_user: smtp_user?,
        smtp_secret: smtp_secret?,
        webhook: webhook?,
        webhook_secret: webhook_secret?,
        syslog: syslog?,
        every: every?,
        certificate_days: certificate_days?,
    })
}

fn relay(text: &str) -> Result<String, String> {
    let fault = || format!("`{text}` is not a host with a port: write for example \"mail.example.org:25\"");
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return if socket.port() == 0 { Err(fault()) } else { Ok(text.to_owned()) };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_some() && name_fault(host).is_none() { Ok(text.to_owned()) } else { Err(fault()) }
}
