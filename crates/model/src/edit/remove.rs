//! Cuts an element of a list of tables out of the text.

use std::ops::Range;

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use super::Edited;
use super::find;
use crate::problem::Problem;

/// Removes `key[index]`, or the server of that number in it.
pub(super) fn element(text: &str, key: &str, index: usize, server: Option<usize>) -> Edited {
    let document = Document::parse(text).map_err(|error| Problem::error("", error.message()))?;
    let mut headers = Vec::new();
    for (name, item) in document.as_table() {
        let target = (name == key).then_some((index, server));
        collect(item, target, false, &mut headers);
    }
    headers.sort_by_key(|header| header.start);
    if headers.iter().any(|header| header.ours) {
        let last = headers.last().is_some_and(|header| header.ours);
        return Ok(cut(text, &regions(text, &headers), last));
    }
    inline(document.into_mut(), key, index, server)
}

/// A table with a header of its own, and how far it reaches.
struct Header {
    start: usize,
    end: usize,
    ours: bool,
}

/// The element looked for: its number, and that of a server in it.
type Target = Option<(usize, Option<usize>)>;

fn collect(item: &Item, target: Target, ours: bool, headers: &mut Vec<Header>) {
    match item {
        Item::ArrayOfTables(tables) => {
            for (number, table) in tables.iter().enumerate() {
                let hit = target.filter(|(index, _)| *index == number);
                let whole = hit.is_some_and(|(_, server)| server.is_none());
                let inner = hit.and_then(|(_, server)| server);
                tables_of(table, inner, ours || whole, headers);
            }
        }
        Item::Table(table) => tables_of(table, None, ours, headers),
        Item::Value(_) | Item::None => {}
    }
}

fn tables_of(table: &Table, server: Option<usize>, ours: bool, headers: &mut Vec<Header>) {
    if let Some(span) = table.span().filter(|_| !table.is_implicit() && !table.is_dotted()) {
        headers.push(Header { start: span.start, end: values_end(table).max(span.end), ours });
    }
    for (key, item) in table {
        let target = server.filter(|_| key == "server").map(|number| (number, None));
        collect(item, target, ours, headers);
    }
}

fn values_end(table: &Table) -> usize {
    let end = |(_, item): (&str, &Item)| match item {
        Item::Table(inner) if inner.is_dotted() => values_end(inner),
        Item::Value(value) => value.span().map_or(0, |span| span.end),
        _ => 0,
    };
    table.iter().map(end).max().unwrap_or(0)
}

/// The parts of the text that are ours: runs of tables with no other between them.
fn regions(text: &str, headers: &[Header]) -> Vec<Range<usize>> {
    let runs = headers.chunk_by(|a, b| a.ours == b.ours).filter(|run| run[0].ours);
    runs.map(|run| {
        let end = run.iter().map(|header| header.end).max().unwrap_or(run[0].end);
        with_comment(text, run[0].start)..line_end(text, end)
    })
    .collect()
}

/// The start of the lines of comment right above this place.
fn with_comment(text: &str, start: usize) -> usize {
    let mut start = line_start(text, start);
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text[above..start].trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    start
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Leaves the regions out. `last` says that no table follows them, so that no blank line is needed either.
fn cut(text: &str, regions: &[Range<usize>], last: bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for region in regions {
        kept.push_str(&text[from..region.start]);
        from = if kept.is_empty() || ends_in_blank_line(&kept) {
            past_blank_lines(text, region.end)
        } else {
            region.end
        };
    }
    if last && !text[from..].starts_with('\n') {
        kept.truncate(kept.trim_end_matches(['\n', '\r']).len());
        if !kept.is_empty() {
            kept.push('\n');
        }
    }
    kept.push_str(&text[from.min(text.len())..]);
    kept
}

fn ends_in_blank_line(text: &str) -> bool {
    text.ends_with("\n\n") || text.ends_with("\n\r\n")
}

fn past_blank_lines(text: &str, mut at: usize) -> usize {
    while at < text.len() && text[at..line_end(text, at)].trim().is_empty() {
        at = line_end(text, at);
    }
    at
}

/// The same for a list within brackets.
fn inline(mut document: DocumentMut, key: &str, index: usize, server: Option<usize>) -> Edited {
    let (list, number) = match server {
        None => (document.get_mut(key), index),
        Some(server) => (find::element_mut(&mut document, key, index)?.get_mut("server"), server),
    };
    match list {
        Some(Item::Value(Value::Array(array))) if number < array.len() => {
            array.remove(number);
            Ok(document.to_string())
        }
        _ => Err(Problem::error(key, format!("`{key}` could not be taken out of the text"))),
    }
}
