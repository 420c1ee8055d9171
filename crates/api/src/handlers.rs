//! One small function per route: take the request apart, call [`crate::Control`], answer.

pub(crate) mod alerts;
pub(crate) mod config;
pub(crate) mod health;
pub(crate) mod services;
pub(crate) mod system;
pub(crate) mod traffic;

use std::sync::Arc;

use axum::extract::State;

use crate::error::ApiError;
use crate::respond::{Answer, Tagged};
use crate::types::Committed;

/// The implementation behind the router.
type Daemon<C> = State<Arc<C>>;

/// A plain JSON answer, or a problem.
type Reply<T> = Result<Answer<T>, ApiError>;

/// The answer to a change, or a problem.
type Changed = Result<Tagged<Committed>, ApiError>;
