//! Differences and history as text.

use keel_api::{Diff, Light, Revision};

use crate::style::{Paint, Style};

/// What differs: in sentences, then line by line.
pub fn diff(diff: &Diff, style: &Style) -> String {
    if diff.unified.is_empty() {
        return format!("Nothing differs between {} and {}.\n", diff.from, diff.to);
    }
    let mut text = style.paint(Paint::Bold, &format!("From {} to {}:", diff.from, diff.to)) + "\n";
    match diff.changes.is_empty() {
        true => text.push_str("  only comments or layout\n"),
        false => diff.changes.iter().for_each(|change| text.push_str(&style.wrap(change, 2))),
    }
    text.push('\n');
    diff.unified.lines().for_each(|line| text.push_str(&(diff_line(line, style) + "\n")));
    text
}

fn diff_line(line: &str, style: &Style) -> String {
    match line.as_bytes().first() {
        Some(b'+') => style.paint(Paint::Light(Light::Green), line),
        Some(b'-') => style.paint(Paint::Light(Light::Red), line),
        Some(b'@') => style.paint(Paint::Dim, line),
        _ => line.to_owned(),
    }
}

/// Who changed what, when and why.
pub fn history(revisions: &[Revision], style: &Style) -> String {
    let mut text = String::new();
    for revision in revisions {
        let mark = match (revision.running, revision.unconfirmed) {
            (true, true) => "  in force, waits to be confirmed",
            (true, false) => "  in force",
            (false, _) => "",
        };
        text.push_str(&format!(
            "{}  {:.0}  {}{}\n",
            style.paint(Paint::Bold, &format!("{:>4}", revision.revision)),
            revision.committed,
            revision.user,
            style.paint(Paint::Light(Light::Green), mark),
        ));
        if !revision.why.is_empty() {
            text.push_str(&style.wrap(&revision.why, 6));
        }
        revision.changes.iter().for_each(|change| text.push_str(&style.wrap(&format!("- {change}"), 6)));
    }
    text
}
