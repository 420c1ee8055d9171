//! Finds services, servers and floating addresses in a document, however they are written.

use std::net::IpAddr;

use ipnet::IpNet;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::problem::Problem;
use crate::reader::did_you_mean;

/// A table that isn't in the document yet.
pub(super) enum Element {
    /// With a header of its own.
    Standing(Table),
    /// Within braces.
    Inline(InlineTable),
}

impl Element {
    pub(super) fn style(&self) -> Style {
        match self {
            Self::Standing(_) => Style::Standing(None),
            Self::Inline(_) => Style::Inline,
        }
    }

    pub(super) fn as_mut(&mut self) -> &mut dyn TableLike {
        match self {
            Self::Standing(table) => table,
            Self::Inline(table) => table,
        }
    }
}

/// How a table is written, and so how tables in it should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// With a header, at this place among all headers.
    Standing(Option<isize>),
    /// Within braces.
    Inline,
}

/// How a service is written.
pub(super) fn style(document: &DocumentMut, service: usize) -> Style {
    match document.get("service") {
        Some(Item::ArrayOfTables(tables)) => Style::Standing(tables.get(service).and_then(Table::position)),
        _ => Style::Inline,
    }
}

/// How a server of a service is written.
pub(super) fn server_style(document: &DocumentMut, service: usize) -> Style {
    match list(document, "server", Some(service)) {
        Some(Item::Value(_)) => Style::Inline,
        _ => style(document, service),
    }
}

/// The place of the last header in a list at the top, or in a service; of the whole document when there is none.
pub(super) fn last_position(document: &DocumentMut, key: &str, service: Option<usize>) -> Option<isize> {
    let list =
        document.get(if service.is_some() { "service" } else { key }).and_then(Item::as_array_of_tables);
    let last = match service {
        None => list.and_then(|tables| tables.iter().filter_map(last_in).max()),
        Some(index) => list.and_then(|tables| tables.get(index)).and_then(last_in),
    };
    last.or_else(|| last_in(document.as_table()))
}

fn last_in(table: &Table) -> Option<isize> {
    let inner = table.iter().filter_map(|(_, item)| match item {
        Item::Table(table) => last_in(table),
        Item::ArrayOfTables(tables) => tables.iter().filter_map(last_in).max(),
        _ => None,
    });
    inner.chain(table.position()).max()
}

/// The elements of a list of tables.
pub(super) fn elements(item: Option<&Item>) -> Vec<&dyn TableLike> {
    match item {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| table as &dyn TableLike).collect(),
        Some(Item::Value(Value::Array(array))) => {
            array.iter().filter_map(Value::as_inline_table).map(|table| table as &dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

/// One element of a list of tables, to be changed.
pub(super) fn nth_mut(item: Option<&mut Item>, index: usize) -> Option<&mut dyn TableLike> {
    match item? {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(array)) => {
            array.get_mut(index)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
        }
        _ => None,
    }
}

fn list<'d>(document: &'d DocumentMut, key: &str, service: Option<usize>) -> Option<&'d Item> {
    match service {
        None => document.get(key),
        Some(index) => elements(document.get("service")).get(index).and_then(|service| service.get(key)),
    }
}

fn names<'d>(document: &'d DocumentMut, key: &str, service: Option<usize>) -> Vec<&'d str> {
    let name = |table: &&'d dyn TableLike| table.get("name").and_then(Item::as_str).unwrap_or_default();
    elements(list(document, key, service)).iter().map(name).collect()
}

/// Where the service or server of this name is in its list.
pub(super) fn index(
    document: &DocumentMut,
    key: &str,
    service: Option<usize>,
    name: &str,
) -> Result<usize, Problem> {
    let names = names(document, key, service);
    names.iter().position(|known| *known == name).ok_or_else(|| {
        let advice =
            if names.is_empty() { "there is none at all".to_owned() } else { did_you_mean(name, &names) };
        let path = service.map_or_else(|| key.to_owned(), |index| format!("service[{index}].{key}"));
        Problem::error(path, format!("there is no {key} `{name}`: {advice}"))
    })
}

/// Refuses when there is one of this name already.
pub(super) fn absent(
    document: &DocumentMut,
    key: &str,
    service: Option<usize>,
    name: &str,
) -> Result<(), Problem> {
    match index(document, key, service, name) {
        Err(_) => Ok(()),
        Ok(found) => {
            let path = service.map_or(String::new(), |index| format!("service[{index}]."));
            let text = format!("there is a {key} `{name}` already: choose another name, or change that one");
            Err(Problem::error(format!("{path}{key}[{found}].name"), text))
        }
    }
}

/// Where a server is: the number of its service and its own.
pub(super) fn server(document: &DocumentMut, service: &str, server: &str) -> Result<(usize, usize), Problem> {
    let service = index(document, "service", None, service)?;
    Ok((service, index(document, "server", Some(service), server)?))
}

/// Where a floating address is in its list.
pub(super) fn floating_ip(document: &DocumentMut, written: &str) -> Result<usize, Problem> {
    let address =
        |text: &str| text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse::<IpAddr>()).ok();
    let wanted = address(written);
    let all: Vec<&str> = elements(document.get("floating_ip"))
        .iter()
        .map(|table| table.get("address").and_then(Item::as_str).unwrap_or_default())
        .collect();
    let same = |text: &&str| *text == written || (wanted.is_some() && address(text) == wanted);
    all.iter().position(same).ok_or_else(|| {
        let advice =
            if all.is_empty() { "there is none at all".to_owned() } else { did_you_mean(written, &all) };
        Problem::error("floating_ip", format!("there is no floating IP {written}: {advice}"))
    })
}

fn missing(key: &str) -> Problem {
    Problem::error(key, format!("`{key}` is not a list of tables: begin each with [[{key}]]"))
}

/// An element of a list at the top of the document.
pub(super) fn element_mut<'d>(
    document: &'d mut DocumentMut,
    key: &str,
    index: usize,
) -> Result<&'d mut dyn TableLike, Problem> {
    nth_mut(document.get_mut(key), index).ok_or_else(|| missing(key))
}

/// A server of a service.
pub(super) fn server_mut(
    document: &mut DocumentMut,
    service: usize,
    server: usize,
) -> Result<&mut dyn TableLike, Problem> {
    let service = element_mut(document, "service", service)?;
    nth_mut(service.get_mut("server"), server).ok_or_else(|| missing("server"))
}

/// An empty table in the style of the list it will be in.
pub(super) fn new_table(document: &DocumentMut, key: &str) -> Element {
    in_style_of(document.get(key), false)
}

/// An empty server in the style of the list it will be in.
pub(super) fn new_server_table(document: &DocumentMut, service: usize) -> Element {
    let inline_service = matches!(document.get("service"), Some(Item::Value(_)));
    in_style_of(list(document, "server", Some(service)), inline_service)
}

fn in_style_of(list: Option<&Item>, inline: bool) -> Element {
    match list {
        Some(Item::Value(Value::Array(array))) if !array.is_empty() || inline => {
            Element::Inline(InlineTable::new())
        }
        None if inline => Element::Inline(InlineTable::new()),
        _ => Element::Standing(Table::new()),
    }
}
