//! How people are told.

use axum::extract::State;

use super::{Daemon, Reply};
use crate::caller::Caller;
use crate::control::Control;
use crate::respond::Answer;
use crate::types::{AlertTest, Alerts};

pub(crate) async fn show<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Alerts> {
    daemon.alerts(&caller).await.map(Answer)
}

pub(crate) async fn test<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Vec<AlertTest>> {
    daemon.test_alerts(&caller).await.map(Answer)
}
