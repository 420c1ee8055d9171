//! What can be wrong in one place.

use super::block::{Block, Place, join, render, walk};
use super::rng::Rng;
use super::values::{other_types, typo};
use super::{layer4_faults, layer7_faults, settings_faults, whole_faults};

/// One fault: what to change, and the path of the error it must give.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) what: String,
    change: Change,
    path: String,
}

#[derive(Debug, Clone)]
enum Change {
    /// In the block of this place, give keys other values or take them away.
    Keys(Place, Vec<(String, Option<String>)>),
    /// Put a block behind the others below this place.
    Add(Place, Block),
    /// Put lines at the end of the text.
    Append(String),
}

impl Fault {
    /// The whole text, and the path of its error.
    pub(super) fn apply(&self, blocks: &[Block]) -> (String, String) {
        let mut blocks = blocks.to_vec();
        let mut tail = String::new();
        match &self.change {
            Change::Keys(place, keys) => {
                let block = at(&mut blocks, place);
                keys.iter().for_each(|(key, value)| block.set(key, value.as_deref()));
            }
            Change::Add(place, new) if place.is_empty() => blocks.push(new.clone()),
            Change::Add(place, new) => at(&mut blocks, place).children.push(new.clone()),
            Change::Append(lines) => tail.clone_from(lines),
        }
        (render(&blocks) + &tail, self.path.clone())
    }

    /// A block put behind the others below a place.
    pub(super) fn add(what: &str, place: Place, block: Block, path: String) -> Self {
        Self { what: what.to_owned(), change: Change::Add(place, block), path }
    }

    /// Lines at the end.
    pub(super) fn append(what: &str, lines: &str, path: &str) -> Self {
        Self { what: what.to_owned(), change: Change::Append(lines.to_owned()), path: path.to_owned() }
    }
}

fn at<'b>(blocks: &'b mut [Block], place: &[usize]) -> &'b mut Block {
    let (first, rest) = place.split_first().expect("a place is never empty");
    let block = &mut blocks[*first];
    if rest.is_empty() { block } else { at(&mut block.children, rest) }
}

/// Collects the faults of one block.
pub(super) struct Faults<'b> {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) block: &'b Block,
    found: Vec<Fault>,
}

impl<'b> Faults<'b> {
    pub(super) fn new(place: Place, path: String, block: &'b Block) -> Self {
        Self { place, path, block, found: Vec::new() }
    }

    /// A key with this value is wrong, right there.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.set_at(key, value, key);
    }

    /// A key with this value is wrong, and the error is at this path within the block.
    pub(super) fn set_at(&mut self, key: &str, value: &str, at: &str) {
        self.change(&[(key, Some(value))], at);
    }

    /// Each of the values is wrong.
    pub(super) fn each(&mut self, key: &str, values: &[&str]) {
        values.iter().for_each(|value| self.set(key, value));
    }

    /// Each of the values is wrong as the one item of a list.
    pub(super) fn each_item(&mut self, key: &str, values: &[&str]) {
        for value in values {
            self.set_at(key, &format!("[{value}]"), &format!("{key}[0]"));
        }
    }

    /// The key must be there.
    pub(super) fn required(&mut self, key: &str) {
        self.change(&[(key, None)], key);
    }

    /// Several keys change at once, and one is to blame.
    pub(super) fn change(&mut self, keys: &[(&str, Option<&str>)], at: &str) {
        let said: Vec<String> =
            keys.iter().map(|(key, value)| format!("{key} = {}", value.unwrap_or("(none)"))).collect();
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
        self.found.push(Fault {
            what: format!("{}: {}", self.block.name, said.join(", ")),
            change: Change::Keys(self.place.clone(), keys.collect()),
            path: join(&self.path, at),
        });
    }

    /// A block below this one that is wrong.
    pub(super) fn below(&mut self, what: &str, block: Block, at: &str) {
        self.found.push(Fault::add(what, self.place.clone(), block, join(&self.path, at)));
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.found
    }
}

/// Every fault of a `cluster.toml`.
pub(super) fn of_cluster(blocks: &[Block], rng: &mut Rng) -> Vec<Fault> {
    let mut faults = of_blocks(blocks, rng);
    faults.extend(whole_faults::of_cluster(blocks));
    faults
}

/// Every fault of a `node.toml`.
pub(super) fn of_node(blocks: &[Block], rng: &mut Rng) -> Vec<Fault> {
    let mut faults = of_blocks(blocks, rng);
    faults.extend(whole_faults::of_node());
    faults
}

fn of_blocks(blocks: &[Block], rng: &mut Rng) -> Vec<Fault> {
    let mut places = Vec::new();
    walk(blocks, &mut places);
    let parent = |place: &[usize]| {
        places.iter().find(|(known, _, _)| Some(known.as_slice()) == place.split_last().map(|(_, rest)| rest))
    };
    let mut all = Vec::new();
    for (place, path, block) in &places {
        let mut faults = Faults::new(place.clone(), path.clone(), block);
        let parent = parent(place).map(|(_, _, block)| *block);
        anywhere(&mut faults, rng);
        match (block.name, parent) {
            ("service", _) => {
                layer4_faults::service(&mut faults);
                layer7_faults::service(&mut faults);
            }
            ("server", Some(service)) => layer4_faults::server(&mut faults, service),
            ("health" | "health_check", _) => settings_faults::health(&mut faults),
            ("rule" | "tls" | "server_tls", _) => layer7_faults::inner(&mut faults),
            ("timeouts", _) => settings_faults::timeouts(&mut faults),
            _ => settings_faults::of(&mut faults),
        }
        all.extend(faults.into_faults());
    }
    all
}

/// Misspelt keys and values of another type are wrong in every block.
fn anywhere(faults: &mut Faults<'_>, rng: &mut Rng) {
    let block = faults.block;
    for (key, value) in &block.keys {
        let slip = typo(key, rng.below(12));
        // By chance a slip hits another key, which is another fault.
        if block.get(&slip).is_none() && slip != "use" {
            faults.set(&slip, value);
        }
        let flexible = key == "persistence" || value.starts_with('{');
        for other in other_types(value).iter().filter(|_| !flexible) {
            faults.set(key, other);
        }
    }
    if !block.name.is_empty() {
        faults.set("nonsense", "1");
    }
}
