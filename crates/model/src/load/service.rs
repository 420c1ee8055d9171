//! Reads `[[service]]`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::virtual_address;
use super::health::{NamedChecks, read_health};
use super::layer4::{self, Layer4Draft};
use super::layer7::{self, Layer7Draft};
use super::persistence::read_persistence;
use super::server::ServerDraft;
use crate::file::OFF;
use crate::health::Health;
use crate::layer4::Protocol4;
use crate::name::ServiceName;
use crate::persistence::Persistence;
use crate::ports::PortSet;
use crate::reader::{Read, Table};
use crate::service::{Failback, PanicAction, Service, ServiceKind};

const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// A service as written; none where something was wrong.
pub(crate) struct ServiceDraft<'d> {
    pub(crate) at: Table<'d>,
    pub(crate) name: Option<ServiceName>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) ports: Option<PortSet>,
    pub(crate) enabled: Option<bool>,
    pub(crate) kind: Option<KindDraft>,
    pub(crate) persistence: Option<Option<Persistence>>,
    pub(crate) fallback: Option<Option<SocketAddr>>,
    pub(crate) panic_threshold: Option<u8>,
    pub(crate) panic_action: Option<PanicAction>,
    pub(crate) failback: Option<Failback>,
    pub(crate) slow_start: Option<Option<Duration>>,
    pub(crate) health: Option<Health>,
    pub(crate) servers: Option<Vec<ServerDraft<'d>>>,
}

/// The layer and what belongs to it.
pub(crate) enum KindDraft {
    Layer4(Layer4Draft),
    Layer7(Layer7Draft),
}

impl KindDraft {
    pub(crate) fn protocol(&self) -> Option<Protocol4> {
        match self {
            Self::Layer4(draft) => draft.protocol,
            Self::Layer7(_) => Some(Protocol4::Tcp),
        }
    }

    fn build(self) -> Option<ServiceKind> {
        match self {
            Self::Layer4(draft) => draft.build().map(ServiceKind::Layer4),
            Self::Layer7(draft) => draft.build().map(ServiceKind::Layer7),
        }
    }
}

impl<'d> ServiceDraft<'d> {
    pub(super) fn read(at: Table<'d>, checks: &NamedChecks) -> Self {
        let name = at.required("name", "\"web\"");
        let kind = read_kind(&at);
        let address = virtual_address(&at, "address");
        let protocol = kind.as_ref().and_then(KindDraft::protocol);
        let draft = Self {
            name,
            description: at.filled("description").optional(),
            address,
            ports: at.required("ports", "\"80,443\""),
            enabled: at.flag("enabled").or(true),
            persistence: read_persistence(&at, kind.as_ref()),
            fallback: read_fallback(&at, address, protocol),
            panic_threshold: at.small("panic_threshold", 0..=100).or(0),
            panic_action: at.word("panic_action").or(PanicAction::All),
            failback: at.word("failback").or(Failback::Auto),
            slow_start: at.duration("slow_start", SLOW_START).optional(),
            health: at.table("health").and_then(|table| read_health(&table, protocol, checks)),
            servers: at.tables("server").map(|tables| tables.into_iter().map(ServerDraft::read).collect()),
            kind,
            at,
        };
        draft.at.finish();
        draft
    }

    pub(crate) fn layer4(&self) -> Option<&Layer4Draft> {
        match &self.kind {
            Some(KindDraft::Layer4(draft)) => Some(draft),
            _ => None,
        }
    }

    pub(crate) fn servers(&self) -> &[ServerDraft<'d>] {
        self.servers.as_deref().unwrap_or_default()
    }

    pub(crate) fn protocol(&self) -> Option<Protocol4> {
        self.kind.as_ref().and_then(KindDraft::protocol)
    }

    pub(super) fn build(self) -> Option<Service> {
        Some(Service {
            name: self.name?,
            description: self.description?,
            address: self.address?,
            ports: self.ports?,
            enabled: self.enabled?,
            kind: self.kind?.build()?,
            persistence: self.persistence?,
            fallback: self.fallback?,
            panic_threshold: self.panic_threshold?,
            panic_action: self.panic_action?,
            failback: self.failback?,
            slow_start: self.slow_start?,
            health: self.health?,
            servers: self.servers?.into_iter().map(ServerDraft::build).collect::<Option<_>>()?,
        })
    }
}

fn read_kind(at: &Table<'_>) -> Option<KindDraft> {
    match at.number("layer", 0..=u32::MAX).or(4) {
        Some(4) => {
            layer7::refuse(at);
            Some(KindDraft::Layer4(layer4::read(at)))
        }
        Some(7) => {
            layer4::refuse(at);
            Some(KindDraft::Layer7(layer7::read(at)))
        }
        wrong => {
            if let Some(layer) = wrong {
                at.error(
                    "layer",
                    format!("there is no layer {layer} here: write 4 to forward packets or 7 for the proxy"),
                );
            }
            layer4::know(at);
            layer7::know(at);
            None
        }
    }
}

fn read_fallback(
    at: &Table<'_>,
    address: Option<IpAddr>,
    protocol: Option<Protocol4>,
) -> Option<Option<SocketAddr>> {
    let read = at.text("fallback").and_then(|text| match parse_fallback(text) {
        Ok(fallback) => Read::Is(fallback),
        Err(fault) => {
            at.error("fallback", fault);
            Read::Wrong
        }
    });
    match (read, address, protocol) {
        (Read::Absent, Some(address), Some(protocol)) => Some(Service::default_fallback(address, protocol)),
        (Read::Absent, _, _) => None,
        (read, _, _) => read.ok(),
    }
}

fn parse_fallback(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == OFF {
        return Ok(None);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(address, Service::FALLBACK_PORT);
        return Err(format!(
            "`{text}` has no port: write for example \"{example}\", or \"off\" for no fallback"
        ));
    }
    let socket = text.parse::<SocketAddr>().map_err(|_| {
        format!("`{text}` is not an address with a port: write for example \"127.0.0.1:9081\", or \"off\" for no fallback")
    })?;
    match (socket.port(), super::address_fault(socket.ip())) {
        (0, _) => Err("port 0 does not exist: ports go from 1 to 65535".to_owned()),
        (_, Some(fault)) => Err(format!("{} is {fault}: write an address that can answer", socket.ip())),
        (_, None) => Ok(Some(socket)),
    }
}
