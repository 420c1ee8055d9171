//! Making sense of whatever a crash left, when a store is opened.
//!
//! # Invariant: the order of a commit
//! 1. the revision's folder, whole, under a hidden name, then renamed to its number;
//! 2. `pending.json`, if the commit goes back by itself, with the entry of the former one kept beside it;
//! 3. `cluster.toml`, by rename: **this is the moment the commit happens**;
//! 4. `revisions/current`, the number;
//! 5. what is over: a pending entry that no longer applies, revisions beyond the limit.
//!
//! Every step is itself all-or-nothing, and two revisions in a row never have the same text. So the text on disk and
//! the number in `current` tell how far a commit came: a revision newer than `current` either has the text on disk
//! (it happened: move `current`) or hasn't (it did not: drop the folder). The next commit doesn't begin before step 4
//! of the last one succeeded, so at most one revision is in doubt.

use std::{fmt, io, path::PathBuf};

use jiff::Timestamp;

use crate::{
    AtomicFile, Hash, Meta, Paths, Pending,
    atomic::make_folder,
    candidate,
    error::{Result, StoreError, chain},
    fs::Fs,
    pending,
    revision::Folder,
};

const DIR_MODE: u32 = 0o700;
pub(crate) const POINTER_MODE: u32 = 0o600;

/// Something that was put right when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// There was no history: what cluster.toml had became the first revision.
    Started(u64),
    /// This many unfinished files and folders were removed.
    LeftoversRemoved(usize),
    /// A commit was interrupted before it happened; its revision was dropped.
    CommitUndone(u64),
    /// A commit was interrupted after it happened; it was completed.
    CommitCompleted(u64),
    /// cluster.toml was gone and was restored from this revision.
    TextRestored(u64),
    /// A revision can't be read and is left out of the history.
    Damaged {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A side file could not be read and was dropped.
    Dropped {
        /// Which: "the candidate", "the pending confirmation".
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A commit had not been confirmed in time, and going back failed; it is to be tried again.
    RollbackFailed {
        /// The revision that was not confirmed.
        from: u64,
        /// Why it is still in force.
        why: String,
    },
    /// cluster.toml had been edited by hand when a roll-back was due; the edit is in this file now.
    SetAside(PathBuf),
    /// A commit had not been confirmed in time; an older revision's text is in force again.
    RolledBack {
        /// The revision that was not confirmed.
        from: u64,
        /// The new revision with the old text.
        to: u64,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(number) => write!(f, "the history begins: cluster.toml is revision {number}"),
            Self::LeftoversRemoved(count) => write!(f, "{count} unfinished files were removed"),
            Self::CommitUndone(number) => {
                write!(
                    f,
                    "the commit of revision {number} was interrupted before it came into force and was dropped"
                )
            }
            Self::CommitCompleted(number) => {
                write!(
                    f,
                    "the commit of revision {number} was interrupted after it came into force and was completed"
                )
            }
            Self::TextRestored(number) => {
                write!(f, "cluster.toml was missing and was restored from revision {number}")
            }
            Self::Damaged { number, why } => {
                write!(f, "revision {number} can't be read and is left out of the history: {why}")
            }
            Self::Dropped { what, why } => write!(f, "{what} can't be read and was dropped: {why}"),
            Self::RollbackFailed { from, why } => {
                write!(f, "revision {from} was not confirmed in time, but is still in force: {why}")
            }
            Self::SetAside(path) => {
                write!(f, "the edit of cluster.toml that was found by a roll-back is now {}", path.display())
            }
            Self::RolledBack { from, to } => {
                write!(
                    f,
                    "revision {from} was not confirmed in time; the text before it is revision {to} now"
                )
            }
        }
    }
}

/// What a store knows when it is in order.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) current: Meta,
    pub(crate) text: String,
    pub(crate) pending: Option<Pending>,
    /// The highest number there is a folder of, readable or not.
    pub(crate) newest: u64,
    /// `revisions/current` could not be written and must be before the next commit.
    pub(crate) pointer_stale: bool,
}

/// Which revision is in force, and which one never was.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    current: usize,
    /// Those after it never came into force.
    drop_later: bool,
}

/// Weighs the evidence; `revisions` are in order and not empty. See the invariant above.
fn weigh(revisions: &[Meta], pointer: Option<u64>, on_disk: Option<&Hash>) -> Verdict {
    let pointed = pointer.and_then(|number| revisions.iter().position(|meta| meta.number == number));
    let on_disk_since =
        |pointed| revisions.iter().skip(pointed).rposition(|meta| Some(&meta.hash) == on_disk);
    match pointed.and_then(|pointed| Some(pointed + on_disk_since(pointed)?)) {
        Some(current) => Verdict { current, drop_later: current + 1 < revisions.len() },
        // Edited by hand, or the evidence is gone: nothing that may have been in force is dropped.
        None => Verdict { current: revisions.len() - 1, drop_later: false },
    }
}

/// Brings files and folders in order and says what is in force.
pub(crate) fn recover<F: Fs>(fs: &F, paths: &Paths, now: Timestamp) -> Result<(State, Vec<Repair>)> {
    let mut repairs = Vec::new();
    for (dir, mode) in
        [(&paths.config_dir, 0o755), (&paths.state_dir, DIR_MODE), (&paths.revisions(), DIR_MODE)]
    {
        make_folder(fs, dir, mode)?;
    }
    let revisions_dir = paths.revisions();
    let folder = Folder { fs, dir: &revisions_dir };
    let file = AtomicFile::on(fs);
    let leftovers = file.clean(&paths.config_dir)?
        + file.clean(&paths.state_dir)?
        + file.clean(&revisions_dir)?
        + folder.clean()?;
    if leftovers > 0 {
        repairs.push(Repair::LeftoversRemoved(leftovers));
    }

    let numbers = folder.numbers()?;
    let on_disk = read_bytes(fs, paths)?;
    let mut revisions = readable(&folder, &numbers, &mut repairs);
    let pointer = read_pointer(fs, paths);
    let hash = on_disk.as_ref().map(|bytes| Hash::of(bytes));
    let (current, text) = loop {
        if revisions.is_empty() {
            let number = numbers.last().map_or(1, |n| n + 1);
            let text = as_text(paths, on_disk.clone().unwrap_or_default())?;
            let first = first(number, text, now);
            folder.write(&first.0, &first.1)?;
            repairs.push(Repair::Started(number));
            break first;
        }
        let verdict = weigh(&revisions, pointer, hash.as_ref());
        let meta = revisions[verdict.current].clone();
        match folder.text(&meta) {
            Ok(text) => {
                if pointer.is_some_and(|p| p != meta.number) && hash.as_ref() == Some(&meta.hash) {
                    repairs.push(Repair::CommitCompleted(meta.number));
                }
                if verdict.drop_later {
                    let later = revisions[verdict.current + 1..].iter().map(|meta| meta.number);
                    drop_undone(&folder, later, &mut repairs);
                }
                break (meta, text);
            }
            Err(error) => {
                repairs.push(Repair::Damaged { number: meta.number, why: error.to_string() });
                revisions.remove(verdict.current);
            }
        }
    };

    if on_disk.is_none() {
        match file.write(&paths.cluster(), text.as_bytes(), text_mode(fs, paths)) {
            Ok(()) if repairs.contains(&Repair::Started(current.number)) => {}
            Ok(()) => repairs.push(Repair::TextRestored(current.number)),
            Err(error) => tracing::warn!(error = chain(&error), "cluster.toml is missing and stays so"),
        }
    }
    let pointer_stale =
        read_pointer(fs, paths) != Some(current.number) && write_pointer(fs, paths, current.number).is_err();
    let pending = pending::read(fs, &paths.pending(), &current).unwrap_or_else(|error| {
        repairs.push(Repair::Dropped { what: "the pending confirmation", why: error.to_string() });
        None
    });
    drop_finished_candidate(fs, paths, &text, &mut repairs);
    let newest = folder.numbers()?.last().copied().unwrap_or(current.number);
    Ok((State { current, text, pending, newest, pointer_stale }, repairs))
}

/// Drops what never came into force. On a disk that takes no change, the numbers stay used and nothing else suffers.
fn drop_undone<F: Fs>(folder: &Folder<'_, F>, numbers: impl Iterator<Item = u64>, repairs: &mut Vec<Repair>) {
    for number in numbers {
        match folder.remove(number) {
            Ok(()) => repairs.push(Repair::CommitUndone(number)),
            Err(error) => tracing::warn!(number, %error, "an unfinished revision could not be removed"),
        }
    }
}

fn readable<F: Fs>(folder: &Folder<'_, F>, numbers: &[u64], repairs: &mut Vec<Repair>) -> Vec<Meta> {
    let mut metas = Vec::with_capacity(numbers.len());
    for &number in numbers {
        match folder.meta(number) {
            Ok(meta) => metas.push(meta),
            Err(error) => repairs.push(Repair::Damaged { number, why: error.to_string() }),
        }
    }
    metas
}

fn first(number: u64, text: String, when: Timestamp) -> (Meta, String) {
    let meta = Meta {
        number,
        when,
        who: "evenkeel".into(),
        via: "disk".into(),
        why: "first start".into(),
        parent: 0,
        hash: Hash::of(text.as_bytes()),
        changes: Vec::new(),
    };
    (meta, text)
}

fn drop_finished_candidate(fs: &impl Fs, paths: &Paths, running: &str, repairs: &mut Vec<Repair>) {
    let finished = match candidate::read(fs, &paths.candidate()) {
        Ok(candidate) => candidate.is_some_and(|c| c.text == running),
        Err(StoreError::Damaged { why, .. }) => {
            repairs.push(Repair::Dropped { what: "the candidate", why });
            true
        }
        Err(_) => false,
    };
    if finished {
        // It only costs a file that the next opening removes.
        let _ = AtomicFile::on(fs).remove(&paths.candidate());
    }
}

/// What cluster.toml has now; `None` if it isn't there.
pub(crate) fn read_text(fs: &impl Fs, paths: &Paths) -> Result<Option<String>> {
    read_bytes(fs, paths)?.map(|bytes| as_text(paths, bytes)).transpose()
}

fn read_bytes(fs: &impl Fs, paths: &Paths) -> Result<Option<Vec<u8>>> {
    let path = paths.cluster();
    match fs.read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

fn as_text(paths: &Paths, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + whole.iter().filter(|byte| **byte == b'\n').count();
        StoreError::NotText { path: paths.cluster(), line }
    })
}

/// The mode of the file that is there, so that a commit doesn't undo a chmod.
pub(crate) fn text_mode(fs: &impl Fs, paths: &Paths) -> u32 {
    fs.mode(&paths.cluster()).map_or(0o640, |mode| mode & 0o777)
}

fn read_pointer(fs: &impl Fs, paths: &Paths) -> Option<u64> {
    let bytes = fs.read(&paths.pointer()).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

pub(crate) fn write_pointer(fs: &impl Fs, paths: &Paths, number: u64) -> Result<()> {
    AtomicFile::on(fs).write(&paths.pointer(), format!("{number}\n").as_bytes(), POINTER_MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(texts: &[&str]) -> Vec<Meta> {
        let number = |i: usize| i as u64 + 1;
        let meta = |(i, text): (usize, &&str)| first(number(i), (*text).to_owned(), Timestamp::UNIX_EPOCH).0;
        texts.iter().enumerate().map(meta).collect()
    }

    #[test]
    fn the_evidence_is_weighed_as_the_invariant_says() {
        let history = revisions(&["a", "b", "c"]);
        let hash = |text: &str| Hash::of(text.as_bytes());
        let in_force = |pointer, text: Option<&str>| weigh(&history, pointer, text.map(hash).as_ref());
        let kept = Verdict { current: 2, drop_later: false };
        let undone = |current| Verdict { current, drop_later: true };

        assert_eq!(in_force(Some(3), Some("c")), kept, "in order");
        assert_eq!(in_force(Some(2), Some("c")), kept, "stopped between the text and the pointer");
        assert_eq!(in_force(Some(2), Some("b")), undone(1), "stopped before the text");
        assert_eq!(
            in_force(Some(1), Some("a")),
            undone(0),
            "stopped twice, with a disk that would not be cleaned"
        );
        assert_eq!(in_force(Some(1), Some("b")), undone(1), "the same, and stopped again after the text");
        assert_eq!(in_force(Some(3), Some("x")), kept, "edited by hand");
        assert_eq!(in_force(Some(2), Some("x")), kept, "stopped and edited by hand");
        assert_eq!(in_force(Some(3), Some("b")), kept, "an old text put back by hand");
        assert_eq!(in_force(None, Some("b")), kept, "the pointer is gone: nothing is dropped");
        assert_eq!(in_force(Some(9), Some("b")), kept, "the pointer is nonsense: nothing is dropped");
        assert_eq!(in_force(Some(2), None), kept, "the text is gone: nothing is dropped");
    }
}
