//! What handlers take from a request. Every refusal is a problem document, never axum's plain text.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::IF_MATCH;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::control::Intent;
use crate::error::ApiError;

/// A JSON body. The content type is not insisted on.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|e| ApiError::bad_request(e.body_text()))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| ApiError::bad_request(format!("the body is not the JSON expected here: {e}")))
    }
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map(Self)
            .map_err(|e| ApiError::bad_request(format!("the query string is not understood: {e}")))
    }
}

/// The names in the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|e| ApiError::bad_request(format!("the path is not understood: {}", e.body_text())))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        caller_of(&parts.extensions).cloned()
    }
}

/// The caller some layer outside the router has put there.
pub(crate) fn caller_of(extensions: &http::Extensions) -> Result<&Caller, ApiError> {
    extensions.get::<Caller>().ok_or_else(|| {
        ApiError::new(crate::Kind::Forbidden, "not allowed", "nobody said who is asking")
            .with_remedy("sign in first")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntentQuery {
    #[serde(default)]
    why: String,
    confirm_seconds: Option<u64>,
}

/// `If-Match`, `?why=` and `?confirm_seconds=`.
impl<S: Send + Sync> FromRequestParts<S> for Intent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let expected = expected_revision(&parts.headers)?;
        let Query(query) = Query::<IntentQuery>::from_request_parts(parts, state).await?;
        let confirm = match query.confirm_seconds {
            Some(0) => return Err(ApiError::bad_request("confirm_seconds must be at least 1")),
            seconds => seconds.map(Duration::from_secs),
        };
        Ok(Self { expected, why: query.why, confirm })
    }
}

/// The revision in `If-Match`: `"12"`; `*` and no header at all take any.
pub(crate) fn expected_revision(headers: &http::HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    text.trim_matches('"').parse().map(Some).map_err(|_| {
        ApiError::bad_request(format!("If-Match must be a revision number in quotes, not {text}"))
    })
}
