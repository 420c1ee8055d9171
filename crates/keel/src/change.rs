//! What every changing command takes and shows: why, for how long, against which revision; and the outcome.

use std::time::Duration;

use clap::Args;
use keel_api::{Committed, Intent};

use crate::failure::problem_line;
use crate::numbers::{plural, span};
use crate::style::{Paint, Style};

/// How to make a change.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How to make the change")]
pub(crate) struct Change {
    /// Say why, for the history (the command itself when not given)
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,

    /// Go back by itself after this long (30s, 10m) unless confirmed with `keel config confirm`
    #[arg(long, value_name = "DURATION", value_parser = confirm_time)]
    confirm: Option<Duration>,

    /// Only if this is the revision that runs; exit code 5 and the difference otherwise
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

impl Change {
    /// The same for the API; `typed` is the command as it was typed.
    pub(crate) fn intent(&self, typed: &str) -> Intent {
        Intent {
            expected: self.if_revision,
            why: self.why.clone().unwrap_or_else(|| typed.to_owned()),
            confirm: self.confirm,
        }
    }
}

fn confirm_time(text: &str) -> Result<Duration, String> {
    match keel_model::parse_duration(text) {
        Ok(time) if time < Duration::from_secs(1) => Err("too short; write at least 1s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Warnings shown after a change: a large configuration may have one for each service, and the change is about one of them.
const WARNINGS: usize = 8;

/// The outcome of a change.
pub(crate) fn render_committed(committed: &Committed, style: &Style) -> String {
    let mut text = match committed.revision == committed.previous {
        true => format!("Nothing had to change: revision {} is in force.\n", committed.revision),
        false => {
            let now = style.paint(Paint::Bold, &format!("Revision {}", committed.revision));
            format!("{now} is in force, after {}.\n", committed.previous)
        }
    };
    for change in &committed.changes {
        text.push_str(&style.wrap(change, 2));
    }
    for warning in committed.warnings.iter().take(WARNINGS) {
        text.push_str(&format!("{}\n", problem_line(warning, style)));
    }
    if let Some(more @ 1..) = committed.warnings.len().checked_sub(WARNINGS) {
        let all = "`keel config validate` with the file lists them, --json has all of them";
        text.push_str(&style.wrap(&format!("and {} more: {all}", plural(more, "warning")), 0));
    }
    if let Some(pending) = &committed.pending_confirm {
        text.push_str(&style.wrap(
            &format!(
                "Revision {} comes back in {} unless you run: keel config confirm",
                pending.falls_back_to,
                span(pending.seconds_left)
            ),
            0,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use keel_model::Problem;

    use super::*;

    #[test]
    fn many_warnings_are_counted_instead_of_shown() {
        let committed = |warnings: usize| Committed {
            revision: 2,
            previous: 1,
            changes: Vec::new(),
            warnings: (0..warnings).map(|n| Problem::warning(format!("service[{n}]"), "odd")).collect(),
            pending_confirm: None,
        };
        let shown = |warnings| render_committed(&committed(warnings), &Style::PLAIN);
        assert_eq!(shown(8).matches("odd").count(), 8);
        assert!(!shown(8).contains("more"));
        assert_eq!(shown(1000).matches("odd").count(), 8);
        assert!(shown(1000).contains("and 992 warnings more"), "{}", shown(1000));
    }

    #[test]
    fn a_confirm_time_is_a_duration_of_at_least_a_second() {
        assert_eq!(confirm_time("10m"), Ok(Duration::from_secs(600)));
        assert!(confirm_time("10").unwrap_err().contains("unit"));
        assert!(confirm_time("10ms").unwrap_err().contains("1s"));
    }
}
