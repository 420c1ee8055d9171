//! `keel config`: show, validate, edit, diff, commit, confirm, roll back, history.

mod edit;
mod render;
mod validate;

use clap::{Args, Subcommand};
use keel_api::DiffQuery;

use super::Outcome;
use crate::Context;
use crate::change::{Change, render_committed};
use crate::failure::Failure;

pub use render::{diff, history};

/// Show, check, edit, commit and roll back the configuration.
///
/// The usual way: edit (a candidate), diff, commit --confirm 10m, look, confirm.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Config {
    Show(Show),
    Validate(validate::Validate),
    Edit(edit::Edit),
    /// Throw the candidate away
    Discard,
    Diff(Diff),
    /// Put the candidate in force
    Commit {
        #[command(flatten)]
        change: Change,
    },
    /// Keep a commit that would go back by itself
    Confirm,
    /// Put an earlier revision in force again, as a new revision
    Rollback {
        /// The revision, from `keel config history`
        revision: u64,

        #[command(flatten)]
        change: Change,
    },
    /// List who changed what, when and why, newest first
    History {
        /// At most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
}

/// Print the configuration as it is written, comments and all
#[derive(Debug, Clone, Args)]
pub(crate) struct Show {
    /// That of this revision instead of the running one
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,

    /// The candidate instead of the running one
    #[arg(long, conflicts_with = "revision")]
    candidate: bool,
}

/// Compare the candidate with what runs, or two revisions
#[derive(Debug, Clone, Args)]
pub(crate) struct Diff {
    /// The older revision (the running one when not given)
    from: Option<u64>,

    /// The newer revision (the candidate when not given)
    to: Option<u64>,
}

impl Config {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self {
            Self::Show(command) => command.run(context).await,
            Self::Validate(command) => command.run(context),
            Self::Edit(command) => command.run(context).await,
            Self::Discard => discard(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Commit { change } => {
                let committed = context.client.commit(&change.intent(&context.typed)).await?;
                context.out.answer(&committed, render_committed)
            }
            Self::Confirm => confirm(context).await,
            Self::Rollback { revision, change } => {
                let intent = change.intent(&context.typed);
                let committed = context.client.rollback(revision, &intent).await?;
                context.out.answer(&committed, render_committed)
            }
            Self::History { limit } => {
                let revisions = context.client.history(limit).await?;
                context.out.answer(&revisions, |revisions, style| history(revisions, style))
            }
        }
    }
}

impl Show {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        if self.candidate {
            let candidate = context.client.candidate().await?.ok_or_else(no_candidate)?;
            return context.out.answer(&candidate, |candidate, _| candidate.text.clone());
        }
        let config = context.client.config(self.revision).await?;
        context.out.answer(&config, |config, _| config.text.clone())
    }
}

fn no_candidate() -> Failure {
    Failure::Local {
        what: "there is no candidate".to_owned(),
        source: None,
        remedy: "start one with: keel config edit",
    }
}

impl Diff {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let answer = context.client.diff(DiffQuery { from: self.from, to: self.to }).await?;
        context.out.answer(&answer, diff)
    }
}

async fn discard(context: &mut Context<'_>) -> Outcome {
    context.client.discard_candidate().await?;
    let answer = serde_json::json!({ "candidate": null });
    context.out.answer(&answer, |_, _| "There is no candidate now.\n".to_owned())
}

async fn confirm(context: &mut Context<'_>) -> Outcome {
    let committed = context.client.confirm().await?;
    context.out.answer(&committed, |committed, _| {
        format!("Revision {} is confirmed and stays.\n", committed.revision)
    })
}
