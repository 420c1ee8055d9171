//! What differs between two configurations, in words.

use std::fmt;
use std::iter::zip;

use serde::{Deserialize, Serialize};
use toml_edit::{Item, TableLike, Value};

use crate::cluster::Cluster;
use crate::node::Node;
use crate::render::tree;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What it concerns, like `service web: server rs1`; empty for the file as a whole.
    pub place: String,
    /// What happened to it.
    #[serde(flatten)]
    pub kind: ChangeKind,
}

/// What happened to a thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added {
        /// Its most telling values.
        detail: String,
    },
    /// It is gone.
    Removed {
        /// Its most telling values.
        detail: String,
    },
    /// One of its values is another.
    Changed {
        /// The key, as in the file.
        key: String,
        /// The value before; none when it wasn't set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
        /// The value now; none when it isn't set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new: Option<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        match &self.kind {
            ChangeKind::Added { detail } => write!(f, "added{}", in_brackets(detail)),
            ChangeKind::Removed { detail } => write!(f, "removed{}", in_brackets(detail)),
            ChangeKind::Changed { key, old: Some(old), new: Some(new) } => write!(f, "{key} {old} -> {new}"),
            ChangeKind::Changed { key, old: None, new: Some(new) } => write!(f, "{key} set to {new}"),
            ChangeKind::Changed { key, old: Some(old), new: None } => {
                write!(f, "{key} no longer set (was {old})")
            }
            ChangeKind::Changed { key, old: None, new: None } => write!(f, "{key} unchanged"),
        }
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// The differences between two clusters, in the order of the new file.
pub fn diff(old: &Cluster, new: &Cluster) -> Vec<Change> {
    let named =
        |cluster: &Cluster| cluster.services.iter().map(|service| service.name.clone()).collect::<Vec<_>>();
    if named(old) != named(new) {
        return trees(old, new);
    }
    // A change is mostly about one service of many; the others needn't be taken apart.
    let (mut before, mut after) = (old.clone(), new.clone());
    before.services =
        zip(&old.services, &new.services).filter(|(a, b)| a != b).map(|(a, _)| a.clone()).collect();
    after.services =
        zip(&old.services, &new.services).filter(|(a, b)| a != b).map(|(_, b)| b.clone()).collect();
    trees(&before, &after)
}

/// The differences between two nodes, in the order of the new file.
pub fn diff_node(old: &Node, new: &Node) -> Vec<Change> {
    trees(old, new)
}

fn trees<T: Serialize>(old: &T, new: &T) -> Vec<Change> {
    let (old, new) = (tree(old), tree(new));
    let mut changes = Vec::new();
    compare("", "", old.as_table(), new.as_table(), &mut changes);
    changes
}

/// Compares two tables of one thing. `prefix` is the dotted key of a table within it.
fn compare(place: &str, prefix: &str, old: &dyn TableLike, new: &dyn TableLike, changes: &mut Vec<Change>) {
    let gone = old.iter().map(|(key, _)| key).filter(|key| !new.contains_key(key));
    for key in new.iter().map(|(key, _)| key).chain(gone) {
        let dotted = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        items(place, &dotted, old.get(key), new.get(key), changes);
    }
}

fn items(place: &str, key: &str, old: Option<&Item>, new: Option<&Item>, changes: &mut Vec<Change>) {
    let (old_things, new_things) = (old.and_then(Things::of), new.and_then(Things::of));
    if old_things.is_some() || new_things.is_some() {
        return things(place, key, &old_things.unwrap_or_default(), &new_things.unwrap_or_default(), changes);
    }
    let (old_table, new_table) = (old.and_then(Item::as_table_like), new.and_then(Item::as_table_like));
    if old_table.is_some() || new_table.is_some() {
        let none = toml_edit::Table::new();
        return compare(place, key, old_table.unwrap_or(&none), new_table.unwrap_or(&none), changes);
    }
    let (old, new) = (old.map(plain), new.map(plain));
    if old != new {
        changes.push(Change {
            place: place.to_owned(),
            kind: ChangeKind::Changed { key: key.to_owned(), old, new },
        });
    }
}

/// A value without quotes, lists with commas.
fn plain(item: &Item) -> String {
    match item.as_value() {
        Some(Value::String(text)) => text.value().clone(),
        Some(Value::Array(array)) if array.is_empty() => "none".to_owned(),
        Some(Value::Array(array)) => {
            let texts =
                array.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(", ")
        }
        _ => item.to_string().trim().to_owned(),
    }
}

/// Things in a list, each with the text that identifies it.
#[derive(Default)]
struct Things<'t>(Vec<(String, &'t dyn TableLike)>);

impl<'t> Things<'t> {
    fn of(item: &'t Item) -> Option<Self> {
        let tables: Vec<&dyn TableLike> = match item {
            Item::ArrayOfTables(tables) => tables.iter().map(|table| table as &dyn TableLike).collect(),
            Item::Value(Value::Array(array)) if !array.is_empty() => array
                .iter()
                .map(|value| value.as_inline_table().map(|table| table as &dyn TableLike))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        let mut things: Vec<(String, &dyn TableLike)> = Vec::with_capacity(tables.len());
        for (index, table) in tables.into_iter().enumerate() {
            let identity =
                identity(table).filter(|identity| things.iter().all(|(known, _)| known != identity));
            things.push((identity.unwrap_or_else(|| format!("number {}", index + 1)), table));
        }
        Some(Self(things))
    }

    fn find(&self, identity: &str) -> Option<&'t dyn TableLike> {
        self.0.iter().find(|(known, _)| known == identity).map(|(_, table)| *table)
    }

    /// The identities that the other list has too, in this list's order.
    fn shared(&self, other: &Self) -> Vec<&str> {
        self.0
            .iter()
            .map(|(identity, _)| identity.as_str())
            .filter(|identity| other.find(identity).is_some())
            .collect()
    }
}

fn identity(table: &dyn TableLike) -> Option<String> {
    let text = |key| table.get(key).and_then(Item::as_str);
    if let Some(to) = text("to").filter(|_| table.get("action").is_none()) {
        let way = text("via").or_else(|| text("dev")).unwrap_or_default();
        let number = table.get("table").map(|item| format!(" in table {}", plain(item))).unwrap_or_default();
        return Some(format!("{to} via {way}{number}"));
    }
    ["name", "address", "from"].into_iter().find_map(text).map(str::to_owned)
}

fn things(place: &str, key: &str, old: &Things<'_>, new: &Things<'_>, changes: &mut Vec<Change>) {
    let noun = key.replace('_', " ").replace("floating ip", "floating IP");
    let within = |identity: &str| match place {
        "" => format!("{noun} {identity}"),
        place => format!("{place}: {noun} {identity}"),
    };
    for (identity, table) in &old.0 {
        if new.find(identity).is_none() {
            changes.push(Change {
                place: within(identity),
                kind: ChangeKind::Removed { detail: detail(*table) },
            });
        }
    }
    for (identity, table) in &new.0 {
        match old.find(identity) {
            None => changes
                .push(Change { place: within(identity), kind: ChangeKind::Added { detail: detail(*table) } }),
            Some(before) => compare(&within(identity), "", before, *table, changes),
        }
    }
    let (before, after) = (old.shared(new), new.shared(old));
    if before != after {
        let kind = ChangeKind::Changed {
            key: format!("order of {noun}s"),
            old: Some(before.join(", ")),
            new: Some(after.join(", ")),
        };
        changes.push(Change { place: place.to_owned(), kind });
    }
}

/// The values that tell most about a thing that came or went.
fn detail(table: &dyn TableLike) -> String {
    let telling = [
        "layer",
        "address",
        "ports",
        "port",
        "protocol",
        "mode",
        "weight",
        "type",
        "role",
        "addresses",
        "via",
    ];
    let said = |key: &&str| {
        table.get(key).filter(|item| item.is_value()).map(|item| format!("{key} {}", plain(item)))
    };
    let count =
        table.get("server").and_then(Things::of).map(|servers| format!("{} servers", servers.0.len()));
    telling.iter().filter_map(said).chain(count).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
[[service]]
name = "web"
address = "10.0.0.1"
ports = "80"
[[service.server]]
name = "IIS1"
address = "10.0.0.11"
[[service.server]]
name = "IIS2"
address = "10.0.0.12"
"#;

    fn lines(after: &str) -> Vec<String> {
        let cluster = |text| crate::load_cluster(text).0.unwrap();
        diff(&cluster(BEFORE), &cluster(after)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_differs_from_itself() {
        assert!(lines(BEFORE).is_empty());
        assert!(lines(&BEFORE.replace("[[service]]", "# a comment\n[[service]]\nenabled = true")).is_empty());
    }

    #[test]
    fn a_changed_value_names_its_place() {
        let after = BEFORE.replace("\"10.0.0.11\"", "\"10.0.0.11\"\nweight = 50");
        assert_eq!(lines(&after), ["service web: server IIS1: weight 100 -> 50"]);
    }

    #[test]
    fn inner_tables_are_told_with_their_key() {
        let after = BEFORE.replace(
            "ports = \"80\"",
            "ports = \"80\"\npersistence = \"source\"\nhealth = { interval = \"9s\" }",
        );
        let expected = [
            "service web: persistence.by set to source",
            "service web: persistence.timeout set to 300s",
            "service web: persistence.prefix4 set to 32",
            "service web: persistence.prefix6 set to 128",
            "service web: health.interval 4s -> 9s",
        ];
        assert_eq!(lines(&after), expected);
    }

    #[test]
    fn things_come_and_go_and_move() {
        let renamed = BEFORE.replace("\"IIS2\"", "\"IIS3\"");
        let expected = [
            "service web: server IIS2: removed (address 10.0.0.12, weight 100)",
            "service web: server IIS3: added (address 10.0.0.12, weight 100)",
        ];
        assert_eq!(lines(&renamed), expected);
        let swapped = BEFORE.replace("IIS1", "x").replace("IIS2", "IIS1").replace("\"x\"", "\"IIS2\"");
        assert_eq!(lines(&swapped).last().unwrap(), "service web: order of servers IIS1, IIS2 -> IIS2, IIS1");
    }

    #[test]
    fn lists_are_told_with_commas() {
        let after = format!("{BEFORE}\n[heartbeat]\nping_nodes = [\"10.0.0.7\", \"10.0.0.8\"]");
        assert_eq!(lines(&after), ["heartbeat.ping_nodes none -> 10.0.0.7, 10.0.0.8"]);
    }

    #[test]
    fn routes_are_told_apart_by_their_way() {
        let node = |text| crate::load_node(text).0.unwrap();
        let old = node("[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"");
        let new = node("hostname = \"lb2\"\n[[route]]\nto = \"default\"\nvia = \"10.0.0.2\"");
        let lines: Vec<String> = diff_node(&old, &new).iter().map(ToString::to_string).collect();
        let expected = [
            "hostname evenkeel -> lb2",
            "route default via 10.0.0.1: removed (via 10.0.0.1)",
            "route default via 10.0.0.2: added (via 10.0.0.2)",
        ];
        assert_eq!(lines, expected);
    }
}
