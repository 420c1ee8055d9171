//! An appliance in memory, for tests: fixed services, a real history, no packets.
//!
//! It follows the contract of [`Control`] where the command line or the web interface can see it
//! (revisions, `If-Match`, the candidate, unknown names); it doesn't read configurations. A line that
//! begins with `bad` is what it takes for an error.

mod ledger;
pub mod sample;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::Ledger;

use crate::caller::Caller;
use crate::control::{Control, Intent};
use crate::error::{ApiError, Result};
use crate::types::{
    AdminState, AlertTest, Alerts, Candidate, CheckTest, Committed, ConfigText, ConnectionFilter,
    ConnectionPage, Diff, DiffQuery, Drops, ExplainQuery, Explanation, Fields, FloatingIp, Forgotten,
    HealthFilter, NewFloatingIp, NewServer, NewService, Performance, PersistenceFilter, PersistencePage,
    PersistentClient, RealServerHelp, Revision, ServerAction, ServerHealth, ServerState, ServerStatus,
    ServiceStatus, Status, Validation,
};

/// The appliance in memory.
#[derive(Debug)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    services: Vec<ServiceStatus>,
    floating: Vec<FloatingIp>,
    sticking: Vec<PersistentClient>,
}

impl Default for Fake {
    fn default() -> Self {
        let (services, floating) = (sample::services(), sample::floating_ips());
        Self {
            state: Mutex::new(State {
                ledger: Ledger::new(),
                services,
                floating,
                sticking: sample::persistence().clients,
            }),
        }
    }
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn service(&mut self, name: &str) -> Result<&mut ServiceStatus> {
        let known: Vec<String> = self.services.iter().map(|s| s.name.clone()).collect();
        self.services
            .iter_mut()
            .find(|s| s.name == name)
            .ok_or_else(|| ApiError::not_found("service", name, known.iter().map(String::as_str)))
    }

    fn server(&mut self, service: &str, name: &str) -> Result<&mut ServerStatus> {
        let service = self.service(service)?;
        let known: Vec<String> = service.servers.iter().map(|s| s.name.clone()).collect();
        service
            .servers
            .iter_mut()
            .find(|s| s.name == name)
            .ok_or_else(|| ApiError::not_found("server", name, known.iter().map(String::as_str)))
    }

    /// Writes an edit into the history as a comment at the end of the text.
    fn edited(&mut self, caller: &Caller, intent: &Intent, change: String) -> Result<Committed> {
        let text = format!("{}# {change}\n", self.ledger.running().text);
        self.ledger.commit(caller, intent, text, vec![change])
    }
}

fn text_of(fields: &Fields) -> String {
    fields.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

fn sticks(filter: &PersistenceFilter, client: &PersistentClient) -> bool {
    filter.service.as_ref().is_none_or(|name| *name == client.service)
        && filter.client.is_none_or(|ip| client.client == ip.to_string())
}

impl Control for Fake {
    async fn status(&self, _: &Caller) -> Result<Status> {
        let state = self.state();
        Ok(Status {
            revision: state.ledger.running().revision,
            pending_confirm: state.ledger.pending(),
            ..sample::status()
        })
    }

    async fn services(&self, _: &Caller) -> Result<Vec<ServiceStatus>> {
        Ok(self.state().services.clone())
    }

    async fn service(&self, _: &Caller, name: &str) -> Result<ServiceStatus> {
        self.state().service(name).cloned()
    }

    async fn config(&self, _: &Caller, revision: Option<u64>) -> Result<ConfigText> {
        self.state().ledger.text(revision)
    }

    async fn validate(&self, _: &Caller, text: &str) -> Result<Validation> {
        Ok(Validation::of(ledger::problems(text)))
    }

    async fn candidate(&self, _: &Caller) -> Result<Option<Candidate>> {
        Ok(self.state().ledger.candidate.clone())
    }

    async fn put_candidate(&self, caller: &Caller, text: &str, expected: Option<u64>) -> Result<Candidate> {
        self.state().ledger.put_candidate(caller, text, expected)
    }

    async fn discard_candidate(&self, _: &Caller) -> Result<()> {
        self.state().ledger.candidate = None;
        Ok(())
    }

    async fn diff(&self, _: &Caller, query: DiffQuery) -> Result<Diff> {
        self.state().ledger.diff(query)
    }

    async fn commit(&self, caller: &Caller, intent: &Intent) -> Result<Committed> {
        self.state().ledger.commit_candidate(caller, intent)
    }

    async fn confirm(&self, _: &Caller) -> Result<Committed> {
        self.state().ledger.confirm()
    }

    async fn rollback(&self, caller: &Caller, revision: u64, intent: &Intent) -> Result<Committed> {
        let ledger = &mut self.state().ledger;
        let text = ledger.text(Some(revision))?.text;
        ledger.commit(caller, intent, text, vec![format!("back to revision {revision}")])
    }

    async fn history(&self, _: &Caller, limit: usize) -> Result<Vec<Revision>> {
        Ok(self.state().ledger.history(limit))
    }

    async fn apply(&self, caller: &Caller, text: &str, intent: &Intent) -> Result<Committed> {
        let change = "the text was replaced".to_owned();
        self.state().ledger.commit(caller, intent, text.to_owned(), vec![change])
    }

    async fn add_service(&self, caller: &Caller, new: &NewService, intent: &Intent) -> Result<Committed> {
        let mut state = self.state();
        if state.service(&new.name).is_ok() {
            let error = ApiError::conflict(format!("there is a service called \"{}\" already", new.name));
            return Err(error.with_remedy(format!("change it with: keel service set {} …", new.name)));
        }
        let committed = state.edited(
            caller,
            intent,
            format!(
                "service {} added: {} with {} servers",
                new.name,
                text_of(&new.fields),
                new.servers.len()
            ),
        )?;
        state.services.push(ServiceStatus { name: new.name.clone(), ..sample::services()[0].clone() });
        Ok(committed)
    }

    async fn set_service(
        &self,
        caller: &Caller,
        name: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        state.service(name)?;
        state.edited(caller, intent, format!("service {name}: {}", text_of(fields)))
    }

    async fn remove_service(&self, caller: &Caller, name: &str, intent: &Intent) -> Result<Committed> {
        let mut state = self.state();
        state.service(name)?;
        let committed = state.edited(caller, intent, format!("service {name} removed"))?;
        state.services.retain(|s| s.name != name);
        Ok(committed)
    }

    async fn add_server(
        &self,
        caller: &Caller,
        service: &str,
        new: &NewServer,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        state.service(service)?;
        let change = format!("service {service}: server {} added: {}", new.name, text_of(&new.fields));
        state.edited(caller, intent, change)
    }

    async fn set_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        state.server(service, server)?;
        state.edited(caller, intent, format!("service {service}, server {server}: {}", text_of(fields)))
    }

    async fn remove_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        state.server(service, server)?;
        let committed =
            state.edited(caller, intent, format!("service {service}: server {server} removed"))?;
        state.service(service)?.servers.retain(|s| s.name != server);
        Ok(committed)
    }

    async fn act_on_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        action: ServerAction,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        let found = state.server(service, server)?;
        let word = match action {
            ServerAction::Online => {
                (found.admin, found.state) = (AdminState::Online, ServerState::Up);
                "online".to_owned()
            }
            ServerAction::Drain => {
                (found.admin, found.state) = (AdminState::Drain, ServerState::Draining);
                "drain".to_owned()
            }
            ServerAction::Halt => {
                (found.admin, found.state) = (AdminState::Halt, ServerState::Halted);
                "halt".to_owned()
            }
            ServerAction::Weight { weight } => {
                (found.weight, found.effective_weight) = (weight, weight);
                format!("weight {weight}")
            }
        };
        state.edited(caller, intent, format!("service {service}, server {server}: {word}"))
    }

    async fn connections(&self, _: &Caller, filter: &ConnectionFilter) -> Result<ConnectionPage> {
        let page = sample::connections();
        let start = match &filter.cursor {
            None => 0,
            Some(cursor) => {
                cursor.parse().map_err(|_| ApiError::bad_request("the cursor is not one of ours"))?
            }
        };
        let matching: Vec<_> = page
            .connections
            .into_iter()
            .filter(|c| filter.service.as_ref().is_none_or(|name| *name == c.service))
            .filter(|c| filter.server.as_ref().is_none_or(|name| Some(name) == c.server.as_ref()))
            .filter(|c| filter.client.is_none_or(|ip| ip == c.client.ip()))
            .filter(|c| filter.state.is_none_or(|s| s == c.state))
            .collect();
        let end = start + filter.rows();
        let next = (end < matching.len()).then(|| end.to_string());
        let connections = matching.into_iter().skip(start).take(filter.rows()).collect();
        Ok(ConnectionPage { connections, next, total: page.total })
    }

    async fn persistence(&self, _: &Caller, filter: &PersistenceFilter) -> Result<PersistencePage> {
        let clients: Vec<_> = self.state().sticking.iter().filter(|c| sticks(filter, c)).cloned().collect();
        Ok(PersistencePage { total: clients.len() as u64, clients, next: None })
    }

    async fn forget_clients(&self, _: &Caller, filter: &PersistenceFilter) -> Result<Forgotten> {
        let mut state = self.state();
        let before = state.sticking.len();
        state.sticking.retain(|client| !sticks(filter, client));
        Ok(Forgotten { clients: (before - state.sticking.len()) as u64 })
    }

    async fn explain(&self, _: &Caller, query: ExplainQuery) -> Result<Explanation> {
        let known = self.state().services.iter().any(|s| s.address == query.vip);
        Ok(if known { sample::explanation() } else { sample::not_a_service() })
    }

    async fn health(&self, _: &Caller, filter: &HealthFilter) -> Result<Vec<ServerHealth>> {
        let mut state = self.state();
        if let Some(name) = &filter.service {
            state.service(name)?;
        }
        Ok(sample::health()
            .into_iter()
            .filter(|one| filter.service.as_ref().is_none_or(|s| *s == one.service))
            .collect())
    }

    async fn test_health(&self, _: &Caller, filter: &HealthFilter) -> Result<Vec<CheckTest>> {
        if let Some(name) = &filter.service {
            self.state().service(name)?;
        }
        Ok(sample::health_test())
    }

    async fn fail_back(&self, _: &Caller, service: &str) -> Result<Vec<ServerHealth>> {
        self.state().service(service)?;
        Ok(sample::health())
    }

    async fn alerts(&self, _: &Caller) -> Result<Alerts> {
        Ok(sample::alerts())
    }

    async fn test_alerts(&self, _: &Caller) -> Result<Vec<AlertTest>> {
        Ok(sample::alerts_test())
    }

    async fn metrics(&self, _: &Caller) -> Result<String> {
        Ok("# EOF\n".to_owned())
    }

    async fn drops(&self, _: &Caller) -> Result<Drops> {
        Ok(sample::drops())
    }

    async fn performance(&self, _: &Caller) -> Result<Performance> {
        Ok(sample::performance())
    }

    async fn real_server_help(&self, _: &Caller, service: &str, os: &str) -> Result<RealServerHelp> {
        let mut state = self.state();
        let service = state.service(service)?;
        Ok(RealServerHelp {
            service: service.name.clone(),
            os: os.to_owned(),
            address: service.address,
            mode: service.mode.clone(),
            text: format!("ip addr add {}/32 dev lo\n", service.address),
        })
    }

    async fn floating_ips(&self, _: &Caller) -> Result<Vec<FloatingIp>> {
        Ok(self.state().floating.clone())
    }

    async fn add_floating_ip(
        &self,
        caller: &Caller,
        new: &NewFloatingIp,
        intent: &Intent,
    ) -> Result<Committed> {
        let mut state = self.state();
        let address = new.address.to_string();
        if state.floating.iter().any(|floating| floating.address == address) {
            return Err(ApiError::conflict(format!("there is a floating address {address} already")));
        }
        let committed = state.edited(caller, intent, format!("floating address {address} added"))?;
        let interface = new.interface.clone().or_else(|| Some("eth0".to_owned()));
        state.floating.push(FloatingIp { address, services: Vec::new(), interface, held: true });
        Ok(committed)
    }

    async fn remove_floating_ip(&self, caller: &Caller, address: &str, intent: &Intent) -> Result<Committed> {
        let mut state = self.state();
        let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        let by_hand = |floating: &FloatingIp| floating.services.is_empty();
        let known = state.floating.iter().filter(|floating| by_hand(floating));
        let Some(found) = known.clone().find(|floating| bare(&floating.address) == bare(address)) else {
            return Err(ApiError::not_found("floating address", address, known.map(|f| f.address.as_str())));
        };
        let gone = found.address.clone();
        let committed = state.edited(caller, intent, format!("floating address {gone} removed"))?;
        state.floating.retain(|floating| floating.address != gone);
        Ok(committed)
    }
}
