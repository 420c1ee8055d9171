//! The router over an appliance in memory: what each role may, what errors look like, and that two
//! editors at once do not overwrite each other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use keel_api::fake::Fake;
use keel_api::{ApiError, Caller, Committed, ConfigText, Kind, Role, Via, router, routes};
use serde::de::DeserializeOwned;
use tower::ServiceExt;

struct Appliance(Router);

impl Appliance {
    fn new() -> Self {
        Self(router(Arc::new(Fake::default())))
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.0.clone().oneshot(request).await.unwrap()
    }
}

fn request(role: Option<Role>, method: Method, path: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    if let Some(role) = role {
        request.extensions_mut().insert(Caller { user: "alice".to_owned(), role, via: Via::Socket });
    }
    request
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn json<T: DeserializeOwned>(response: Response<Body>) -> T {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// The path of a route with names that exist on the appliance in memory.
fn concrete(path: &str) -> String {
    path.replace("{service}", "HTTP-Cluster")
        .replace("{server}", "IIS1")
        .replace("{revision}", "1")
        .replace("{address}", "10.0.0.1")
}

#[tokio::test]
async fn every_route_refuses_every_role_below_its_own() {
    for route in routes::<Fake>() {
        let appliance = Appliance::new();
        for role in [Role::Viewer, Role::Operator, Role::Editor, Role::Admin] {
            let request = request(Some(role), route.method.clone(), &concrete(route.path), "{}");
            let status = appliance.send(request).await.status();
            assert_eq!(
                status == StatusCode::FORBIDDEN,
                role < route.role,
                "{role} on {} {}: {status}",
                route.method,
                route.path
            );
        }
    }
}

#[tokio::test]
async fn a_request_from_nobody_is_refused_everywhere() {
    let appliance = Appliance::new();
    for route in routes::<Fake>() {
        let response = appliance.send(request(None, route.method, &concrete(route.path), "{}")).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{}", route.path);
    }
}

#[tokio::test]
async fn a_viewer_is_told_which_role_it_takes() {
    let path = "/api/v1/services/HTTP-Cluster/servers/IIS1/action";
    let response =
        Appliance::new().send(request(Some(Role::Viewer), Method::POST, path, r#"{"action":"drain"}"#)).await;
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let error: ApiError = json(response).await;
    assert_eq!((error.kind, error.status), (Kind::Forbidden, 403));
    assert_eq!(error.detail, "alice is viewer here, and this needs the role operator");
    assert!(error.remedy.is_some());
}

#[tokio::test]
async fn an_operator_may_drain_and_the_answer_carries_the_new_revision() {
    let path = "/api/v1/services/HTTP-Cluster/servers/IIS1/action";
    let response = Appliance::new()
        .send(request(Some(Role::Operator), Method::POST, path, r#"{"action":"weight","weight":7}"#))
        .await;
    assert_eq!(header(&response, "etag"), "\"2\"");
    let committed: Committed = json(response).await;
    assert_eq!(committed.changes, ["service HTTP-Cluster, server IIS1: weight 7"]);
}

#[tokio::test]
async fn a_refused_configuration_names_every_problem_with_its_line() {
    let body = r##"{"text":"# x\nbad one\nbad two\n"}"##;
    let response =
        Appliance::new().send(request(Some(Role::Editor), Method::POST, "/api/v1/config/apply", body)).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let error: serde_json::Value = json(response).await;
    assert_eq!(error["type"], "refused");
    assert_eq!(error["detail"], "it has 2 errors");
    assert_eq!(error["problems"][1]["line"], 3);
    assert_eq!(error["problems"][0]["severity"], "error");
    assert_eq!(error["problems"][0]["path"], "service[0].weight");
}

#[tokio::test]
async fn the_second_of_two_editors_gets_412_and_the_difference() {
    let appliance = Appliance::new();
    let apply = |text: &str| {
        let body = serde_json::json!({ "text": text }).to_string();
        let mut request = request(Some(Role::Editor), Method::POST, "/api/v1/config/apply", &body);
        request.headers_mut().insert("if-match", "\"1\"".parse().unwrap());
        request
    };
    assert_eq!(appliance.send(apply("# mine\n")).await.status(), StatusCode::OK);

    let response = appliance.send(apply("# yours\n")).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(header(&response, "etag"), "\"2\"");
    let error: ApiError = json(response).await;
    assert_eq!((error.kind, error.revision), (Kind::RevisionMismatch, Some(2)));
    assert!(error.diff.unwrap().unified.contains("+# mine"));

    let response = appliance.send(request(Some(Role::Viewer), Method::GET, "/api/v1/config", "")).await;
    assert_eq!(json::<ConfigText>(response).await.text, "# mine\n");
}

#[tokio::test]
async fn a_commit_expects_the_revision_its_candidate_was_made_from() {
    let appliance = Appliance::new();
    let admin = |method, path, body| request(Some(Role::Admin), method, path, body);
    appliance.send(admin(Method::PUT, "/api/v1/config/candidate", r##"{"text":"# a\n"}"##)).await;
    appliance.send(admin(Method::POST, "/api/v1/config/apply", r##"{"text":"# b\n"}"##)).await;
    let response = appliance.send(admin(Method::POST, "/api/v1/config/commit", "")).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_document_too() {
    let appliance = Appliance::new();
    let cases = [
        (Method::GET, "/api/v1/nothing", "", 404),
        (Method::DELETE, "/api/v1/drops", "", 405),
        (Method::GET, "/api/v1/services/Nobody", "", 404),
        (Method::GET, "/api/v1/config/candidate", "", 404),
        (Method::GET, "/api/v1/revisions/first", "", 400),
        (Method::GET, "/api/v1/connections?colour=blue", "", 400),
        (Method::GET, "/api/v1/explain?client=10.0.0.1", "", 400),
        (Method::POST, "/api/v1/config/apply", "not json", 400),
        (Method::POST, "/api/v1/config/commit?confirm_seconds=0", "", 400),
        (Method::POST, "/api/v1/config/confirm", "", 409),
    ];
    for (method, path, body, status) in cases {
        let response = appliance.send(request(Some(Role::Admin), method, path, body)).await;
        assert_eq!(header(&response, "content-type"), "application/problem+json", "{path}");
        let error: ApiError = json(response).await;
        assert_eq!(error.status, status, "{path}: {error}");
        assert!(!error.detail.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn an_if_match_that_is_no_revision_is_refused_rather_than_ignored() {
    let mut request = request(Some(Role::Admin), Method::POST, "/api/v1/config/apply", r#"{"text":""}"#);
    request.headers_mut().insert("if-match", "\"abc\"".parse().unwrap());
    assert_eq!(Appliance::new().send(request).await.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn no_path_is_listed_twice_and_all_but_the_metrics_are_versioned() {
    let mut seen = std::collections::HashSet::new();
    for route in routes::<Fake>() {
        // Where Prometheus looks unless told otherwise.
        assert!(route.path == "/metrics" || route.path.starts_with("/api/v1/"), "{}", route.path);
        assert!(seen.insert((route.method.clone(), route.path)), "{} {}", route.method, route.path);
    }
}
