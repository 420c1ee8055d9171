//! Which keys there are and what they hold, learned by reading empty tables.

use super::health::{NamedChecks, read_health};
use super::server::ServerDraft;
use super::service::ServiceDraft;
use crate::reader::{Kind, Known, Report, Table};

/// Every key of a server.
pub(crate) fn server_keys() -> Vec<(String, Kind)> {
    let report = Report::new("");
    let server = ServerDraft::read(Table::empty(&report));
    dotted("", server.at.known())
}

/// Every key of a service that has one value, dotted where it is in a table of the service.
pub(crate) fn service_keys() -> Vec<(String, Kind)> {
    let report = Report::new("");
    let empty = || Table::empty(&report);
    let service = ServiceDraft::read(empty(), &NamedChecks::default());
    let persistence = empty();
    super::persistence::read_keys(&persistence);
    let health = empty();
    read_health(&health, None, &NamedChecks::default());
    let mut keys = dotted("", service.at.known());
    keys.extend(dotted("persistence.", persistence.known()));
    keys.extend(dotted("health.", health.known()));
    for (table, inner) in INNER {
        keys.extend(inner.iter().map(|(key, kind)| (format!("{table}.{key}"), *kind)));
    }
    keys
}

/// Small tables whose keys depend on the layer.
const INNER: &[(&str, &[(&str, Kind)])] = &[
    (
        "timeouts",
        &[
            ("tcp_established", Kind::Text),
            ("tcp_fin", Kind::Text),
            ("tcp_syn", Kind::Text),
            ("tcp_close", Kind::Text),
            ("udp", Kind::Text),
            ("connect", Kind::Text),
            ("request", Kind::Text),
            ("client", Kind::Text),
            ("server", Kind::Text),
            ("keep_alive", Kind::Text),
            ("tunnel", Kind::Text),
        ],
    ),
    ("persistence.cookie", &[("name", Kind::Text), ("max_idle", Kind::Text), ("max_life", Kind::Text)]),
    ("tls", &[("certificates", Kind::List), ("min_version", Kind::Text)]),
    ("server_tls", &[("verify", Kind::Flag), ("server_name", Kind::Text)]),
];

fn dotted(prefix: &str, known: Vec<Known>) -> Vec<(String, Kind)> {
    let simple = known.into_iter().filter(|known| !matches!(known.kind, Kind::Table | Kind::Tables));
    simple.map(|known| (format!("{prefix}{}", known.key), known.kind)).collect()
}
