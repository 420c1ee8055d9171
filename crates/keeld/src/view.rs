//! The node as its administrators see it.
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use keel_abi::{Addr, DropReason, state};
use keel_api::{
    ApiError, Attachment as Shown, Connection, ConnectionCounts, ConnectionFilter, ConnectionFlag,
    ConnectionPage, ConnectionState, Counters, CpuLoad, Drop, Drops, Engine, FloatingIp, Light, MapFill,
    Mode, Neighbour, NodeRole, Performance, ProgramStats, Protocol, Rates, ServerState, ServerStatus,
    ServiceStatus, Status, Totals, Versions, light_of,
};
use keel_dataplane::{
    ConnectionRow, DesiredService, FALLBACK, Fill, Reading, ServerCounters, ServerId, Slot,
};
use keel_model::{AdminState, Server, Service, ServiceKind};
use keel_pool::Verdict;

use crate::{
    clock,
    health::Choice,
    names::Trouble,
    node::{Attachment, Node},
};

fn counters(counters: ServerCounters) -> Counters {
    Counters {
        connections: counters.connections,
        packets_in: counters.packets_in,
        bytes_in: counters.bytes_in,
        packets_out: counters.packets_out,
        bytes_out: counters.bytes_out,
    }
}

fn add(sum: &mut Rates, more: Rates) {
    sum.connections += more.connections;
    sum.packets_in += more.packets_in;
    sum.bytes_in += more.bytes_in;
    sum.packets_out += more.packets_out;
    sum.bytes_out += more.bytes_out;
}

/// Where servers are in the packet path.
struct Places {
    /// Those that services have, by service, address, port and mode.
    at: HashMap<(Slot, Addr, u16, u8), ServerId>,
    /// With those that a service had and whose connections aren't over.
    of_service: HashMap<Slot, Vec<ServerId>>,
}

/// What is read once for the view of all services.
struct Figures {
    places: Places,
    readings: HashMap<ServerId, Reading>,
    /// Clients that stick to each.
    sticking: HashMap<ServerId, u64>,
}

impl Figures {
    fn reading(&self, id: ServerId) -> Reading {
        self.readings.get(&id).copied().unwrap_or_default()
    }

    fn counters(&self, id: ServerId) -> ServerCounters {
        self.reading(id).counters
    }

    fn connections(&self, id: ServerId) -> ConnectionCounts {
        let load = self.reading(id).load;
        // A count that was corrected for more than it held stands below zero.
        let sane = |count: u64| if count > u64::from(u32::MAX) { 0 } else { count };
        ConnectionCounts {
            active: sane(load.active),
            inactive: sane(load.inactive),
            pending: sane(load.pending),
            persistent: self.sticking.get(&id).copied().unwrap_or_default(),
        }
    }
}

impl Node {
    /// All services with their servers.
    pub(crate) fn services(&self) -> Vec<ServiceStatus> {
        // What packets meet now: it may be a moment older than what is known.
        let compiled: HashMap<&str, &DesiredService> =
            self.in_force.services.iter().map(|s| (s.name.as_str(), s)).collect();
        let figures = self.figures();
        self.cluster
            .services
            .iter()
            .map(|s| self.service_status(s, compiled.get(s.name.as_str()).copied(), &figures))
            .collect()
    }

    fn figures(&self) -> Figures {
        // Counters that fell to nothing would look like a new beginning to whoever reads them.
        let readings = self.dataplane.readings().unwrap_or_else(|_| self.health.last_readings());
        Figures { places: self.places(), readings, sticking: self.sticking() }
    }

    fn places(&self) -> Places {
        let mut places = Places { at: HashMap::new(), of_service: HashMap::new() };
        for (id, server) in &self.dataplane.shadow().servers {
            places.of_service.entry(server.service).or_default().push(*id);
            if server.state != state::REMOVED {
                places.at.insert((server.service, server.addr, server.port_be, server.mode), *id);
            }
        }
        places
    }

    fn service_status(
        &self,
        service: &Service,
        compiled: Option<&DesiredService>,
        figures: &Figures,
    ) -> ServiceStatus {
        let slot = compiled.and_then(|c| c.keys.iter().find_map(|key| self.dataplane.shadow().slot_of(key)));
        let servers: Vec<ServerStatus> = service
            .servers
            .iter()
            .map(|server| {
                let desired =
                    compiled.and_then(|c| c.servers.iter().find(|d| d.name == *server.name.as_str()));
                let id = slot
                    .zip(desired)
                    .and_then(|(slot, d)| figures.places.at.get(&(slot, d.addr, d.port_be, d.mode)).copied());
                let weight = desired.filter(|d| d.member).map_or(0, |d| d.weight);
                self.server_status(service, server, id, weight, figures)
            })
            .collect();
        let choice = Choice::of(service, &self.outlook(service));
        let (light, reason) = if service.enabled && service.layer() == 7 {
            (Light::Red, "nobody answers: the layer-7 engine is not running".to_owned())
        } else {
            let (light, reason) =
                light_of(service.enabled, servers.iter().map(|s| (s.name.as_str(), s.state)));
            (light, if service.enabled { choice.said_behind(reason) } else { reason })
        };
        let fallback_in_use = compiled.is_some_and(DesiredService::fallback_in_use);
        let (mut sum, mut rates, mut connections) =
            (ServerCounters::default(), Rates::default(), ConnectionCounts::default());
        if let Some(slot) = slot {
            sum += self.dataplane.retired_counters(slot);
            for id in figures.places.of_service.get(&slot).into_iter().flatten() {
                sum += figures.counters(*id);
                add(&mut rates, self.sampler.rates(*id));
                let load = figures.connections(*id);
                connections.active += load.active;
                connections.inactive += load.inactive;
                connections.pending += load.pending;
                connections.persistent += load.persistent;
            }
        }
        let (mode, scheduler) = match &service.kind {
            ServiceKind::Layer4(l4) => (l4.mode.to_string(), l4.scheduler.to_string()),
            ServiceKind::Layer7(l7) => (l7.mode.to_string(), l7.scheduler.to_string()),
        };
        ServiceStatus {
            name: service.name.to_string(),
            address: service.address,
            ports: service.ports.to_string(),
            layer: service.layer(),
            protocol: service.protocol().to_string(),
            mode,
            scheduler,
            persistence: service
                .persistence
                .as_ref()
                .map(|p| format!("{} {}", p.by.as_str(), keel_model::format_duration(p.timeout))),
            fallback: service.fallback.map(|f| f.to_string()),
            fallback_in_use,
            group: choice.group,
            awaits_failback: choice.awaits_failback,
            panic: choice.panic,
            enabled: service.enabled,
            light,
            reason,
            connections,
            counters: counters(sum),
            rates,
            servers,
        }
    }

    fn server_status(
        &self,
        service: &Service,
        server: &Server,
        id: Option<ServerId>,
        weight: u16,
        figures: &Figures,
    ) -> ServerStatus {
        let ip = self.address_of(service, server);
        let (state, reason) = self.server_state(service, server, ip);
        ServerStatus {
            name: server.name.to_string(),
            address: server.address.to_string(),
            ip,
            port: server.port,
            weight: server.weight,
            effective_weight: weight,
            priority: server.priority,
            min_connections: server.min_connections,
            max_connections: server.max_connections,
            admin: server.state,
            state,
            reason,
            since: self.checked(service, server).and_then(|(.., since)| since),
            hint: id.and_then(|id| self.hint(service, id)),
            neighbour: ip.and_then(|ip| self.neighbour_view(ip)),
            connections: id.map(|id| figures.connections(id)).unwrap_or_default(),
            counters: id.map(|id| counters(figures.counters(id))).unwrap_or_default(),
            rates: id.map(|id| self.sampler.rates(id)).unwrap_or_default(),
        }
    }

    pub(crate) fn server_state(
        &self,
        service: &Service,
        server: &Server,
        ip: Option<IpAddr>,
    ) -> (ServerState, String) {
        match server.state {
            AdminState::Halt => return (ServerState::Halted, "taken out by hand".to_owned()),
            AdminState::Drain => return (ServerState::Draining, "no new connections, by hand".to_owned()),
            AdminState::Online => {}
        }
        let Some(ip) = ip else {
            return (ServerState::Down, self.nameless(service, server));
        };
        if let Some(Trouble::Taken { address, by }) = self.names.trouble(service, server) {
            return (ServerState::Down, format!("not used: it is at {address}, where {by} is already"));
        }
        // Not as soon as it doesn't answer once: packets still go there then.
        if self.unreachable.contains(&ip) {
            let why = self.hops.get(&ip).and_then(|hop| hop.why.clone());
            return (ServerState::Down, why.unwrap_or_else(|| "not reached yet".to_owned()));
        }
        let Some((verdict, reason, _)) = self.checked(service, server) else {
            return (ServerState::Unchecked, String::new());
        };
        let state = match verdict {
            Verdict::Unknown => ServerState::Checking,
            Verdict::Up => ServerState::Up,
            Verdict::Drain => ServerState::Declining,
            Verdict::Down => ServerState::Down,
        };
        (state, reason)
    }

    /// Why a server has no address.
    pub(crate) fn nameless(&self, service: &Service, server: &Server) -> String {
        match self.names.trouble(service, server) {
            Some(Trouble::Unresolved(why)) => format!("name not resolved: {why}"),
            _ => "name not resolved: not looked up yet".to_owned(),
        }
    }

    fn neighbour_view(&self, ip: IpAddr) -> Option<Neighbour> {
        let hop = self.hops.get(&ip)?;
        Some(Neighbour {
            interface: hop.route.as_ref().map(|r| r.interface_name.clone()),
            next_hop: hop.route.as_ref().filter(|r| !r.on_link).map(|r| r.neighbour),
            mac: hop.mac.map(|mac| mac.to_string()),
        })
    }

    /// The node at a glance.
    pub(crate) async fn status(&self) -> Status {
        let services = self.services();
        let mut totals = Totals::default();
        for service in &services {
            totals.connections.active += service.connections.active;
            totals.connections.inactive += service.connections.inactive;
            totals.connections.pending += service.connections.pending;
            totals.connections.persistent += service.connections.persistent;
            add(&mut totals.rates, service.rates);
        }
        totals.drops = DropReason::ALL.iter().map(|r| self.sampler.drop_rate(r.name())).sum();
        Status {
            hostname: self.config.hostname.clone(),
            role: NodeRole::Single,
            now: clock::now(),
            uptime_seconds: self.uptime().as_secs(),
            versions: Versions {
                keeld: env!("CARGO_PKG_VERSION").to_owned(),
                dataplane: format!("layout {}", keel_abi::LAYOUT),
                kernel: nix::sys::utsname::uname()
                    .map_or_else(|_| String::new(), |u| u.release().to_string_lossy().into_owned()),
            },
            revision: self.store.current().number,
            pending_confirm: self.pending(),
            candidate_by: self.store.candidate().ok().flatten().map(|c| c.who),
            interfaces: self.shown_attachments(),
            engines: self.engines(),
            warnings: self.warnings(&services),
            totals,
        }
    }

    fn engines(&self) -> Vec<Engine> {
        let engine = |name: &str, running, note: &str| Engine {
            name: name.to_owned(),
            running,
            note: note.to_owned(),
        };
        let layer7 = self.cluster.services.iter().filter(|s| s.layer() == 7 && s.enabled).count();
        let layer7_note = match layer7 {
            0 => "no service needs it".to_owned(),
            n => format!("{n} layer-7 service(s) are configured and don't answer yet"),
        };
        vec![
            engine("layer 4", self.dataplane.is_active().unwrap_or(false), "packet path in the kernel"),
            engine("layer 7", false, &layer7_note),
            engine("health checks", self.health.is_running(), &self.checks_note()),
            engine("pair", false, "this node stands alone"),
        ]
    }

    fn checks_note(&self) -> String {
        match self.health.count() {
            0 => "nothing is to be checked".to_owned(),
            count => format!("{count} checks"),
        }
    }

    fn shown_attachments(&self) -> Vec<Shown> {
        self.attachments
            .iter()
            .map(|(name, attachment)| {
                let link = self.link(name);
                let (mode, warning) = match attachment {
                    Attachment::Attached { mode: keel_dataplane::AttachMode::Native, warning, .. } => {
                        (Mode::Native, warning.clone())
                    }
                    Attachment::Attached { mode: keel_dataplane::AttachMode::Generic, warning, .. } => {
                        (Mode::Generic, warning.clone())
                    }
                    Attachment::Failed { why } => (Mode::Failed, Some(why.clone())),
                    Attachment::Off => (Mode::Off, None),
                };
                Shown {
                    interface: name.clone(),
                    mode,
                    link_up: link.is_some_and(keel_net::Link::is_running),
                    mtu: link.map_or(0, |l| l.mtu),
                    warning,
                }
            })
            .collect()
    }

    /// Drops by reason.
    pub(crate) fn drop_report(&self) -> Result<Drops, ApiError> {
        let found = self.dataplane.drops().map_err(|error| ApiError::internal(&error))?;
        let drops: Vec<Drop> = found
            .into_iter()
            .map(|(reason, packets)| Drop {
                reason: reason.name().to_owned(),
                explanation: reason.explanation().trim().to_owned(),
                remedy: remedy(reason).map(str::to_owned),
                packets,
                rate: self.sampler.drop_rate(reason.name()),
            })
            .collect();
        let packets = drops.iter().map(|d| d.packets).sum();
        let rate = drops.iter().map(|d| d.rate).sum();
        Ok(Drops { drops, packets, rate })
    }

    /// How fast and how full the packet path is.
    pub(crate) fn performance(&self) -> Result<Performance, ApiError> {
        let services = self.services();
        let mut rates = Rates::default();
        for service in &services {
            add(&mut rates, service.rates);
        }
        let shadow = self.dataplane.shadow();
        let fill = |map: &str, holds: &str, entries: u64, capacity: u64| MapFill {
            map: map.to_owned(),
            holds: holds.to_owned(),
            entries,
            capacity,
        };
        let of_traffic = |full: &Fill| {
            let holds = match full.map {
                "CONNECTIONS" => "established connections",
                "HALF_OPEN" => "connections not yet established",
                _ => "persistence entries",
            };
            fill(&full.map.to_lowercase(), holds, full.entries, full.capacity)
        };
        let mut maps: Vec<MapFill> = self.last_sweep.fullness.iter().map(of_traffic).collect();
        maps.extend([
            fill("services", "port blocks of services", shadow.services.len() as u64, 131_072),
            fill("servers", "servers of services", shadow.servers.len() as u64, 65_536),
            fill("paths", "different server addresses", shadow.paths.len() as u64, 16_384),
        ]);
        Ok(Performance {
            interfaces: self.shown_attachments(),
            program: self.program_stats(),
            maps,
            packets: rates.packets_in + rates.packets_out,
            bytes: rates.bytes_in + rates.bytes_out,
            cpus: cpu_loads(),
        })
    }

    fn program_stats(&self) -> Option<ProgramStats> {
        let enabled = keel_net::sysctl::get("kernel/bpf_stats_enabled").is_ok_and(|value| value == "1");
        let (runs, time) = self.dataplane.program_runs()?;
        let each = (runs > 0).then(|| time.as_nanos() as f64 / runs as f64);
        Some(ProgramStats { enabled, runs, nanoseconds_per_packet: each })
    }

    /// All floating addresses.
    pub(crate) fn floating_ips(&self) -> Vec<FloatingIp> {
        let mut all: BTreeMap<IpAddr, (String, Vec<String>)> = BTreeMap::new();
        for service in self.cluster.services.iter().filter(|s| s.enabled) {
            let entry =
                all.entry(service.address).or_insert_with(|| (service.address.to_string(), Vec::new()));
            entry.1.push(service.name.to_string());
        }
        for floating in &self.cluster.floating_ips {
            all.entry(floating.address.addr()).or_insert_with(|| (floating.address.to_string(), Vec::new()));
        }
        all.into_iter()
            .map(|(address, (shown, services))| {
                let interface = self.floating.interface_of(address).map(str::to_owned);
                FloatingIp { address: shown, services, held: interface.is_some(), interface }
            })
            .collect()
    }

    /// A page of the connection table, in an order that stays from page to page.
    pub(crate) fn connection_page(&self, filter: &ConnectionFilter) -> Result<ConnectionPage, ApiError> {
        if let Some(name) = filter.service.as_deref().filter(|name| self.cluster.service(name).is_none()) {
            return Err(ApiError::not_found(
                "service",
                name,
                self.cluster.services.iter().map(|s| s.name.as_str()),
            ));
        }
        let now_ns = clock::monotonic_ns();
        let named = self.names_of_servers();
        let mut rows = Vec::new();
        self.dataplane
            .connections(|row| {
                let row = self.connection(&row, &named, now_ns);
                if matches(filter, &row) {
                    rows.push(row);
                }
            })
            .map_err(|error| ApiError::internal(&error))?;
        rows.sort_by_key(|row| (row.client, row.vip, row.protocol));
        let total = rows.len() as u64;
        let skip = match &filter.cursor {
            None => 0,
            Some(cursor) => {
                cursor.parse().map_err(|_| ApiError::bad_request("that is no cursor of a connection page"))?
            }
        };
        let connections: Vec<Connection> = rows.into_iter().skip(skip).take(filter.rows()).collect();
        let end = skip + connections.len();
        let next = ((end as u64) < total).then(|| end.to_string());
        Ok(ConnectionPage { connections, next, total })
    }

    /// Service and server names by server id.
    pub(crate) fn names_of_servers(&self) -> HashMap<ServerId, (String, Option<String>)> {
        let places = self.places();
        let mut names = HashMap::new();
        for service in &self.in_force.services {
            let Some(slot) = service.keys.iter().find_map(|key| self.dataplane.shadow().slot_of(key)) else {
                continue;
            };
            for id in places.of_service.get(&slot).into_iter().flatten() {
                names.insert(*id, (service.name.clone(), None));
            }
            for server in &service.servers {
                if let Some(id) = places.at.get(&(slot, server.addr, server.port_be, server.mode)) {
                    names.insert(*id, (service.name.clone(), Some(server.name.clone())));
                }
            }
        }
        names
    }

    fn connection(
        &self,
        row: &ConnectionRow,
        names: &HashMap<ServerId, (String, Option<String>)>,
        now_ns: u64,
    ) -> Connection {
        let protocol = if row.proto == Protocol::Udp.number() { Protocol::Udp } else { Protocol::Tcp };
        let state = match (protocol, row.state_name()) {
            (Protocol::Udp, _) => ConnectionState::Udp,
            (_, name) => name.parse().unwrap_or(ConnectionState::Close),
        };
        let server = self.dataplane.shadow().servers.get(&row.server);
        let current = server.filter(|s| s.generation == row.generation);
        let (service, name) = match current {
            Some(_) => names.get(&row.server).cloned().unwrap_or_else(|| ("(removed)".to_owned(), None)),
            None => ("(removed)".to_owned(), None),
        };
        let real = current.map_or(row.vip, |s| {
            let port = if s.mode == keel_abi::MODE_NAT && s.port_be != 0 {
                u16::from_be(s.port_be)
            } else {
                row.vip.1
            };
            (IpAddr::from(s.addr), port)
        });
        let class =
            if protocol == Protocol::Udp { keel_abi::timeout_class::UDP } else { row.state.timeout_class() };
        let limit = current.map_or(0, |s| u64::from(s.timeouts[class as usize]));
        let idle_seconds = now_ns.saturating_sub(row.seen_ns) / 1_000_000_000;
        let mut flags = Vec::new();
        if name.as_deref() == Some(FALLBACK) {
            flags.push(ConnectionFlag::Fallback);
        }
        if row.midstream {
            flags.push(ConnectionFlag::MidStream);
        }
        if current.is_some_and(|s| s.state == state::DRAIN) {
            flags.push(ConnectionFlag::Draining);
        }
        Connection {
            protocol,
            client: SocketAddr::from(row.client),
            vip: SocketAddr::from(row.vip),
            real: SocketAddr::from(real),
            service,
            server: name,
            state,
            age_seconds: Some(now_ns.saturating_sub(row.created_ns) / 1_000_000_000),
            idle_seconds,
            expires_seconds: limit.saturating_sub(idle_seconds),
            flags,
        }
    }
}

/// What to do about dropped packets, where there is something to do.
fn remedy(reason: DropReason) -> Option<&'static str> {
    match reason {
        DropReason::NoServer => {
            Some("`keel status` says why its servers are out; `keel server online` brings one back")
        }
        DropReason::Overloaded => Some("raise max_connections with `keel server set`, or add a server"),
        DropReason::NoNeighbour => {
            Some("`keel status` names the servers that don't answer; look at their cable, VLAN and address")
        }
        DropReason::TooBig => {
            Some("clients adapt by themselves; a firewall in between must let ICMP \"too big\" through")
        }
        DropReason::NatConflict => {
            Some("point the services at different ports of the server, or use different servers")
        }
        DropReason::NoInterface => {
            Some("give the interface xdp = \"auto\" in node.toml, or correct the route to the server")
        }
        DropReason::FragmentUnknown => {
            Some("let clients find their path MTU: a firewall drops ICMP, or an MTU on the way is wrong")
        }
        _ => None,
    }
}

fn matches(filter: &ConnectionFilter, row: &Connection) -> bool {
    filter.service.as_ref().is_none_or(|service| row.service == *service)
        && filter.server.as_ref().is_none_or(|server| row.server.as_ref() == Some(server))
        && filter.client.is_none_or(|client| row.client.ip() == client)
        && filter.state.is_none_or(|state| row.state == state)
}

/// Shares of each CPU's time since it started, from `/proc/stat`.
fn cpu_loads() -> Vec<CpuLoad> {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let cpu = name.strip_prefix("cpu")?.parse().ok()?;
            let ticks: Vec<f64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let total: f64 = ticks.iter().sum();
            let idle = ticks.get(3)? + ticks.get(4)?;
            (total > 0.0).then(|| CpuLoad {
                cpu,
                busy: (total - idle) / total,
                softirq: ticks.get(6).unwrap_or(&0.0) / total,
            })
        })
        .collect()
}
