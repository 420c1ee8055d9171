//! The node: status, performance, floating addresses.

use axum::extract::State;

use super::{Daemon, Reply};
use crate::caller::Caller;
use crate::control::Control;
use crate::respond::Answer;
use crate::types::{FloatingIp, Performance, Status};

pub(crate) async fn status<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Status> {
    daemon.status(&caller).await.map(Answer)
}

pub(crate) async fn performance<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Performance> {
    daemon.performance(&caller).await.map(Answer)
}

pub(crate) async fn floating_ips<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
) -> Reply<Vec<FloatingIp>> {
    daemon.floating_ips(&caller).await.map(Answer)
}
