//! What the daemon must be able to do. The router calls it; the daemon implements it.
//!
//! By the time a method runs, the caller's role has been checked against the route table.

use std::future::Future;
use std::time::Duration;

use crate::caller::Caller;
use crate::error::Result;
use crate::types::{
    AlertTest, Alerts, Candidate, CheckTest, Committed, ConfigText, ConnectionFilter, ConnectionPage, Diff,
    DiffQuery, Drops, ExplainQuery, Explanation, Fields, FloatingIp, Forgotten, HealthFilter, NewFloatingIp,
    NewServer, NewService, Performance, PersistenceFilter, PersistencePage, RealServerHelp, Revision,
    ServerAction, ServerHealth, ServiceStatus, Status, Validation,
};

/// How a change is meant to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// The revision it was made against (`If-Match`); a different one running is
    /// [`crate::Kind::RevisionMismatch`] with the difference. None takes whatever runs.
    pub expected: Option<u64>,
    /// Why, for the history.
    pub why: String,
    /// Go back by itself after this long unless confirmed.
    pub confirm: Option<Duration>,
}

/// The appliance, as its administrators see it.
///
/// Changes of services, servers and floating addresses are edits of the running text followed by a
/// commit, so every one of them is a revision and answers with [`Committed`]; one that changes
/// nothing answers with the running revision and no changes.
pub trait Control: Send + Sync + 'static {
    /// The node at a glance.
    fn status(&self, caller: &Caller) -> impl Future<Output = Result<Status>> + Send;

    /// All services with their servers, in the order of the file.
    fn services(&self, caller: &Caller) -> impl Future<Output = Result<Vec<ServiceStatus>>> + Send;

    /// One service.
    fn service(&self, caller: &Caller, name: &str) -> impl Future<Output = Result<ServiceStatus>> + Send;

    /// The running configuration, or that of a revision.
    fn config(
        &self,
        caller: &Caller,
        revision: Option<u64>,
    ) -> impl Future<Output = Result<ConfigText>> + Send;

    /// Checks a configuration, changes nothing.
    fn validate(&self, caller: &Caller, text: &str) -> impl Future<Output = Result<Validation>> + Send;

    /// The candidate, if there is one.
    fn candidate(&self, caller: &Caller) -> impl Future<Output = Result<Option<Candidate>>> + Send;

    /// Keeps `text` as the candidate, errors and all. `expected` is the revision it was made from.
    fn put_candidate(
        &self,
        caller: &Caller,
        text: &str,
        expected: Option<u64>,
    ) -> impl Future<Output = Result<Candidate>> + Send;

    /// Throws the candidate away; none there is not an error.
    fn discard_candidate(&self, caller: &Caller) -> impl Future<Output = Result<()>> + Send;

    /// Compares two configurations.
    fn diff(&self, caller: &Caller, query: DiffQuery) -> impl Future<Output = Result<Diff>> + Send;

    /// Puts the candidate in force. Without an expected revision the candidate's base is expected.
    fn commit(&self, caller: &Caller, intent: &Intent) -> impl Future<Output = Result<Committed>> + Send;

    /// Keeps the commit that waits to be confirmed.
    fn confirm(&self, caller: &Caller) -> impl Future<Output = Result<Committed>> + Send;

    /// Puts an earlier revision's text in force as a new revision.
    fn rollback(
        &self,
        caller: &Caller,
        revision: u64,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// The last `limit` revisions, newest first.
    fn history(&self, caller: &Caller, limit: usize) -> impl Future<Output = Result<Vec<Revision>>> + Send;

    /// Candidate and commit in one, for scripts; a candidate somebody works on is left alone.
    fn apply(
        &self,
        caller: &Caller,
        text: &str,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Adds a service, with its first servers.
    fn add_service(
        &self,
        caller: &Caller,
        new: &NewService,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Changes settings of a service.
    fn set_service(
        &self,
        caller: &Caller,
        name: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Removes a service and its servers.
    fn remove_service(
        &self,
        caller: &Caller,
        name: &str,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Adds a server to a service.
    fn add_server(
        &self,
        caller: &Caller,
        service: &str,
        new: &NewServer,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Changes settings of a server.
    fn set_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        fields: &Fields,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Removes a server from a service.
    fn remove_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Takes a server out, brings it back, or gives it another weight.
    fn act_on_server(
        &self,
        caller: &Caller,
        service: &str,
        server: &str,
        action: ServerAction,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// A page of the connection table.
    fn connections(
        &self,
        caller: &Caller,
        filter: &ConnectionFilter,
    ) -> impl Future<Output = Result<ConnectionPage>> + Send;

    /// A page of the persistence table.
    fn persistence(
        &self,
        caller: &Caller,
        filter: &PersistenceFilter,
    ) -> impl Future<Output = Result<PersistencePage>> + Send;

    /// Lets clients go that stick to a server: their connections stay, the next one is scheduled anew. No revision.
    fn forget_clients(
        &self,
        caller: &Caller,
        filter: &PersistenceFilter,
    ) -> impl Future<Output = Result<Forgotten>> + Send;

    /// Where a packet would go, and why. Changes nothing, not even a scheduler's turn.
    fn explain(
        &self,
        caller: &Caller,
        query: ExplainQuery,
    ) -> impl Future<Output = Result<Explanation>> + Send;

    /// What the checks of servers have found.
    fn health(
        &self,
        caller: &Caller,
        filter: &HealthFilter,
    ) -> impl Future<Output = Result<Vec<ServerHealth>>> + Send;

    /// Carries the checks of a service, or of one of its servers, out now. It changes no verdict.
    fn test_health(
        &self,
        caller: &Caller,
        filter: &HealthFilter,
    ) -> impl Future<Output = Result<Vec<CheckTest>>> + Send;

    /// Lets the lowest priority group that is up take over again, where that waits for somebody to say so.
    fn fail_back(
        &self,
        caller: &Caller,
        service: &str,
    ) -> impl Future<Output = Result<Vec<ServerHealth>>> + Send;

    /// How the channels are by which people are told.
    fn alerts(&self, caller: &Caller) -> impl Future<Output = Result<Alerts>> + Send;

    /// Sends a test report over every channel now, and says what came of it.
    fn test_alerts(&self, caller: &Caller) -> impl Future<Output = Result<Vec<AlertTest>>> + Send;

    /// Counters and states in the Prometheus exposition format.
    fn metrics(&self, caller: &Caller) -> impl Future<Output = Result<String>> + Send;

    /// Dropped packets by reason.
    fn drops(&self, caller: &Caller) -> impl Future<Output = Result<Drops>> + Send;

    /// How fast and how full the packet path is.
    fn performance(&self, caller: &Caller) -> impl Future<Output = Result<Performance>> + Send;

    /// The commands the real servers of a service need; `os` is "linux", "windows" or "bsd".
    fn real_server_help(
        &self,
        caller: &Caller,
        service: &str,
        os: &str,
    ) -> impl Future<Output = Result<RealServerHelp>> + Send;

    /// All floating addresses: one for each virtual address, and those added by hand.
    fn floating_ips(&self, caller: &Caller) -> impl Future<Output = Result<Vec<FloatingIp>>> + Send;

    /// Adds a floating address by hand; one that is there by hand already is [`crate::Kind::Conflict`].
    fn add_floating_ip(
        &self,
        caller: &Caller,
        new: &NewFloatingIp,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;

    /// Removes a floating address that was added by hand; its prefix length may be left off.
    fn remove_floating_ip(
        &self,
        caller: &Caller,
        address: &str,
        intent: &Intent,
    ) -> impl Future<Output = Result<Committed>> + Send;
}
