//! The node: status, performance, floating addresses.

use axum::extract::State;

use super::{Changed, Daemon, Reply};
use crate::caller::Caller;
use crate::control::{Control, Intent};
use crate::extract::{Body, Path};
use crate::respond::{Answer, Tagged};
use crate::types::{FloatingIp, NewFloatingIp, Performance, Status};

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

pub(crate) async fn add_floating_ip<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    intent: Intent,
    Body(new): Body<NewFloatingIp>,
) -> Changed {
    daemon.add_floating_ip(&caller, &new, &intent).await.map(Tagged)
}

pub(crate) async fn remove_floating_ip<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(address): Path<String>,
    intent: Intent,
) -> Changed {
    daemon.remove_floating_ip(&caller, &address, &intent).await.map(Tagged)
}
