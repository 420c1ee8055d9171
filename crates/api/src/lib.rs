//! The control API: its types, one route table, the router over the [`Control`] trait, and a client
//! for the unix socket.
//!
//! It decides nothing: what a request means is the business of whoever implements [`Control`]
//! (the daemon). It does not serve the web interface, hold sessions or know about passwords; those
//! come in through [`Caller`], already checked.

mod caller;
mod client;
mod control;
mod error;
mod extract;
#[cfg(feature = "fake")]
pub mod fake;
mod handlers;
mod respond;
mod router;
mod routes;
mod socket;
pub mod types;

pub use caller::{Caller, Role, Via};
pub use client::{Client, ClientError};
pub use control::{Control, Intent};
pub use error::{ApiError, Kind, PROBLEM_JSON, Result};
pub use router::router;
pub use routes::{Route, routes};
pub use socket::{SOCKET_GROUP, SOCKET_NAME, bind, serve, socket_path};
pub use types::*;
