//! Text → what was written → what may run.
//!
//! Each file here reads one kind of table into a draft whose fields are none where something was wrong. The rules
//! that look at several values together are in `verify`; a value is built only when no rule was broken.

mod address;
mod checks;
mod cluster;
mod health;
mod keys;
mod layer4;
mod layer7;
mod node;
mod persistence;
mod rule;
mod server;
mod service;
mod settings;

use toml_edit::Document;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::problem::Problem;
use crate::reader::{Report, Table};

pub use address::address_fault;
pub(crate) use cluster::ClusterDraft;
pub(crate) use keys::{server_keys, service_keys};
pub(crate) use node::NodeDraft;
pub(crate) use rule::pattern_fault;
pub(crate) use server::ServerDraft;
pub(crate) use service::{KindDraft, ServiceDraft};

/// Reads `cluster.toml`. The cluster is none exactly when one of the problems is an error.
pub fn load_cluster(text: &str) -> (Option<Cluster>, Vec<Problem>) {
    load(text, |root| {
        let draft = ClusterDraft::read(root);
        crate::verify::cluster(&draft);
        draft.build()
    })
}

/// Reads `node.toml`. The node is none exactly when one of the problems is an error.
pub fn load_node(text: &str) -> (Option<Node>, Vec<Problem>) {
    load(text, |root| {
        let draft = NodeDraft::read(root);
        crate::verify::node(&draft);
        draft.build()
    })
}

fn load<T>(text: &str, build: impl FnOnce(&Table<'_>) -> Option<T>) -> (Option<T>, Vec<Problem>) {
    let report = Report::new(text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map(|span| report.line(span.start));
            let text =
                format!("this is not TOML: {}. Correct it, nothing else could be checked", error.message());
            return (None, vec![Problem::error("", text).at_line(line)]);
        }
    };
    let value = build(&Table::root(document.as_table(), &report));
    if value.is_none() && !report.has_errors() {
        report.push(Problem::error("", "the configuration could not be put together; please report this"));
    }
    (value.filter(|_| !report.has_errors()), report.into_problems())
}
