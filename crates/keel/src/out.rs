//! Where answers go: text for people or JSON for programs, and never a panic when nobody listens.

use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;
use crate::style::Style;

/// The output of one command.
pub struct Out<'a> {
    writer: &'a mut dyn Write,
    style: Style,
    json: bool,
}

impl std::fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("style", &self.style).field("json", &self.json).finish_non_exhaustive()
    }
}

impl<'a> Out<'a> {
    /// Writes to `writer`, as JSON or as text in this style.
    pub fn new(writer: &'a mut dyn Write, style: Style, json: bool) -> Self {
        Self { writer, style, json }
    }

    /// Whether JSON was asked for.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Writes the answer: the value itself as JSON, or what `render` makes of it.
    pub fn answer<T: Serialize>(
        &mut self,
        value: &T,
        render: impl FnOnce(&T, &Style) -> String,
    ) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string_pretty(value).map_err(Failure::Json)? + "\n",
            false => render(value, &self.style),
        };
        self.text(&text)
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()).map_err(Failure::Write)
    }
}
