//! What can go wrong, named by operation and place.

use std::{io, path::PathBuf};

use jiff::Timestamp;

use crate::Diff;

/// `Result` with [`StoreError`].
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Everything this crate can fail at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written, renamed or made to last.
    #[error("writing {}{}", path.display(), full_hint(source))]
    Write {
        /// The file that was to change.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours has content that we did not write.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What an administrator's editor has written can't be read as text.
    #[error("{}, line {line}: this is not UTF-8; save it in that encoding", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where it begins, from 1.
        line: usize,
    },
    /// Another process has the store open.
    #[error("another process has {} open; is keeld running twice with the same --state-dir?", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Somebody committed since the revision that this change was made from.
    #[error(
        "revision {current} was committed since revision {expected}, which this change was made from; look at the difference and try again"
    )]
    Conflict {
        /// The revision the change was made from.
        expected: u64,
        /// The revision that runs.
        current: u64,
        /// What happened in between.
        diff: Box<Diff>,
    },
    /// The administrator edited cluster.toml with an editor; a commit would undo that silently.
    #[error("cluster.toml was edited on disk since revision {current}; adopt or discard that edit first")]
    EditedOnDisk {
        /// The revision that runs.
        current: u64,
        /// What the edit changed.
        diff: Box<Diff>,
    },
    /// No such revision, never made or pruned since.
    #[error("there is no revision {number}; the history has {oldest} to {newest}")]
    NoSuchRevision {
        /// The one asked for.
        number: u64,
        /// The oldest kept.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// There is no commit that waits to be confirmed.
    #[error("nothing waits to be confirmed")]
    NothingPending,
    /// The deadline of a confirmed commit lies in the past.
    #[error("the time to confirm, {deadline}, has passed already")]
    DeadlinePassed {
        /// The deadline given.
        deadline: Timestamp,
    },
    /// A secret's file can be read by others.
    #[error("{} may be read by others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    SecretExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret's name would lead out of its folder.
    #[error(
        "`{0}` can't be the name of a secret: letters, digits, `.`, `-` and `_`, not beginning with a dot"
    )]
    SecretName(String),
}

fn full_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (free some space there and try again)",
        io::ErrorKind::ReadOnlyFilesystem => " (mounted read-only: `mount -o remount,rw` it)",
        _ => "",
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
