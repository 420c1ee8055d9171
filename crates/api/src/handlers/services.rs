//! Services and their servers.

use axum::extract::State;
use serde::Deserialize;

use super::{Changed, Daemon, Reply};
use crate::caller::Caller;
use crate::control::{Control, Intent};
use crate::extract::{Body, Path, Query};
use crate::respond::{Answer, Tagged};
use crate::types::{Fields, NewServer, NewService, RealServerHelp, ServerAction, ServiceStatus};

pub(crate) async fn list<C: Control>(State(daemon): Daemon<C>, caller: Caller) -> Reply<Vec<ServiceStatus>> {
    daemon.services(&caller).await.map(Answer)
}

pub(crate) async fn show<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(name): Path<String>,
) -> Reply<ServiceStatus> {
    daemon.service(&caller, &name).await.map(Answer)
}

pub(crate) async fn add<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    intent: Intent,
    Body(new): Body<NewService>,
) -> Changed {
    daemon.add_service(&caller, &new, &intent).await.map(Tagged)
}

pub(crate) async fn set<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(name): Path<String>,
    intent: Intent,
    Body(fields): Body<Fields>,
) -> Changed {
    daemon.set_service(&caller, &name, &fields, &intent).await.map(Tagged)
}

pub(crate) async fn remove<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(name): Path<String>,
    intent: Intent,
) -> Changed {
    daemon.remove_service(&caller, &name, &intent).await.map(Tagged)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OsQuery {
    #[serde(default = "linux")]
    os: String,
}

fn linux() -> String {
    "linux".to_owned()
}

pub(crate) async fn real_server_help<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<OsQuery>,
) -> Reply<RealServerHelp> {
    daemon.real_server_help(&caller, &name, &query.os).await.map(Answer)
}

pub(crate) async fn add_server<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path(service): Path<String>,
    intent: Intent,
    Body(new): Body<NewServer>,
) -> Changed {
    daemon.add_server(&caller, &service, &new, &intent).await.map(Tagged)
}

pub(crate) async fn set_server<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path((service, server)): Path<(String, String)>,
    intent: Intent,
    Body(fields): Body<Fields>,
) -> Changed {
    daemon.set_server(&caller, &service, &server, &fields, &intent).await.map(Tagged)
}

pub(crate) async fn remove_server<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path((service, server)): Path<(String, String)>,
    intent: Intent,
) -> Changed {
    daemon.remove_server(&caller, &service, &server, &intent).await.map(Tagged)
}

pub(crate) async fn act_on_server<C: Control>(
    State(daemon): Daemon<C>,
    caller: Caller,
    Path((service, server)): Path<(String, String)>,
    intent: Intent,
    Body(action): Body<ServerAction>,
) -> Changed {
    daemon.act_on_server(&caller, &service, &server, action, &intent).await.map(Tagged)
}
