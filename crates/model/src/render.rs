//! The canonical text of a configuration: every value written out, nothing left to defaults.

use serde::Serialize;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use crate::cluster::Cluster;
use crate::node::Node;
use crate::service::Service;

/// Small tables that read best on one line.
const ON_ONE_LINE: &[&str] = &["persistence", "when", "vlan"];

/// `cluster.toml` with every value written out. Reading it gives the same cluster.
pub fn render_cluster(cluster: &Cluster) -> String {
    laid_out(cluster).to_string()
}

/// `node.toml` with every value written out. Reading it gives the same node.
pub fn render_node(node: &Node) -> String {
    laid_out(node).to_string()
}

/// A service as the table that would be in the file.
pub(crate) fn service_table(service: &Service) -> Table {
    laid_out(service).as_table().clone()
}

fn laid_out<T: Serialize>(value: &T) -> DocumentMut {
    let mut document = tree(value);
    lay_out(document.as_table_mut());
    document
}

/// The value as a tree of tables, with the keys of the file.
pub(crate) fn tree<T: Serialize>(value: &T) -> DocumentMut {
    // Only a map with keys that aren't text can fail, and there is none.
    toml_edit::ser::to_document(value).unwrap_or_default()
}

fn lay_out(table: &mut Table) {
    let empty_lists: Vec<String> =
        table.iter().filter(|(_, item)| is_empty_list(item)).map(|(key, _)| key.to_owned()).collect();
    for key in empty_lists {
        table.remove(&key);
    }
    for (key, item) in table.iter_mut() {
        let flat = ON_ONE_LINE.contains(&key.get());
        *item = match std::mem::take(item) {
            Item::Value(Value::InlineTable(inline)) if !flat => Item::Table(standing(inline)),
            Item::Table(inner) if flat => Item::Value(Value::InlineTable(inner.into_inline_table())),
            Item::Table(mut inner) => {
                lay_out(&mut inner);
                Item::Table(inner)
            }
            Item::Value(Value::Array(array)) if is_list_of_tables(&array) => {
                Item::ArrayOfTables(standing_list(array))
            }
            other => other,
        };
    }
}

fn standing(inline: InlineTable) -> Table {
    let mut table = inline.into_table();
    lay_out(&mut table);
    table
}

fn is_empty_list(item: &Item) -> bool {
    item.as_array().is_some_and(toml_edit::Array::is_empty)
}

fn is_list_of_tables(array: &toml_edit::Array) -> bool {
    !array.is_empty() && array.iter().all(Value::is_inline_table)
}

fn standing_list(array: toml_edit::Array) -> ArrayOfTables {
    let tables = array.into_iter().filter_map(|value| match value {
        Value::InlineTable(inline) => Some(standing(inline)),
        _ => None,
    });
    tables.collect()
}
