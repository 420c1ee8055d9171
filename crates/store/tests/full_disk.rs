//! A real disk that is really full: a tiny tmpfs, mounted where only this test sees it. Needs root.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test, like the test itself")]

use std::{fs, io, path::Path, thread};

use jiff::Timestamp;
use keel_store::{Commit, Entry, Journal, Outcome, RealFs, Store, StoreError};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const PAGE: usize = 4096;
const PAGES: usize = 64;

/// Runs a test on a thread with a mount namespace and in it a tmpfs of its own.
fn on_a_tiny_disk(test: impl FnOnce(&Path) + Send) {
    let mount_point = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("making a mount namespace needs root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let size = format!("size={}", PAGES * PAGE);
            mount(Some("tmpfs"), mount_point.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
                .unwrap();
            test(mount_point.path());
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn open(disk: &Path) -> Store {
    Store::open_at(&disk.join("etc"), &disk.join("lib"), Timestamp::UNIX_EPOCH).unwrap().0
}

fn commit(text: &str) -> Commit<'_> {
    Commit { text, who: "ann", confirm_by: Some(Timestamp::MAX), ..Commit::default() }
}

/// Fills the disk until only so many pages are free.
fn leave_free(disk: &Path, pages: usize) {
    let filler = disk.join("filler");
    let mut all = vec![0; PAGES * PAGE];
    while let Err(e) = fs::write(&filler, &all) {
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        all.truncate(all.len() - PAGE);
    }
    fs::write(&filler, &all[..all.len() - pages * PAGE]).unwrap();
}

#[test]
fn however_little_is_free_a_commit_happens_whole_or_not_at_all() {
    on_a_tiny_disk(|disk| {
        let (mut refused, mut accepted) = (0, 0);
        for free in 0..16 {
            let mut store = open(disk);
            let old = store.running_text().to_owned();
            let new = format!("# with {free} pages free\n").repeat(400);
            leave_free(disk, free);
            match store.commit(&commit(&new)) {
                Ok(_) => accepted += 1,
                Err(StoreError::Write { source, .. }) => {
                    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                    refused += 1;
                    assert_eq!(store.running_text(), old);
                }
                Err(other) => panic!("{other:?}"),
            }
            let now = store.running_text().to_owned();
            drop(store);

            let mut store = open(disk);
            assert_eq!(
                store.running_text(),
                now,
                "{free} pages free: it opens on the full disk as it was left"
            );
            assert_eq!(store.edited_on_disk().unwrap(), None);
            fs::remove_file(disk.join("filler")).unwrap();
            store.commit(&commit("# there is room again\n")).unwrap();
            for meta in store.history(100).unwrap() {
                store.text_of(meta.number).unwrap();
            }
            drop(store);
            // Leave room for the next round: the history itself must not fill the disk.
            fs::remove_dir_all(disk.join("lib")).unwrap();
        }
        assert!(refused > 3 && accepted > 3, "{refused} refused, {accepted} accepted: the edge was not met");
    });
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    on_a_tiny_disk(|disk| {
        let mut store = open(disk);
        leave_free(disk, 0);
        let error = store.commit(&commit(&"# more\n".repeat(2000))).unwrap_err();
        assert!(error.to_string().ends_with("(free some space there and try again)"), "{error}");
    });
}

#[test]
fn the_journal_goes_on_when_there_is_room_again() {
    on_a_tiny_disk(|disk| {
        let entry = |subject: &str| Entry {
            when: Timestamp::UNIX_EPOCH,
            who: "ann".into(),
            via: "socket".into(),
            from: None,
            action: "drain".into(),
            subject: subject.into(),
            outcome: Outcome::Done,
            note: "n".repeat(1000),
        };
        let mut journal = Journal::open(RealFs, disk).unwrap();
        journal.append(&entry("before")).unwrap();
        leave_free(disk, 0);
        let mut refused = 0;
        while refused < 3 {
            refused += usize::from(journal.append(&entry("full")).is_err());
        }
        fs::remove_file(disk.join("filler")).unwrap();
        journal.append(&entry("after")).unwrap();
        let all = journal.newest(100).unwrap();
        assert_eq!((all[0].subject.as_str(), all.last().unwrap().subject.as_str()), ("after", "before"));
    });
}
