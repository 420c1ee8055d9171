//! The rules that look at several values together. Nothing is built here, only judged.

mod address;
mod claims;
mod cluster;
mod node;
mod server;
mod service;
mod together;

use crate::load::{ClusterDraft, NodeDraft};

pub use together::check_together;

/// Judges a whole `cluster.toml`.
pub(crate) fn cluster(draft: &ClusterDraft<'_>) {
    for service in draft.services() {
        service::verify(service);
        server::verify_all(service);
    }
    claims::verify(draft.services());
    address::verify(draft);
    cluster::verify(draft);
}

/// Judges a whole `node.toml`.
pub(crate) fn node(draft: &NodeDraft<'_>) {
    node::verify(draft);
}
