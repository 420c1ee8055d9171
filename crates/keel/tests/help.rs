//! The help of every command, and docs/cli.md, are what is committed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command};
use support::{assert_golden, golden};

/// Every command that is shown, with its full name, parents first.
fn all_commands() -> Vec<(String, Command)> {
    fn visit(name: &str, command: &Command, found: &mut Vec<(String, Command)>) {
        found.push((name.to_owned(), command.clone()));
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            visit(&format!("{name} {}", inner.get_name()), inner, found);
        }
    }
    let mut root = keel_cli::command().term_width(80);
    root.build();
    let mut found = Vec::new();
    visit("keel", &root, &mut found);
    found
}

#[test]
fn the_help_of_every_command_is_as_committed() {
    for (name, command) in all_commands() {
        let mut command = command.term_width(80);
        let help = command.render_long_help().to_string();
        golden(&format!("help/{}.txt", name.replace(' ', "-")), &help);
    }
}

#[test]
fn every_command_and_argument_says_what_it_is_for() {
    for (name, command) in all_commands() {
        assert!(command.get_about().is_some(), "{name}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
        }
    }
}

#[test]
fn the_command_line_is_consistent() {
    keel_cli::command().debug_assert();
}

#[test]
fn the_manual_is_generated_from_the_command_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    assert_golden(&path, &manual());
}

const PREFACE: &str = "\
# keel: the command line

<!-- Generated from the program. Rewrite it with: KEEL_GOLDEN=overwrite cargo test -p keel -->

Every command takes `--json`, exits non-zero on failure and says what to do next. Changes are
revisions: each has a number, who made it, when and why (`keel config history`), and can be undone
(`keel config rollback`). Root may do everything; members of the group `evenkeel` may look.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed |
| 2 | the command line makes no sense |
| 3 | the configuration was refused |
| 4 | the daemon cannot be reached |
| 5 | conflict: it exists already, or somebody else changed the configuration |

Addresses are written `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`. Durations are
written with their unit: `200ms`, `4s`, `10m`, `12h`.
";

fn manual() -> String {
    let commands = all_commands();
    let mut text = PREFACE.to_owned();
    text.push_str("\n## For every command\n\n");
    let (_, root) = &commands[0];
    options(&mut text, root.get_arguments().filter(|argument| argument.is_global_set()));
    for (name, command) in commands.iter().filter(|(_, command)| !command.has_subcommands()) {
        section(&mut text, name, command);
    }
    text
}

fn section(text: &mut String, name: &str, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let about = command.get_long_about().or_else(|| command.get_about()).unwrap().to_string();
    write!(text, "\n## {name}\n\n```\n{usage}\n```\n\n{}\n", paragraphs(&about)).unwrap();
    let own = || command.get_arguments().filter(|argument| !argument.is_global_set());
    if own().any(is_documented) {
        text.push('\n');
        options(text, own());
    }
}

/// Indented lines of the help become code.
fn paragraphs(about: &str) -> String {
    let mut text = String::new();
    for line in about.lines() {
        match line.strip_prefix("  ") {
            Some(code) => write!(text, "\n```\n{code}\n```\n").unwrap(),
            None => writeln!(text, "{line}").unwrap(),
        }
    }
    text.trim_end().to_owned()
}

fn is_documented(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    text.push_str("| | |\n|---|---|\n");
    for argument in arguments.filter(|argument| is_documented(argument)) {
        let help = argument.get_long_help().or_else(|| argument.get_help()).unwrap().to_string();
        let default = match argument.get_default_values() {
            [] => String::new(),
            [only] if only == "false" => String::new(),
            values => {
                let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
                format!(" (default `{}`)", values.join(" "))
            }
        };
        writeln!(text, "| `{}` | {}{default} |", spelled(argument), escaped(&help)).unwrap();
    }
}

fn spelled(argument: &Arg) -> String {
    escaped(&argument.to_string())
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
