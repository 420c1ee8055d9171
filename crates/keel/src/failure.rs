//! How a command fails: what happened, why, what to do, and the exit code.

use std::io::{self, Write};

use keel_api::{ApiError, ClientError, Kind, Problem};

use crate::style::Style;

/// Exit codes. Scripts rely on them; `keel --help` lists them.
pub mod code {
    /// Done.
    pub const SUCCESS: u8 = 0;
    /// It failed.
    pub const FAILURE: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The configuration was refused.
    pub const REFUSED: u8 = 3;
    /// The daemon cannot be reached.
    pub const UNREACHABLE: u8 = 4;
    /// The change conflicts with the present state or somebody else's change.
    pub const CONFLICT: u8 = 5;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon refused, or could not be asked.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// Something on this side: a file, an editor.
    #[error("{what}")]
    Local {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: Option<io::Error>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Arguments that are right one by one make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The answer was that the configuration is refused; it has been shown.
    #[error("the configuration is refused")]
    Refused,
    /// What was asked for was done and shown, and is not good.
    #[error("{0}")]
    NotGood(String),
    /// The answer could not be written.
    #[error("writing the answer failed")]
    Write(#[source] io::Error),
    /// The answer could not be put into JSON.
    #[error("putting the answer into JSON failed")]
    Json(#[source] serde_json::Error),
}

impl Failure {
    /// Reading a file failed.
    pub(crate) fn reading(path: &std::path::Path, source: io::Error) -> Self {
        Self::Local {
            what: format!("reading {} failed", path.display()),
            source: Some(source),
            remedy: "check the name and that you may read it",
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Daemon(ClientError::Api(error)) => match error.kind {
                Kind::Refused => code::REFUSED,
                Kind::Conflict | Kind::RevisionMismatch => code::CONFLICT,
                _ => code::FAILURE,
            },
            Self::Daemon(error) if error.is_unreachable() => code::UNREACHABLE,
            Self::Usage(_) => code::USAGE,
            Self::Refused => code::REFUSED,
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => code::SUCCESS,
            _ => code::FAILURE,
        }
    }

    /// Says it on standard error, as text or as a problem document, and returns the exit code.
    pub(crate) fn report(&self, err: &mut dyn Write, style: &Style, json: bool) -> u8 {
        let said_already = matches!(self, Self::Refused) || self.code() == code::SUCCESS;
        if !said_already {
            let document = self.document();
            let text = match json {
                true => serde_json::to_string_pretty(&document).unwrap_or_default() + "\n",
                false => render(&document, style),
            };
            // If even that cannot be written, the exit code still tells.
            let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        }
        self.code()
    }

    /// The failure as a problem document; the daemon's own is passed on unchanged.
    fn document(&self) -> ApiError {
        match self {
            Self::Daemon(ClientError::Api(error)) => error.clone(),
            Self::Daemon(error) => {
                let kind = if error.is_unreachable() { Kind::Unavailable } else { Kind::Internal };
                let document = ApiError::new(kind, error.to_string(), causes(error));
                with_remedy(document, error.remedy().as_deref())
            }
            Self::Local { remedy, .. } => {
                ApiError::new(Kind::BadRequest, self.to_string(), causes(self)).with_remedy(*remedy)
            }
            Self::Usage(_) => ApiError::new(Kind::BadRequest, self.to_string(), ""),
            _ => ApiError::new(Kind::Internal, self.to_string(), causes(self)),
        }
    }
}

fn with_remedy(document: ApiError, remedy: Option<&str>) -> ApiError {
    match remedy {
        Some(remedy) => document.with_remedy(remedy),
        None => document,
    }
}

/// The causes of an error, outermost first.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn render(document: &ApiError, style: &Style) -> String {
    let said = [document.title.as_str(), document.detail.trim_end_matches('.')];
    let said = said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let mut text = style.wrap(&format!("keel: {said}."), 0);
    for problem in &document.problems {
        text.push_str(&format!("  {}\n", problem_line(problem, style)));
    }
    if let Some(diff) = document.diff.as_deref().filter(|diff| !diff.unified.is_empty()) {
        text.push_str(&format!("What changed between {} and {}:\n{}", diff.from, diff.to, diff.unified));
    }
    if let Some(remedy) = &document.remedy {
        text.push_str(&style.wrap(&format!("What to do: {remedy}"), 0));
    }
    text
}

/// "error: service[2].weight (line 12): not a number".
pub(crate) fn problem_line(problem: &Problem, style: &Style) -> String {
    let place = match (problem.path.as_str(), problem.line) {
        ("", None) => String::new(),
        ("", Some(line)) => format!("line {line}: "),
        (path, None) => format!("{path}: "),
        (path, Some(line)) => format!("{path} (line {line}): "),
    };
    format!("{}: {place}{}", style.severity(problem.severity), problem.text)
}
