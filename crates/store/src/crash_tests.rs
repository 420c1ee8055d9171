//! Laws of the store under every interruption: after any step, killed, unplugged or with a full disk, what is found is
//! the old state or the new one, whole, and it can go on from there.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use crate::{
    Commit, Committed, Entry, Journal, Outcome, Paths, Pending, Repair, Store, StoreError,
    error::Result,
    mem_fs::{Fault, MemFs},
};

fn paths() -> Paths {
    Paths::new("/etc/evenkeel", "/var/lib/evenkeel")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

fn commit(text: &str, now: i64, confirm_by: Option<i64>) -> Commit<'_> {
    let confirm_by = confirm_by.map(at);
    Commit { text, who: "ann", now: at(now), confirm_by, ..Commit::default() }
}

/// Opens a store that keeps few revisions, so that removing old ones is interrupted too.
fn open(fs: &MemFs, now: i64) -> (Store<MemFs>, Vec<Repair>) {
    let (mut store, repairs) = Store::open(fs.clone(), paths(), at(now)).expect("the store opens");
    store.keep_at_most(4);
    (store, repairs)
}

/// All that an observer sees of a store: number, text, what waits, and the history's numbers and texts.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    number: u64,
    text: String,
    pending: Option<Pending>,
    history: Vec<(u64, String)>,
}

impl Seen {
    /// The same but for old revisions: those beyond the limit are removed one by one after the change.
    fn is(&self, other: &Self, before: &Self) -> bool {
        let same = (self.number, &self.text, &self.pending) == (other.number, &other.text, &other.pending);
        let complete = other.history.iter().all(|revision| self.history.contains(revision));
        let mut rest = self.history.iter().filter(|revision| !other.history.contains(revision));
        same && complete && rest.all(|revision| before.history.contains(revision))
    }
}

fn see(store: &Store<MemFs>) -> Seen {
    let history = store.history(usize::MAX).unwrap();
    for pair in history.windows(2) {
        // Only the oldest may stand apart: a waiting commit needed it when those after it were removed.
        let oldest = history.last().map(|meta| meta.number) == Some(pair[1].number);
        assert!(pair[0].parent == pair[1].number || oldest, "each revision follows the one before");
    }
    assert_eq!(store.edited_on_disk().unwrap(), None, "the text on disk is the revision in force");
    Seen {
        number: store.current().number,
        text: store.running_text().to_owned(),
        pending: store.pending().cloned(),
        history: history.iter().map(|m| (m.number, store.text_of(m.number).unwrap())).collect(),
    }
}

/// A change to a store, to be interrupted.
#[derive(Debug, Clone)]
enum Change {
    Commit(&'static str),
    CommitConfirmed(&'static str),
    Rollback(u64),
    Confirm,
    Expire,
}

impl Change {
    fn make(&self, store: &mut Store<MemFs>, now: i64) -> Result<Option<Committed>> {
        match self {
            Self::Commit(text) => store.commit(&commit(text, now, None)).map(Some),
            Self::CommitConfirmed(text) => store.commit(&commit(text, now, Some(now + 600))).map(Some),
            Self::Rollback(number) => match store.rollback(*number, &commit("", now, None)) {
                Err(StoreError::NoSuchRevision { .. }) => Ok(None),
                other => other.map(Some),
            },
            Self::Confirm => match store.confirm() {
                Err(StoreError::NothingPending) => Ok(None),
                other => other.map(|_| None),
            },
            Self::Expire => store.expire(at(now + 10_000)),
        }
    }
}

/// A store that has seen some changes, each a second after the other.
fn prepared(changes: &[Change]) -> MemFs {
    let fs = MemFs::new();
    fs.create_dirs();
    let (mut store, _) = open(&fs, 0);
    for (second, change) in changes.iter().enumerate() {
        change.make(&mut store, second as i64 + 1).unwrap();
    }
    fs
}

impl MemFs {
    fn create_dirs(&self) {
        use crate::Fs;
        self.create_dir_all(&paths().config_dir, 0).unwrap();
        for dir in ["/", "/etc"] {
            self.sync_dir(std::path::Path::new(dir)).unwrap();
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let text = prop::sample::select(vec!["a\n", "b\n", "c\n", "a longer text, over several\nlines\n"]);
    prop_oneof![
        text.clone().prop_map(Change::Commit),
        text.prop_map(Change::CommitConfirmed),
        (1_u64..6).prop_map(Change::Rollback),
        Just(Change::Confirm),
        Just(Change::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn killed_or_unplugged_after_any_step_the_old_or_the_new_state_is_there(
        before in prop::collection::vec(any_change(), 0..7),
        change in any_change(),
        seed in any::<u64>(),
    ) {
        let now = before.len() as i64 + 1;
        let (old, _) = open(&prepared(&before).after_kill(), now);
        let old = see(&old);
        let fs = prepared(&before);
        let (mut store, _) = open(&fs, now);
        let start = fs.taken();
        change.make(&mut store, now).unwrap();
        let new = see(&store);

        for step in 0..=fs.taken() - start {
            for cut in [None, Some(seed), Some(seed ^ 0x9e37_79b9_7f4a_7c15)] {
                let fs = prepared(&before);
                let (mut store, _) = open(&fs, now);
                fs.fail_after(step, Fault::Stop);
                let acknowledged = change.make(&mut store, now).is_ok();
                let found = match cut {
                    None => fs.after_kill(),
                    Some(seed) => fs.after_power_cut(&mut luck(seed.wrapping_add(step))),
                };
                let (mut store, repairs) = open(&found, now);
                let seen = see(&store);
                prop_assert!(seen.is(&old, &old) || seen.is(&new, &old), "step {step}, {repairs:?}\n{seen:#?}\nold {old:#?}\nnew {new:#?}");
                if acknowledged {
                    prop_assert!(seen.is(&new, &old), "what was acknowledged lasts");
                }
                go_on(&mut store, now, &seen)?;
                let (again, repairs) = open(&found, now);
                prop_assert_eq!(repairs, vec![], "opening again finds nothing to repair");
                prop_assert_eq!(again.running_text(), store.running_text());
            }
        }
    }

    #[test]
    fn a_full_or_broken_disk_at_any_step_leaves_the_old_or_the_new_state(
        before in prop::collection::vec(any_change(), 0..7),
        change in any_change(),
    ) {
        let now = before.len() as i64 + 1;
        let fs = prepared(&before);
        let (mut store, _) = open(&fs, now);
        let (old, start) = (see(&store), fs.taken());
        change.make(&mut store, now).unwrap();
        let new = see(&store);

        for step in 0..=fs.taken() - start {
            for fault in [Fault::Full, Fault::Broken] {
                let fs = prepared(&before);
                let (mut store, _) = open(&fs, now);
                fs.fail_after(step, fault);
                let made = change.make(&mut store, now);
                fs.heal();
                let (found, _) = open(&fs.after_kill(), now);
                let found = see(&found);
                prop_assert!(found.is(&old, &old) || found.is(&new, &old), "{fault:?} at step {step}\n{found:#?}\nold {old:#?}\nnew {new:#?}");
                if made.is_ok() {
                    prop_assert!(found.is(&new, &old), "{fault:?} at step {step}: what was acknowledged is there");
                }
                // The same store, not reopened, goes on as well.
                go_on(&mut store, now, &found)?;
                let (again, _) = open(&fs.after_kill(), now);
                prop_assert_eq!(again.running_text(), store.running_text());
                prop_assert_eq!(again.current(), store.current());
            }
        }
    }
}

/// The next commit works and is the next revision.
fn go_on(store: &mut Store<MemFs>, now: i64, seen: &Seen) -> std::result::Result<(), TestCaseError> {
    let done =
        store.commit(&commit("and on\n", now, None)).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
    prop_assert_eq!(done.previous, seen.number);
    prop_assert!(done.revision > seen.number && done.warning.is_none(), "{:?}", done);
    prop_assert_eq!(store.running_text(), "and on\n");
    prop_assert_eq!(store.text_of(seen.number).unwrap(), seen.text.clone());
    Ok(())
}

/// A reproducible source of luck.
fn luck(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    }
}

#[test]
fn a_first_start_interrupted_anywhere_starts_the_next_time() {
    for step in 0..60 {
        for seed in 0..8 {
            let fs = MemFs::new();
            fs.create_dirs();
            fs.fail_after(step, Fault::Stop);
            let opened = Store::open(fs.clone(), paths(), at(0)).is_ok();
            let (store, _) = open(&fs.after_power_cut(&mut luck(seed + 1)), 1);
            assert_eq!((store.current().number, store.running_text()), (1, ""));
            if opened && step == 59 {
                return;
            }
        }
    }
}

#[test]
fn a_retried_commit_does_not_inherit_the_deadline_of_the_one_that_was_interrupted() {
    let fs = prepared(&[Change::Commit("a\n")]);
    let mut interrupted = false;
    for step in 0..30 {
        let fs = fs.after_kill();
        let (mut store, _) = open(&fs, 2);
        fs.fail_after(step, Fault::Stop);
        if store.commit(&commit("b\n", 2, Some(60))).is_ok() {
            break;
        }
        let fs = fs.after_kill();
        let (mut store, _) = open(&fs, 3);
        if store.current().number == 2 {
            interrupted = true;
            store.commit(&commit("b\n", 3, None)).unwrap();
            let (store, repairs) = open(&fs, 100);
            assert_eq!((store.pending(), repairs, store.running_text()), (None, vec![], "b\n"));
        }
    }
    assert!(interrupted);
}

#[test]
fn a_journal_interrupted_anywhere_keeps_every_acknowledged_entry() {
    let entry = |subject: u32| Entry {
        when: at(0),
        who: "ann".into(),
        via: "socket".into(),
        from: None,
        action: "drain".into(),
        subject: subject.to_string(),
        outcome: Outcome::Done,
        note: String::new(),
    };
    let dir = std::path::Path::new("/etc");
    for fault in [Fault::Stop, Fault::Full, Fault::Broken] {
        for step in 0..40 {
            let fs = MemFs::new();
            fs.create_dirs();
            let mut kept = Vec::new();
            let mut journal = Journal::open(fs.clone(), dir).unwrap();
            fs.fail_after(step, fault);
            kept.extend((0..10).filter(|n| journal.append(&entry(*n)).is_ok()));
            fs.heal();
            let found =
                if fault == Fault::Stop { fs.after_power_cut(&mut luck(step + 1)) } else { fs.after_kill() };
            let mut journal = Journal::open(found, dir).unwrap();
            journal.append(&entry(99)).unwrap();
            let read: Vec<u32> =
                journal.newest(100).unwrap().iter().rev().map(|e| e.subject.parse().unwrap()).collect();
            assert_eq!(read.last(), Some(&99), "{fault:?} at {step}");
            assert!(kept.iter().all(|n| read.contains(n)), "{fault:?} at {step}: {kept:?} in {read:?}");
            assert!(read.is_sorted() && read.iter().filter(|n| !kept.contains(n)).count() <= 2, "{read:?}");
        }
    }
}
