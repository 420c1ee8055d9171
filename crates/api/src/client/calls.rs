//! One method per call of the API.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Call, Client, ClientError};
use crate::control::Intent;
use crate::error::Kind;
use crate::types::{
    AlertTest, Alerts, Candidate, CheckTest, Committed, ConfigText, ConnectionFilter, ConnectionPage, Diff,
    DiffQuery, Drops, ExplainQuery, Explanation, Fields, FloatingIp, Forgotten, HealthFilter, NewFloatingIp,
    NewServer, NewService, Performance, PersistenceFilter, PersistencePage, RealServerHelp, Revision,
    ServerAction, ServerHealth, ServiceStatus, Status, Text, Validation,
};

type Answer<T> = Result<T, ClientError>;

#[derive(Serialize)]
struct IntentQuery<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_seconds: Option<u64>,
}

fn get(path: impl Into<String>) -> Call {
    Call::new(Method::GET, format!("/api/v1/{}", path.into()))
}

fn change(method: Method, path: impl Into<String>, intent: &Intent) -> Answer<Call> {
    let query = IntentQuery { why: &intent.why, confirm_seconds: intent.confirm.map(|d| d.as_secs().max(1)) };
    Call::new(method, format!("/api/v1/{}", path.into())).expecting(intent.expected).query(&query)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn service_path(service: &str) -> String {
    format!("services/{}", segment(service))
}

fn server_path(service: &str, server: &str) -> String {
    format!("services/{}/servers/{}", segment(service), segment(server))
}

impl Client {
    /// The node at a glance.
    pub async fn status(&self) -> Answer<Status> {
        self.call(get("system")).await
    }

    /// All services with their servers.
    pub async fn services(&self) -> Answer<Vec<ServiceStatus>> {
        self.call(get("services")).await
    }

    /// One service.
    pub async fn service(&self, name: &str) -> Answer<ServiceStatus> {
        self.call(get(service_path(name))).await
    }

    /// The running configuration, or that of a revision.
    pub async fn config(&self, revision: Option<u64>) -> Answer<ConfigText> {
        match revision {
            None => self.call(get("config")).await,
            Some(number) => self.call(get(format!("revisions/{number}"))).await,
        }
    }

    /// Checks a configuration.
    pub async fn validate(&self, text: &str) -> Answer<Validation> {
        let call = Call::new(Method::POST, "/api/v1/config/validate".to_owned());
        self.call(call.body(&Text { text: text.to_owned() })?).await
    }

    /// The candidate, if there is one.
    pub async fn candidate(&self) -> Answer<Option<Candidate>> {
        match self.call(get("config/candidate")).await {
            Err(ClientError::Api(error)) if error.kind == Kind::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Keeps a configuration as the candidate.
    pub async fn put_candidate(&self, text: &str, expected: Option<u64>) -> Answer<Candidate> {
        let call = Call::new(Method::PUT, "/api/v1/config/candidate".to_owned()).expecting(expected);
        self.call(call.body(&Text { text: text.to_owned() })?).await
    }

    /// Throws the candidate away.
    pub async fn discard_candidate(&self) -> Answer<()> {
        self.call(Call::new(Method::DELETE, "/api/v1/config/candidate".to_owned())).await
    }

    /// Compares two configurations.
    pub async fn diff(&self, query: DiffQuery) -> Answer<Diff> {
        self.call(get("config/diff").query(&query)?).await
    }

    /// Puts the candidate in force.
    pub async fn commit(&self, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::POST, "config/commit", intent)?).await
    }

    /// Keeps the commit that waits to be confirmed.
    pub async fn confirm(&self) -> Answer<Committed> {
        self.call(Call::new(Method::POST, "/api/v1/config/confirm".to_owned())).await
    }

    /// Puts a configuration in force in one step.
    pub async fn apply(&self, text: &str, intent: &Intent) -> Answer<Committed> {
        let call = change(Method::POST, "config/apply", intent)?;
        self.call(call.body(&Text { text: text.to_owned() })?).await
    }

    /// Puts an earlier revision in force again.
    pub async fn rollback(&self, revision: u64, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::POST, format!("revisions/{revision}/rollback"), intent)?).await
    }

    /// The last `limit` revisions, newest first.
    pub async fn history(&self, limit: usize) -> Answer<Vec<Revision>> {
        self.call(get("revisions").query(&[("limit", limit)])?).await
    }

    /// Adds a service.
    pub async fn add_service(&self, new: &NewService, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::POST, "services", intent)?.body(new)?).await
    }

    /// Changes settings of a service.
    pub async fn set_service(&self, name: &str, fields: &Fields, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::PATCH, service_path(name), intent)?.body(fields)?).await
    }

    /// Removes a service.
    pub async fn remove_service(&self, name: &str, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::DELETE, service_path(name), intent)?).await
    }

    /// Adds a server.
    pub async fn add_server(&self, service: &str, new: &NewServer, intent: &Intent) -> Answer<Committed> {
        let path = format!("{}/servers", service_path(service));
        self.call(change(Method::POST, path, intent)?.body(new)?).await
    }

    /// Changes settings of a server.
    pub async fn set_server(
        &self,
        service: &str,
        server: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> Answer<Committed> {
        self.call(change(Method::PATCH, server_path(service, server), intent)?.body(fields)?).await
    }

    /// Removes a server.
    pub async fn remove_server(&self, service: &str, server: &str, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::DELETE, server_path(service, server), intent)?).await
    }

    /// Takes a server out, brings it back, or gives it another weight.
    pub async fn act_on_server(
        &self,
        service: &str,
        server: &str,
        action: ServerAction,
        intent: &Intent,
    ) -> Answer<Committed> {
        let path = format!("{}/action", server_path(service, server));
        self.call(change(Method::POST, path, intent)?.body(&action)?).await
    }

    /// A page of the connection table.
    pub async fn connections(&self, filter: &ConnectionFilter) -> Answer<ConnectionPage> {
        self.call(get("connections").query(filter)?).await
    }

    /// A page of the persistence table.
    pub async fn persistence(&self, filter: &PersistenceFilter) -> Answer<PersistencePage> {
        self.call(get("persistence").query(filter)?).await
    }

    /// Lets clients go that stick to a server.
    pub async fn forget_clients(&self, filter: &PersistenceFilter) -> Answer<Forgotten> {
        self.call(Call::new(Method::DELETE, "/api/v1/persistence".to_owned()).query(filter)?).await
    }

    /// Where a packet would go, and why.
    pub async fn explain(&self, query: ExplainQuery) -> Answer<Explanation> {
        self.call(get("explain").query(&query)?).await
    }

    /// What the checks of servers have found.
    pub async fn health(&self, filter: &HealthFilter) -> Answer<Vec<ServerHealth>> {
        self.call(get("health").query(filter)?).await
    }

    /// Carries checks out now, step by step.
    pub async fn test_health(&self, filter: &HealthFilter) -> Answer<Vec<CheckTest>> {
        self.call(Call::new(Method::POST, "/api/v1/health/test".to_owned()).query(filter)?).await
    }

    /// Lets the lowest priority group that is up take over again.
    pub async fn fail_back(&self, service: &str) -> Answer<Vec<ServerHealth>> {
        let path = format!("/api/v1/{}/failback", service_path(service));
        self.call(Call::new(Method::POST, path)).await
    }

    /// Counters and states in the Prometheus exposition format.
    pub async fn metrics(&self) -> Answer<String> {
        let text = self.plain(Call::new(Method::GET, "/metrics".to_owned())).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// How the channels are by which people are told.
    pub async fn alerts(&self) -> Answer<Alerts> {
        self.call(get("alerts")).await
    }

    /// Sends a test report over every channel.
    pub async fn test_alerts(&self) -> Answer<Vec<AlertTest>> {
        self.call(Call::new(Method::POST, "/api/v1/alerts/test".to_owned())).await
    }

    /// Dropped packets by reason.
    pub async fn drops(&self) -> Answer<Drops> {
        self.call(get("drops")).await
    }

    /// How fast and how full the packet path is.
    pub async fn performance(&self) -> Answer<Performance> {
        self.call(get("stats/performance")).await
    }

    /// What the real servers of a service need.
    pub async fn real_server_help(&self, service: &str, os: &str) -> Answer<RealServerHelp> {
        self.call(get(format!("{}/realserver", service_path(service))).query(&[("os", os)])?).await
    }

    /// All floating addresses.
    pub async fn floating_ips(&self) -> Answer<Vec<FloatingIp>> {
        self.call(get("floating-ips")).await
    }

    /// Adds a floating address by hand.
    pub async fn add_floating_ip(&self, new: &NewFloatingIp, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::POST, "floating-ips", intent)?.body(new)?).await
    }

    /// Removes a floating address that was added by hand.
    pub async fn remove_floating_ip(&self, address: &str, intent: &Intent) -> Answer<Committed> {
        self.call(change(Method::DELETE, format!("floating-ips/{}", segment(address)), intent)?).await
    }
}
