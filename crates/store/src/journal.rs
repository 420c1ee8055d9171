//! The audit journal: who did what, one JSON line each, in files of bounded size.
//!
//! A line that a crash tore is skipped when reading; the lines around it are whole.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    atomic::{folder, make_folder},
    error::{Result, StoreError},
    fs::{Fs, FsFile, RealFs},
};

const MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// A file is put aside at this size.
const ROTATE_AT: u64 = 4 << 20;
/// So many files are kept beside the one being written.
const KEEP: u32 = 8;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed or not valid.
    Refused,
    /// It was tried and went wrong.
    Failed,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub when: Timestamp,
    /// The user.
    pub who: String,
    /// How they came in: `socket`, `web`, `daemon`, `console`.
    pub via: String,
    /// The address they came from, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What they did: `commit`, `drain`, `sign-in`.
    pub action: String,
    /// What they did it to: `HTTP-Cluster/IIS1`, `revision 12`.
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Anything more, for people. Never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The journal of one node. One process writes it.
#[derive(Debug)]
pub struct Journal<F: Fs = RealFs> {
    fs: F,
    path: PathBuf,
    file: Option<F::File>,
    size: u64,
    rotate_at: u64,
    /// The last line may not have its end: begin the next one on a line of its own.
    torn: bool,
}

impl<F: Fs> Journal<F> {
    /// Opens or begins the journal in `<state_dir>/audit/`.
    ///
    /// # Errors
    /// [`StoreError::Write`], [`StoreError::Read`].
    pub fn open(fs: F, state_dir: &Path) -> Result<Self> {
        let dir = state_dir.join("audit");
        make_folder(&fs, &dir, DIR_MODE)?;
        let path = dir.join("audit.jsonl");
        let last = match fs.read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|source| StoreError::Read { path: path.clone(), source })?,
        };
        let torn = last.last().is_some_and(|byte| *byte != b'\n');
        Ok(Self { fs, path, file: None, size: last.len() as u64, rotate_at: ROTATE_AT, torn })
    }

    /// Writes one entry and waits until it would survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Write`]; the entry may then be there or not, but no other is hurt.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        let written = self.steps(entry);
        if written.is_err() {
            self.torn = true;
            self.file = None;
        }
        written.map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }

    fn steps(&mut self, entry: &Entry) -> io::Result<()> {
        if self.size >= self.rotate_at {
            self.rotate()?;
        }
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let fresh = self.file.is_none();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.fs.append(&self.path, MODE)?),
        };
        self.size += line.len() as u64;
        file.write_all(&line)?;
        file.sync()?;
        self.torn = false;
        if fresh { self.fs.sync_dir(folder(&self.path)) } else { Ok(()) }
    }

    /// Moves each file one number up; the last falls off.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (0..KEEP).rev() {
            match self.fs.rename(&self.numbered(number), &self.numbered(number + 1)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.size = 0;
        self.torn = false;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 { self.path.clone() } else { self.path.with_extension(format!("{number}.jsonl")) }
    }

    /// The newest `limit` entries, newest first.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn newest(&self, limit: usize) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for number in 0..=KEEP {
            let path = self.numbered(number);
            let bytes = match self.fs.read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|source| StoreError::Read { path, source })?,
            };
            let lines = bytes.split(|byte| *byte == b'\n').rev();
            entries.extend(
                lines.filter_map(|line| serde_json::from_slice(line).ok()).take(limit - entries.len()),
            );
            if entries.len() >= limit {
                break;
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entry(subject: &str) -> Entry {
        Entry {
            when: Timestamp::UNIX_EPOCH,
            who: "ann".into(),
            via: "socket".into(),
            from: None,
            action: "drain".into(),
            subject: subject.into(),
            outcome: Outcome::Done,
            note: String::new(),
        }
    }

    fn subjects(journal: &Journal, limit: usize) -> Vec<String> {
        journal.newest(limit).unwrap().into_iter().map(|e| e.subject).collect()
    }

    #[test]
    fn entries_come_back_newest_first_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        for subject in ["a", "b", "c"] {
            Journal::open(RealFs, dir.path()).unwrap().append(&entry(subject)).unwrap();
        }
        let journal = Journal::open(RealFs, dir.path()).unwrap();
        assert_eq!(subjects(&journal, 10), ["c", "b", "a"]);
        assert_eq!(subjects(&journal, 2), ["c", "b"]);
        assert!(subjects(&journal, 0).is_empty());
    }

    #[test]
    fn a_torn_last_line_is_skipped_and_hurts_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(RealFs, dir.path()).unwrap();
        journal.append(&entry("a")).unwrap();
        journal.append(&entry("torn")).unwrap();
        let path = dir.path().join("audit/audit.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();

        let mut journal = Journal::open(RealFs, dir.path()).unwrap();
        assert_eq!(subjects(&journal, 10), ["a"]);
        journal.append(&entry("b")).unwrap();
        assert_eq!(subjects(&journal, 10), ["b", "a"]);
    }

    #[test]
    fn old_files_fall_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(RealFs, dir.path()).unwrap();
        journal.rotate_at = 200;
        for number in 0..100 {
            journal.append(&entry(&number.to_string())).unwrap();
        }
        let kept = subjects(&journal, 1000);
        assert!(kept.len() < 100 && kept.len() > 10, "{}", kept.len());
        let expected: Vec<_> = (0..100).rev().take(kept.len()).map(|n| n.to_string()).collect();
        assert_eq!(kept, expected, "no gap, newest first");
        assert_eq!(fs::read_dir(dir.path().join("audit")).unwrap().count() as u32, KEEP + 1);
    }
}
