//! Reads the keys of a service that belong to layer 7.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::rule::RuleDraft;
use crate::layer7::{
    ClientTls, Layer7, Layer7Timeouts, Mode7, ProxyVersion, Scheduler7, ServerTls, TlsVersion,
};
use crate::name::CertificateName;
use crate::reader::{Kind, Read, Table};
use crate::rule::Rule;

const KEYS: &[(&str, Kind)] = &[
    ("scheduler_header", Kind::Text),
    ("max_connections", Kind::Number),
    ("tls", Kind::Table),
    ("server_tls", Kind::Table),
    ("transparent", Kind::Flag),
    ("accept_proxy", Kind::Flag),
    ("send_proxy", Kind::Text),
    ("forwarded_for", Kind::Flag),
    ("http2", Kind::Flag),
    ("redirect_to_https", Kind::Flag),
    ("hsts", Kind::Text),
    ("compress", Kind::Flag),
    ("rule", Kind::Tables),
];

const HTTP_ONLY: &[&str] = &["forwarded_for", "http2", "redirect_to_https", "hsts", "compress", "rule"];

const WAIT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(31 * 86_400);
const HSTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(2 * 366 * 86_400);

/// What a service of layer 7 says, none where it was wrong.
pub(crate) struct Layer7Draft {
    pub(crate) mode: Option<Mode7>,
    scheduler: Option<Scheduler7>,
    scheduler_header: Option<Option<String>>,
    max_connections: Option<u32>,
    timeouts: Option<Layer7Timeouts>,
    pub(crate) tls: Option<Option<ClientTls>>,
    server_tls: Option<Option<ServerTls>>,
    transparent: Option<bool>,
    accept_proxy: Option<bool>,
    send_proxy: Option<Option<ProxyVersion>>,
    forwarded_for: Option<bool>,
    http2: Option<bool>,
    redirect_to_https: Option<bool>,
    hsts: Option<Option<Duration>>,
    compress: Option<bool>,
    rules: Option<Vec<Option<Rule>>>,
}

impl Layer7Draft {
    pub(super) fn build(self) -> Option<Layer7> {
        Some(Layer7 {
            mode: self.mode?,
            scheduler: self.scheduler?,
            scheduler_header: self.scheduler_header?,
            max_connections: self.max_connections?,
            timeouts: self.timeouts?,
            tls: self.tls?,
            server_tls: self.server_tls?,
            transparent: self.transparent?,
            accept_proxy: self.accept_proxy?,
            send_proxy: self.send_proxy?,
            forwarded_for: self.forwarded_for?,
            http2: self.http2?,
            redirect_to_https: self.redirect_to_https?,
            hsts: self.hsts?,
            compress: self.compress?,
            rules: self.rules?.into_iter().collect::<Option<_>>()?,
        })
    }

    /// The servers its rules name, with the place of each rule's list.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> + '_ {
        let rules = self.rules.iter().flatten().enumerate();
        rules.filter_map(|(index, rule)| rule.as_ref().map(|rule| (index, rule)))
    }
}

/// Makes the keys legal without reading them.
pub(super) fn know(at: &Table<'_>) {
    for &(key, kind) in KEYS {
        at.know(key, kind);
    }
}

/// Refuses the keys in a service of layer 4.
pub(super) fn refuse(at: &Table<'_>) {
    for &(key, kind) in KEYS {
        at.know(key, kind);
        if at.has(key) {
            at.error(key, format!("`{key}` is for layer 7 only, and this service is on layer 4: remove it or write layer = 7"));
        }
    }
}

/// Reads the keys.
pub(super) fn read(at: &Table<'_>) -> Layer7Draft {
    know(at);
    refuse_other_protocols(at);
    let mode = read_mode(at);
    if mode == Some(Mode7::Tcp) {
        for key in HTTP_ONLY.iter().filter(|key| at.has(key)) {
            at.error(
                key,
                format!("`{key}` needs HTTP, and the mode is tcp: remove it or write mode = \"http\""),
            );
        }
    }
    let http = mode == Some(Mode7::Http);
    let scheduler = read_scheduler(at, mode);
    let tls = at.table("tls").and_then(|table| read_client_tls(&table));
    let draft = Layer7Draft {
        mode,
        scheduler,
        scheduler_header: read_scheduler_header(at, scheduler),
        max_connections: at.number("max_connections", 1..=10_000_000).or(Layer7::MAX_CONNECTIONS),
        timeouts: at.table("timeouts").and_then(|table| read_timeouts(&table)),
        server_tls: at.table("server_tls").and_then(|table| read_server_tls(&table)),
        transparent: at.flag("transparent").or(false),
        accept_proxy: at.flag("accept_proxy").or(false),
        send_proxy: at.word("send_proxy").optional(),
        forwarded_for: at.flag("forwarded_for").or(http),
        http2: at.flag("http2").or(http),
        redirect_to_https: at.flag("redirect_to_https").or(false),
        hsts: at.duration("hsts", HSTS).optional(),
        compress: at.flag("compress").or(false),
        rules: at
            .tables("rule")
            .map(|tables| tables.into_iter().map(|table| RuleDraft::read(&table)).collect()),
        tls,
    };
    if matches!(&draft.hsts, Some(Some(_)))
        && matches!(&draft.tls, Some(None))
        && draft.redirect_to_https != Some(true)
    {
        at.warn(
            "hsts",
            "browsers ignore hsts on clear text, and this service has no `tls`: add certificates",
        );
    }
    draft
}

fn refuse_other_protocols(at: &Table<'_>) {
    if let Read::Is(protocol) = at.text("protocol")
        && protocol != "tcp"
    {
        at.error(
            "protocol",
            format!(
                "the proxy of layer 7 takes TCP only, not `{protocol}`: remove `protocol` or write layer = 4"
            ),
        );
    }
}

fn read_mode(at: &Table<'_>) -> Option<Mode7> {
    let read = at.text("mode").and_then(|text| match text {
        "dr" | "nat" | "tun" => {
            at.error(
                "mode",
                format!("`{text}` is a mode of layer 4: write layer = 4, or the mode http or tcp"),
            );
            Read::Wrong
        }
        text => at.word_of::<Mode7>("mode", text),
    });
    read.or(Mode7::Http)
}

fn read_scheduler(at: &Table<'_>, mode: Option<Mode7>) -> Option<Scheduler7> {
    let scheduler = at.word("scheduler").or(Scheduler7::Wlc)?;
    if mode == Some(Mode7::Tcp) && scheduler.needs_http() {
        at.error("scheduler", format!("`{scheduler}` reads requests, and the mode is tcp: write mode = \"http\" or another scheduler, such as wlc"));
        return None;
    }
    Some(scheduler)
}

fn read_scheduler_header(at: &Table<'_>, scheduler: Option<Scheduler7>) -> Option<Option<String>> {
    let header = at.filled("scheduler_header");
    match (scheduler, header) {
        (Some(Scheduler7::Header), header) => at
            .present("scheduler_header", "\"X-Tenant\"", header)
            .and_then(|name| header_name(at, "scheduler_header", name))
            .map(Some),
        (Some(other), Read::Is(_)) => {
            at.error(
                "scheduler_header",
                format!(
                    "`scheduler_header` is for the scheduler header only, and this is {other}: remove it"
                ),
            );
            None
        }
        (_, header) => header.optional(),
    }
}

/// A name a header can have (RFC 9110 §5.6.2), or none after saying why not.
pub(super) fn header_name(at: &Table<'_>, key: &str, name: String) -> Option<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(legal) {
        return Some(name);
    }
    at.error(
        key,
        format!("`{name}` is not the name of a header: use letters, digits and `-`, like \"X-Tenant\""),
    );
    None
}

fn read_timeouts(at: &Table<'_>) -> Option<Layer7Timeouts> {
    let usual = Layer7Timeouts::default();
    let connect = at.duration("connect", WAIT).or(usual.connect);
    let request = at.duration("request", WAIT).or(usual.request);
    let client = at.duration("client", WAIT).or(usual.client);
    let server = at.duration("server", WAIT).or(usual.server);
    let keep_alive = at.duration("keep_alive", WAIT).or(usual.keep_alive);
    let tunnel = at.duration("tunnel", WAIT).or(usual.tunnel);
    at.finish();
    Some(Layer7Timeouts {
        connect: connect?,
        request: request?,
        client: client?,
        server: server?,
        keep_alive: keep_alive?,
        tunnel: tunnel?,
    })
}

fn read_client_tls(at: &Table<'_>) -> Option<Option<ClientTls>> {
    let certificates = at.list::<CertificateName>("certificates");
    let min_version = at.word("min_version").or(TlsVersion::V1_2);
    at.finish();
    if !at.is_written() {
        return Some(None);
    }
    let certificates = at.present("certificates", "[\"www\"]", certificates)?;
    if certificates.is_empty() {
        at.error(
            "certificates",
            "the list is empty, and TLS needs a certificate: write certificates = [\"www\"]",
        );
        return None;
    }
    Some(Some(ClientTls { certificates, min_version: min_version? }))
}

fn read_server_tls(at: &Table<'_>) -> Option<Option<ServerTls>> {
    let verify = at.flag("verify").or(true);
    let server_name = at.filled("server_name").and_then(|name| match crate::host::name_fault(&name) {
        None => Read::Is(name),
        Some(fault) => {
            at.error("server_name", format!("`{name}` is not a host name: {fault}"));
            Read::Wrong
        }
    });
    at.finish();
    if !at.is_written() {
        return Some(None);
    }
    Some(Some(ServerTls { verify: verify?, server_name: server_name.optional()? }))
}
