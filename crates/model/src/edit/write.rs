//! Puts values and tables into a document without touching what is around them.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::find::{self, Element, Style};
use super::value;
use crate::load::{server_keys, service_keys};
use crate::problem::Problem;
use crate::reader::{Kind, did_you_mean};

/// Tables that are written on one line when they are new.
const ON_ONE_LINE: &[&str] = &["persistence", "cookie"];

/// Gives a key a value; the comment behind it stays.
pub(super) fn put(table: &mut dyn TableLike, key: &str, mut value: Value, style: Style) {
    if let Some(Item::Value(old)) = table.get_mut(key) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
        return;
    }
    table.insert(key, Item::Value(value));
    if matches!(style, Style::Inline) {
        table.fmt();
    }
}

/// Sets a key of a service, dotted where it is in a table of the service.
pub(super) fn set_service_key(
    table: &mut dyn TableLike,
    key: &str,
    written: &str,
    path: &str,
    style: Style,
) -> Result<(), Problem> {
    let kind = kind_of(key, &service_keys(), path)?;
    let path = format!("{path}.{key}");
    let value = value::of_kind(kind, written, &path)?;
    set_dotted(table, key, value, &path, style)
}

/// Sets a key of a server.
pub(super) fn set_server_key(
    table: &mut dyn TableLike,
    key: &str,
    written: &str,
    path: &str,
    style: Style,
) -> Result<(), Problem> {
    let kind = kind_of(key, &server_keys(), path)?;
    put(table, key, value::of_kind(kind, written, &format!("{path}.{key}"))?, style);
    Ok(())
}

fn kind_of(key: &str, legal: &[(String, Kind)], path: &str) -> Result<Kind, Problem> {
    legal.iter().find(|(known, _)| known == key).map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = legal.iter().map(|(known, _)| known.as_str()).collect();
        Problem::error(format!("{path}.{key}"), format!("unknown key `{key}`: {}", did_you_mean(key, &names)))
    })
}

fn set_dotted(
    table: &mut dyn TableLike,
    key: &str,
    value: Value,
    path: &str,
    style: Style,
) -> Result<(), Problem> {
    let Some((first, rest)) = key.split_once('.') else {
        put(table, key, value, style);
        return Ok(());
    };
    make_room(table, first, style);
    let inner = table.get_mut(first);
    let style = if inner.as_ref().is_some_and(|item| item.is_value()) { Style::Inline } else { style };
    match inner.and_then(Item::as_table_like_mut) {
        Some(inner) => set_dotted(inner, rest, value, path, style),
        None => Err(Problem::error(path, format!("`{first}` isn't a table, so `{rest}` can't be set in it"))),
    }
}

/// Makes sure that a table is where one is needed; a word in its place becomes the table's `by`.
fn make_room(table: &mut dyn TableLike, key: &str, style: Style) {
    match table.get(key) {
        None => {
            table.insert(key, fresh(key, style));
        }
        Some(item) if key == "persistence" => {
            if let Some(word) = item.as_str() {
                let mut inline = InlineTable::new();
                inline.insert("by", Value::from(word));
                put(table, key, Value::InlineTable(inline), style);
            }
        }
        Some(_) => {}
    }
}

fn fresh(key: &str, style: Style) -> Item {
    match style {
        Style::Standing(position) if !ON_ONE_LINE.contains(&key) => {
            let mut table = Table::new();
            table.set_position(position);
            table.decor_mut().set_prefix("\n");
            Item::Table(table)
        }
        _ => Item::Value(Value::InlineTable(InlineTable::new())),
    }
}

/// Takes a key out; an inner table that is empty then goes too.
pub(super) fn unset(table: &mut dyn TableLike, key: &str, path: &str) -> Result<(), Problem> {
    let absent = || {
        let written: Vec<&str> = table.iter().map(|(known, _)| known).collect();
        Problem::error(format!("{path}.{key}"), format!("`{key}` isn't set: {}", did_you_mean(key, &written)))
    };
    match key.split_once('.') {
        None if table.contains_key(key) => {
            table.remove(key);
            Ok(())
        }
        None => Err(absent()),
        Some((first, rest)) => {
            if table.get(first).and_then(Item::as_table_like).is_none() {
                return Err(absent());
            }
            let inner = table.get_mut(first).and_then(Item::as_table_like_mut);
            let empty = inner.map_or(Ok(false), |inner| {
                unset(inner, rest, &format!("{path}.{first}")).map(|()| inner.is_empty())
            })?;
            if empty {
                table.remove(first);
            }
            Ok(())
        }
    }
}

/// Adds a table at the end of a list, at the top of the document or in a service.
pub(super) fn push(
    document: &mut DocumentMut,
    keys: &[&str],
    service: Option<usize>,
    element: Element,
) -> Result<(), Problem> {
    let Some(key) = keys.last() else { return Ok(()) };
    let blank = !document.as_table().is_empty();
    let position = find::last_position(document, key, service);
    let list = match service {
        None => document.as_table_mut() as &mut dyn TableLike,
        Some(index) => find::element_mut(document, "service", index)?,
    };
    let list = list.entry(key).or_insert(match &element {
        Element::Standing(_) => Item::ArrayOfTables(ArrayOfTables::new()),
        Element::Inline(_) => Item::Value(Value::Array(Array::new())),
    });
    match (list, element) {
        (Item::ArrayOfTables(tables), Element::Standing(mut table)) => {
            table.decor_mut().set_prefix(if blank { "\n" } else { "" });
            table.set_position(position);
            tables.push(table);
            Ok(())
        }
        (Item::Value(Value::Array(array)), Element::Inline(mut inline)) => {
            inline.fmt();
            array.push(Value::InlineTable(inline));
            Ok(())
        }
        (list @ Item::Value(Value::Array(_)), Element::Standing(mut table)) => {
            table.set_position(position);
            *list = Item::ArrayOfTables([table].into_iter().collect());
            Ok(())
        }
        _ => Err(Problem::error(*key, format!("`{key}` is not a list of tables: begin each with [[{key}]]"))),
    }
}
