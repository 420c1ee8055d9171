//! A commit that goes back by itself unless somebody confirms it, on disk so that a crash doesn't make it permanent.

use std::{io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AtomicFile, Meta,
    error::{Result, StoreError},
    fs::Fs,
};

const MODE: u32 = 0o600;

/// A commit that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The revision in force that waits.
    pub revision: u64,
    /// When it was committed. With the number it tells this commit from one that was interrupted before.
    pub since: Timestamp,
    /// The revision whose text comes back otherwise.
    pub falls_back_to: u64,
    /// When that happens.
    pub deadline: Timestamp,
    /// Who committed.
    pub who: String,
}

/// Reads the one that belongs to the revision in force.
///
/// The file is written before its revision comes into force, and may then hold the former one too: only the entry
/// of the revision in force means anything, any other is of a commit that did not happen or is over.
pub(crate) fn read(fs: &impl Fs, path: &Path, current: &Meta) -> Result<Option<Pending>> {
    let bytes = match fs.read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| StoreError::Read { path: path.to_owned(), source })?,
    };
    let entries: Vec<Pending> = serde_json::from_slice(&bytes)
        .map_err(|e| StoreError::Damaged { path: path.to_owned(), why: e.to_string() })?;
    Ok(entries.into_iter().find(|entry| entry.revision == current.number && entry.since == current.when))
}

/// Writes what is to wait next beside what waits now.
pub(crate) fn write(fs: &impl Fs, path: &Path, now: Option<&Pending>, next: &Pending) -> Result<()> {
    let entries: Vec<_> = now.into_iter().chain([next]).collect();
    let json = serde_json::to_vec_pretty(&entries)
        .map_err(|e| StoreError::Write { path: path.to_owned(), source: io::Error::other(e) })?;
    AtomicFile::on(fs).write(path, &json, MODE)
}
