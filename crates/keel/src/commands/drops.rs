//! `keel drops`: dropped packets by reason.

use clap::Args;
use keel_api::{Drop, Light};

use super::Outcome;
use crate::Context;
use crate::numbers::{count, rate};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Show how many packets were dropped, for which reasons, and what to do about them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Drops {
    /// Also the reasons that never happened
    #[arg(long)]
    all: bool,
}

impl Drops {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let drops = context.client.drops().await?;
        context.out.answer(&drops, |drops, style| render(drops, self.all, style))
    }
}

/// The reasons with their numbers, each explained.
pub fn render(drops: &keel_api::Drops, all: bool, style: &Style) -> String {
    let shown: Vec<&Drop> = drops.drops.iter().filter(|drop| all || drop.packets > 0).collect();
    if shown.is_empty() {
        return "No packet has been dropped.\n".to_owned();
    }
    let mut table =
        Table::new(vec![Column::text("REASON"), Column::number("PACKETS"), Column::number("NOW/S")]);
    for drop in shown {
        let now = match drop.rate > 0.0 {
            true => Cell::painted(rate(drop.rate), Paint::Light(Light::Yellow)),
            false => rate(drop.rate).into(),
        };
        table.row(vec![drop.reason.clone().into(), count(drop.packets).into(), now]);
        table.note(4, drop.explanation.clone());
        if let Some(remedy) = drop.remedy.as_deref().filter(|_| drop.packets > 0) {
            table.note(4, format!("what to do: {remedy}"));
        }
    }
    table.row(vec!["total".into(), count(drops.packets).into(), rate(drops.rate).into()]);
    table.render(style)
}
