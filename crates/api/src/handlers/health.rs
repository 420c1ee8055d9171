//! The health of servers.

use axum::extract::State;

use super::{Daemon, Reply};
use crate::caller::Caller;
use crate::control::Control;
use crate::extract::{Path, Query};
use crate::respond::{Answer, Plain};
use crate::types::{CheckTest, HealthFilter, ServerHealth};

pub(crate) async fn show<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(filter): Query<HealthFilter>,
) -> Reply<Vec<ServerHealth>> {
    daemon.health(&caller, &filter).await.map(Answer)
}

pub(crate) async fn test<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(filter): Query<HealthFilter>,
) -> Reply<Vec<CheckTest>> {
    daemon.test_health(&caller, &filter).await.map(Answer)
}

pub(crate) async fn fail_back<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(service): Path<String>,
) -> Reply<Vec<ServerHealth>> {
    daemon.fail_back(&caller, &service).await.map(Answer)
}

pub(crate) async fn metrics<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
) -> Result<Plain, crate::ApiError> {
    daemon.metrics(&caller).await.map(Plain)
}
