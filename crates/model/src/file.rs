//! Valid values in the shape of the file: what JSON, the canonical text and the comparison are made from.
//!
//! Every type serialises to exactly the keys `cluster.toml` and `node.toml` have, so that a path in a problem, a
//! key on the command line and a field in JSON are the same word.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::check::{
    AgentCheck, Check, DnsCheck, GrpcCheck, HttpCheck, LdapCheck, LoginCheck, RadiusCheck, RdpCheck,
    ScriptCheck, SipCheck, SmtpCheck, TcpCheck, TlsCheck, UdpCheck,
};
use crate::health::{Health, Require, Through};
use crate::layer4::{Encapsulation, Layer4, Layer4TimeoutOverrides, Mode4};
use crate::layer7::{Layer7, Mode7};
use crate::name::{CheckName, ServerName};
use crate::rule::{Action, Condition, Rule};
use crate::service::{Service, ServiceKind};

/// The word that means "nobody" where an address is expected.
pub(crate) const OFF: &str = "off";

struct Fallback(Option<SocketAddr>);

impl Serialize for Fallback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(OFF),
        }
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        option(&mut map, "description", self.description.as_ref())?;
        map.serialize_entry("layer", &self.layer())?;
        map.serialize_entry("address", &self.address)?;
        map.serialize_entry("ports", &self.ports)?;
        match &self.kind {
            ServiceKind::Layer4(layer4) => layer4_entries(&mut map, layer4)?,
            ServiceKind::Layer7(layer7) => layer7_entries(&mut map, layer7)?,
        }
        map.serialize_entry("enabled", &self.enabled)?;
        map.serialize_entry("fallback", &Fallback(self.fallback))?;
        map.serialize_entry("panic_threshold", &self.panic_threshold)?;
        map.serialize_entry("panic_action", &self.panic_action)?;
        map.serialize_entry("failback", &self.failback)?;
        option(&mut map, "slow_start", duration(self.slow_start))?;
        option(&mut map, "persistence", self.persistence.as_ref())?;
        map.serialize_entry("health", &self.health)?;
        if let ServiceKind::Layer7(layer7) = &self.kind {
            list(&mut map, "rule", &layer7.rules)?;
        }
        map.serialize_entry("server", &self.servers)?;
        map.end()
    }
}

fn option<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, value: Option<T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

fn list<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, values: &[T]) -> Result<(), M::Error> {
    if values.is_empty() { Ok(()) } else { map.serialize_entry(key, values) }
}

fn duration(value: Option<Duration>) -> Option<String> {
    value.map(crate::duration::format_duration)
}

fn layer4_entries<M: SerializeMap>(map: &mut M, layer4: &Layer4) -> Result<(), M::Error> {
    map.serialize_entry("protocol", &layer4.protocol)?;
    map.serialize_entry("mode", layer4.mode.as_str())?;
    if let Mode4::Tun(encapsulation) = layer4.mode {
        map.serialize_entry("tunnel", encapsulation.as_str())?;
        if let Encapsulation::Gue { port } = encapsulation {
            map.serialize_entry("tunnel_port", &port)?;
        }
    }
    map.serialize_entry("scheduler", &layer4.scheduler)?;
    map.serialize_entry("one_packet", &layer4.one_packet)?;
    map.serialize_entry("hash_source_port", &layer4.hash_ports)?;
    map.serialize_entry("on_removed", &layer4.on_removed)?;
    if layer4.timeouts != Layer4TimeoutOverrides::default() {
        map.serialize_entry("timeouts", &layer4.timeouts)?;
    }
    Ok(())
}

fn layer7_entries<M: SerializeMap>(map: &mut M, layer7: &Layer7) -> Result<(), M::Error> {
    map.serialize_entry("mode", &layer7.mode)?;
    map.serialize_entry("scheduler", &layer7.scheduler)?;
    option(map, "scheduler_header", layer7.scheduler_header.as_ref())?;
    map.serialize_entry("max_connections", &layer7.max_connections)?;
    map.serialize_entry("transparent", &layer7.transparent)?;
    map.serialize_entry("accept_proxy", &layer7.accept_proxy)?;
    option(map, "send_proxy", layer7.send_proxy)?;
    if layer7.mode == Mode7::Http {
        map.serialize_entry("forwarded_for", &layer7.forwarded_for)?;
        map.serialize_entry("http2", &layer7.http2)?;
        map.serialize_entry("redirect_to_https", &layer7.redirect_to_https)?;
        map.serialize_entry("compress", &layer7.compress)?;
        option(map, "hsts", duration(layer7.hsts))?;
    }
    map.serialize_entry("timeouts", &layer7.timeouts)?;
    option(map, "tls", layer7.tls.as_ref())?;
    option(map, "server_tls", layer7.server_tls.as_ref())
}

#[derive(Serialize)]
struct HealthFile<'a> {
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    uses: Option<&'a CheckName>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(flatten)]
    parameters: Option<Parameters<'a>>,
    #[serde(with = "crate::duration::required")]
    interval: Duration,
    #[serde(with = "crate::duration::required")]
    timeout: Duration,
    #[serde(with = "crate::duration::required")]
    fast_interval: Duration,
    rise: u32,
    fall: u32,
    #[serde(with = "crate::duration::required")]
    flap_window: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    through: Through,
    #[serde(skip_serializing_if = "Option::is_none")]
    require: Option<Require>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    also: &'a [Health],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'a> {
    Tcp(&'a TcpCheck),
    Udp(&'a UdpCheck),
    Tls(&'a TlsCheck),
    Rdp(&'a RdpCheck),
    Http(&'a HttpCheck),
    Dns(&'a DnsCheck),
    Smtp(&'a SmtpCheck),
    Login(&'a LoginCheck),
    Ldap(&'a LdapCheck),
    Radius(&'a RadiusCheck),
    Sip(&'a SipCheck),
    Grpc(&'a GrpcCheck),
    Script(&'a ScriptCheck),
    Agent(&'a AgentCheck),
}

impl<'a> Parameters<'a> {
    fn of(check: &'a Check) -> Option<Self> {
        Some(match check {
            Check::Off | Check::Ping | Check::Connect => return None,
            Check::Tcp(check) => Self::Tcp(check),
            Check::Udp(check) => Self::Udp(check),
            Check::Tls(check) => Self::Tls(check),
            Check::Rdp(check) => Self::Rdp(check),
            Check::Http(check) | Check::Https(check) => Self::Http(check),
            Check::Dns(check) => Self::Dns(check),
            Check::Smtp(check) => Self::Smtp(check),
            Check::Imap(check)
            | Check::Pop3(check)
            | Check::Ftp(check)
            | Check::Mysql(check)
            | Check::Pgsql(check)
            | Check::Redis(check)
            | Check::Nntp(check) => Self::Login(check),
            Check::Ldap(check) => Self::Ldap(check),
            Check::Radius(check) => Self::Radius(check),
            Check::Sip(check) => Self::Sip(check),
            Check::Grpc(check) => Self::Grpc(check),
            Check::Script(check) => Self::Script(check),
            Check::Agent(check) => Self::Agent(check),
        })
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self.uses.is_none();
        let file = HealthFile {
            uses: self.uses.as_ref(),
            kind: own.then(|| self.check.as_str()),
            parameters: Parameters::of(&self.check).filter(|_| own),
            interval: self.interval,
            timeout: self.timeout,
            fast_interval: self.fast_interval,
            rise: self.rise,
            fall: self.fall,
            flap_window: self.flap_window,
            port: self.port,
            address: self.address,
            through: self.through,
            require: (!self.also.is_empty()).then_some(self.require),
            also: &self.also,
        };
        file.serialize(serializer)
    }
}

#[derive(Default, Serialize)]
struct RuleFile<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    when: Option<&'a Condition>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    not: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<&'a [ServerName]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file = RuleFile {
            name: self.name.as_deref(),
            when: Some(&self.when),
            not: self.not,
            action: self.action.as_str(),
            ..RuleFile::default()
        };
        let file = match &self.action {
            Action::UseServers(servers) => RuleFile { servers: Some(servers), ..file },
            Action::Redirect { to, status } => RuleFile { to: Some(to), status: Some(*status), ..file },
            Action::Respond { status } => RuleFile { status: Some(*status), ..file },
            Action::SetRequestHeader { name, value } | Action::SetResponseHeader { name, value } => {
                RuleFile { header: Some(name), value: Some(value), ..file }
            }
        };
        file.serialize(serializer)
    }
}
