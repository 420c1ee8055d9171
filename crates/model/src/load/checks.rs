//! Reads what is asked of a server: `type` and the parameters that go with it.

use std::net::IpAddr;

use super::rule::regex;
use crate::check::{
    AgentCheck, Check, DnsCheck, DnsRecord, GrpcCheck, HttpCheck, HttpMethod, LdapCheck, LoginCheck,
    RadiusCheck, RdpCheck, ScriptCheck, SipCheck, SmtpCheck, StatusSet, TcpCheck, Tls, TlsCheck, Turn,
    UdpCheck,
};
use crate::host::name_fault;
use crate::name::CheckName;
use crate::reader::{Kind, Read, Table, or_list};
use crate::word::words;

words! {
    /// As written in the file.
    pub(super) enum CheckWord("type of check") {
        /// None.
        Off = "off",
        /// ICMP echo.
        Ping = "ping",
        /// A connection opens.
        Connect = "connect",
        /// Send and expect.
        Tcp = "tcp",
        /// A datagram.
        Udp = "udp",
        /// A TLS handshake.
        Tls = "tls",
        /// An HTTP request.
        Http = "http",
        /// The same over TLS.
        Https = "https",
        /// A DNS question.
        Dns = "dns",
        /// Mail.
        Smtp = "smtp",
        /// Mailboxes.
        Imap = "imap",
        /// Mailboxes.
        Pop3 = "pop3",
        /// Files.
        Ftp = "ftp",
        /// A directory.
        Ldap = "ldap",
        /// A database.
        Mysql = "mysql",
        /// A database.
        Pgsql = "pgsql",
        /// A store.
        Redis = "redis",
        /// Sign-in.
        Radius = "radius",
        /// Telephony.
        Sip = "sip",
        /// News.
        Nntp = "nntp",
        /// Remote desktops.
        Rdp = "rdp",
        /// Calls.
        Grpc = "grpc",
        /// A script.
        Script = "script",
        /// The feedback agent.
        Agent = "agent",
    }
}

use CheckWord as W;

const WEB: &[W] = &[W::Http, W::Https];
/// Where TLS may be switched on.
const WRAPPED: &[W] =
    &[W::Tcp, W::Smtp, W::Imap, W::Pop3, W::Ftp, W::Ldap, W::Mysql, W::Pgsql, W::Redis, W::Nntp, W::Grpc];
/// Where the protocol can change over to it.
const STARTTLS: &[W] = &[W::Smtp, W::Imap, W::Pop3, W::Ftp, W::Ldap, W::Nntp];
/// Where TLS may be spoken at all.
const SECURE: &[W] = &[
    W::Https,
    W::Tls,
    W::Tcp,
    W::Smtp,
    W::Imap,
    W::Pop3,
    W::Ftp,
    W::Ldap,
    W::Mysql,
    W::Pgsql,
    W::Redis,
    W::Nntp,
    W::Grpc,
];
const EXPECTING: &[W] = &[W::Http, W::Https, W::Tcp, W::Udp];

/// Every parameter, what it holds and the types it belongs to.
const PARAMETERS: &[(&str, Kind, &[CheckWord])] = &[
    ("path", Kind::Text, WEB),
    ("method", Kind::Text, WEB),
    ("host", Kind::Text, &[W::Http, W::Https, W::Grpc]),
    ("headers", Kind::List, WEB),
    ("body", Kind::Text, WEB),
    ("version", Kind::Text, WEB),
    ("follow_redirects", Kind::Flag, WEB),
    ("expect_status", Kind::Text, WEB),
    ("expect_body", Kind::Text, WEB),
    ("expect_regex", Kind::Text, EXPECTING),
    ("refuse_body", Kind::Text, WEB),
    ("refuse_regex", Kind::Text, WEB),
    ("drain_on_status", Kind::Text, WEB),
    ("tls", Kind::Flag, WRAPPED),
    ("starttls", Kind::Flag, STARTTLS),
    ("verify", Kind::Flag, SECURE),
    ("ca", Kind::Text, SECURE),
    ("server_name", Kind::Text, SECURE),
    (
        "user",
        Kind::Text,
        &[
            W::Http,
            W::Https,
            W::Imap,
            W::Pop3,
            W::Ftp,
            W::Mysql,
            W::Pgsql,
            W::Redis,
            W::Nntp,
            W::Radius,
            W::Rdp,
        ],
    ),
    (
        "secret",
        Kind::Text,
        &[
            W::Http,
            W::Https,
            W::Imap,
            W::Pop3,
            W::Ftp,
            W::Mysql,
            W::Pgsql,
            W::Redis,
            W::Nntp,
            W::Radius,
            W::Ldap,
        ],
    ),
    ("database", Kind::Text, &[W::Mysql, W::Pgsql]),
    ("writable", Kind::Flag, &[W::Mysql, W::Pgsql, W::Redis]),
    ("send", Kind::Text, &[W::Tcp, W::Udp, W::Agent]),
    ("expect", Kind::Text, &[W::Tcp, W::Udp, W::Dns]),
    ("dialogue", Kind::List, &[W::Tcp]),
    ("query", Kind::Text, &[W::Dns]),
    ("record", Kind::Text, &[W::Dns]),
    ("over_tcp", Kind::Flag, &[W::Dns]),
    ("hello", Kind::Text, &[W::Smtp]),
    ("bind_dn", Kind::Text, &[W::Ldap]),
    ("base_dn", Kind::Text, &[W::Ldap]),
    ("shared_secret", Kind::Text, &[W::Radius]),
    ("udp", Kind::Flag, &[W::Sip]),
    ("uri", Kind::Text, &[W::Sip]),
    ("service", Kind::Text, &[W::Grpc]),
    ("script", Kind::Text, &[W::Script]),
    ("args", Kind::List, &[W::Script]),
    ("agent_port", Kind::Number, &[W::Agent]),
    ("agent_path", Kind::Text, &[W::Agent]),
];

/// Makes `type` and every parameter legal without reading them.
pub(super) fn know(at: &Table<'_>) {
    at.know("type", Kind::Text);
    for &(key, kind, _) in PARAMETERS {
        at.know(key, kind);
    }
}

/// Refuses `type` and every parameter beside a reference to a named check.
pub(super) fn refuse_all(at: &Table<'_>, name: &CheckName) {
    know(at);
    let keys = PARAMETERS.iter().map(|(key, _, _)| *key).chain(["type"]);
    for key in keys.filter(|key| at.has(key)) {
        at.error(
            key,
            format!("`{key}` is decided by the named check `{name}`: remove it here, or remove `use`"),
        );
    }
}

/// A better answer than a similar key.
pub(super) fn hint(key: &str) -> Option<String> {
    matches!(key, "password" | "pass" | "pw" | "passwd").then(|| {
        "passwords don't belong in a file that every viewer reads: keep it in the secrets folder and write \
         `secret` with its name there"
            .to_owned()
    })
}

/// Reads `type` and its parameters; `unless` is what an absent type means.
pub(super) fn read_check(at: &Table<'_>, unless: Option<Check>) -> Option<Check> {
    know(at);
    let word = at.word::<CheckWord>("type");
    let word = match (word, unless) {
        (Read::Absent, Some(check)) => check.as_str().parse().ok(),
        (word, _) => at.present("type", "\"connect\"", word),
    }?;
    for (key, _, types) in PARAMETERS.iter().filter(|(key, _, types)| at.has(key) && !types.contains(&word)) {
        let types: Vec<&str> = types.iter().map(|word| word.as_str()).collect();
        at.error(
            key,
            format!(
                "`{key}` doesn't belong to a check of type {word}, but to {}: remove it",
                or_list(&types)
            ),
        );
    }
    read_type(at, word)
}

fn read_type(at: &Table<'_>, word: CheckWord) -> Option<Check> {
    Some(match word {
        W::Off => Check::Off,
        W::Ping => Check::Ping,
        W::Connect => Check::Connect,
        W::Tcp => Check::Tcp(read_tcp(at)?),
        W::Udp => Check::Udp(read_udp(at)?),
        W::Tls => Check::Tls(TlsCheck { tls: read_tls(at)? }),
        W::Http => Check::Http(read_http(at, false)?),
        W::Https => Check::Https(read_http(at, true)?),
        W::Dns => Check::Dns(read_dns(at)?),
        W::Smtp => Check::Smtp(read_smtp(at)?),
        W::Imap => Check::Imap(read_login(at, word)?),
        W::Pop3 => Check::Pop3(read_login(at, word)?),
        W::Ftp => Check::Ftp(read_login(at, word)?),
        W::Ldap => Check::Ldap(read_ldap(at)?),
        W::Mysql => Check::Mysql(read_login(at, word)?),
        W::Pgsql => Check::Pgsql(read_login(at, word)?),
        W::Redis => Check::Redis(read_login(at, word)?),
        W::Radius => Check::Radius(read_radius(at)?),
        W::Sip => Check::Sip(read_sip(at)?),
        W::Nntp => Check::Nntp(read_login(at, word)?),
        W::Rdp => Check::Rdp(RdpCheck { user: at.filled("user").optional()? }),
        W::Grpc => Check::Grpc(read_grpc(at)?),
        W::Script => Check::Script(read_script(at)?),
        W::Agent => Check::Agent(read_agent(at)?),
    })
}

fn read_tcp(at: &Table<'_>) -> Option<TcpCheck> {
    let send = at.filled("send").optional();
    let expect = at.filled("expect").optional();
    let expect_regex = regex(at, "expect_regex").optional();
    let dialogue = at.list::<Turn>("dialogue").or(Vec::new());
    let tls = read_tls(at);
    for key in ["send", "expect", "expect_regex"] {
        if at.has("dialogue") && at.has(key) {
            at.error(key, format!("`dialogue` says what is sent and expected: write this as one of its turns and remove `{key}`"));
            return None;
        }
    }
    Some(TcpCheck {
        send: send?,
        expect: expect?,
        expect_regex: expect_regex?,
        dialogue: dialogue?,
        tls: tls?,
    })
}

fn read_udp(at: &Table<'_>) -> Option<UdpCheck> {
    let send = at.filled("send").optional();
    let expect = at.filled("expect").optional();
    let expect_regex = regex(at, "expect_regex").optional();
    Some(UdpCheck { send: send?, expect: expect?, expect_regex: expect_regex? })
}

/// How TLS is spoken. The keys that don't belong to the type were refused before.
fn read_tls(at: &Table<'_>) -> Option<Tls> {
    let tls = at.flag("tls").or(false);
    let starttls = at.flag("starttls").or(false);
    let verify = at.flag("verify").or(false);
    let ca = file_name(at, "ca").optional();
    let server_name = host_name(at, "server_name").optional();
    let always = matches!(at.word::<CheckWord>("type"), Read::Is(W::Https | W::Tls));
    if tls == Some(true) && starttls == Some(true) {
        at.error("starttls", "`tls` speaks TLS from the first byte, `starttls` later: remove one of them");
        return None;
    }
    let spoken = always || tls? || starttls?;
    for key in ["verify", "ca", "server_name"] {
        if !spoken && at.has(key) {
            at.error(
                key,
                format!("`{key}` is about TLS, and this check speaks none: write tls = true, or remove it"),
            );
            return None;
        }
    }
    if verify == Some(false) && matches!(ca, Some(Some(_))) {
        at.error("ca", "an authority is of use only where certificates are verified: write verify = true");
        return None;
    }
    Some(Tls { tls: tls?, starttls: starttls?, verify: verify?, ca: ca?, server_name: server_name? })
}

fn read_smtp(at: &Table<'_>) -> Option<SmtpCheck> {
    let hello = host_name(at, "hello").optional();
    let tls = read_tls(at);
    Some(SmtpCheck { hello: hello?, tls: tls? })
}

fn read_http(at: &Table<'_>, tls: bool) -> Option<HttpCheck> {
    let usual = HttpCheck::default();
    let method = at.word("method").or(HttpMethod::Get);
    let path = at.text("path").and_then(|text| path(at, "path", text)).or(usual.path);
    let host = at.text("host").and_then(|text| host_header(at, text)).optional();
    let expect_status = at.parse::<StatusSet>("expect_status").or(usual.expect_status);
    let drain_on_status = at.parse::<StatusSet>("drain_on_status").optional();
    let expect_body = at.filled("expect_body").optional();
    let expect_regex = regex(at, "expect_regex").optional();
    let refuse_body = at.filled("refuse_body").optional();
    let refuse_regex = regex(at, "refuse_regex").optional();
    let headers = at.list("headers").or(Vec::new());
    let body = at.filled("body").optional();
    let version = at.word("version").or(usual.version);
    let follow_redirects = at.flag("follow_redirects").or(false);
    let tls = if tls { read_tls(at) } else { Some(Tls::default()) };
    let (user, secret) = (at.filled("user").optional(), secret(at, "secret").optional());
    if is_lone(at, &[("secret", "user")]) {
        return None;
    }
    if let (Some(good), Some(Some(drain))) = (&expect_status, &drain_on_status)
        && let Some(status) = good.overlap(drain)
    {
        at.error(
            "drain_on_status",
            format!("{status} is also in `expect_status`, and an answer can't be both: remove it from one"),
        );
        return None;
    }
    let looks = ["expect_body", "expect_regex", "refuse_body", "refuse_regex"];
    if method == Some(HttpMethod::Head) && looks.iter().any(|key| at.has(key)) {
        at.error(
            "method",
            "an answer to HEAD has no body to look into: write method = \"GET\" or expect only a status",
        );
        return None;
    }
    if at.has("body") && !matches!(method, None | Some(HttpMethod::Post | HttpMethod::Put)) {
        at.error("body", "only POST and PUT send a body: write method = \"POST\", or remove it");
        return None;
    }
    Some(HttpCheck {
        method: method?,
        path: path?,
        host: host?,
        expect_status: expect_status?,
        expect_body: expect_body?,
        expect_regex: expect_regex?,
        drain_on_status: drain_on_status?,
        refuse_body: refuse_body?,
        refuse_regex: refuse_regex?,
        headers: headers?,
        body: body?,
        version: version?,
        follow_redirects: follow_redirects?,
        tls: tls?,
        user: user?,
        secret: secret?,
    })
}

fn path(at: &Table<'_>, key: &str, text: &str) -> Read<String> {
    let legal = |c: char| c.is_ascii_graphic();
    if text.starts_with('/') && text.chars().all(legal) {
        return Read::Is(text.to_owned());
    }
    at.error(key, format!("`{text}` is not a request path: begin it with `/` and write spaces and other letters as %20 and so on"));
    Read::Wrong
}

fn host_header(at: &Table<'_>, text: &str) -> Read<String> {
    let bare =
        text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(text, |(host, _)| host);
    // The whole first: what follows the last colon of an IPv6 address may look like a port.
    let address = [text, bare].iter().any(|text| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok());
    match name_fault(bare).filter(|_| !address) {
        None => Read::Is(text.to_owned()),
        Some(fault) => {
            at.error("host", format!("`{text}` can't stand in a Host header: {fault}"));
            Read::Wrong
        }
    }
}

fn host_name(at: &Table<'_>, key: &'static str) -> Read<String> {
    at.text(key).and_then(|text| match name_fault(text) {
        None => Read::Is(text.to_owned()),
        Some(fault) => {
            at.error(key, format!("`{text}` is not a host name: {fault}"));
            Read::Wrong
        }
    })
}

/// The name of a file, never a path.
fn file_name(at: &Table<'_>, key: &'static str) -> Read<String> {
    at.parse::<CheckName>(key).map(String::from)
}

pub(super) fn secret(at: &Table<'_>, key: &'static str) -> Read<String> {
    file_name(at, key)
}

/// Refuses the first key that is written without the one that it needs. Each pair is a key and what it needs.
pub(super) fn is_lone(at: &Table<'_>, pairs: &[(&str, &str)]) -> bool {
    let lone = pairs.iter().find(|(key, needs)| at.has(key) && !at.has(needs));
    if let Some((key, needs)) = lone {
        at.error(key, format!("`{key}` is of no use without `{needs}`: write that too, or remove it"));
    }
    lone.is_some()
}

fn read_dns(at: &Table<'_>) -> Option<DnsCheck> {
    let record = at.word("record").or(DnsRecord::A);
    let query = at.filled("query").and_then(|name| match query_fault(&name, record) {
        None => Read::Is(name),
        Some(fault) => {
            at.error("query", fault);
            Read::Wrong
        }
    });
    let query = at.present("query", "\"www.example.org\"", query);
    let expect = at.filled("expect").optional();
    let tcp = at.flag("over_tcp").or(false);
    Some(DnsCheck { query: query?, record: record?, expect: expect?, tcp: tcp? })
}

/// Why DNS can't be asked for this, if it can't.
fn query_fault(name: &str, record: Option<DnsRecord>) -> Option<String> {
    if name.parse::<IpAddr>().is_ok() {
        return record.is_some_and(|record| record != DnsRecord::Ptr).then(|| {
            format!(
                "`{name}` is an address, which has no records but its name: write record = \"PTR\", or a name"
            )
        });
    }
    // The root has records, too.
    if name == "." {
        return None;
    }
    let service = name.split('.').map(|label| label.trim_start_matches('_')).collect::<Vec<_>>().join(".");
    name_fault(&service).map(|fault| format!("`{name}` is not a name DNS knows: {fault}"))
}

fn read_login(at: &Table<'_>, word: CheckWord) -> Option<LoginCheck> {
    let user = at.filled("user").optional();
    let secret = secret(at, "secret").optional();
    let database = at.filled("database").optional();
    let writable = at.flag("writable").or(false);
    let tls = read_tls(at);
    if matches!(word, W::Mysql | W::Pgsql) && writable == Some(true) && matches!(user, Some(None)) {
        at.error(
            "writable",
            "only who signs in can ask whether it accepts writes: write `user` and `secret`",
        );
        return None;
    }
    if is_lone(at, together(word)) {
        return None;
    }
    Some(LoginCheck { user: user?, secret: secret?, database: database?, writable: writable?, tls: tls? })
}

/// Which keys of a login are of no use without which others.
fn together(word: CheckWord) -> &'static [(&'static str, &'static str)] {
    match word {
        // Its first kind of login has a password alone.
        W::Redis => &[],
        // Here nobody signs in without a password. Elsewhere a name may be enough.
        W::Imap | W::Pop3 => &[("secret", "user"), ("user", "secret")],
        W::Mysql => &[("secret", "user"), ("database", "user")],
        _ => &[("secret", "user")],
    }
}

fn read_ldap(at: &Table<'_>) -> Option<LdapCheck> {
    let bind_dn = at.filled("bind_dn").optional();
    let secret = secret(at, "secret").optional();
    let base_dn = at.filled("base_dn").optional();
    let tls = read_tls(at);
    // A name without a password signs nobody in, and yet many directories say that it does (RFC 4513 §5.1.2).
    if is_lone(at, &[("secret", "bind_dn"), ("bind_dn", "secret")]) {
        return None;
    }
    Some(LdapCheck { bind_dn: bind_dn?, secret: secret?, base_dn: base_dn?, tls: tls? })
}

fn read_radius(at: &Table<'_>) -> Option<RadiusCheck> {
    let user = at.present("user", "\"probe\"", at.filled("user"));
    let secret = at.present("secret", "\"radius-probe\"", secret(at, "secret"));
    let shared = at.present("shared_secret", "\"radius-shared\"", file_name(at, "shared_secret"));
    Some(RadiusCheck { user: user?, secret: secret?, shared_secret: shared? })
}

fn read_sip(at: &Table<'_>) -> Option<SipCheck> {
    let udp = at.flag("udp").or(true);
    let uri = at.filled("uri").and_then(|uri| {
        if uri.starts_with("sip:") {
            return Read::Is(uri);
        }
        at.error(
            "uri",
            match uri.strip_prefix("sips:") {
                Some(who) => {
                    format!("`{uri}` asks for TLS, which this check doesn't speak: write \"sip:{who}\"")
                }
                None => format!("`{uri}` is not a SIP address: write for example \"sip:probe@example.org\""),
            },
        );
        Read::Wrong
    });
    Some(SipCheck { udp: udp?, uri: uri.optional()? })
}

fn read_grpc(at: &Table<'_>) -> Option<GrpcCheck> {
    let service = at.text("service").map(str::to_owned).or(String::new());
    let tls = read_tls(at);
    let host = at.text("host").and_then(|text| host_header(at, text)).optional();
    Some(GrpcCheck { service: service?, tls: tls?, host: host? })
}

fn read_script(at: &Table<'_>) -> Option<ScriptCheck> {
    let script = at.present("script", "\"check-queue.sh\"", file_name(at, "script"));
    let args = at.list("args").or(Vec::new());
    Some(ScriptCheck { script: script?, args: args? })
}

fn read_agent(at: &Table<'_>) -> Option<AgentCheck> {
    let agent_port = at.port("agent_port").or(AgentCheck::PORT);
    let send = at.filled("send").optional();
    let path = at.text("agent_path").and_then(|text| self::path(at, "agent_path", text)).optional();
    if at.has("agent_path") && at.has("send") {
        at.error("send", "an agent that is asked by HTTP is sent a request: remove `send` or `agent_path`");
        return None;
    }
    Some(AgentCheck { agent_port: agent_port?, send: send?, path: path? })
}
