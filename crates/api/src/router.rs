//! The axum router, built from the route table.
//!
//! Every request must carry a [`Caller`] in its extensions, put there by whoever accepted the
//! connection; a request without one is refused. The role is checked here, before the handler runs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::caller::Role;
use crate::control::Control;
use crate::error::{ApiError, Kind};
use crate::extract::caller_of;
use crate::routes::routes;

/// The longest body taken: a configuration of some ten thousand servers.
const BODY_LIMIT: usize = 16 << 20;

/// The router over an implementation.
pub fn router<C: Control>(control: Arc<C>) -> Router {
    let mut router = Router::new();
    for route in routes::<C>() {
        let role = route.role;
        let guard = from_fn(move |request, next| check_role(role, request, next));
        router = router.route(route.path, route.handler.layer(guard));
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(control)
}

async fn check_role(needed: Role, request: Request, next: Next) -> Response {
    let refusal = match caller_of(request.extensions()) {
        Ok(caller) if caller.role >= needed => None,
        Ok(caller) => Some(ApiError::forbidden(caller, needed)),
        Err(error) => Some(error),
    };
    match refusal {
        None => next.run(request).await,
        Some(error) => error.into_response(),
    }
}

async fn no_such_path(request: Request) -> ApiError {
    let detail = format!("there is nothing at {}", request.uri().path());
    ApiError::new(Kind::NotFound, "no such path", detail)
        .with_remedy("the program asking may be newer than the daemon: compare with `keel version`")
}

async fn wrong_method(request: Request) -> ApiError {
    let detail = format!("{} is not possible on {}", request.method(), request.uri().path());
    ApiError::new(Kind::MethodNotAllowed, "wrong method", detail)
}
