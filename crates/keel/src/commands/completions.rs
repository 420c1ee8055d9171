//! `keel completions`: completions for the shell. Hidden; packages call it.

use clap::Args;
use clap_complete::Shell;

use super::Outcome;
use crate::Context;

/// Print completions for a shell.
#[derive(Debug, Clone, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &mut Context<'_>) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::cli::command(), "keel", &mut script);
        context.out.text(&String::from_utf8_lossy(&script))
    }
}
