//! Columns of text that fit the width: names give way, numbers and addresses don't.

use crate::style::{Paint, Style};

/// How a column behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    /// The width it may be cut down to; none if it may not.
    least: Option<usize>,
}

impl Column {
    /// Text that is never cut.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, right: false, least: None }
    }

    /// Text that may be cut, to no less than this.
    pub(crate) const fn name(title: &'static str, least: usize) -> Self {
        Self { title, right: false, least: Some(least) }
    }

    /// A number.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, least: None }
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint: Some(paint) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: None }
    }
}

#[derive(Debug)]
enum Line {
    Cells(Vec<Cell>),
    /// Free text below a row, indented by so much.
    Note(usize, String),
    Gap,
}

/// A table being filled.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    lines: Vec<Line>,
}

impl Table {
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self { columns, lines: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.lines.push(Line::Cells(cells));
    }

    pub(crate) fn note(&mut self, indent: usize, text: impl Into<String>) {
        self.lines.push(Line::Note(indent, text.into()));
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.lines.push(Line::Gap);
    }

    /// The width it wants.
    pub(crate) fn natural_width(&self) -> usize {
        total(&self.natural())
    }

    fn natural(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| length(column.title)).collect();
        for line in &self.lines {
            let Line::Cells(cells) = line else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(length(&cell.text));
            }
        }
        widths
    }

    fn fitted(&self, style: &Style) -> Vec<usize> {
        let mut widths = self.natural();
        let Some(limit) = style.width else { return widths };
        for (index, column) in self.columns.iter().enumerate() {
            let excess = total(&widths).saturating_sub(limit);
            if let Some(least) = column.least {
                widths[index] = widths[index].saturating_sub(excess).max(least.min(widths[index]));
            }
        }
        widths
    }

    pub(crate) fn render(&self, style: &Style) -> String {
        let widths = self.fitted(style);
        let titles = self.columns.iter().map(|c| Cell::painted(c.title, Paint::Dim)).collect::<Vec<_>>();
        let mut text = self.line(&titles, &widths, style);
        for line in &self.lines {
            match line {
                Line::Cells(cells) => text.push_str(&self.line(cells, &widths, style)),
                Line::Note(indent, note) => text.push_str(&style.wrap(note, *indent)),
                Line::Gap => text.push('\n'),
            }
        }
        text
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: &Style) -> String {
        let mut line = String::new();
        for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
            let text = cut(&cell.text, width, style);
            let space = " ".repeat(width - length(&text));
            let painted = match cell.paint {
                Some(paint) => style.paint(paint, &text),
                None => text,
            };
            if index > 0 {
                line.push_str("  ");
            }
            match self.columns.get(index).is_some_and(|column| column.right) {
                true => line.push_str(&(space + &painted)),
                false => line.push_str(&(painted + &space)),
            }
        }
        format!("{}\n", line.trim_end())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

fn cut(text: &str, width: usize, style: &Style) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}{}", style.ellipsis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new(vec![Column::name("NAME", 6), Column::text("ADDRESS"), Column::number("N")]);
        table.row(vec!["a-rather-long-name".into(), "10.0.0.1".into(), "7".into()]);
        table.note(2, "why");
        table
    }

    #[test]
    fn without_a_width_nothing_is_cut() {
        assert_eq!(
            table().render(&Style::PLAIN),
            "NAME                ADDRESS   N\na-rather-long-name  10.0.0.1  7\n  why\n"
        );
    }

    #[test]
    fn names_give_way_and_addresses_do_not() {
        let narrow = |width| table().render(&Style { width: Some(width), ..Style::PLAIN });
        assert_eq!(narrow(23), "NAME        ADDRESS   N\na-rather-~  10.0.0.1  7\n  why\n");
        assert_eq!(narrow(5), "NAME    ADDRESS   N\na-rat~  10.0.0.1  7\n  why\n");
    }
}
