//! Counters and states for Prometheus, in its exposition format (OpenMetrics 1.0).
use std::sync::atomic::AtomicU64;

use keel_api::ServiceStatus;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::node::Node;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfServer {
    service: String,
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCheck {
    service: String,
    server: String,
    /// Of its service's checks, from 1.
    number: u64,
    check: String,
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Families of one kind, filled and thrown away at every scrape: what isn't there any more isn't told any more.
struct Page(Registry);

impl Page {
    fn gauge<L>(&mut self, name: &str, help: &str) -> Family<L, Gauge>
    where
        L: EncodeLabelSet + Clone + std::fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static,
    {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn seconds<L>(&mut self, name: &str, help: &str) -> Family<L, Seconds>
    where
        L: EncodeLabelSet + Clone + std::fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static,
    {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn counter<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + std::fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static,
    {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Node {
    /// All of it as text.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page(Registry::with_prefix("evenkeel"));
        self.traffic(&mut page);
        self.checks(&mut page);
        let drops = page.counter("drops", "Packets dropped, by reason");
        for drop in self.drop_report().map(|report| report.drops).unwrap_or_default() {
            drops.get_or_create(&OfReason { reason: drop.reason }).inc_by(drop.packets);
        }
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = encode(&mut text, &page.0);
        text
    }

    fn traffic(&self, page: &mut Page) {
        let up = page.gauge("server_up", "Whether the server is up: 1 is up, 0 is not");
        let weight = page.gauge("server_weight", "The weight in force, 0 if it takes no new connections");
        let active = page.gauge("server_connections", "Established connections and UDP flows");
        let begun = page.counter("server_connections_begun", "Connections begun");
        let bytes_in = page.counter("server_received_bytes", "Bytes from clients, with their IP headers");
        let bytes_out = page.counter("server_sent_bytes", "Bytes to clients through this node");
        let available = page.gauge("service_servers_up", "Servers that are up");
        let fallback =
            page.gauge("service_fallback", "Whether no server takes connections and the fallback answers");
        let panicking =
            page.gauge("service_panic", "Whether too few servers are up to believe that, and all are used");
        let waiting = page
            .gauge("service_awaits_failback", "Whether a lower priority group is up and waits to be told");
        for ServiceStatus { name, servers, fallback_in_use, panic, awaits_failback, .. } in self.services() {
            let service = OfService { service: name.clone() };
            fallback.get_or_create(&service).set(fallback_in_use.into());
            panicking.get_or_create(&service).set(panic.into());
            waiting.get_or_create(&service).set(awaits_failback.into());
            let works = |server: &&keel_api::ServerStatus| server.state.light() == keel_api::Light::Green;
            available.get_or_create(&service).set(whole(servers.iter().filter(works).count() as u64));
            for server in &servers {
                let of = OfServer { service: name.clone(), server: server.name.clone() };
                up.get_or_create(&of).set(works(&server).into());
                weight.get_or_create(&of).set(server.effective_weight.into());
                active.get_or_create(&of).set(whole(server.connections.active));
                begun.get_or_create(&of).inc_by(server.counters.connections);
                bytes_in.get_or_create(&of).inc_by(server.counters.bytes_in);
                bytes_out.get_or_create(&of).inc_by(server.counters.bytes_out);
            }
        }
    }

    fn checks(&self, page: &mut Page) {
        let asked = page.counter("checks", "Checks that came to an end");
        let failed = page.counter("checks_failed", "Checks that weren't good");
        let took = page.seconds("check_seconds", "How long the last check took");
        let ends = page.seconds("certificate_end_seconds", "When the server's certificate ends, since 1970");
        for check in self.health.counts() {
            let of = OfCheck {
                service: check.service,
                server: check.server,
                number: check.number as u64,
                check: check.kind.to_owned(),
                target: check.target,
            };
            asked.get_or_create(&of).inc_by(check.asked);
            failed.get_or_create(&of).inc_by(check.failed);
            if let Some(time) = check.took {
                took.get_or_create(&of).set(time.as_secs_f64());
            }
            if let Some(end) = check.certificate_ends {
                ends.get_or_create(&of).set(end.as_second() as f64);
            }
        }
    }
}
