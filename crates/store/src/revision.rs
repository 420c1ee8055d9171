//! One numbered revision: a folder with the text and what is known about it. Written once, never changed.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Hash,
    error::{Result, StoreError},
    fs::{Fs, FsFile},
};

pub(crate) const TEXT: &str = "cluster.toml";
const META: &str = "meta.json";
/// What the name of a folder that is being filled or emptied begins with.
const UNFINISHED: &str = ".unfinished-";
const MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// What is known about a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its number; numbers only grow.
    pub number: u64,
    /// When it was committed.
    pub when: Timestamp,
    /// Who committed it.
    pub who: String,
    /// How they came in: `socket`, `web`, `daemon`, `disk`.
    pub via: String,
    /// Why, in their words.
    pub why: String,
    /// The revision that ran before it; 0 for the first.
    pub parent: u64,
    /// Fingerprint of the text.
    pub hash: Hash,
    /// One sentence per change of meaning against its parent.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// The folder of all revisions.
#[derive(Debug)]
pub(crate) struct Folder<'fs, F: Fs> {
    pub(crate) fs: &'fs F,
    pub(crate) dir: &'fs Path,
}

impl<F: Fs> Folder<'_, F> {
    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:06}"))
    }

    /// Fills a hidden folder, makes it last, then gives it its name in one step.
    pub(crate) fn write(&self, meta: &Meta, text: &str) -> Result<()> {
        let place = self.path(meta.number);
        let json = serde_json::to_vec_pretty(meta)
            .map_err(|e| StoreError::Write { path: place.join(META), source: io::Error::other(e) })?;
        let unfinished = self.unfinished(meta.number);
        self.fill(&unfinished, &[(TEXT, text.as_bytes()), (META, &json)])
            .and_then(|()| self.fs.rename(&unfinished, &place))
            .and_then(|()| self.fs.sync_dir(self.dir))
            .map_err(|source| StoreError::Write { path: place, source })
    }

    fn fill(&self, dir: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
        self.erase(dir)?;
        self.fs.create_dir_all(dir, DIR_MODE)?;
        for (name, bytes) in files {
            let mut file = self.fs.create(&dir.join(name), MODE)?;
            file.write_all(bytes)?;
            file.sync()?;
        }
        self.fs.sync_dir(dir)
    }

    /// Takes the folder's name away first, so that no half-emptied revision is ever seen.
    pub(crate) fn remove(&self, number: u64) -> io::Result<()> {
        let unfinished = self.unfinished(number);
        self.erase(&unfinished)?;
        self.fs.rename(&self.path(number), &unfinished)?;
        self.fs.sync_dir(self.dir)?;
        self.erase(&unfinished)
    }

    /// Removes folders that were being filled or emptied; says how many.
    pub(crate) fn clean(&self) -> Result<usize> {
        let names = self
            .fs
            .list(self.dir)
            .map_err(|source| StoreError::Read { path: self.dir.to_owned(), source })?;
        let leftovers = names.iter().filter(|name| name.starts_with(UNFINISHED));
        Ok(leftovers.filter(|name| self.erase(&self.dir.join(name)).is_ok()).count())
    }

    fn erase(&self, dir: &Path) -> io::Result<()> {
        let names = match self.fs.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        names.iter().try_for_each(|name| self.fs.remove_file(&dir.join(name)))?;
        self.fs.remove_dir(dir)
    }

    fn unfinished(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{UNFINISHED}{number:06}"))
    }

    /// The numbers that there are folders for, in order.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>> {
        let names = self
            .fs
            .list(self.dir)
            .map_err(|source| StoreError::Read { path: self.dir.to_owned(), source })?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn meta(&self, number: u64) -> Result<Meta> {
        let path = self.path(number).join(META);
        let bytes = self.fs.read(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        match serde_json::from_slice::<Meta>(&bytes) {
            Ok(meta) if meta.number == number => Ok(meta),
            Ok(meta) => Err(StoreError::Damaged { path, why: format!("it is of revision {}", meta.number) }),
            Err(e) => Err(StoreError::Damaged { path, why: e.to_string() }),
        }
    }

    /// The text, checked against its fingerprint.
    pub(crate) fn text(&self, meta: &Meta) -> Result<String> {
        let path = self.path(meta.number).join(TEXT);
        let bytes = self.fs.read(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        if Hash::of(&bytes) != meta.hash {
            return Err(StoreError::Damaged {
                path,
                why: "its fingerprint is not the one in meta.json".into(),
            });
        }
        String::from_utf8(bytes).map_err(|e| StoreError::Damaged { path, why: e.to_string() })
    }
}
