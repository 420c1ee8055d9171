//! One table of the document, read key by key.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::report::Report;
use super::suggest::{did_you_mean, or_list};
use super::value::Read;
use crate::duration::{format_duration, parse_duration};
use crate::problem::Problem;
use crate::word::Word;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Flag,
    List,
    Table,
    Tables,
    /// A word, or a table for those who want more.
    WordOrTable,
}

/// A legal key and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
}

/// A table with its place. An absent table reads like an empty one.
#[derive(Clone)]
pub(crate) struct Table<'d> {
    entries: Option<&'d dyn TableLike>,
    path: String,
    line: Option<usize>,
    report: &'d Report,
    known: RefCell<Vec<Known>>,
}

impl<'d> Table<'d> {
    /// The document itself.
    pub(crate) fn root(entries: &'d dyn TableLike, report: &'d Report) -> Self {
        Self { entries: Some(entries), path: String::new(), line: Some(1), report, known: RefCell::default() }
    }

    /// A table with nothing in it.
    pub(crate) fn empty(report: &'d Report) -> Self {
        Self { entries: None, path: String::new(), line: None, report, known: RefCell::default() }
    }

    /// Whether the table was written at all.
    pub(crate) fn is_written(&self) -> bool {
        self.entries.is_some()
    }

    /// The path of a key in this table; of the table itself for the empty key.
    pub(crate) fn path(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    /// The line of a key in this table; of the table where the key is absent.
    pub(crate) fn line(&self, key: &str) -> Option<usize> {
        let first = key.split(['[', '.']).next().unwrap_or(key);
        let span = self
            .entries
            .and_then(|entries| entries.get_key_value(first))
            .and_then(|(key, item)| key.span().or_else(|| item.span()));
        span.map(|span| self.report.line(span.start)).or(self.line)
    }

    /// Refuses what a key holds; the empty key is the table itself.
    pub(crate) fn error(&self, key: &str, text: impl Into<String>) {
        self.report.push(Problem::error(self.path(key), text).at_line(self.line(key)));
    }

    /// Warns of what a key holds.
    pub(crate) fn warn(&self, key: &str, text: impl Into<String>) {
        self.report.push(Problem::warning(self.path(key), text).at_line(self.line(key)));
    }

    fn wrong<T>(&self, key: &str, text: impl Into<String>) -> Read<T> {
        self.error(key, text);
        Read::Wrong
    }

    /// Says that a key is legal here, without reading it.
    pub(crate) fn know(&self, key: &'static str, kind: Kind) {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|entry| entry.key == key) {
            known.push(Known { key, kind });
        }
    }

    /// The legal keys, as far as they have been asked for.
    pub(crate) fn known(&self) -> Vec<Known> {
        self.known.borrow().clone()
    }

    /// Whether the key was written; makes it legal by no means.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    fn item(&self, key: &'static str, kind: Kind) -> Option<&'d Item> {
        self.know(key, kind);
        self.entries?.get(key).filter(|item| !item.is_none())
    }

    /// Text.
    pub(crate) fn text(&self, key: &'static str) -> Read<&'d str> {
        let Some(item) = self.item(key, Kind::Text) else { return Read::Absent };
        match item.as_str() {
            Some(text) => Read::Is(text),
            None => self.wrong(key, wrong_type(key, "text", item, &in_quotes(key, item))),
        }
    }

    /// Text that isn't empty.
    pub(crate) fn filled(&self, key: &'static str) -> Read<String> {
        self.text(key).and_then(|text| match text.trim() {
            "" => {
                self.wrong(key, "nothing was written between the quotes: write a text, or leave the key out")
            }
            _ => Read::Is(text.to_owned()),
        })
    }

    /// Text that is read as something else.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, key: &'static str) -> Read<T> {
        self.text(key).and_then(|text| match text.parse::<T>() {
            Ok(value) => Read::Is(value),
            Err(error) => self.wrong(key, error.to_string()),
        })
    }

    /// Text that must be there and is read as something else.
    pub(crate) fn required<T: FromStr<Err: Display>>(&self, key: &'static str, example: &str) -> Option<T> {
        self.present(key, example, self.parse(key))
    }

    /// A reading that must have given something.
    pub(crate) fn present<T>(&self, key: &'static str, example: &str, read: Read<T>) -> Option<T> {
        if matches!(read, Read::Absent) {
            self.error(key, format!("`{key}` is missing: write for example {key} = {example}"));
        }
        read.ok()
    }

    /// One word of a closed set.
    pub(crate) fn word<T: Word>(&self, key: &'static str) -> Read<T> {
        self.text(key).and_then(|text| self.word_of(key, text))
    }

    /// A text that must be one word of a closed set.
    pub(crate) fn word_of<T: Word>(&self, key: &str, text: &str) -> Read<T> {
        match T::find(text) {
            Some(value) => Read::Is(value),
            None => self.wrong(key, unknown_word(T::NOUN, text, &T::spellings())),
        }
    }

    /// True or false.
    pub(crate) fn flag(&self, key: &'static str) -> Read<bool> {
        let Some(item) = self.item(key, Kind::Flag) else { return Read::Absent };
        match item.as_bool() {
            Some(flag) => Read::Is(flag),
            None => self.wrong(key, wrong_type(key, "true or false", item, "true")),
        }
    }

    /// A whole number within limits.
    pub(crate) fn number(&self, key: &'static str, limits: RangeInclusive<u32>) -> Read<u32> {
        let Some(item) = self.item(key, Kind::Number) else { return Read::Absent };
        let example = limits.end().min(&100).max(limits.start()).to_string();
        let Some(number) = item.as_integer() else {
            return self.wrong(key, wrong_type(key, "a whole number", item, &bare_number(item, &example)));
        };
        match u32::try_from(number).ok().filter(|number| limits.contains(number)) {
            Some(number) => Read::Is(number),
            None => self.wrong(key, out_of_limits(number, &limits)),
        }
    }

    /// A whole number that fits a small type, within limits.
    pub(crate) fn small<T: TryFrom<u32>>(&self, key: &'static str, limits: RangeInclusive<u32>) -> Read<T> {
        self.number(key, limits).and_then(|number| match T::try_from(number) {
            Ok(number) => Read::Is(number),
            Err(_) => self.wrong(key, format!("{number} is too large")),
        })
    }

    /// A port.
    pub(crate) fn port(&self, key: &'static str) -> Read<u16> {
        let Some(item) = self.item(key, Kind::Number) else { return Read::Absent };
        let Some(number) = item.as_integer() else {
            return self.wrong(key, wrong_type(key, "one port number", item, &bare_number(item, "80")));
        };
        match u16::try_from(number).ok().filter(|port| *port > 0) {
            Some(port) => Read::Is(port),
            None => self.wrong(key, format!("port {number} does not exist: ports go from 1 to 65535")),
        }
    }

    /// A duration within limits.
    pub(crate) fn duration(&self, key: &'static str, limits: RangeInclusive<Duration>) -> Read<Duration> {
        let Some(item) = self.item(key, Kind::Text) else { return Read::Absent };
        let Some(text) = item.as_str() else {
            let example =
                item.as_integer().map_or_else(|| "\"4s\"".to_owned(), |number| format!("\"{number}s\""));
            return self.wrong(key, wrong_type(key, "a duration in quotes", item, &example));
        };
        match parse_duration(text) {
            Err(error) => self.wrong(key, error.to_string()),
            Ok(duration) if limits.contains(&duration) => Read::Is(duration),
            Ok(duration) => self.wrong(key, duration_out_of_limits(duration, text, &limits)),
        }
    }

    /// A list of texts, each with its path.
    pub(crate) fn texts(&self, key: &'static str) -> Read<Vec<(String, &'d str)>> {
        let Some(item) = self.item(key, Kind::List) else { return Read::Absent };
        let Some(array) = item.as_array() else {
            return self.wrong(key, wrong_type(key, "a list of texts", item, &in_list(item)));
        };
        let mut texts = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            let place = format!("{key}[{index}]");
            match value.as_str() {
                Some(text) => texts.push((place, text)),
                None => {
                    self.error(&place, format!("a text in quotes was expected here, not {}", kind_of(value)))
                }
            }
        }
        if texts.len() == array.len() { Read::Is(texts) } else { Read::Wrong }
    }

    /// A list of texts, each read as something else.
    pub(crate) fn list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Read<Vec<T>> {
        self.list_with(key, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// A list of texts, each read as something else by this function.
    pub(crate) fn list_with<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Read<Vec<T>> {
        self.texts(key).and_then(|texts| {
            let count = texts.len();
            let mut values = Vec::with_capacity(count);
            for (place, text) in texts {
                match parse(text) {
                    Ok(value) => values.push(value),
                    Err(error) => self.error(&place, error),
                }
            }
            if values.len() == count { Read::Is(values) } else { Read::Wrong }
        })
    }

    /// A table inside this one; none when something else is there.
    pub(crate) fn table(&self, key: &'static str) -> Option<Self> {
        match self.item(key, Kind::Table) {
            None => Some(self.inner(key.to_owned(), None, None)),
            Some(item) => self.table_of(key, item),
        }
    }

    fn table_of(&self, key: &'static str, item: &'d Item) -> Option<Self> {
        if item.as_table_like().is_none() {
            let text =
                format!("`{key}` must be a table, not {}: write [{}]", kind_of_item(item), self.header(key));
            self.error(key, text);
        }
        item.as_table_like().map(|entries| self.inner(key.to_owned(), Some(entries), item.span()))
    }

    /// A word, or a table for those who want more.
    pub(crate) fn word_or_table(&self, key: &'static str) -> Option<WordOrTable<'d>> {
        match self.item(key, Kind::WordOrTable) {
            None => Some(WordOrTable::Absent),
            Some(item) => match item.as_str() {
                Some(word) => Some(WordOrTable::Word(word)),
                None => self.table_of(key, item).map(WordOrTable::Table),
            },
        }
    }

    /// The tables of a list (`[[key]]`); none when something else is there.
    pub(crate) fn tables(&self, key: &'static str) -> Option<Vec<Self>> {
        let Some(item) = self.item(key, Kind::Tables) else { return Some(Vec::new()) };
        if let Some(array) = item.as_array_of_tables() {
            let inner = |(index, table): (usize, &'d toml_edit::Table)| {
                self.inner(format!("{key}[{index}]"), Some(table), table.span())
            };
            return Some(array.iter().enumerate().map(inner).collect());
        }
        let inline =
            item.as_array().map(|array| array.iter().map(Value::as_inline_table).collect::<Option<Vec<_>>>());
        if let Some(Some(tables)) = inline {
            let inner = |(index, table): (usize, &'d toml_edit::InlineTable)| {
                self.inner(format!("{key}[{index}]"), Some(table), table.span())
            };
            return Some(tables.into_iter().enumerate().map(inner).collect());
        }
        let header = self.header(key);
        self.error(
            key,
            format!("`{key}` must be a list of tables: begin each with [[{header}]], in double brackets"),
        );
        None
    }

    fn inner(&self, key: String, entries: Option<&'d dyn TableLike>, span: Option<Range<usize>>) -> Self {
        Self {
            entries,
            path: self.path(&key),
            line: span.map(|span| self.report.line(span.start)).or_else(|| self.line(&key)),
            report: self.report,
            known: RefCell::default(),
        }
    }

    /// The path of a table without its numbers, as a header is written.
    fn header(&self, key: &str) -> String {
        let path = self.path(key);
        path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
    }

    /// Reports every key that nobody asked for. `hint` may have a better answer than a similar key.
    pub(crate) fn finish_with(&self, hint: impl Fn(&str) -> Option<String>) {
        let known = self.known.borrow();
        let legal: Vec<&str> = known.iter().map(|known| known.key).collect();
        let written = self.entries.into_iter().flat_map(|entries| entries.iter());
        for (key, _) in written.filter(|(key, _)| !legal.contains(key)) {
            let advice = hint(key).unwrap_or_else(|| did_you_mean(key, &legal));
            self.error(key, format!("unknown key `{key}`: {advice}"));
        }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(&self) {
        self.finish_with(|_| None);
    }
}

/// What was found where a word or a table may stand.
pub(crate) enum WordOrTable<'d> {
    Absent,
    Word(&'d str),
    Table(Table<'d>),
}

/// "unknown mode `x`: …", for a word outside its set.
pub(crate) fn unknown_word(noun: &str, text: &str, legal: &[&str]) -> String {
    let advice = did_you_mean(text, legal);
    let all = or_list(legal);
    if advice.starts_with("write") {
        format!("unknown {noun} `{text}`: {advice}")
    } else {
        format!("unknown {noun} `{text}`: {advice} It is one of {all}")
    }
}

fn wrong_type(key: &str, expected: &str, found: &Item, example: &str) -> String {
    format!("`{key}` must be {expected}, not {}: write for example {key} = {example}", kind_of_item(found))
}

fn out_of_limits(number: i64, limits: &RangeInclusive<u32>) -> String {
    let (low, high) = (limits.start(), limits.end());
    match *high {
        u32::MAX => format!("{number} is out of range: write a number of at least {low}"),
        _ => format!("{number} is out of range: write a number from {low} to {high}"),
    }
}

fn duration_out_of_limits(duration: Duration, text: &str, limits: &RangeInclusive<Duration>) -> String {
    let (low, high) = (format_duration(*limits.start()), format_duration(*limits.end()));
    let fault = if duration < *limits.start() { "too short" } else { "too long" };
    format!("\"{text}\" is {fault}: write a duration from \"{low}\" to \"{high}\"")
}

fn in_quotes(key: &str, item: &Item) -> String {
    match item.as_value() {
        Some(Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            format!("\"{}\"", item.to_string().trim())
        }
        _ => format!("\"{}\"", if key == "ports" { "80" } else { "…" }),
    }
}

fn in_list(item: &Item) -> String {
    match item.as_str() {
        Some(text) => format!("[\"{text}\"]"),
        None => "[\"…\"]".to_owned(),
    }
}

fn bare_number(item: &Item, example: &str) -> String {
    let number = item.as_str().map(str::trim).filter(|text| text.parse::<u32>().is_ok());
    number.unwrap_or(example).to_owned()
}

fn kind_of_item(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(value) => kind_of(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}
