//! The control API's verbs, carried out on the node.
mod persistence;
mod presence;

use keel_api::{
    AlertTest, Alerts, ApiError, Caller, Candidate, CheckTest, Committed, ConfigText, ConnectionFilter,
    ConnectionPage, Control, Diff, DiffQuery, Drops, ExplainQuery, Explanation, Fields, FloatingIp,
    Forgotten, HealthFilter, Intent, NewFloatingIp, NewServer, NewService, Performance, PersistenceFilter,
    PersistencePage, RealServerHelp, Revision, ServerAction, ServerHealth, ServiceStatus, Status, Validation,
    settings,
};
use keel_model::{AdminState, Cluster, Problem, edit, realserver};

use crate::{
    alerts, clock,
    commit::{diff_of, refused},
    daemon::Shared,
    health,
    interfaces::chain,
    lookup::foresee,
    node::Read,
};

type Result<T> = std::result::Result<T, ApiError>;

/// The daemon behind the API.
pub(crate) struct App {
    node: Shared,
}

impl App {
    pub(crate) fn new(node: Shared) -> Self {
        Self { node }
    }

    /// Looks at what runs before it is edited.
    async fn check(&self, of: impl Fn(&Cluster) -> Result<()>) -> Result<()> {
        of(&self.node.lock().await.cluster)
    }

    /// Edits the running text and puts the result in force.
    async fn edit(
        &self,
        caller: &Caller,
        intent: &Intent,
        change: impl Fn(&str) -> std::result::Result<String, Problem>,
    ) -> Result<Committed> {
        let refused = |problem| ApiError::refused(vec![problem]);
        let (before, running) = {
            let node = self.node.lock().await;
            (node.store.current().number, node.store.running_text().to_owned())
        };
        let mut read = foresee(&self.node, change(&running).map_err(refused)?).await;
        let mut node = self.node.lock().await;
        if node.store.current().number != before {
            // Somebody else was quicker: the change is made to what runs now.
            read = Read::new(change(node.store.running_text()).map_err(refused)?);
        }
        node.commit(read, caller, intent).await
    }
}

/// Applies settings one by one with the verbs of `keel_model::edit`.
fn set_all(
    text: &str,
    fields: &Fields,
    set: impl Fn(&str, &str, &str) -> std::result::Result<String, Problem>,
    unset: impl Fn(&str, &str) -> std::result::Result<String, Problem>,
) -> std::result::Result<String, Problem> {
    let wanted = settings(fields).map_err(|error| Problem::error("", error.detail.clone()))?;
    let mut text = text.to_owned();
    for (key, value) in wanted {
        text = match value {
            Some(value) => set(&text, &key, &value)?,
            None => unset(&text, &key)?,
        };
    }
    Ok(text)
}

fn pairs(fields: &Fields) -> std::result::Result<Vec<(String, String)>, Problem> {
    let wanted = settings(fields).map_err(|error| Problem::error("", error.detail.clone()))?;
    Ok(wanted.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

impl Control for App {
    async fn status(&self, _: &Caller) -> Result<Status> {
        let node = self.node.lock().await;
        Ok(node.status().await)
    }

    async fn services(&self, _: &Caller) -> Result<Vec<ServiceStatus>> {
        Ok(self.node.lock().await.services())
    }

    async fn service(&self, _: &Caller, name: &str) -> Result<ServiceStatus> {
        let node = self.node.lock().await;
        let found = node.services().into_iter().find(|service| service.name == name);
        found.ok_or_else(|| {
            ApiError::not_found("service", name, node.cluster.services.iter().map(|s| s.name.as_str()))
        })
    }

    async fn config(&self, _: &Caller, revision: Option<u64>) -> Result<ConfigText> {
        let node = self.node.lock().await;
        let revision = revision.unwrap_or_else(|| node.store.current().number);
        let text = node.store.text_of(revision).map_err(refused)?;
        Ok(ConfigText { revision, text })
    }

    async fn validate(&self, _: &Caller, text: &str) -> Result<Validation> {
        let (_, problems) = self.node.lock().await.check(Read::new(text.to_owned())).await;
        Ok(Validation::of(problems))
    }

    async fn candidate(&self, _: &Caller) -> Result<Option<Candidate>> {
        let node = self.node.lock().await;
        let Some(kept) = node.store.candidate().map_err(refused)? else { return Ok(None) };
        let (_, problems) = node.check(Read::new(kept.text.clone())).await;
        Ok(Some(Candidate { base: kept.base, text: kept.text, user: kept.who, saved: kept.saved, problems }))
    }

    async fn put_candidate(&self, caller: &Caller, text: &str, expected: Option<u64>) -> Result<Candidate> {
        let node = self.node.lock().await;
        let kept = keel_store::Candidate {
            base: expected.unwrap_or_else(|| node.store.current().number),
            text: text.to_owned(),
            who: caller.user.clone(),
            saved: clock::now(),
        };
        node.store.put_candidate(&kept).map_err(refused)?;
        let (_, problems) = node.check(Read::new(text.to_owned())).await;
        Ok(Candidate { base: kept.base, text: kept.text, user: kept.who, saved: kept.saved, problems })
    }

    async fn discard_candidate(&self, _: &Caller) -> Result<()> {
        self.node.lock().await.store.discard_candidate().map_err(refused)
    }

    async fn diff(&self, _: &Caller, query: DiffQuery) -> Result<Diff> {
        let node = self.node.lock().await;
        let current = node.store.current().number;
        if let Some(to) = query.to {
            return node.store.diff(query.from.unwrap_or(current), to).map(diff_of).map_err(refused);
        }
        if let Some(from) = query.from {
            return node.store.diff(from, current).map(diff_of).map_err(refused);
        }
        if let Some(candidate) = node.store.candidate().map_err(refused)? {
            return node.store.diff_to(current, "candidate", &candidate.text).map(diff_of).map_err(refused);
        }
        let on_disk = node.store.edited_on_disk().map_err(refused)?;
        let text = on_disk.unwrap_or_else(|| node.store.running_text().to_owned());
        node.store.diff_to(current, "cluster.toml on disk", &text).map(diff_of).map_err(refused)
    }

    async fn commit(&self, caller: &Caller, intent: &Intent) -> Result<Committed> {
        let foreseen = self.node.lock().await.store.candidate().map_err(refused)?;
        let foreseen = match foreseen {
            Some(candidate) => Some(foresee(&self.node, candidate.text).await),
            None => None,
        };
        let mut node = self.node.lock().await;
        let Some(candidate) = node.store.candidate().map_err(refused)? else {
            return Err(ApiError::conflict("there is no candidate to commit").with_remedy(
                "make one with `keel config edit`, or put a file in force with `keel apply FILE`",
            ));
        };
        let mut intent = intent.clone();
        intent.expected.get_or_insert(candidate.base);
        let same = foreseen.filter(|read| read.text == candidate.text);
        let read = same.unwrap_or_else(|| Read::new(candidate.text));
        let mut done = node.commit(read, caller, &intent).await?;
        // It is in force, whatever becomes of the candidate.
        if let Err(error) = node.store.discard_candidate() {
            done.warnings.push(Problem::warning("candidate", format!("it stays: {}", chain(&error))));
        }
        Ok(done)
    }

    async fn confirm(&self, caller: &Caller) -> Result<Committed> {
        self.node.lock().await.confirm(caller)
    }

    async fn rollback(&self, caller: &Caller, revision: u64, intent: &Intent) -> Result<Committed> {
        let text = self.node.lock().await.store.text_of(revision).map_err(refused)?;
        let read = foresee(&self.node, text).await;
        self.node.lock().await.roll_back(revision, read, caller, intent).await
    }

    async fn history(&self, _: &Caller, limit: usize) -> Result<Vec<Revision>> {
        let node = self.node.lock().await;
        let current = node.store.current().number;
        let unconfirmed = node.store.pending().map(|p| p.revision);
        let metas = node.store.history(limit).map_err(refused)?;
        let revision = |meta: keel_store::Meta| Revision {
            revision: meta.number,
            committed: meta.when,
            user: meta.who,
            via: meta.via,
            why: meta.why,
            changes: meta.changes,
            running: meta.number == current,
            unconfirmed: unconfirmed == Some(meta.number),
        };
        Ok(metas.into_iter().map(revision).collect())
    }

    async fn apply(&self, caller: &Caller, text: &str, intent: &Intent) -> Result<Committed> {
        let read = foresee(&self.node, text.to_owned()).await;
        let mut node = self.node.lock().await;
        node.commit(read, caller, intent).await
    }

    async fn add_service(&self, caller: &Caller, new: &NewService, intent: &Intent) -> Result<Committed> {
        self.check(|cluster| presence::new_service(cluster, &new.name)).await?;
        self.edit(caller, intent, |text| {
            let fields = pairs(&new.fields)?;
            let mut text = edit::add_service(text, &new.name, &borrowed(&fields))?;
            for server in &new.servers {
                let fields = pairs(&server.fields)?;
                text = edit::add_server(&text, &new.name, &server.name, &borrowed(&fields))?;
            }
            Ok(text)
        })
        .await
    }

    async fn set_service(
        &self,
        caller: &Caller,
        name: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::known(cluster, name, None)).await?;
        self.edit(caller, intent, |text| {
            set_all(
                text,
                fields,
                |text, key, value| edit::set_service(text, name, key, value),
                |text, key| edit::unset_service(text, name, key),
            )
        })
        .await
    }

    async fn remove_service(&self, caller: &Caller, name: &str, intent: &Intent) -> Result<Committed> {
        self.check(|cluster| presence::known(cluster, name, None)).await?;
        self.edit(caller, intent, |text| edit::remove_service(text, name)).await
    }

    async fn add_server(
        &self,
        caller: &Caller,
        service: &str,
        new: &NewServer,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::new_server(cluster, service, &new.name)).await?;
        self.edit(caller, intent, |text| {
            let fields = pairs(&new.fields)?;
            edit::add_server(text, service, &new.name, &borrowed(&fields))
        })
        .await
    }

    async fn set_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::known(cluster, service, Some(server))).await?;
        self.edit(caller, intent, |text| {
            set_all(
                text,
                fields,
                |text, key, value| edit::set_server(text, service, server, key, value),
                |text, key| edit::unset_server(text, service, server, key),
            )
        })
        .await
    }

    async fn remove_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::known(cluster, service, Some(server))).await?;
        self.edit(caller, intent, |text| edit::remove_server(text, service, server)).await
    }

    async fn act_on_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        action: ServerAction,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::known(cluster, service, Some(server))).await?;
        self.edit(caller, intent, |text| match action {
            ServerAction::Online => edit::set_state(text, service, server, AdminState::Online),
            ServerAction::Drain => edit::set_state(text, service, server, AdminState::Drain),
            ServerAction::Halt => edit::set_state(text, service, server, AdminState::Halt),
            ServerAction::Weight { weight } => edit::set_weight(text, service, server, weight),
        })
        .await
    }

    async fn connections(&self, _: &Caller, filter: &ConnectionFilter) -> Result<ConnectionPage> {
        self.node.lock().await.connection_page(filter)
    }

    async fn persistence(&self, _: &Caller, filter: &PersistenceFilter) -> Result<PersistencePage> {
        self.node.lock().await.persistence_page(filter)
    }

    async fn forget_clients(&self, _: &Caller, filter: &PersistenceFilter) -> Result<Forgotten> {
        self.node.lock().await.forget_clients(filter)
    }

    async fn explain(&self, _: &Caller, query: ExplainQuery) -> Result<Explanation> {
        self.node.lock().await.explain(&query)
    }

    async fn health(&self, _: &Caller, filter: &HealthFilter) -> Result<Vec<ServerHealth>> {
        self.node.lock().await.health_report(filter)
    }

    async fn test_health(&self, _: &Caller, filter: &HealthFilter) -> Result<Vec<CheckTest>> {
        health::test(&self.node, filter).await
    }

    async fn fail_back(&self, _: &Caller, service: &str) -> Result<Vec<ServerHealth>> {
        self.check(|cluster| presence::known(cluster, service, None)).await?;
        let mut node = self.node.lock().await;
        node.fail_back(service).await;
        node.health_report(&HealthFilter { service: Some(service.to_owned()), server: None })
    }

    async fn alerts(&self, _: &Caller) -> Result<Alerts> {
        Ok(self.node.lock().await.alerts_report())
    }

    async fn test_alerts(&self, _: &Caller) -> Result<Vec<AlertTest>> {
        alerts::test(&self.node).await
    }

    async fn metrics(&self, _: &Caller) -> Result<String> {
        Ok(self.node.lock().await.metrics())
    }

    async fn drops(&self, _: &Caller) -> Result<Drops> {
        self.node.lock().await.drop_report()
    }

    async fn performance(&self, _: &Caller) -> Result<Performance> {
        self.node.lock().await.performance()
    }

    async fn real_server_help(&self, _: &Caller, service: &str, os: &str) -> Result<RealServerHelp> {
        let node = self.node.lock().await;
        let names = node.cluster.services.iter().map(|s| s.name.as_str());
        let Some(found) = node.cluster.service(service) else {
            return Err(ApiError::not_found("service", service, names));
        };
        let system: realserver::Os = os.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "`{os}` is no system this can help with: use linux, windows or bsd"
            ))
        })?;
        let gateway = realserver::gateway_for(&node.cluster, found);
        let help = realserver::instructions(found, system, gateway);
        Ok(RealServerHelp {
            service: help.service.clone(),
            os: os.to_owned(),
            address: found.address,
            mode: help.mode.clone(),
            text: help.to_string(),
        })
    }

    async fn floating_ips(&self, _: &Caller) -> Result<Vec<FloatingIp>> {
        Ok(self.node.lock().await.floating_ips())
    }

    async fn add_floating_ip(
        &self,
        caller: &Caller,
        new: &NewFloatingIp,
        intent: &Intent,
    ) -> Result<Committed> {
        self.check(|cluster| presence::new_floating_ip(cluster, new)).await?;
        let interface = new.interface.as_deref();
        self.edit(caller, intent, |text| edit::add_floating_ip(text, new.address, interface)).await
    }

    async fn remove_floating_ip(&self, caller: &Caller, address: &str, intent: &Intent) -> Result<Committed> {
        self.check(|cluster| presence::floating_ip(cluster, address)).await?;
        self.edit(caller, intent, |text| edit::remove_floating_ip(text, address)).await
    }
}
