//! `keel explain`: the packet path's answer in words.
use std::net::SocketAddr;

use keel_abi::{Addr, Choice, FlowKey, TcpState};
use keel_api::{ApiError, ExplainQuery, Explanation, Protocol, Verdict};
use keel_dataplane::{Explanation as Answer, FALLBACK, Question, ServerId, Slot};
use keel_model::Scheduler4;

use crate::{clock, node::Node};

/// The port asked for when none was given; the answer says that it matters where it does.
const SOME_PORT: u16 = 40_000;

/// What to do when no server takes connections.
const NO_SERVER: &str =
    "bring one back with `keel server online`, or look at `keel status` for why they are down";

impl Node {
    /// Explains where a flow would go. Changes nothing.
    pub(crate) fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ApiError> {
        if query.client.is_ipv4() != query.vip.is_ipv4() {
            return Err(ApiError::bad_request(format!(
                "{} and {} are of different families: a client reaches an address of its own family only",
                query.client, query.vip
            )));
        }
        let key = FlowKey {
            src: Addr::from(query.client),
            dst: Addr::from(query.vip),
            sport_be: query.client_port.unwrap_or(SOME_PORT).to_be(),
            dport_be: query.vip_port.to_be(),
            proto: query.protocol.number(),
            pad: [0; 3],
        };
        let question = Question { key, now_ns: clock::monotonic_ns() };
        let answer = self.dataplane.explain(&question).map_err(|error| ApiError::internal(&error))?;
        Ok(self.in_words(query, answer, question.now_ns))
    }

    fn in_words(&self, query: &ExplainQuery, answer: Answer, now_ns: u64) -> Explanation {
        let names = self.names_of_servers();
        let server_name = |id: ServerId| names.get(&id).and_then(|(_, server)| server.clone());
        let mut told = Told::new(query);
        match answer {
            Answer::Passive => {
                told.passed("this node is passive: its peer forwards, and here the kernel gets the packet")
            }
            Answer::NotVirtual => {
                told.step(format!("{} is no virtual address of this node", query.vip));
                told.passed("the packet is left to the kernel")
            }
            Answer::NoService => {
                told.step(format!("{} is a virtual address", query.vip));
                told.step(format!("no layer-4 service has {} port {}", query.protocol, query.vip_port));
                told.passed(
                    "the packet is left to the kernel, which refuses it or gives it to a layer-7 service",
                )
            }
            Answer::Known { service, server, entry, half_open } => {
                let state = TcpState::from_u8(entry.state).name();
                let idle = now_ns.saturating_sub(entry.seen_ns) / 1_000_000_000;
                let kind = if half_open { "a half-open connection" } else { "a connection" };
                told.step(format!("{kind} of this client is in the table: {state}, idle for {idle} s"));
                told.to(
                    Verdict::Known,
                    self.service_name(service),
                    server_name(server),
                    "it has this connection already",
                    false,
                )
            }
            Answer::Persistent { service, server, expires_ns } => {
                let left = expires_ns.saturating_sub(now_ns) / 1_000_000_000;
                told.step("no connection of this client and port is in the table".to_owned());
                told.step(format!("the client sticks to its server for another {left} s"));
                told.to(
                    Verdict::Persistent,
                    self.service_name(service),
                    server_name(server),
                    "persistence",
                    false,
                )
            }
            Answer::Scheduled { service, choice, members } => {
                self.scheduled(told, service, choice, members, &server_name)
            }
        }
    }

    fn scheduled(
        &self,
        mut told: Told<'_>,
        slot: Slot,
        choice: Choice,
        members: u32,
        server_name: &dyn Fn(ServerId) -> Option<String>,
    ) -> Explanation {
        let service = self.service_name(slot);
        let configured = service.as_deref().and_then(|name| self.cluster.service(name));
        let layer4 = configured.and_then(|s| s.as_layer4());
        let fallback = configured.and_then(|s| s.fallback);
        let here = fallback.is_some_and(|to| to.ip().is_loopback()) && told.query.protocol == Protocol::Tcp;
        let how = layer4.map_or(Scheduler4::Wlc, |l4| l4.scheduler);
        let by_port =
            layer4.is_some_and(|l4| l4.hash_ports) && matches!(how, Scheduler4::Sh | Scheduler4::Maglev);
        told.step("no connection and no persistence entry of this client is in the tables".to_owned());
        told.step(format!("{members} server(s) take new connections"));
        match choice {
            Choice::Server(id) if server_name(id).as_deref() == Some(FALLBACK) => {
                told.fallback(service, fallback)
            }
            Choice::Server(id) => {
                told.step(format!("scheduler {how}: {}", reason_of(how)));
                let why = format!("the scheduler {how} would choose it now");
                told.to(Verdict::Scheduled, service, server_name(id), &why, by_port)
            }
            Choice::NoServer if here => told.fallback(service, fallback),
            Choice::NoServer => told.dropped(service, "no server takes new connections", NO_SERVER),
            Choice::Overloaded => told.dropped(
                service,
                "every server has reached its max_connections",
                "raise max_connections with `keel server set`, or add a server",
            ),
        }
    }

    fn service_name(&self, slot: Slot) -> Option<String> {
        let desired = self.desired();
        let shadow = self.dataplane.shadow();
        let has = |keys: &[keel_abi::PortKey]| keys.iter().any(|key| shadow.slot_of(key) == Some(slot));
        desired.services.into_iter().find(|service| has(&service.keys)).map(|service| service.name)
    }
}

fn reason_of(how: Scheduler4) -> &'static str {
    match how {
        Scheduler4::Rr => "it is this server's turn",
        Scheduler4::Wrr => "by its weight it is this server's turn",
        Scheduler4::Lc => "it has the fewest connections",
        Scheduler4::Wlc => "it has the fewest connections for its weight",
        Scheduler4::Sed => "the connection would wait least there",
        Scheduler4::Nq => "it is idle, or the connection would wait least there",
        Scheduler4::Sh => "the client's address leads there",
        Scheduler4::Dh => "the destination leads there",
        Scheduler4::Maglev => "the flow's place on the ring is this server's",
    }
}

/// An explanation in the making.
struct Told<'a> {
    query: &'a ExplainQuery,
    steps: Vec<String>,
}

impl<'a> Told<'a> {
    fn new(query: &'a ExplainQuery) -> Self {
        Self { query, steps: Vec::new() }
    }

    fn step(&mut self, text: String) {
        self.steps.push(text);
    }

    fn who(&self) -> String {
        let query = self.query;
        let port = query.client_port.map_or_else(String::new, |port| format!(" port {port}"));
        format!("{}{port} to {} port {} ({})", query.client, query.vip, query.vip_port, query.protocol)
    }

    fn passed(self, why: &str) -> Explanation {
        let summary = format!("{}: {why}", self.who());
        Explanation {
            verdict: Verdict::NotAService,
            summary,
            steps: self.steps,
            service: None,
            server: None,
            why: why.to_owned(),
            depends_on_port: false,
            remedy: None,
        }
    }

    fn to(
        self,
        verdict: Verdict,
        service: Option<String>,
        server: Option<String>,
        why: &str,
        by_port: bool,
    ) -> Explanation {
        let name =
            server.clone().unwrap_or_else(|| "a server that was removed from the configuration".to_owned());
        Explanation {
            verdict,
            summary: format!("{} goes to {name}", self.who()),
            steps: self.steps,
            service,
            server,
            why: why.to_owned(),
            depends_on_port: by_port,
            remedy: None,
        }
    }

    fn fallback(mut self, service: Option<String>, fallback: Option<SocketAddr>) -> Explanation {
        let name = fallback.map_or_else(|| "the fallback".to_owned(), |at| format!("the fallback {at}"));
        self.step(format!("no server takes new connections, so {name} does"));
        Explanation {
            verdict: Verdict::Fallback,
            summary: format!("{} goes to {name}", self.who()),
            steps: self.steps,
            service,
            server: None,
            why: "no server takes new connections".to_owned(),
            depends_on_port: false,
            remedy: Some(NO_SERVER.to_owned()),
        }
    }

    fn dropped(self, service: Option<String>, why: &str, remedy: &str) -> Explanation {
        Explanation {
            verdict: Verdict::Dropped,
            summary: format!("{} is dropped: {why}", self.who()),
            steps: self.steps,
            service,
            server: None,
            why: why.to_owned(),
            depends_on_port: false,
            remedy: Some(remedy.to_owned()),
        }
    }
}
