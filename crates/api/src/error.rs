//! The one error of the API: an RFC 9457 problem document.
//!
//! Each says what happened (`title`), why (`detail`, `problems`) and what to do (`remedy`). The HTTP
//! status and the command line's exit code both follow from [`Kind`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Role};
use crate::types::{Diff, Problem};

/// What every call of the API answers.
pub type Result<T> = std::result::Result<T, ApiError>;

/// The media type of an error, RFC 9457 §3.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What sort of failure it was; the last word of the problem document's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request itself made no sense.
    BadRequest,
    /// The caller's role does not allow it.
    Forbidden,
    /// There is no such service, server, revision or path.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// It cannot be done in the present state, for example adding a service that exists.
    Conflict,
    /// `If-Match` named another revision than the one that runs: somebody else was quicker.
    RevisionMismatch,
    /// The configuration was refused; `problems` says where and why.
    Refused,
    /// Not possible at the moment, for example an engine that is not running.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Kind {
    /// The HTTP status this kind is sent with.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::RevisionMismatch => 412,
            Self::Refused => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiError {
    /// What sort of failure.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The HTTP status, repeated as RFC 9457 asks.
    pub status: u16,
    /// What happened, in a few words, the same for every failure of this sort.
    pub title: String,
    /// Why, in this case.
    pub detail: String,
    /// Each thing that is wrong with the configuration, with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Box<str>>,
    /// With [`Kind::RevisionMismatch`]: the revision that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// With [`Kind::RevisionMismatch`]: what changed between the expected revision and the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Box<Diff>>,
}

impl ApiError {
    /// A failure of this kind with its title and detail, and nothing else.
    pub fn new(kind: Kind, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.status(),
            title: title.into(),
            detail: detail.into(),
            problems: Vec::new(),
            remedy: None,
            revision: None,
            diff: None,
        }
    }

    /// The same with advice on what to do.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Box<str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The request makes no sense because of `detail`.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, "the request is not valid", detail)
    }

    /// There is no `what` called `name`; `known` are the names there are.
    pub fn not_found<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let error = Self::new(
            Kind::NotFound,
            format!("no such {what}"),
            format!("there is no {what} called \"{name}\""),
        );
        match known.is_empty() {
            true => error,
            false => error.with_remedy(format!("use one of: {}", known.join(", "))),
        }
    }

    /// The caller's role is below `needed`.
    pub fn forbidden(caller: &Caller, needed: Role) -> Self {
        Self::new(
            Kind::Forbidden,
            "not allowed",
            format!("{} is {} here, and this needs the role {needed}", caller.user, caller.role),
        )
        .with_remedy("run it as root (sudo), or ask an administrator for the role")
    }

    /// It cannot be done in the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, "not possible as things stand", detail)
    }

    /// The configuration was refused for these reasons.
    pub fn refused(problems: Vec<Problem>) -> Self {
        let errors = problems.iter().filter(|p| p.is_error()).count();
        let detail = match errors {
            1 => "it has 1 error".to_owned(),
            n => format!("it has {n} errors"),
        };
        Self {
            problems,
            ..Self::new(Kind::Refused, "the configuration is refused, nothing was changed", detail)
        }
        .with_remedy("correct the places named and try again")
    }

    /// `expected` was asked for, `running` is what runs, and `diff` is what lies between.
    pub fn revision_mismatch(expected: u64, running: u64, diff: Diff) -> Self {
        let detail =
            format!("the change was made against revision {expected}, but revision {running} runs now");
        Self {
            revision: Some(running),
            diff: Some(Box::new(diff)),
            ..Self::new(Kind::RevisionMismatch, "somebody else changed the configuration", detail)
        }
        .with_remedy("look at what changed, bring your change up to date and send it again")
    }

    /// Not possible at the moment.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, "not available now", detail)
    }

    /// Something failed inside; the whole chain of causes becomes the detail.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            detail.push_str(": ");
            detail.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(Kind::Internal, "the daemon could not do it", detail)
            .with_remedy("the daemon's log has more: journalctl -u keeld")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for ApiError {}
