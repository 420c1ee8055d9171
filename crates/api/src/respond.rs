//! How answers are written: JSON, with the revision as `ETag` where there is one, or a problem document.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::{ApiError, PROBLEM_JSON};
use crate::types::{Committed, ConfigText};

/// A JSON answer.
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => ApiError::internal(&error).into_response(),
        }
    }
}

/// Metrics as text (the Prometheus exposition format).
pub(crate) struct Plain(pub(crate) String);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], self.0)
            .into_response()
    }
}

/// An answer that belongs to one revision.
pub(crate) trait Revisioned {
    fn revision(&self) -> u64;
}

impl Revisioned for ConfigText {
    fn revision(&self) -> u64 {
        self.revision
    }
}

impl Revisioned for Committed {
    fn revision(&self) -> u64 {
        self.revision
    }
}

/// A JSON answer with its revision as `ETag`.
pub(crate) struct Tagged<T>(pub(crate) T);

impl<T: Serialize + Revisioned> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = etag(self.0.revision());
        ([(ETAG, tag)], Answer(self.0)).into_response()
    }
}

/// The entity tag of a revision.
fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let tag = self.revision.map(etag);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(tag) = tag {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}
