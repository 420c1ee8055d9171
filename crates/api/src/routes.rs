//! The route table: every path of the API with the role it needs and what it is for.
//!
//! The router is built from it and nothing else, so a route without a role cannot exist.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;

use crate::caller::Role;
use crate::control::Control;
use crate::handlers::{alerts, config, health, services, system, traffic};

/// One row of the table.
#[derive(Debug)]
pub struct Route<C> {
    /// The method.
    pub method: Method,
    /// The path, with names in braces.
    pub path: &'static str,
    /// The least role that may call it.
    pub role: Role,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The code behind it.
    pub(crate) handler: MethodRouter<Arc<C>>,
}

fn get<C: Control, H: Handler<T, Arc<C>>, T: 'static>(
    path: &'static str,
    role: Role,
    handler: H,
    summary: &'static str,
) -> Route<C> {
    Route { method: Method::GET, path, role, summary, handler: on(MethodFilter::GET, handler) }
}

fn post<C: Control, H: Handler<T, Arc<C>>, T: 'static>(
    path: &'static str,
    role: Role,
    handler: H,
    summary: &'static str,
) -> Route<C> {
    Route { method: Method::POST, path, role, summary, handler: on(MethodFilter::POST, handler) }
}

fn put<C: Control, H: Handler<T, Arc<C>>, T: 'static>(
    path: &'static str,
    role: Role,
    handler: H,
    summary: &'static str,
) -> Route<C> {
    Route { method: Method::PUT, path, role, summary, handler: on(MethodFilter::PUT, handler) }
}

fn patch<C: Control, H: Handler<T, Arc<C>>, T: 'static>(
    path: &'static str,
    role: Role,
    handler: H,
    summary: &'static str,
) -> Route<C> {
    Route { method: Method::PATCH, path, role, summary, handler: on(MethodFilter::PATCH, handler) }
}

fn delete<C: Control, H: Handler<T, Arc<C>>, T: 'static>(
    path: &'static str,
    role: Role,
    handler: H,
    summary: &'static str,
) -> Route<C> {
    Route { method: Method::DELETE, path, role, summary, handler: on(MethodFilter::DELETE, handler) }
}

/// The whole table, for a given implementation.
#[rustfmt::skip]
pub fn routes<C: Control>() -> Vec<Route<C>> {
    use Role::{Editor, Operator, Viewer};
    vec![
        get("/api/v1/system", Viewer, system::status::<C>, "the node at a glance"),
        get("/api/v1/stats/performance", Viewer, system::performance::<C>, "how fast and how full the packet path is"),
        get("/api/v1/floating-ips", Viewer, system::floating_ips::<C>, "addresses that move between the nodes"),
        post("/api/v1/floating-ips", Editor, system::add_floating_ip::<C>, "add such an address by hand"),
        delete("/api/v1/floating-ips/{address}", Editor, system::remove_floating_ip::<C>, "remove one that was added by hand"),

        get("/api/v1/services", Viewer, services::list::<C>, "all services with their servers"),
        post("/api/v1/services", Editor, services::add::<C>, "add a service"),
        get("/api/v1/services/{service}", Viewer, services::show::<C>, "one service"),
        patch("/api/v1/services/{service}", Editor, services::set::<C>, "change settings of a service"),
        delete("/api/v1/services/{service}", Editor, services::remove::<C>, "remove a service"),
        get("/api/v1/services/{service}/realserver", Viewer, services::real_server_help::<C>, "what its real servers need"),
        post("/api/v1/services/{service}/servers", Editor, services::add_server::<C>, "add a server"),
        patch("/api/v1/services/{service}/servers/{server}", Editor, services::set_server::<C>, "change settings of a server"),
        delete("/api/v1/services/{service}/servers/{server}", Editor, services::remove_server::<C>, "remove a server"),
        post("/api/v1/services/{service}/servers/{server}/action", Operator, services::act_on_server::<C>, "online, drain, halt, weight"),

        get("/api/v1/health", Viewer, health::show::<C>, "what the checks of servers have found"),
        post("/api/v1/health/test", Operator, health::test::<C>, "carry checks out now, step by step"),
        post("/api/v1/services/{service}/failback", Operator, health::fail_back::<C>, "let the lowest priority group that is up take over again"),
        get("/api/v1/alerts", Viewer, alerts::show::<C>, "how people are told, and whether that works"),
        post("/api/v1/alerts/test", Operator, alerts::test::<C>, "send a test report over every channel"),
        get("/metrics", Viewer, health::metrics::<C>, "counters and states for Prometheus"),

        get("/api/v1/config", Viewer, config::show::<C>, "the running configuration"),
        post("/api/v1/config/validate", Viewer, config::validate::<C>, "check a configuration, change nothing"),
        get("/api/v1/config/candidate", Viewer, config::candidate::<C>, "the configuration being worked on"),
        put("/api/v1/config/candidate", Editor, config::put_candidate::<C>, "keep a configuration as the candidate"),
        delete("/api/v1/config/candidate", Editor, config::discard_candidate::<C>, "throw the candidate away"),
        get("/api/v1/config/diff", Viewer, config::diff::<C>, "compare two configurations"),
        post("/api/v1/config/commit", Editor, config::commit::<C>, "put the candidate in force"),
        post("/api/v1/config/confirm", Editor, config::confirm::<C>, "keep a commit that waits to be confirmed"),
        post("/api/v1/config/apply", Editor, config::apply::<C>, "put a configuration in force in one step"),
        get("/api/v1/revisions", Viewer, config::history::<C>, "the history, newest first"),
        get("/api/v1/revisions/{revision}", Viewer, config::revision::<C>, "the configuration of a revision"),
        post("/api/v1/revisions/{revision}/rollback", Editor, config::rollback::<C>, "put an earlier revision in force again"),

        get("/api/v1/connections", Viewer, traffic::connections::<C>, "the connection table"),
        get("/api/v1/persistence", Viewer, traffic::persistence::<C>, "which client sticks to which server"),
        delete("/api/v1/persistence", Operator, traffic::forget_clients::<C>, "let such clients go"),
        get("/api/v1/explain", Viewer, traffic::explain::<C>, "where a client would go, and why"),
        get("/api/v1/drops", Viewer, traffic::drops::<C>, "dropped packets by reason"),
    ]
}
