//! Connections as text: a line each, or two where the addresses are too long for the terminal.

use keel_api::{Connection, ConnectionPage, ConnectionState, Light};

use super::Names;
use crate::numbers::{count, plural, span};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// The table, then how much of it this is.
pub fn render(page: &ConnectionPage, names: &Names, style: &Style) -> String {
    let mut text = match page.connections.is_empty() {
        true => String::new(),
        false => rows(&page.connections, names, style),
    };
    let shown = page.connections.len();
    text.push_str(&format!("{} shown, {} in the table", plural(shown, "connection"), count(page.total)));
    text.push_str(if page.next.is_some() { "; --limit 0 shows all\n" } else { "\n" });
    if page.connections.iter().any(|connection| connection.state == ConnectionState::SynRecv) {
        text.push_str(&style.wrap(
            "SYN_RECV that stays: the server's answers do not reach the client. \
             See what the server needs with: keel realserver SERVICE",
            0,
        ));
    }
    text
}

fn rows(connections: &[Connection], names: &Names, style: &Style) -> String {
    let table = table(connections, names);
    let fits = style.width.is_none_or(|width| table.natural_width() <= width);
    if fits {
        return table.render(style);
    }
    connections.iter().map(|connection| two_lines(connection, names, style)).collect()
}

fn table(connections: &[Connection], names: &Names) -> Table {
    let mut table = Table::new(vec![
        Column::text("PROTO"),
        Column::text("CLIENT"),
        Column::text("VIP"),
        Column::text("SERVER"),
        Column::text("STATE"),
        Column::number("AGE"),
        Column::number("IDLE"),
        Column::text("FLAGS"),
    ]);
    for connection in connections {
        table.row(vec![
            connection.protocol.as_str().into(),
            names.client(connection).into(),
            connection.vip.to_string().into(),
            server(connection).into(),
            state(connection),
            connection.age_seconds.map_or_else(|| "?".to_owned(), span).into(),
            span(connection.idle_seconds).into(),
            flags(connection).into(),
        ]);
    }
    table
}

fn two_lines(connection: &Connection, names: &Names, style: &Style) -> String {
    let client = names.client(connection);
    let first = format!("{} {client} {} {}\n", connection.protocol, style.arrow(), connection.vip);
    let word = match connection.state == ConnectionState::SynRecv {
        true => style.paint(Paint::Light(Light::Yellow), connection.state.as_str()),
        false => connection.state.as_str().to_owned(),
    };
    let age = connection.age_seconds.map_or_else(String::new, |age| format!(", {} old", span(age)));
    let idle = span(connection.idle_seconds);
    let rest = format!("{word}  {}{age}, idle {idle}  {}", server(connection), flags(connection));
    first + &style.wrap(rest.trim_end(), 4)
}

fn state(connection: &Connection) -> Cell {
    match connection.state {
        ConnectionState::SynRecv => Cell::painted(connection.state.as_str(), Paint::Light(Light::Yellow)),
        state => state.as_str().into(),
    }
}

fn server(connection: &Connection) -> String {
    let name = connection.server.as_deref().unwrap_or("(removed)");
    format!("{}/{name}", connection.service)
}

fn flags(connection: &Connection) -> String {
    connection.flags.iter().map(|flag| flag.as_str()).collect::<Vec<_>>().join(",")
}
