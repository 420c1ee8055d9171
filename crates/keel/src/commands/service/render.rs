//! Services as text: a line each, or everything about one.

use keel_api::{Neighbour, ServerState, ServerStatus, ServiceStatus};

use crate::commands::status::{listen, place, weight};
use crate::numbers::{bits, bytes, count, rate};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// One line for each service.
pub fn list(services: &[ServiceStatus], style: &Style) -> String {
    if services.is_empty() {
        return "There are no services yet. Add one with: keel service add\n".to_owned();
    }
    let mut table = Table::new(vec![
        Column::name("SERVICE", 12),
        Column::text("STATE"),
        Column::name("ADDRESS", 20),
        Column::text("PROTO"),
        Column::text("MODE"),
        Column::number("UP"),
    ]);
    for service in services {
        let light = Paint::Light(service.light);
        table.row(vec![
            Cell::painted(format!("{} {}", style.icon(service.light), service.name), light),
            Cell::painted(service.light.word(), light),
            listen(service).into(),
            service.protocol.clone().into(),
            service.mode.clone().into(),
            format!("{}/{}", usable(&service.servers), service.servers.len()).into(),
        ]);
    }
    table.render(style)
}

fn usable(servers: &[ServerStatus]) -> usize {
    servers.iter().filter(|s| matches!(s.state, ServerState::Up | ServerState::Unchecked)).count()
}

/// Everything about one service.
pub fn show(service: &ServiceStatus, style: &Style) -> String {
    let light = Paint::Light(service.light);
    let word = style.paint(light, &format!("{} {}", style.icon(service.light), service.light.word()));
    let mut text = format!("{}  {word}: {}\n", style.paint(Paint::Bold, &service.name), service.reason);
    let fallback = match (&service.fallback, service.fallback_in_use) {
        (None, _) => "none".to_owned(),
        (Some(fallback), false) => fallback.clone(),
        (Some(fallback), true) => format!("{fallback}, answering now"),
    };
    let facts = [
        ("listens on", listen(service)),
        ("protocol", service.protocol.clone()),
        ("mode", format!("{} (layer {})", service.mode, service.layer)),
        ("scheduler", service.scheduler.clone()),
        ("persistence", service.persistence.clone().unwrap_or_else(|| "off".to_owned())),
        ("fallback", fallback),
        ("connections", connections(&service.connections)),
        ("now", rates(&service.rates)),
        ("so far", totals(&service.counters)),
    ];
    text.push_str(&sheet(&facts, 2));
    for server in &service.servers {
        text.push('\n');
        text.push_str(&one_server(server, style));
    }
    text
}

fn one_server(server: &ServerStatus, style: &Style) -> String {
    let light = server.state.light();
    let state = style.paint(Paint::Light(light), &format!("{} {}", style.icon(light), server.state));
    let mut text = format!("  {}  {state}", style.paint(Paint::Bold, &server.name));
    if !server.reason.is_empty() {
        text.push_str(&format!(": {}", server.reason));
    }
    text.push('\n');
    if let Some(hint) = &server.hint {
        text.push_str(&style.wrap(hint, 4));
    }
    let address = match server.ip {
        Some(ip) if ip.to_string() != server.address => format!("{} (now {ip})", place(server)),
        Some(_) => place(server),
        None => format!("{} (not resolved yet)", place(server)),
    };
    let facts = [
        ("address", address),
        ("reached by", server.neighbour.as_ref().map_or_else(|| "unknown".to_owned(), neighbour)),
        ("wanted", server.admin.to_string()),
        ("weight", format!("{}, priority {}", weight(server), server.priority)),
        ("limits", limits(server)),
        ("connections", connections(&server.connections)),
        ("now", rates(&server.rates)),
        ("so far", totals(&server.counters)),
    ];
    text.push_str(&sheet(&facts, 4));
    text
}

fn neighbour(neighbour: &Neighbour) -> String {
    let interface = neighbour.interface.as_deref().unwrap_or("no interface");
    let hop = neighbour.next_hop.map_or_else(String::new, |hop| format!(" via {hop}"));
    let mac = neighbour.mac.as_deref().unwrap_or("no answer");
    format!("{interface}{hop}, {mac}")
}

fn limits(server: &ServerStatus) -> String {
    match (server.max_connections, server.min_connections) {
        (0, _) => "none".to_owned(),
        (max, 0) => format!("full at {max} connections"),
        (max, min) => format!("full at {max} connections, back below {min}"),
    }
}

fn connections(counts: &keel_api::ConnectionCounts) -> String {
    format!(
        "{} active, {} inactive, {} half-open, {} in persistence",
        count(counts.active),
        count(counts.inactive),
        count(counts.pending),
        count(counts.persistent)
    )
}

fn rates(rates: &keel_api::Rates) -> String {
    let (connections, packets, bits_in) =
        (rate(rates.connections), rate(rates.packets_in), bits(rates.bytes_in));
    let out = match rates.packets_out > 0.0 {
        true => format!(", out {} packets/s {} bit/s", rate(rates.packets_out), bits(rates.bytes_out)),
        false => String::new(),
    };
    format!("{connections} new/s, in {packets} packets/s {bits_in} bit/s{out}")
}

fn totals(counters: &keel_api::Counters) -> String {
    let out = match counters.packets_out > 0 {
        true => format!(", out {} packets {} bytes", count(counters.packets_out), bytes(counters.bytes_out)),
        false => String::new(),
    };
    let (connections, packets) = (count(counters.connections), count(counters.packets_in));
    format!("{connections} connections, in {packets} packets {} bytes{out}", bytes(counters.bytes_in))
}

/// Facts in two columns.
fn sheet(facts: &[(&str, String)], indent: usize) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, fact)| format!("{:indent$}{name:width$}  {fact}\n", "")).collect()
}
