//! The configuration store: what runs, what ran, what may run next.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keel_model::Cluster;

use crate::{
    AtomicFile, Candidate, Diff, Hash, Meta, Pending, Repair, candidate,
    diff::{changes, told},
    error::{Result, StoreError, chain},
    fs::{Fs, RealFs},
    pending,
    recovery::{self, State},
    revision::{Folder, TEXT},
};

/// How many revisions are kept.
const KEEP: usize = 500;
const NODE_MODE: u32 = 0o644;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `/etc/evenkeel`: cluster.toml and node.toml.
    pub config_dir: PathBuf,
    /// `/var/lib/evenkeel`: revisions, candidate, pending confirmation.
    pub state_dir: PathBuf,
}

impl Paths {
    /// From the two folders.
    pub fn new(config_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { config_dir: config_dir.into(), state_dir: state_dir.into() }
    }

    /// The configuration of the pair.
    pub fn cluster(&self) -> PathBuf {
        self.config_dir.join(TEXT)
    }

    /// The configuration of this node.
    pub fn node(&self) -> PathBuf {
        self.config_dir.join("node.toml")
    }

    /// Where an edit on disk goes that a roll-back of this revision found.
    pub(crate) fn set_aside(&self, revision: u64) -> PathBuf {
        self.config_dir.join(format!("{TEXT}.edited-{revision}"))
    }

    pub(crate) fn revisions(&self) -> PathBuf {
        self.state_dir.join("revisions")
    }

    pub(crate) fn pointer(&self) -> PathBuf {
        self.revisions().join("current")
    }

    pub(crate) fn pending(&self) -> PathBuf {
        self.state_dir.join("pending.json")
    }

    pub(crate) fn candidate(&self) -> PathBuf {
        self.state_dir.join("candidate.json")
    }
}

/// A text to be put in force, by whom and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The whole of cluster.toml, already validated.
    pub text: &'a str,
    /// The revision that the change was made from; `None` takes whatever runs.
    pub expected: Option<u64>,
    /// The user.
    pub who: &'a str,
    /// How they came in: `socket`, `web`, `daemon`.
    pub via: &'a str,
    /// Their reason, for the history.
    pub why: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Go back by itself at this time unless confirmed.
    pub confirm_by: Option<Timestamp>,
    /// What runs and what is to be put in force, if somebody has read both texts already: it spares reading them again.
    pub read: Option<(&'a Cluster, &'a Cluster)>,
}

/// The outcome of anything that changes the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision that runs now.
    pub revision: u64,
    /// The revision that ran before; the same when the text was the same.
    pub previous: u64,
    /// One sentence per change of meaning.
    pub changes: Vec<String>,
    /// Set when this goes back by itself unless confirmed, also because an earlier commit still waits.
    pub pending: Option<Pending>,
    /// It is in force, but something about keeping it failed: a disk that is full or broken.
    pub warning: Option<String>,
    /// Where an edit on disk that was in the way is now; only [`Store::expire`] moves one.
    pub set_aside: Option<PathBuf>,
}

/// The store of one node. One process has it open at a time.
#[derive(Debug)]
pub struct Store<F: Fs = RealFs> {
    fs: F,
    paths: Paths,
    state: State,
    /// A commit failed and the disk would not even say how far it came: ask again before the next change.
    in_doubt: bool,
    keep: usize,
    _lock: F::Lock,
}

impl<F: Fs> Store<F> {
    /// Opens the store, repairs what a crash left, and rolls back a commit whose time to be confirmed has passed.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; [`StoreError::Read`] and [`StoreError::Write`] when the disk doesn't let us.
    pub fn open(fs: F, paths: Paths, now: Timestamp) -> Result<(Self, Vec<Repair>)> {
        let lock_path = paths.state_dir.join("lock");
        let lock = fs.create_dir_all(&paths.state_dir, 0o700).and_then(|()| fs.lock(&lock_path));
        let lock = lock.map_err(|source| StoreError::Write { path: lock_path.clone(), source })?;
        let lock = lock.ok_or(StoreError::InUse { path: lock_path })?;
        let (state, mut repairs) = recovery::recover(&fs, &paths, now)?;
        let mut store = Self { fs, paths, state, in_doubt: false, keep: KEEP, _lock: lock };
        let from = store.state.current.number;
        match store.expire(now) {
            Ok(None) => {}
            Ok(Some(back)) => {
                repairs.extend(back.set_aside.map(Repair::SetAside));
                repairs.push(Repair::RolledBack { from, to: back.revision });
            }
            // A full disk must not keep the load balancer from starting.
            Err(error) => repairs.push(Repair::RollbackFailed { from, why: chain(&error) }),
        }
        Ok((store, repairs))
    }

    /// The revision in force.
    pub fn current(&self) -> &Meta {
        &self.state.current
    }

    /// Its text.
    pub fn running_text(&self) -> &str {
        &self.state.text
    }

    /// The commit that waits to be confirmed, if any.
    pub fn pending(&self) -> Option<&Pending> {
        self.state.pending.as_ref()
    }

    /// Where everything is.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The newest `limit` revisions, newest first. One that can't be read is left out.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn history(&self, limit: usize) -> Result<Vec<Meta>> {
        let dir = self.paths.revisions();
        let folder = Folder { fs: &self.fs, dir: &dir };
        let numbers = folder.numbers()?;
        Ok(numbers.iter().rev().filter_map(|&number| folder.meta(number).ok()).take(limit).collect())
    }

    /// The text of a revision.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRevision`], [`StoreError::Damaged`], [`StoreError::Read`].
    pub fn text_of(&self, number: u64) -> Result<String> {
        if number == self.state.current.number {
            return Ok(self.state.text.clone());
        }
        let dir = self.paths.revisions();
        let folder = Folder { fs: &self.fs, dir: &dir };
        let numbers = folder.numbers()?;
        if !numbers.contains(&number) {
            let oldest = numbers.first().copied().unwrap_or_default();
            return Err(StoreError::NoSuchRevision { number, oldest, newest: self.state.current.number });
        }
        folder.text(&folder.meta(number)?)
    }

    /// What differs between two revisions.
    ///
    /// # Errors
    /// As [`Self::text_of`].
    pub fn diff(&self, from: u64, to: u64) -> Result<Diff> {
        let (old, new) = (self.text_of(from)?, self.text_of(to)?);
        Ok(Diff::between((&revision(from), &old), (&revision(to), &new)))
    }

    /// What a text would change about a revision; `name` is what to call it, "the candidate".
    ///
    /// # Errors
    /// As [`Self::text_of`].
    pub fn diff_to(&self, from: u64, name: &str, text: &str) -> Result<Diff> {
        Ok(Diff::between((&revision(from), &self.text_of(from)?), (name, text)))
    }

    /// The text that an administrator's editor put into cluster.toml, if it isn't the revision in force.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::NotText`].
    pub fn edited_on_disk(&self) -> Result<Option<String>> {
        Ok(recovery::read_text(&self.fs, &self.paths)?.filter(|text| *text != self.state.text))
    }

    /// Puts a text in force as a new revision. The same text again changes nothing.
    ///
    /// While an earlier commit waits to be confirmed, this one goes back with it; giving `confirm_by` then moves the
    /// deadline for both.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::EditedOnDisk`], [`StoreError::DeadlinePassed`], and
    /// [`StoreError::Write`], after which the former revision is in force.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed> {
        if let Some(deadline) = commit.confirm_by.filter(|deadline| *deadline <= commit.now) {
            return Err(StoreError::DeadlinePassed { deadline });
        }
        let commit = &self.settled(commit)?;
        self.refuse_conflict(commit.expected)?;
        self.refuse_edited(commit.text)?;
        let waits = match (commit.confirm_by, &self.state.pending) {
            (Some(deadline), former) => {
                let falls_back_to = former.as_ref().map_or(self.state.current.number, |p| p.falls_back_to);
                Some((falls_back_to, deadline, commit.who.to_owned()))
            }
            (None, Some(former)) => Some((former.falls_back_to, former.deadline, former.who.clone())),
            (None, None) => None,
        };
        self.install(commit, waits)
    }

    /// Puts an older revision's text in force again, as a new revision, and ends any waiting to be confirmed.
    ///
    /// `commit.text` and `commit.confirm_by` are not looked at.
    ///
    /// # Errors
    /// As [`Self::text_of`] and [`Self::commit`].
    pub fn rollback(&mut self, number: u64, commit: &Commit<'_>) -> Result<Committed> {
        let commit = &self.settled(commit)?;
        let text = self.text_of(number)?;
        self.refuse_conflict(commit.expected)?;
        self.refuse_edited(&text)?;
        let done = self.install(&Commit { text: &text, confirm_by: None, ..commit.clone() }, None)?;
        if done.revision == done.previous {
            self.stop_waiting()?;
        }
        Ok(Committed { pending: None, ..done })
    }

    /// Keeps the commit that waits; returns the revision that stays.
    ///
    /// # Errors
    /// [`StoreError::NothingPending`], [`StoreError::Write`] (it still waits).
    pub fn confirm(&mut self) -> Result<&Meta> {
        self.settle()?;
        if self.state.pending.is_none() {
            return Err(StoreError::NothingPending);
        }
        self.stop_waiting()?;
        Ok(&self.state.current)
    }

    /// Rolls back if a commit waited until now in vain. Call it when [`Pending::deadline`] is reached.
    ///
    /// An edit on disk meanwhile comes neither into force nor into the history, for nobody has checked it; it is put
    /// aside, see [`Committed::set_aside`].
    ///
    /// # Errors
    /// [`StoreError::Write`] (try again later), [`StoreError::Damaged`] when the former text is gone.
    pub fn expire(&mut self, now: Timestamp) -> Result<Option<Committed>> {
        self.settle()?;
        let Some(waiting) = self.state.pending.clone().filter(|p| p.deadline <= now) else { return Ok(None) };
        let previous = self.state.current.number;
        let text = self.text_of(waiting.falls_back_to)?;
        let set_aside = self.set_edit_aside(&text, waiting.revision)?;
        let why = format!("revision {} was not confirmed by {}", waiting.revision, waiting.deadline);
        let back =
            Commit { text: &text, who: "evenkeel", via: "daemon", why: &why, now, ..Commit::default() };
        let done = self.install(&back, None)?;
        if done.revision == previous {
            self.stop_waiting()?;
        }
        Ok(Some(Committed { pending: None, set_aside, ..done }))
    }

    /// Copies what was edited on disk, text or not, out of the way of `text`.
    fn set_edit_aside(&self, text: &str, revision: u64) -> Result<Option<PathBuf>> {
        let path = self.paths.cluster();
        let edited = match self.fs.read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| StoreError::Read { path, source })?,
        };
        if edited == self.state.text.as_bytes() || edited == text.as_bytes() {
            return Ok(None);
        }
        let aside = self.paths.set_aside(revision);
        let mode = recovery::text_mode(&self.fs, &self.paths);
        AtomicFile::on(&self.fs).write(&aside, &edited, mode)?;
        Ok(Some(aside))
    }

    /// Makes what was edited on disk a revision; `None` if nothing was. Validate the text first.
    ///
    /// # Errors
    /// [`StoreError::Write`], [`StoreError::Read`].
    pub fn adopt(&mut self, who: &str, via: &str, now: Timestamp) -> Result<Option<Committed>> {
        self.settle()?;
        let Some(text) = self.edited_on_disk()? else { return Ok(None) };
        let waits = self.state.pending.as_ref().map(|p| (p.falls_back_to, p.deadline, p.who.clone()));
        let why = "edited on disk";
        let commit = Commit { text: &text, who, via, why, now, ..Commit::default() };
        self.install(&commit, waits).map(Some)
    }

    /// Throws away what was edited on disk: cluster.toml is the revision in force again.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn discard_edit(&self) -> Result<()> {
        let mode = recovery::text_mode(&self.fs, &self.paths);
        AtomicFile::on(&self.fs).write(&self.paths.cluster(), self.state.text.as_bytes(), mode)
    }

    /// The candidate, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`].
    pub fn candidate(&self) -> Result<Option<Candidate>> {
        candidate::read(&self.fs, &self.paths.candidate())
    }

    /// Keeps a candidate in place of the former one.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn put_candidate(&self, candidate: &Candidate) -> Result<()> {
        candidate::write(&self.fs, &self.paths.candidate(), candidate)
    }

    /// Throws the candidate away; none there is fine.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn discard_candidate(&self) -> Result<()> {
        AtomicFile::on(&self.fs).remove(&self.paths.candidate())
    }

    /// The text of node.toml; empty if it isn't there.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Damaged`].
    pub fn node_text(&self) -> Result<String> {
        let path = self.paths.node();
        match self.fs.read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(StoreError::Read { path, source }),
            Ok(bytes) => {
                String::from_utf8(bytes).map_err(|e| StoreError::Damaged { path, why: e.to_string() })
            }
        }
    }

    /// Replaces node.toml, which has no history of its own.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write_node(&self, text: &str) -> Result<()> {
        AtomicFile::on(&self.fs).write(&self.paths.node(), text.as_bytes(), NODE_MODE)
    }

    #[cfg(test)]
    pub(crate) fn keep_at_most(&mut self, keep: usize) {
        self.keep = keep;
    }

    /// Settles what is in doubt. If something else runs after that, what the committer had read of it is out of date.
    fn settled<'c>(&mut self, commit: &Commit<'c>) -> Result<Commit<'c>> {
        let before = self.state.current.number;
        self.settle()?;
        let read = commit.read.filter(|_| self.state.current.number == before);
        Ok(Commit { read, ..commit.clone() })
    }

    fn refuse_conflict(&self, expected: Option<u64>) -> Result<()> {
        let current = self.state.current.number;
        match expected.filter(|expected| *expected != current) {
            None => Ok(()),
            Some(expected) => {
                let old = self.text_of(expected).unwrap_or_default();
                let diff = Diff::between((&revision(expected), &old), (&revision(current), &self.state.text));
                Err(StoreError::Conflict { expected, current, diff: Box::new(diff) })
            }
        }
    }

    fn refuse_edited(&self, committed: &str) -> Result<()> {
        // Committing the very text of the edit is how it comes into force.
        let Some(text) = self.edited_on_disk()?.filter(|text| text != committed) else { return Ok(()) };
        let current = self.state.current.number;
        let diff = Diff::between((&revision(current), &self.state.text), ("cluster.toml on disk", &text));
        Err(StoreError::EditedOnDisk { current, diff: Box::new(diff) })
    }

    /// Steps 1 to 5 of the invariant in [`recovery`]; `waits` is (falls back to, deadline, who).
    fn install(&mut self, commit: &Commit<'_>, waits: Option<(u64, Timestamp, String)>) -> Result<Committed> {
        let previous = self.state.current.number;
        if commit.text == self.state.text {
            let pending = self.state.pending.clone();
            return Ok(Committed {
                revision: previous,
                previous,
                changes: Vec::new(),
                pending,
                warning: None,
                set_aside: None,
            });
        }
        let meta = Meta {
            number: self.state.newest + 1,
            when: commit.now,
            who: commit.who.to_owned(),
            via: commit.via.to_owned(),
            why: commit.why.to_owned(),
            parent: previous,
            hash: Hash::of(commit.text.as_bytes()),
            changes: match commit.read {
                Some((old, new)) => told(old, new),
                None => changes(&self.state.text, commit.text),
            },
        };
        let pending = waits.map(|(falls_back_to, deadline, who)| Pending {
            revision: meta.number,
            since: meta.when,
            falls_back_to,
            deadline,
            who,
        });
        let warning = match self.bring_into_force(&meta, commit.text, pending.as_ref()) {
            Ok(()) => {
                self.come_into_force(meta.clone(), commit.text, pending);
                None
            }
            Err(error) => {
                self.in_doubt = true;
                if self.settle().is_err() || self.state.current != meta {
                    return Err(error);
                }
                Some(chain(&error))
            }
        };
        let stale = self.state.pointer_stale.then(|| "the disk would not take all of the history".to_owned());
        let (warning, pending) = (warning.or(stale), self.state.pending.clone());
        let (revision, changes) = (meta.number, meta.changes);
        Ok(Committed { revision, previous, changes, pending, warning, set_aside: None })
    }

    /// After a failure, asks the disk how far we came, as after a crash.
    fn settle(&mut self) -> Result<()> {
        if self.in_doubt {
            (self.state, _) = recovery::recover(&self.fs, &self.paths, self.state.current.when)?;
            self.in_doubt = false;
        }
        Ok(())
    }

    fn bring_into_force(&mut self, meta: &Meta, text: &str, pending: Option<&Pending>) -> Result<()> {
        if self.state.pointer_stale {
            recovery::write_pointer(&self.fs, &self.paths, self.state.current.number)?;
            self.state.pointer_stale = false;
        }
        Folder { fs: &self.fs, dir: &self.paths.revisions() }.write(meta, text)?;
        if let Some(next) = pending {
            pending::write(&self.fs, &self.paths.pending(), self.state.pending.as_ref(), next)?;
        }
        let mode = recovery::text_mode(&self.fs, &self.paths);
        AtomicFile::on(&self.fs).write(&self.paths.cluster(), text.as_bytes(), mode)
    }

    fn come_into_force(&mut self, meta: Meta, text: &str, pending: Option<Pending>) {
        let waited = self.state.pending.is_some();
        let newest = meta.number;
        let pointer_stale = recovery::write_pointer(&self.fs, &self.paths, newest).is_err();
        self.state = State { current: meta, text: text.to_owned(), pending, newest, pointer_stale };
        if waited && self.state.pending.is_none() {
            // Its entry is of another revision, so it means nothing any more; the file is only untidy.
            let _ = AtomicFile::on(&self.fs).remove(&self.paths.pending());
        }
        if let Err(error) = self.prune() {
            tracing::warn!(error = chain(&error), "old revisions could not be removed");
        }
    }

    fn stop_waiting(&mut self) -> Result<()> {
        AtomicFile::on(&self.fs).remove(&self.paths.pending())?;
        self.state.pending = None;
        Ok(())
    }

    /// Removes the oldest revisions beyond the limit, but never what a waiting commit falls back to.
    fn prune(&self) -> Result<()> {
        let dir = self.paths.revisions();
        let folder = Folder { fs: &self.fs, dir: &dir };
        let numbers = folder.numbers()?;
        let needed = self.state.pending.as_ref().map(|p| p.falls_back_to);
        let surplus = numbers.len().saturating_sub(self.keep);
        for &number in numbers.iter().take(surplus).filter(|number| Some(**number) != needed) {
            folder
                .remove(number)
                .map_err(|source| StoreError::Write { path: folder.path(number), source })?;
        }
        Ok(())
    }
}

impl Store<RealFs> {
    /// Opens the store of this machine; see [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_at(config_dir: &Path, state_dir: &Path, now: Timestamp) -> Result<(Self, Vec<Repair>)> {
        Self::open(RealFs, Paths::new(config_dir, state_dir), now)
    }
}

fn revision(number: u64) -> String {
    format!("revision {number}")
}
