//! A configuration as blocks of lines, easy to make and easy to break.

use std::fmt::Write as _;

/// A table: its header, its keys with the value as written, and the tables below it.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The last part of the header; empty for what stands before all headers.
    pub(super) name: &'static str,
    /// Whether it is one of a list (`[[…]]`).
    pub(super) list: bool,
    pub(super) keys: Vec<(String, String)>,
    pub(super) children: Vec<Self>,
}

impl Block {
    pub(super) fn one(name: &'static str) -> Self {
        Self { name, list: false, keys: Vec::new(), children: Vec::new() }
    }

    pub(super) fn of_list(name: &'static str) -> Self {
        Self { list: true, ..Self::one(name) }
    }

    /// With this key; the value is written as it is.
    pub(super) fn raw(mut self, key: &str, value: impl ToString) -> Self {
        self.set(key, Some(&value.to_string()));
        self
    }

    /// With this key; the value is written in quotes.
    pub(super) fn text(self, key: &str, value: impl ToString) -> Self {
        self.raw(key, format!("\"{}\"", value.to_string()))
    }

    pub(super) fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The value as written.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The value without its quotes.
    pub(super) fn word(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default().trim_matches('"')
    }

    /// Gives a key a value, or takes it away.
    pub(super) fn set(&mut self, key: &str, value: Option<&str>) {
        self.keys.retain(|(known, _)| known != key || value.is_some());
        let Some(value) = value else { return };
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.keys.push((key.to_owned(), value.to_owned())),
        }
    }

    /// The child of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Where a block is: its number among its siblings, from the top down.
pub(super) type Place = Vec<usize>;

/// Every block with its place and its path.
pub(super) fn walk<'b>(blocks: &'b [Block], found: &mut Vec<(Place, String, &'b Block)>) {
    walk_in(blocks, &[], "", found);
}

fn walk_in<'b>(
    blocks: &'b [Block],
    place: &[usize],
    path: &str,
    found: &mut Vec<(Place, String, &'b Block)>,
) {
    for (number, block) in blocks.iter().enumerate() {
        let place: Place = place.iter().copied().chain([number]).collect();
        let path = path_of(blocks, number, path);
        found.push((place.clone(), path.clone(), block));
        walk_in(&block.children, &place, &path, found);
    }
}

fn path_of(siblings: &[Block], number: usize, parent: &str) -> String {
    let block = &siblings[number];
    let before = siblings[..number].iter().filter(|sibling| sibling.name == block.name).count();
    let own = if block.list { format!("{}[{before}]", block.name) } else { block.name.to_owned() };
    join(parent, &own)
}

/// Two parts of a path.
pub(super) fn join(parent: &str, own: &str) -> String {
    match (parent, own) {
        ("", own) => own.to_owned(),
        (parent, "") => parent.to_owned(),
        (parent, own) => format!("{parent}.{own}"),
    }
}

/// The text of the blocks.
pub(super) fn render(blocks: &[Block]) -> String {
    let mut text = String::new();
    render_in(blocks, "", &mut text);
    text
}

fn render_in(blocks: &[Block], parent: &str, text: &mut String) {
    for block in blocks {
        let header = join(parent, block.name);
        // Writing to a String can't fail.
        let _ = match (block.name.is_empty(), block.list) {
            (true, _) => Ok(()),
            (false, true) => writeln!(text, "[[{header}]]"),
            (false, false) => writeln!(text, "[{header}]"),
        };
        for (key, value) in &block.keys {
            let _ = writeln!(text, "{key} = {value}");
        }
        text.push('\n');
        render_in(&block.children, &header, text);
    }
}
