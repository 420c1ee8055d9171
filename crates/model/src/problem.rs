//! What is wrong with a configuration, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a problem stops the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration can be used, but probably doesn't do what was meant.
    Warning,
    /// The configuration is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One problem: what happened, why it matters and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// The place, like `service[2].server[0].weight`; empty when it concerns the file as a whole.
    pub path: String,
    /// For people: one or two sentences.
    pub text: String,
    /// Whether the configuration is refused because of it.
    pub severity: Severity,
    /// The line of the file, counted from 1, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Problem {
    /// A problem that refuses the configuration.
    pub fn error(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), severity: Severity::Error, line: None }
    }

    /// A problem the configuration can live with.
    pub fn warning(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, text) }
    }

    /// The same problem, with the line it was found on.
    #[must_use]
    pub fn at_line(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// Whether this refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        match (self.path.as_str(), self.line) {
            ("", None) => {}
            ("", Some(line)) => write!(f, "line {line}: ")?,
            (path, None) => write!(f, "{path}: ")?,
            (path, Some(line)) => write!(f, "{path} (line {line}): ")?,
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_its_place_and_line() {
        let problem = Problem::error("service[0].ports", "port 0 is not a port").at_line(Some(7));
        assert_eq!(problem.to_string(), "error: service[0].ports (line 7): port 0 is not a port");
        assert_eq!(Problem::warning("", "x").to_string(), "warning: x");
    }
}
