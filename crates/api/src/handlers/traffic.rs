//! What the packet path is doing: connections, persistence, explanations, drops.

use axum::extract::State;

use super::{Daemon, Reply};
use crate::caller::Caller;
use crate::control::Control;
use crate::extract::Query;
use crate::respond::Answer;
use crate::types::{
    ConnectionFilter, ConnectionPage, Drops, ExplainQuery, Explanation, Forgotten, PersistenceFilter,
    PersistencePage,
};

pub(crate) async fn connections<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(filter): Query<ConnectionFilter>,
) -> Reply<ConnectionPage> {
    daemon.connections(&caller, &filter).await.map(Answer)
}

pub(crate) async fn persistence<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(filter): Query<PersistenceFilter>,
) -> Reply<PersistencePage> {
    daemon.persistence(&caller, &filter).await.map(Answer)
}

pub(crate) async fn forget_clients<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(filter): Query<PersistenceFilter>,
) -> Reply<Forgotten> {
    daemon.forget_clients(&caller, &filter).await.map(Answer)
}

pub(crate) async fn explain<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(query): Query<ExplainQuery>,
) -> Reply<Explanation> {
    daemon.explain(&caller, query).await.map(Answer)
}

pub(crate) async fn drops<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Drops> {
    daemon.drops(&caller).await.map(Answer)
}
