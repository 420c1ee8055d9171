//! The configuration that somebody works on and that is not in force yet. There is one at a time.

use std::{io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AtomicFile,
    error::{Result, StoreError},
    fs::Fs,
};

const MODE: u32 = 0o600;

/// A configuration being worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The revision that ran when work on it began.
    pub base: u64,
    /// cluster.toml as it would be, right or wrong.
    pub text: String,
    /// Who saved it last.
    pub who: String,
    /// When.
    pub saved: Timestamp,
}

pub(crate) fn read(fs: &impl Fs, path: &Path) -> Result<Option<Candidate>> {
    match fs.read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path: path.to_owned(), source }),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| StoreError::Damaged { path: path.to_owned(), why: e.to_string() }),
    }
}

pub(crate) fn write(fs: &impl Fs, path: &Path, candidate: &Candidate) -> Result<()> {
    let json = serde_json::to_vec_pretty(candidate)
        .map_err(|e| StoreError::Write { path: path.to_owned(), source: io::Error::other(e) })?;
    AtomicFile::on(fs).write(path, &json, MODE)
}
