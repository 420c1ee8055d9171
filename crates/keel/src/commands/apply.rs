//! `keel apply`: a whole configuration in one step.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, read_text};
use crate::Context;
use crate::change::{Change, render_committed};

/// Put a configuration in force in one step: validate, compare, commit.
///
/// Applying the same file again changes nothing. A candidate somebody works on is left alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Apply {
    /// A cluster.toml, or - for standard input
    file: PathBuf,

    #[command(flatten)]
    change: Change,
}

impl Apply {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let text = read_text(&self.file)?;
        let intent = self.change.intent(&context.typed);
        let committed = context.client.apply(&text, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}
