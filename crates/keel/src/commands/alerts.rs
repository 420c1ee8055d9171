//! `keel alerts`: by which channels people are told, and whether that works.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use keel_api::{AlertChannel, AlertTest, Alerts as Found, Light};

use super::Outcome;
use crate::Context;
use crate::failure::Failure;
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Show by which channels people are told what happens, and whether that works.
#[derive(Debug, Clone, Args)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Show every channel (the same as without a word)
    Show,
    /// Send a test report over every channel now, and say what came of it
    Test,
}

impl Alerts {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self.command.unwrap_or(Command::Show) {
            Command::Show => {
                let found = context.client.alerts().await?;
                context.out.answer(&found, show)
            }
            Command::Test => {
                let tests = context.client.test_alerts().await?;
                context.out.answer(&tests, |tests, style| self::tests(tests, style))?;
                let failed = tests.iter().filter(|test| !test.sent).count();
                match (tests.len(), failed) {
                    (0, _) => Err(Failure::NotGood("no channel is configured".to_owned())),
                    (_, 0) => Ok(()),
                    (all, failed) => Err(Failure::NotGood(format!("{failed} of {all} channels failed"))),
                }
            }
        }
    }
}

const NOBODY: &str = "Nobody is told what happens: [alerts] in cluster.toml names no channel.\n";

/// Every channel with what happened last.
pub fn show(found: &Found, style: &Style) -> String {
    if found.channels.is_empty() {
        return NOBODY.to_owned();
    }
    let mut table = Table::new(vec![
        Column::text("CHANNEL"),
        Column::name("TO", 12),
        Column::text("STATE"),
        Column::text("LAST SENT (UTC)"),
        Column::number("WAITING"),
        Column::number("LOST"),
    ]);
    for channel in &found.channels {
        table.row(vec![
            channel.channel.as_str().into(),
            channel.to.clone().into(),
            state(channel),
            channel.last_success.map_or_else(|| "-".to_owned(), clock).into(),
            channel.waiting.to_string().into(),
            channel.lost.to_string().into(),
        ]);
        if let Some(error) = &channel.last_error {
            table.note(2, format!("last error {}: {}", clock(error.at), error.why));
        }
    }
    let mut text = table.render(style);
    if found.lost_events > 0 {
        text += &format!("{} event(s) came too fast and were lost.\n", found.lost_events);
    }
    text
}

fn state(channel: &AlertChannel) -> Cell {
    let (word, light) = match (channel.trouble(), channel.last_success) {
        (None, None) => return "not used yet".into(),
        (None, Some(_)) => ("works", Light::Green),
        (Some(error), Some(success)) if error.at == success => ("in part", Light::Yellow),
        (Some(_), _) => ("fails", Light::Red),
    };
    Cell::painted(word, Paint::Light(light))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What came of a test on every channel.
pub fn tests(tests: &[AlertTest], style: &Style) -> String {
    if tests.is_empty() {
        return NOBODY.to_owned();
    }
    let mut table = Table::new(vec![Column::text("CHANNEL"), Column::name("TO", 12), Column::text("TEST")]);
    for test in tests {
        let (word, light) = match (test.sent, &test.remark) {
            (true, None) => ("sent", Light::Green),
            (true, Some(_)) => ("sent in part", Light::Yellow),
            (false, _) => ("failed", Light::Red),
        };
        table.row(vec![
            test.channel.as_str().into(),
            test.to.clone().into(),
            Cell::painted(word, Paint::Light(light)),
        ]);
        if let Some(remark) = &test.remark {
            table.note(2, remark.clone());
        }
    }
    table.render(style)
}
