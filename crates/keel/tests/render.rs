//! What the answers look like, from fixed values: on an 80-column terminal, on a wide one in colour,
//! and into a file.

mod support;

use keel_api::fake::sample;
use keel_api::{Diff, ExplainQuery, Explanation, Protocol};
use keel_cli::{
    Overview, Style, alerts, config, connections, drops, explain, floating, health, perf, persistence,
    service, status,
};
use support::golden;

const NARROW: Style = Style { color: false, unicode: true, width: Some(80) };
const COLOUR: Style = Style { color: true, unicode: true, width: Some(120) };
const STYLES: [(&str, Style); 3] = [("80", NARROW), ("colour", COLOUR), ("plain", Style::PLAIN)];

/// Renders in each style, one golden file each.
fn in_every_style(name: &str, render: impl Fn(&Style) -> String) {
    for (suffix, style) in STYLES {
        golden(&format!("{name}.{suffix}.txt"), &render(&style));
    }
}

fn overview() -> Overview {
    Overview { status: sample::status(), services: sample::services() }
}

fn longest_line(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn the_overview_is_as_committed() {
    in_every_style("status", |style| status::render(&overview(), style));
    let waiting = Overview { status: sample::status_waiting(), services: Vec::new() };
    golden("status-waiting.80.txt", &status::render(&waiting, &NARROW));
}

#[test]
fn the_overview_fits_eighty_columns_without_wrapping() {
    assert!(longest_line(&status::render(&overview(), &NARROW)) <= 80);
}

#[test]
fn without_colour_there_is_no_escape_sequence_and_in_ascii_nothing_else() {
    let text = status::render(&overview(), &Style::PLAIN);
    assert!(text.is_ascii() && !text.contains('\x1b'));
}

#[test]
fn services_are_as_committed() {
    in_every_style("service-list", |style| service::list(&sample::services(), style));
    in_every_style("service-show", |style| service::show(&sample::services()[0], style));
    assert!(longest_line(&service::list(&sample::services(), &NARROW)) <= 80);
    assert!(longest_line(&service::show(&sample::services()[0], &NARROW)) <= 80);
}

#[test]
fn health_is_as_committed() {
    in_every_style("health", |style| health::show(&sample::health(), style));
    in_every_style("health-history", |style| health::history(&sample::health(), style));
    in_every_style("health-test", |style| health::tests(&sample::health_test(), style));
    assert!(longest_line(&health::show(&sample::health(), &NARROW)) <= 80);
}

#[test]
fn alerts_are_as_committed() {
    in_every_style("alerts", |style| alerts::show(&sample::alerts(), style));
    in_every_style("alerts-test", |style| alerts::tests(&sample::alerts_test(), style));
    assert!(longest_line(&alerts::show(&sample::alerts(), &NARROW)) <= 80);
}

#[test]
fn floating_addresses_are_as_committed() {
    let mut all = sample::floating_ips();
    (all[1].held, all[1].interface) = (false, None);
    in_every_style("floating-list", |style| floating::list(&all, style));
}

#[test]
fn persistent_clients_are_as_committed() {
    in_every_style("persistence", |style| persistence::render(&sample::persistence(), style));
}

#[test]
fn connections_are_as_committed() {
    let page = sample::connections();
    in_every_style("connections", |style| connections::render(&page, &connections::Names::default(), style));
    let text = connections::render(&page, &connections::Names::default(), &NARROW);
    assert!(longest_line(&text) <= 80);
}

#[test]
fn explanations_are_as_committed() {
    let query = ExplainQuery {
        client: "192.168.3.10".parse().unwrap(),
        client_port: None,
        vip: "192.168.1.100".parse().unwrap(),
        vip_port: 80,
        protocol: Protocol::Tcp,
    };
    in_every_style("explain", |style| explain::render(&query, &sample::explanation(), style));
    golden("explain-not-a-service.80.txt", &explain::render(&query, &sample::not_a_service(), &NARROW));
}

#[test]
fn the_port_is_spoken_of_only_where_it_matters_and_is_missing() {
    let query = |client_port| ExplainQuery {
        client: "2001:db8::1".parse().unwrap(),
        client_port,
        vip: "2001:db8::2".parse().unwrap(),
        vip_port: 443,
        protocol: Protocol::Tcp,
    };
    let hashes = Explanation { depends_on_port: true, ..sample::explanation() };
    let speaks = |port, explanation: &Explanation| {
        explain::render(&query(port), explanation, &NARROW).contains("CLIENT:PORT")
    };
    assert!(speaks(None, &hashes));
    assert!(!speaks(Some(5000), &hashes));
    assert!(!speaks(None, &sample::explanation()));
    let text = explain::render(&query(Some(5000)), &hashes, &Style::PLAIN);
    assert!(text.starts_with("[2001:db8::1]:5000 -> [2001:db8::2]:443 tcp\n"), "{text}");
}

#[test]
fn drops_are_as_committed() {
    in_every_style("drops", |style| drops::render(&sample::drops(), false, style));
    golden("drops-all.80.txt", &drops::render(&sample::drops(), true, &NARROW));
}

#[test]
fn performance_is_as_committed() {
    in_every_style("perf", |style| perf::render(&sample::performance(), style));
}

#[test]
fn differences_are_as_committed() {
    let diff = Diff {
        from: "revision 11".to_owned(),
        to: "the candidate".to_owned(),
        changes: vec!["service HTTP-Cluster, server IIS1: weight 100 becomes 50".to_owned()],
        unified: "--- revision 11\n+++ the candidate\n@@ -1 +1 @@\n-weight = 100\n+weight = 50\n".to_owned(),
    };
    in_every_style("config-diff", |style| config::diff(&diff, style));
    let same = Diff { changes: Vec::new(), unified: String::new(), ..diff };
    assert_eq!(config::diff(&same, &NARROW), "Nothing differs between revision 11 and the candidate.\n");
}
