//! Reads `node.toml`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::address::{bare_address, parse_bare, parse_interface_address, parse_network};
use super::settings::reachable;
use crate::host::name_fault;
use crate::node::{
    Dns, HeartbeatPaths, Interface, Node, Ntp, PeerAddress, PolicyRoute, Route, Vlan, Web, XdpChoice,
};
use crate::reader::{Read, Table};

const TABLES: RangeInclusive<u32> = 1..=u32::MAX;

/// A node as written; none where something was wrong.
pub(crate) struct NodeDraft<'d> {
    hostname: Option<String>,
    pub(crate) interfaces: Option<Vec<(Table<'d>, Option<Interface>)>>,
    pub(crate) routes: Option<Vec<(Table<'d>, Option<Route>)>>,
    policy_routes: Option<Vec<(Table<'d>, Option<PolicyRoute>)>>,
    dns: Option<Dns>,
    ntp: Option<Ntp>,
    pub(crate) web: Option<(Table<'d>, Option<Web>)>,
    pub(crate) heartbeat: Option<(Table<'d>, Option<HeartbeatPaths>)>,
}

impl<'d> NodeDraft<'d> {
    pub(super) fn read(root: &Table<'d>) -> Self {
        let draft = Self {
            hostname: read_hostname(root),
            interfaces: entries(root, "interface", read_interface),
            routes: entries(root, "route", read_route),
            policy_routes: entries(root, "policy_route", read_policy_route),
            dns: root.table("dns").and_then(|table| read_dns(&table)),
            ntp: root.table("ntp").and_then(|table| read_ntp(&table)),
            web: single(root, "web", read_web),
            heartbeat: single(root, "heartbeat", read_heartbeat),
        };
        root.finish_with(|key| {
            let cluster =
                ["service", "floating_ip", "layer4", "health_check", "certificate", "user", "alerts"];
            cluster.contains(&key).then(|| "the pair shares it: write it in cluster.toml".to_owned())
        });
        draft
    }

    pub(super) fn build(self) -> Option<Node> {
        Some(Node {
            hostname: self.hostname?,
            interfaces: built(self.interfaces?)?,
            routes: built(self.routes?)?,
            policy_routes: built(self.policy_routes?)?,
            dns: self.dns?,
            ntp: self.ntp?,
            web: self.web?.1?,
            heartbeat: self.heartbeat?.1?,
        })
    }
}

type Entry<'d, T> = (Table<'d>, Option<T>);

fn entries<'d, T>(
    root: &Table<'d>,
    key: &'static str,
    read: impl Fn(&Table<'_>) -> Option<T>,
) -> Option<Vec<Entry<'d, T>>> {
    let tables = root.tables(key)?;
    Some(tables.into_iter().map(|table| (table.clone(), read(&table))).collect())
}

fn single<'d, T>(
    root: &Table<'d>,
    key: &'static str,
    read: impl Fn(&Table<'_>) -> Option<T>,
) -> Option<Entry<'d, T>> {
    root.table(key).map(|table| (table.clone(), read(&table)))
}

fn built<T>(entries: Vec<Entry<'_, T>>) -> Option<Vec<T>> {
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn read_hostname(at: &Table<'_>) -> Option<String> {
    let read = at.text("hostname").and_then(|text| match name_fault(text) {
        None if text.len() <= 64 => Read::Is(text.to_owned()),
        None => wrong(at, "hostname", "the kernel takes 64 characters at most: shorten the name"),
        Some(fault) => wrong(at, "hostname", format!("`{text}` is not a host name: {fault}")),
    });
    read.or_else(|| Node::default().hostname)
}

fn wrong<T>(at: &Table<'_>, key: &str, text: impl Into<String>) -> Read<T> {
    at.error(key, text);
    Read::Wrong
}

/// A name the kernel takes for an interface.
pub(super) fn interface_name(at: &Table<'_>, key: &str, text: &str) -> Read<String> {
    let legal = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    let fault = match text {
        "" => "nothing was written",
        "." | ".." => "the kernel doesn't take it",
        "lo" => "the loopback interface is not for this",
        text if text.len() > 15 => "the kernel takes 15 characters at most",
        text if !text.chars().all(legal) => "it can't contain spaces, `/` or `:`",
        text => return Read::Is(text.to_owned()),
    };
    wrong(at, key, format!("`{text}` can't name an interface: {fault}; write for example \"eth0\""))
}

fn interface_key(at: &Table<'_>, key: &'static str) -> Read<String> {
    at.text(key).and_then(|text| interface_name(at, key, text))
}

fn read_interface(at: &Table<'_>) -> Option<Interface> {
    let name = at.present("name", "\"eth0\"", interface_key(at, "name"));
    let addresses = at.list_with("addresses", parse_interface_address).or(Vec::new());
    let mtu = at.number("mtu", 576..=65_535).optional();
    let xdp = at.word("xdp").or(XdpChoice::Auto);
    let vlan = at.table("vlan").and_then(|table| read_vlan(&table));
    let enabled = at.flag("enabled").or(true);
    at.finish();
    Some(Interface {
        name: name?,
        addresses: addresses?,
        mtu: mtu?,
        xdp: xdp?,
        vlan: vlan?,
        enabled: enabled?,
    })
}

fn read_vlan(at: &Table<'_>) -> Option<Option<Vlan>> {
    let parent = interface_key(at, "parent");
    let id = at.small("id", 1..=4094);
    at.finish();
    if !at.is_written() {
        return Some(None);
    }
    let parent = at.present("parent", "\"eth0\"", parent);
    let id = at.present("id", "100", id);
    Some(Some(Vlan { parent: parent?, id: id? }))
}

fn read_route(at: &Table<'_>) -> Option<Route> {
    let to = at.required("to", "\"default\"");
    let via = bare_address(at, "via").optional();
    let dev = interface_key(at, "dev").optional();
    let table = at.number("table", TABLES).optional();
    let metric = at.number("metric", 0..=u32::MAX).optional();
    at.finish();
    Some(Route { to: to?, via: via?, dev: dev?, table: table?, metric: metric? })
}

fn read_policy_route(at: &Table<'_>) -> Option<PolicyRoute> {
    let from = at.text("from").and_then(|text| match parse_network(text) {
        Ok(net) => Read::Is(net),
        Err(fault) => wrong(at, "from", fault),
    });
    let from = at.present("from", "\"192.168.2.200/32\"", from);
    let table = at.present("table", "100", at.number("table", TABLES));
    let priority = at.number("priority", 1..=32_765).optional();
    at.finish();
    Some(PolicyRoute { from: from?, table: table?, priority: priority? })
}

fn read_dns(at: &Table<'_>) -> Option<Dns> {
    let servers = at.list_with("servers", parse_bare).or(Vec::new());
    let search = at.list_with("search", host_name).or(Vec::new());
    at.finish();
    Some(Dns { servers: servers?, search: search? })
}

fn host_name(text: &str) -> Result<String, String> {
    match name_fault(text) {
        None => Ok(text.to_owned()),
        Some(fault) => Err(format!("`{text}` is not a domain: {fault}")),
    }
}

fn read_ntp(at: &Table<'_>) -> Option<Ntp> {
    let servers = at.list("servers").or(Vec::new());
    let timezone = at.filled("timezone").and_then(|zone| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        if zone.chars().all(legal) && !zone.starts_with('/') {
            return Read::Is(zone);
        }
        wrong(
            at,
            "timezone",
            format!("`{zone}` is not a time zone: write for example \"UTC\" or \"Europe/Berlin\""),
        )
    });
    let timezone = timezone.or(Ntp::default().timezone);
    at.finish();
    Some(Ntp { servers: servers?, timezone: timezone? })
}

fn read_web(at: &Table<'_>) -> Option<Web> {
    let usual = Web::default();
    let http_port = at.port("http_port").or(usual.http_port);
    let https_port = at.port("https_port").or(usual.https_port);
    let listen: Option<Vec<IpAddr>> = at.list_with("listen", parse_bare).or(Vec::new());
    let https_only = at.flag("https_only").or(usual.https_only);
    let allow = at.list_with("allow", parse_network).or(Vec::new());
    at.finish();
    Some(Web {
        http_port: http_port?,
        https_port: https_port?,
        listen: listen?,
        https_only: https_only?,
        allow: allow?,
    })
}

fn read_heartbeat(at: &Table<'_>) -> Option<HeartbeatPaths> {
    let addresses = at.list_with("addresses", reachable).or(Vec::new());
    let peers = at.list_with("peers", peer).or(Vec::new());
    let serial = at.filled("serial").and_then(|path| {
        if path.starts_with("/dev/") && !path.contains("..") {
            return Read::Is(path);
        }
        wrong(at, "serial", format!("`{path}` is not a serial port: write for example \"/dev/ttyS0\""))
    });
    let baud = at.number("baud", 0..=u32::MAX).or(HeartbeatPaths::default().baud);
    at.finish();
    let rates = [9600, 19_200, 38_400, 57_600, 115_200];
    if let Some(baud) = baud.filter(|baud| !rates.contains(baud)) {
        at.error("baud", format!("{baud} is no usual speed: write 9600, 19200, 38400, 57600 or 115200"));
        return None;
    }
    Some(HeartbeatPaths { addresses: addresses?, peers: peers?, serial: serial.optional()?, baud: baud? })
}

fn peer(text: &str) -> Result<PeerAddress, String> {
    let peer: PeerAddress = text.parse()?;
    reachable(&peer.ip.to_string()).map(|_| peer)
}
