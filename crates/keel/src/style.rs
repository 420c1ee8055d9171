//! Colour, icons and width: what the terminal can show.

use std::io::IsTerminal;

use clap::ValueEnum;
use keel_api::{Light, Severity};

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always, even into a file.
    Always,
    /// Never.
    Never,
}

/// What the surroundings offer.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Columns; none when the output is no terminal and nothing says how wide it is.
    pub width: Option<usize>,
    /// Whether standard output shows colour.
    pub color: bool,
    /// Whether standard error shows colour.
    pub err_color: bool,
    /// Whether it shows characters beyond ASCII.
    pub unicode: bool,
}

impl Terminal {
    /// Looks at standard output and the environment.
    pub fn detect() -> Self {
        let dumb = variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: width(),
            color: !dumb && std::io::stdout().is_terminal(),
            err_color: !dumb && std::io::stderr().is_terminal(),
            unicode: ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).is_some_and(|locale| {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }),
        }
    }

    pub(crate) fn style(&self, choice: ColorChoice) -> Style {
        Style { color: choose(choice, self.color), unicode: self.unicode, width: self.width }
    }

    pub(crate) fn err_style(&self, choice: ColorChoice) -> Style {
        Style { color: choose(choice, self.err_color), ..self.style(choice) }
    }
}

const fn choose(choice: ColorChoice, detected: bool) -> bool {
    match choice {
        ColorChoice::Auto => detected,
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn width() -> Option<usize> {
    let given = variable("COLUMNS").and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    given
        .or_else(|| terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0)))
}

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As the overview's light.
    Light(Light),
    /// More important than the rest.
    Bold,
    /// Less important than the rest.
    Dim,
}

/// What the output may use.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Colour, as ANSI sequences.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// Columns; none is as many as it takes.
    pub width: Option<usize>,
}

impl Style {
    /// Neither colour nor icons beyond ASCII, any width.
    pub const PLAIN: Self = Self { color: false, unicode: false, width: None };

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Light(Light::Green) => "32",
            Paint::Light(Light::Yellow) => "33",
            Paint::Light(Light::Red) => "31",
            Paint::Light(Light::Blue) => "34",
            Paint::Bold => "1",
            Paint::Dim => "2",
        };
        match self.color && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A shape for each colour, so that it can be told without seeing it.
    pub(crate) const fn icon(&self, light: Light) -> &'static str {
        match (light, self.unicode) {
            (Light::Green, true) => "✔",
            (Light::Yellow, true) => "▲",
            (Light::Red, true) => "✖",
            (Light::Blue, true) => "■",
            (Light::Green, false) => "+",
            (Light::Yellow, false) => "!",
            (Light::Red, false) => "x",
            (Light::Blue, false) => "-",
        }
    }

    pub(crate) const fn arrow(&self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    pub(crate) const fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    pub(crate) fn severity(&self, severity: Severity) -> String {
        let light = match severity {
            Severity::Error => Light::Red,
            Severity::Warning => Light::Yellow,
        };
        self.paint(Paint::Light(light), &severity.to_string())
    }

    /// Text broken at spaces to the width, each line after `indent` spaces.
    pub(crate) fn wrap(&self, text: &str, indent: usize) -> String {
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
        let margin = " ".repeat(indent);
        lines.iter().map(|line| format!("{margin}{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_at_spaces_and_indented() {
        let style = Style { width: Some(30), ..Style::PLAIN };
        let text = "the connection table is full and nothing more fits";
        assert_eq!(style.wrap(text, 4), "    the connection table is\n    full and nothing more fits\n");
        assert_eq!(Style::PLAIN.wrap("a b", 2), "  a b\n");
    }

    #[test]
    fn colour_never_stands_in_for_a_shape() {
        for style in [Style::PLAIN, Style { unicode: true, ..Style::PLAIN }] {
            let icons: std::collections::HashSet<_> =
                [Light::Green, Light::Yellow, Light::Red, Light::Blue].map(|light| style.icon(light)).into();
            assert_eq!(icons.len(), 4);
        }
    }
}
