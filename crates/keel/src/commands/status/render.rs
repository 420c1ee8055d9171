//! The overview as text: the node, a table of services with their servers beneath, what needs attention.

use keel_api::{Light, Mode, ServerStatus, ServiceStatus, Severity, Status, Warning};

use super::Overview;
use crate::numbers::{bits, count, rate, span};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Columns from which the servers' addresses have room.
const ROOM_FOR_ADDRESSES: usize = 110;

/// The overview.
pub fn render(overview: &Overview, style: &Style) -> String {
    let status = &overview.status;
    let mut text = node(status, style);
    text.push('\n');
    match overview.services.is_empty() {
        true => text.push_str("There are no services yet. Add one with: keel service add\n"),
        false => text.push_str(&services(&overview.services, style)),
    }
    if !status.warnings.is_empty() {
        text.push('\n');
        status.warnings.iter().for_each(|warning| text.push_str(&attention(warning, style)));
    }
    text
}

fn node(status: &Status, style: &Style) -> String {
    let mut text = format!(
        "{}  {}  revision {}  up {}  keeld {}\n",
        style.paint(Paint::Bold, &status.hostname),
        status.role,
        status.revision,
        span(status.uptime_seconds),
        status.versions.keeld,
    );
    let totals = &status.totals;
    text.push_str(&format!(
        "{} connections, {} new/s, {} packets/s, {} bit/s, {} drops/s\n",
        count(totals.connections.active),
        rate(totals.rates.connections),
        rate(totals.rates.packets_in),
        bits(totals.rates.bytes_in),
        rate(totals.drops),
    ));
    text.push_str(&interfaces(status, style));
    let idle: Vec<&str> = status.engines.iter().filter(|e| !e.running).map(|e| e.name.as_str()).collect();
    if !idle.is_empty() {
        text.push_str(&style.wrap(&format!("not running: {}", idle.join(", ")), 0));
    }
    text.push_str(&pending(status, style));
    text
}

fn interfaces(status: &Status, style: &Style) -> String {
    let mut text = String::new();
    for attachment in &status.interfaces {
        let light = match attachment.mode {
            _ if !attachment.link_up => Light::Red,
            Mode::Native => Light::Green,
            Mode::Generic => Light::Yellow,
            Mode::Off => Light::Blue,
            Mode::Failed => Light::Red,
        };
        let link = if attachment.link_up { "" } else { ", no link" };
        let word = style.paint(Paint::Light(light), &format!("XDP {}{link}", attachment.mode));
        text.push_str(&format!("{} {}: {word}\n", style.icon(light), attachment.interface));
        if let Some(warning) = &attachment.warning {
            text.push_str(&style.wrap(warning, 4));
        }
    }
    text
}

fn pending(status: &Status, style: &Style) -> String {
    let mut text = String::new();
    if let Some(pending) = &status.pending_confirm {
        let line = format!(
            "{} revision {} by {} waits: revision {} comes back in {} unless you run: keel config confirm",
            style.icon(Light::Yellow),
            pending.revision,
            pending.user,
            pending.falls_back_to,
            span(pending.seconds_left),
        );
        text.push_str(&style.wrap(&line, 0));
    }
    if let Some(user) = &status.candidate_by {
        text.push_str(&style.wrap(&format!("{user} works on a candidate: keel config diff"), 0));
    }
    text
}

fn services(services: &[ServiceStatus], style: &Style) -> String {
    let wide = style.width.is_none_or(|width| width >= ROOM_FOR_ADDRESSES);
    let mut columns = vec![Column::name("SERVICE / SERVER", 12)];
    if wide {
        columns.push(Column::text("ADDRESS"));
    }
    columns.push(Column::text("STATE"));
    columns.extend(["WEIGHT", "ACTIVE", "INACT", "PEND", "NEW/S", "BIT/S"].map(Column::number));
    let mut table = Table::new(columns);
    for (index, service) in services.iter().enumerate() {
        if index > 0 {
            table.gap();
        }
        add_service(&mut table, service, wide, style);
    }
    table.render(style)
}

fn add_service(table: &mut Table, service: &ServiceStatus, wide: bool, style: &Style) {
    let light = Paint::Light(service.light);
    let name = Cell::painted(format!("{} {}", style.icon(service.light), service.name), light);
    let state = Cell::painted(service.light.word(), light);
    let numbers = [
        String::new(),
        count(service.connections.active),
        count(service.connections.inactive),
        count(service.connections.pending),
        rate(service.rates.connections),
        bits(service.rates.bytes_in),
    ];
    table.row(cells(name, wide.then(String::new), state, numbers));
    table
        .note(2, format!("{}  {} {} {}", listen(service), service.protocol, service.mode, service.scheduler));
    if let Some(persistence) = &service.persistence {
        table.note(2, format!("persistence {persistence}"));
    }
    table.note(2, service.reason.clone());
    if let Some(fallback) = service.fallback.as_deref().filter(|_| service.fallback_in_use) {
        table.note(2, format!("the fallback {fallback} answers"));
    }
    for server in &service.servers {
        add_server(table, server, wide, style);
    }
}

fn add_server(table: &mut Table, server: &ServerStatus, wide: bool, style: &Style) {
    let light = server.state.light();
    let paint = Paint::Light(light);
    let name = Cell::painted(format!("  {} {}", style.icon(light), server.name), paint);
    let state = Cell::painted(server.state.as_str(), paint);
    let numbers = [
        weight(server),
        count(server.connections.active),
        count(server.connections.inactive),
        count(server.connections.pending),
        rate(server.rates.connections),
        bits(server.rates.bytes_in),
    ];
    table.row(cells(name, wide.then(|| place(server)), state, numbers));
    if !server.reason.is_empty() {
        table.note(6, server.reason.clone());
    }
    if let Some(hint) = &server.hint {
        table.note(6, hint.clone());
    }
}

fn cells(name: Cell, address: Option<String>, state: Cell, numbers: [String; 6]) -> Vec<Cell> {
    let mut cells = vec![name];
    cells.extend(address.map(Cell::from));
    cells.push(state);
    cells.extend(numbers.map(Cell::from));
    cells
}

/// The weight; what is in force in brackets where it differs.
pub(crate) fn weight(server: &ServerStatus) -> String {
    match server.weight == server.effective_weight {
        true => server.weight.to_string(),
        false => format!("{}({})", server.weight, server.effective_weight),
    }
}

/// A server's address as written, with its port where it has one of its own.
pub(crate) fn place(server: &ServerStatus) -> String {
    let target = crate::address::Target { host: server.address.clone(), port: server.port };
    target.to_string()
}

/// What a service listens on: `192.0.2.1:80,443`, `[2001:db8::1]:80`.
pub(crate) fn listen(service: &ServiceStatus) -> String {
    match service.address.is_ipv6() {
        true => format!("[{}]:{}", service.address, service.ports),
        false => format!("{}:{}", service.address, service.ports),
    }
}

fn attention(warning: &Warning, style: &Style) -> String {
    let light = match warning.severity {
        Severity::Error => Light::Red,
        Severity::Warning => Light::Yellow,
    };
    let mut text = style.wrap(&format!("{} {}: {}", style.icon(light), warning.subject, warning.text), 0);
    if let Some(remedy) = &warning.remedy {
        text.push_str(&style.wrap(&format!("what to do: {remedy}"), 2));
    }
    text
}
