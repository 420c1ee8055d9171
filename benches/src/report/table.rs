//! Markdown tables and numbers in them.

use std::fmt::Write as _;

/// A table; the first column is text, the others are numbers.
pub(super) struct Table {
    text: String,
}

impl Table {
    pub(super) fn new<S: AsRef<str>>(head: &[S]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(head);
        let rule: Vec<&str> = (0..head.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
        table.row(&rule);
        table
    }

    pub(super) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    /// The table, with an empty line after it.
    pub(super) fn end(self) -> String {
        self.text + "\n"
    }
}

/// With commas between thousands.
pub(super) fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As many decimals as say something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => count(value.abs().round() as u64),
        v if v >= 20.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!(count(1_234_567u64), "1,234,567");
        assert_eq!(count(7u64), "7");
        assert_eq!(number(1234.5), "1,235");
        assert_eq!(number(42.4), "42");
        assert_eq!(number(4.24), "4.2");
    }
}
