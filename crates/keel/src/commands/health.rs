//! `keel health`: what the checks of servers have found, and what they find now.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use keel_api::{CheckHealth, CheckOutcome, CheckTest, HealthFilter, HealthVerdict, Light, ServerHealth};

use super::Outcome;
use crate::Context;
use crate::failure::Failure;
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Show how servers are and why, test their checks, show what has changed.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Health {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    of: Of,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Show how servers are and why (the same as without a word)
    Show(Of),
    /// Carry the checks of a service out now, and show every step
    Test(OfOne),
    /// Show when servers went up and down, and why
    History(Of),
}

/// Which servers.
#[derive(Debug, Clone, Default, Args)]
struct Of {
    /// The service; all if it isn't given
    service: Option<String>,
    /// One of its servers
    server: Option<String>,
}

/// Which servers of one service.
#[derive(Debug, Clone, Args)]
struct OfOne {
    /// The service
    service: String,
    /// One of its servers; all if it isn't given
    server: Option<String>,
}

impl From<OfOne> for HealthFilter {
    fn from(of: OfOne) -> Self {
        Self { service: Some(of.service), server: of.server }
    }
}

impl From<Of> for HealthFilter {
    fn from(of: Of) -> Self {
        Self { service: of.service, server: of.server }
    }
}

impl Health {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self.command.unwrap_or(Command::Show(self.of)) {
            Command::Show(of) => {
                let found = context.client.health(&of.into()).await?;
                context.out.answer(&found, |found, style| show(found, style))
            }
            Command::History(of) => {
                let found = context.client.health(&of.into()).await?;
                context.out.answer(&found, |found, style| history(found, style))
            }
            Command::Test(of) => {
                let tests = context.client.test_health(&of.into()).await?;
                let bad = tests.iter().filter(|test| test.outcome != CheckOutcome::Good).count();
                context.out.answer(&tests, |tests, style| self::tests(tests, style))?;
                if bad > 0 {
                    return Err(Failure::NotGood(format!("{bad} of {} checks not good", tests.len())));
                }
                Ok(())
            }
        }
    }
}

fn light(verdict: HealthVerdict) -> Light {
    match verdict {
        HealthVerdict::Up => Light::Green,
        HealthVerdict::Unknown => Light::Yellow,
        HealthVerdict::Drain => Light::Blue,
        HealthVerdict::Down => Light::Red,
    }
}

fn painted(verdict: HealthVerdict) -> Cell {
    Cell::painted(verdict.as_str(), Paint::Light(light(verdict)))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn took(milliseconds: f64) -> String {
    if milliseconds < 10.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// Every server with its verdict and what each check said last.
pub fn show(found: &[ServerHealth], style: &Style) -> String {
    if found.is_empty() {
        return "There is no server to be checked.\n".to_owned();
    }
    let columns = ["SERVER", "HEALTH", "STATE", "SINCE (UTC)", "CHECK", "TOOK"];
    let mut table = Table::new(columns.map(Column::text).into());
    for server in found {
        let first = server.checks.first();
        let last = first.and_then(|check| check.last.as_ref());
        table.row(vec![
            format!("{}/{}", server.service, server.server).into(),
            if server.checks.is_empty() { "not checked".into() } else { painted(server.verdict) },
            Cell::painted(server.state.as_str(), Paint::Light(server.state.light())),
            server.since.map_or_else(|| "-".to_owned(), clock).into(),
            first.map_or("-", |check| check.kind.as_str()).to_owned().into(),
            last.map_or_else(|| "-".to_owned(), |last| took(last.milliseconds)).into(),
        ]);
        if !server.reason.is_empty() {
            table.note(2, server.reason.clone());
        }
        if server.share != 100 && server.takes {
            table.note(2, format!("gets {} % of its weight now", server.share));
        }
        for check in &server.checks {
            for line in remarks(check, server) {
                table.note(2, line);
            }
        }
    }
    table.render(style)
}

/// What there is to say about one check beyond its server's line.
fn remarks(check: &CheckHealth, server: &ServerHealth) -> Vec<String> {
    let mut lines = Vec::new();
    if server.checks.len() > 1 {
        let said = check.last.as_ref().map_or("not checked yet", |last| last.reason.as_str());
        lines.push(format!("{} {}: {}, {said}", check.kind, check.target, check.verdict.as_str()));
    }
    if let Some(progress) = check.progress {
        lines.push(format!(
            "{} of {} answers towards {}",
            progress.have,
            progress.need,
            progress.to.as_str()
        ));
    }
    lines
}

/// Every change of every server, the newest last.
pub fn history(found: &[ServerHealth], style: &Style) -> String {
    let mut changes: Vec<_> =
        found.iter().flat_map(|server| server.history.iter().map(move |change| (server, change))).collect();
    if changes.is_empty() {
        return "No server has changed.\n".to_owned();
    }
    changes.sort_by_key(|(_, change)| change.at);
    let mut table = Table::new(["TIME (UTC)", "SERVER", "FROM", "TO", "WHY"].map(Column::text).into());
    for (server, change) in changes {
        table.row(vec![
            clock(change.at).into(),
            format!("{}/{}", server.service, server.server).into(),
            painted(change.from),
            painted(change.to),
            change.reason.clone().into(),
        ]);
    }
    table.render(style)
}

/// Every check that was carried out, step by step.
pub fn tests(tests: &[CheckTest], style: &Style) -> String {
    if tests.is_empty() {
        return "Nothing is checked here: the health check is of type off, or there is no server.\n"
            .to_owned();
    }
    let mut text = String::new();
    for test in tests {
        let light = match test.outcome {
            CheckOutcome::Good => Light::Green,
            CheckOutcome::Drain => Light::Blue,
            CheckOutcome::Bad => Light::Red,
            CheckOutcome::Unable => Light::Yellow,
        };
        let word = style.paint(Paint::Light(light), test.outcome.as_str());
        text += &format!(
            "{}/{}  {} {}  {word} in {}\n",
            test.service,
            test.server,
            test.kind,
            test.target,
            took(test.milliseconds)
        );
        for step in &test.steps {
            text += &format!("  {:>9.1} ms  {}\n", step.milliseconds, step.text);
        }
        if test.steps.is_empty() {
            text += &format!("  {}\n", test.reason);
        }
    }
    text
}
