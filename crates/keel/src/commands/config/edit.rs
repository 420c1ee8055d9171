//! `keel config edit`: work on the candidate in an editor, or take it from a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use keel_api::Candidate;

use crate::Context;
use crate::commands::{Outcome, read_text};
use crate::failure::{Failure, problem_line};
use crate::style::Style;

/// Work on the candidate in your editor ($VISUAL, $EDITOR, else vi)
///
/// Begins with the candidate if there is one, else with the running configuration. Nothing is in
/// force until `keel config commit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Edit {
    /// Take the candidate from this file (- for standard input) instead of an editor
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Edit {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let (text, base) = match context.client.candidate().await? {
            Some(candidate) => (candidate.text, candidate.base),
            None => context.client.config(None).await.map(|config| (config.text, config.revision))?,
        };
        let edited = match &self.file {
            Some(file) => read_text(file)?,
            None => in_editor(&text)?,
        };
        let candidate = context.client.put_candidate(&edited, Some(base)).await?;
        context.out.answer(&candidate, render)
    }
}

fn render(candidate: &Candidate, style: &Style) -> String {
    let mut text = format!("The candidate is kept, made from revision {}.\n", candidate.base);
    for problem in &candidate.problems {
        text.push_str(&format!("{}\n", problem_line(problem, style)));
    }
    text.push_str(match candidate.problems.iter().any(|problem| problem.is_error()) {
        true => "It cannot be committed like this. Correct it with: keel config edit\n",
        false => "See what it changes with: keel config diff\nPut it in force with: keel config commit --confirm 10m\n",
    });
    text
}

fn in_editor(text: &str) -> Result<String, Failure> {
    let problem = |what: &str, source| Failure::Local {
        what: what.to_owned(),
        source: Some(source),
        remedy: "set EDITOR to an editor that works here, or use: keel config edit --file FILE",
    };
    let mut file = tempfile::Builder::new()
        .prefix("cluster-")
        .suffix(".toml")
        .tempfile()
        .map_err(|e| problem("making a temporary file failed", e))?;
    file.write_all(text.as_bytes()).map_err(|e| problem("writing the temporary file failed", e))?;
    open_editor(file.path())?;
    std::fs::read_to_string(file.path()).map_err(|e| problem("reading the edited file failed", e))
}

/// Runs the editor through the shell, because EDITOR may carry arguments.
fn open_editor(path: &Path) -> Result<(), Failure> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg(&editor).arg(path).status();
    let (what, source) = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => {
            (format!("the editor \"{editor}\" ended with {status}; the candidate is as it was"), None)
        }
        Err(error) => (format!("starting the editor \"{editor}\" failed"), Some(error)),
    };
    Err(Failure::Local {
        what,
        source,
        remedy: "set EDITOR to an editor that works here, or use: keel config edit --file FILE",
    })
}
