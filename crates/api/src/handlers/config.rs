//! Configuration: text, candidate, commit, history.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{Changed, Daemon, Reply};
use crate::caller::Caller;
use crate::control::{Control, Intent};
use crate::error::{ApiError, Kind};
use crate::extract::{Body, Path, Query, expected_revision};
use crate::respond::{Answer, Tagged};
use crate::types::{Candidate, ConfigText, Diff, DiffQuery, Revision, Text, Validation};

/// Lines of history when the caller does not say how many.
const HISTORY: usize = 50;

pub(crate) async fn show<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
) -> Result<Tagged<ConfigText>, ApiError> {
    daemon.config(&caller, None).await.map(Tagged)
}

pub(crate) async fn revision<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(revision): Path<u64>,
) -> Result<Tagged<ConfigText>, ApiError> {
    daemon.config(&caller, Some(revision)).await.map(Tagged)
}

pub(crate) async fn validate<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Body(Text { text }): Body<Text>,
) -> Reply<Validation> {
    daemon.validate(&caller, &text).await.map(Answer)
}

pub(crate) async fn candidate<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Candidate> {
    daemon.candidate(&caller).await?.map(Answer).ok_or_else(|| {
        ApiError::new(Kind::NotFound, "no candidate", "nobody is working on a candidate configuration")
            .with_remedy("start one with: keel config edit")
    })
}

pub(crate) async fn put_candidate<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    headers: HeaderMap,
    Body(Text { text }): Body<Text>,
) -> Reply<Candidate> {
    let expected = expected_revision(&headers)?;
    daemon.put_candidate(&caller, &text, expected).await.map(Answer)
}

pub(crate) async fn discard_candidate<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
) -> Result<StatusCode, ApiError> {
    daemon.discard_candidate(&caller).await.map(|()| StatusCode::NO_CONTENT)
}

pub(crate) async fn diff<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(query): Query<DiffQuery>,
) -> Reply<Diff> {
    daemon.diff(&caller, query).await.map(Answer)
}

pub(crate) async fn commit<C: Control>(State(daemon): Daemon<C>, caller: Caller, intent: Intent) -> Changed {
    daemon.commit(&caller, &intent).await.map(Tagged)
}

pub(crate) async fn confirm<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Changed {
    daemon.confirm(&caller).await.map(Tagged)
}

pub(crate) async fn apply<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    intent: Intent,
    Body(Text { text }): Body<Text>,
) -> Changed {
    daemon.apply(&caller, &text, &intent).await.map(Tagged)
}

pub(crate) async fn rollback<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(revision): Path<u64>,
    intent: Intent,
) -> Changed {
    daemon.rollback(&caller, revision, &intent).await.map(Tagged)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    limit: Option<usize>,
}

pub(crate) async fn history<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Reply<Vec<Revision>> {
    daemon.history(&caller, query.limit.unwrap_or(HISTORY)).await.map(Answer)
}
