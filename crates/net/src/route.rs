//! Routes: the tables, our own entries in them, and the kernel's answer to "how would you reach this?".

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteProtocol, RouteScope,
        RouteType, RouteVia,
    },
};
use serde::Serialize;

use crate::{Cause, NetError, Netlink, Result, Vlan};

/// The routing protocol number on every route and rule that we add, so that ours can be told from the
/// administrator's. Unassigned in iproute2's `rt_protos`.
pub const OUR_PROTOCOL: u8 = 69;
/// The kernel's main routing table.
const MAIN_TABLE: u32 = 254;

/// What happens to packets that match a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// Forwarded, through a gateway or straight onto the link.
    Unicast {
        /// The router to hand packets to; `None` when destinations are on the link itself.
        via: Option<IpAddr>,
        /// Index of the outgoing interface; `None` lets the kernel find it from `via`.
        interface: Option<u32>,
    },
    /// Several ways at once; each a gateway and an interface.
    Multipath(Vec<(Option<IpAddr>, u32)>),
    /// An address of this machine.
    Local {
        /// Index of the interface.
        interface: Option<u32>,
    },
    /// Silently dropped.
    Blackhole,
    /// Refused with an ICMP error.
    Unreachable,
    /// Something we don't use: broadcast, multicast, prohibit, throw, …
    Other,
}

/// One entry of a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The destinations, `0.0.0.0/0` or `::/0` for a default route.
    pub to: IpNet,
    /// What happens to them.
    pub target: RouteTarget,
    /// The table, 254 being the main one.
    pub table: u32,
    /// Lower wins among equal prefixes; `None` is the family's default.
    pub metric: Option<u32>,
    /// The source address that this machine's own packets take.
    pub source: Option<IpAddr>,
    /// Who made it: 2 the kernel, 4 an administrator, [`OUR_PROTOCOL`] us.
    pub protocol: u8,
}

impl Route {
    /// A route of ours in the main table.
    pub fn new(to: IpNet, via: Option<IpAddr>, interface: Option<u32>) -> Self {
        let target = RouteTarget::Unicast { via, interface };
        Self { to, target, table: MAIN_TABLE, metric: None, source: None, protocol: OUR_PROTOCOL }
    }

    /// The same in another table.
    #[must_use]
    pub fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }

    /// True when this crate made it.
    pub fn is_ours(&self) -> bool {
        self.protocol == OUR_PROTOCOL
    }

    pub(crate) fn parse(message: &RouteMessage) -> Option<Self> {
        let v4 = match message.header.address_family {
            AddressFamily::Inet => true,
            AddressFamily::Inet6 => false,
            _ => return None,
        };
        let parts = Parts::read(&message.attributes);
        let to = parts.to.unwrap_or_else(|| unspecified(v4));
        Some(Self {
            to: IpNet::new(to, message.header.destination_prefix_length).ok()?,
            target: parts.target(message.header.kind),
            table: parts.table.unwrap_or_else(|| u32::from(message.header.table)),
            metric: parts.metric,
            source: parts.source,
            protocol: message.header.protocol.into(),
        })
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.to.addr());
        message.header.destination_prefix_length = self.to.prefix_len();
        message.header.protocol = RouteProtocol::from(self.protocol);
        // The one-byte field holds small tables; the attribute holds all.
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        let add = &mut message.attributes;
        add.push(RouteAttribute::Table(self.table));
        if self.to.prefix_len() > 0 {
            add.push(RouteAttribute::Destination(self.to.network().into()));
        }
        add.extend(self.metric.map(RouteAttribute::Priority));
        add.extend(self.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
        let (kind, scope) = match &self.target {
            RouteTarget::Unicast { via, interface } => {
                add.extend(via.map(|ip| gateway(self.to.addr().is_ipv4(), ip)));
                add.extend(interface.map(RouteAttribute::Oif));
                let on_link = via.is_none() && self.to.addr().is_ipv4();
                (RouteType::Unicast, if on_link { RouteScope::Link } else { RouteScope::Universe })
            }
            RouteTarget::Multipath(hops) => {
                let v4 = self.to.addr().is_ipv4();
                let hops = hops.iter().map(|(via, index)| multipath_hop(v4, *via, *index)).collect();
                add.push(RouteAttribute::MultiPath(hops));
                (RouteType::Unicast, RouteScope::Universe)
            }
            RouteTarget::Local { interface } => {
                add.extend(interface.map(RouteAttribute::Oif));
                (RouteType::Local, RouteScope::Host)
            }
            RouteTarget::Blackhole => (RouteType::BlackHole, RouteScope::Universe),
            RouteTarget::Unreachable | RouteTarget::Other => (RouteType::Unreachable, RouteScope::Universe),
        };
        message.header.kind = kind;
        message.header.scope = scope;
        message
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            RouteTarget::Unicast { via, interface } => {
                write!(f, "{}", self.to)?;
                via.map_or(Ok(()), |via| write!(f, " via {via}"))?;
                interface.map_or(Ok(()), |index| write!(f, " on interface #{index}"))?;
            }
            RouteTarget::Multipath(hops) => write!(f, "{} over {} gateways", self.to, hops.len())?,
            RouteTarget::Local { .. } => write!(f, "local {}", self.to)?,
            RouteTarget::Blackhole => write!(f, "blackhole {}", self.to)?,
            RouteTarget::Unreachable => write!(f, "unreachable {}", self.to)?,
            RouteTarget::Other => write!(f, "{}", self.to)?,
        }
        if self.table == MAIN_TABLE { Ok(()) } else { write!(f, " in table {}", self.table) }
    }
}

/// How the kernel would send a packet to an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextHop {
    /// Index of the outgoing interface.
    pub interface: u32,
    /// Its name.
    pub interface_name: String,
    /// Whose MAC address the packet needs: the gateway's, or the destination's own.
    pub neighbour: IpAddr,
    /// The destination is on the link: `neighbour` is the destination.
    pub on_link: bool,
    /// The destination is this machine itself (`neighbour` is then meaningless).
    pub local: bool,
    /// The address that our own packets to there would come from.
    pub source: Option<IpAddr>,
    /// Set when the outgoing interface is a VLAN: send tagged frames out of its parent.
    pub vlan: Option<Vlan>,
    /// Largest packet that fits: the route's limit or the interface's.
    pub mtu: u32,
}

/// Verbs on routes.
impl Netlink {
    /// Every route of both families in every table, without the kernel's cache.
    ///
    /// # Errors
    /// [`NetError::List`].
    pub async fn routes(&self) -> Result<Vec<Route>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))
            .await
            .map_err(|source| NetError::List { what: "routes", source })?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => Route::parse(message),
                _ => None,
            })
            .collect())
    }

    /// Adds a route, or replaces the one of the same destination, table and metric.
    ///
    /// # Errors
    /// [`NetError::AddRoute`].
    pub async fn add_route(&self, route: &Route) -> Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE)
            .await
            .map_err(|source| NetError::AddRoute { route: route.to_string(), source })
    }

    /// Removes a route; one that is not there is fine. The protocol must match, so ours never takes another's.
    ///
    /// # Errors
    /// [`NetError::RemoveRoute`].
    pub async fn remove_route(&self, route: &Route) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelRoute(route.message()), 0).await {
            Err(source) if !source.is(libc::ESRCH) => {
                Err(NetError::RemoveRoute { route: route.to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// How the kernel would send a packet of this machine to `to`, policy rules included.
    ///
    /// # Errors
    /// [`NetError::NoRoute`] when there is no way, [`NetError::FindRoute`] when asking failed.
    pub async fn next_hop(&self, to: IpAddr) -> Result<NextHop> {
        self.next_hop_from(to, None).await
    }

    /// The same for packets that come from `source`, which rules may look at; it must be an address of this machine.
    ///
    /// # Errors
    /// As [`Self::next_hop`].
    pub async fn next_hop_from(&self, to: IpAddr, source: Option<IpAddr>) -> Result<NextHop> {
        let failed = |source| NetError::FindRoute { to, source };
        let answer = match self.get(RouteNetlinkMessage::GetRoute(lookup(to, source))).await {
            Ok(RouteNetlinkMessage::NewRoute(message)) => message,
            Ok(_) => return Err(failed(Cause::Unexpected("not a route".into()))),
            Err(source) => return Err(no_route(to, source)),
        };
        let parts = Parts::read(&answer.attributes);
        if let Some(why) = refusal(answer.header.kind) {
            return Err(NetError::NoRoute { to, why: why.to_owned() });
        }
        let interface = parts.interface.ok_or_else(|| failed(Cause::Unexpected("no interface".into())))?;
        let link = self.link_by_index(interface).await?;
        Ok(NextHop {
            interface,
            interface_name: link.name,
            neighbour: parts.via.unwrap_or(to),
            on_link: parts.via.is_none(),
            local: answer.header.kind == RouteType::Local,
            source: parts.source,
            vlan: link.vlan,
            mtu: parts.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        })
    }
}

fn lookup(to: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(to.into()));
    if let Some(source) = source {
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(source.into()));
    }
    message
}

fn no_route(to: IpAddr, source: Cause) -> NetError {
    match source.errno() {
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => {
            NetError::NoRoute { to, why: source.to_string() }
        }
        _ => NetError::FindRoute { to, source },
    }
}

fn refusal(kind: RouteType) -> Option<&'static str> {
    match kind {
        RouteType::BlackHole => Some("a blackhole route drops it"),
        RouteType::Unreachable => Some("a route says that it is unreachable"),
        RouteType::Prohibit => Some("a route prohibits it"),
        _ => None,
    }
}

/// The attributes of a route that we look at.
#[derive(Default)]
struct Parts {
    to: Option<IpAddr>,
    via: Option<IpAddr>,
    interface: Option<u32>,
    source: Option<IpAddr>,
    table: Option<u32>,
    metric: Option<u32>,
    mtu: Option<u32>,
    hops: Vec<(Option<IpAddr>, u32)>,
}

impl Parts {
    fn read(attributes: &[RouteAttribute]) -> Self {
        let mut parts = Self::default();
        for attribute in attributes {
            match attribute {
                RouteAttribute::Destination(ip) => parts.to = as_ip(ip),
                RouteAttribute::Gateway(ip) => parts.via = as_ip(ip),
                RouteAttribute::Via(via) => parts.via = via_ip(via),
                RouteAttribute::Oif(index) => parts.interface = Some(*index),
                RouteAttribute::PrefSource(ip) => parts.source = as_ip(ip),
                RouteAttribute::Table(table) => parts.table = Some(*table),
                RouteAttribute::Priority(metric) => parts.metric = Some(*metric),
                RouteAttribute::Metrics(metrics) => parts.mtu = mtu_of(metrics),
                RouteAttribute::MultiPath(hops) => parts.hops = hops.iter().map(hop).collect(),
                _ => {}
            }
        }
        parts
    }

    fn target(&self, kind: RouteType) -> RouteTarget {
        match kind {
            RouteType::Unicast if !self.hops.is_empty() => RouteTarget::Multipath(self.hops.clone()),
            RouteType::Unicast => RouteTarget::Unicast { via: self.via, interface: self.interface },
            RouteType::Local => RouteTarget::Local { interface: self.interface },
            RouteType::BlackHole => RouteTarget::Blackhole,
            RouteType::Unreachable => RouteTarget::Unreachable,
            _ => RouteTarget::Other,
        }
    }
}

fn hop(hop: &RouteNextHop) -> (Option<IpAddr>, u32) {
    (Parts::read(&hop.attributes).via, hop.interface_index)
}

fn multipath_hop(v4: bool, via: Option<IpAddr>, interface: u32) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = interface;
    hop.attributes.extend(via.map(|ip| gateway(v4, ip)));
    hop
}

/// An IPv4 route may lead through an IPv6 router (RFC 5549), which the kernel wants in another attribute.
fn gateway(route_is_v4: bool, via: IpAddr) -> RouteAttribute {
    match via {
        IpAddr::V6(ip) if route_is_v4 => RouteAttribute::Via(RouteVia::Inet6(ip)),
        via => RouteAttribute::Gateway(via.into()),
    }
}

fn mtu_of(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| if let RouteMetric::Mtu(mtu) = metric { Some(*mtu) } else { None })
}

fn as_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn via_ip(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(ip) => Some((*ip).into()),
        RouteVia::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

pub(crate) fn family(of: IpAddr) -> AddressFamily {
    if of.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn unspecified(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
