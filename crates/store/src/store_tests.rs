//! The store on a real disk, uninterrupted.

use std::{fs, time::Duration};

use jiff::Timestamp;
use tempfile::TempDir;

use crate::{Candidate, Commit, Repair, Store, StoreError};

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn open(dir: &TempDir, now: u64) -> (Store, Vec<Repair>) {
    Store::open_at(&dir.path().join("etc"), &dir.path().join("lib"), at(now)).unwrap()
}

fn commit(text: &str, expected: Option<u64>) -> Commit<'_> {
    Commit { text, expected, who: "ann", via: "socket", why: "because", now: at(10), ..Commit::default() }
}

fn on_disk(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("etc/cluster.toml")).unwrap()
}

const ONE: &str = "# one\n[heartbeat]\nudp_port = 6694\n";
const TWO: &str = "# two\n[heartbeat]\nudp_port = 7000\n";

#[test]
fn what_is_there_at_the_first_start_is_revision_1() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/cluster.toml"), ONE).unwrap();
    let (store, repairs) = open(&dir, 1);
    assert_eq!(repairs, [Repair::Started(1)]);
    assert_eq!((store.current().number, store.running_text()), (1, ONE));
    drop(store);
    assert_eq!(open(&dir, 2).1, []);
}

#[test]
fn a_commit_is_a_revision_with_who_when_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, Some(1))).unwrap();
    let done = store.commit(&commit(TWO, Some(2))).unwrap();
    assert_eq!((done.revision, done.previous, done.warning), (3, 2, None));
    assert_eq!(done.changes.len(), 1, "{:?}", done.changes);
    assert_eq!(on_disk(&dir), TWO);
    drop(store);

    let (store, repairs) = open(&dir, 20);
    assert_eq!(repairs, []);
    let history = store.history(2).unwrap();
    assert_eq!(history.iter().map(|m| m.number).collect::<Vec<_>>(), [3, 2]);
    let meta = &history[0];
    assert_eq!((meta.who.as_str(), meta.via.as_str(), meta.why.as_str()), ("ann", "socket", "because"));
    assert_eq!((meta.when, meta.parent, &meta.changes), (at(10), 2, &done.changes));
    assert_eq!(store.text_of(2).unwrap(), ONE);
    let diff = store.diff(2, 3).unwrap();
    assert!(diff.unified.contains("-udp_port = 6694\n+udp_port = 7000\n"), "{}", diff.unified);
    assert_eq!((diff.from.as_str(), diff.to.as_str()), ("revision 2", "revision 3"));
    assert!(matches!(store.text_of(9), Err(StoreError::NoSuchRevision { number: 9, oldest: 1, newest: 3 })));
}

#[test]
fn the_same_text_again_makes_no_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    let done = store.commit(&commit(ONE, None)).unwrap();
    assert_eq!((done.revision, done.previous), (2, 2));
    assert_eq!(store.history(10).unwrap().len(), 2);
}

#[test]
fn the_second_of_two_editors_gets_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, Some(1))).unwrap();
    let Err(StoreError::Conflict { expected: 1, current: 2, diff }) = store.commit(&commit(TWO, Some(1)))
    else {
        panic!("it was accepted")
    };
    assert!(diff.unified.contains("+udp_port = 6694"), "{}", diff.unified);
    assert_eq!(on_disk(&dir), ONE);
}

#[test]
fn an_unconfirmed_commit_goes_back_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    let done = store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    let pending = done.pending.unwrap();
    assert_eq!((pending.revision, pending.falls_back_to, pending.deadline), (3, 2, at(600)));
    assert_eq!(store.expire(at(599)).unwrap(), None);
    assert_eq!(on_disk(&dir), TWO);
    let back = store.expire(at(600)).unwrap().unwrap();
    assert_eq!((back.revision, back.previous, back.pending), (4, 3, None));
    assert_eq!((on_disk(&dir).as_str(), store.pending()), (ONE, None));
    assert!(store.current().why.contains("revision 3 was not confirmed"), "{}", store.current().why);
    assert_eq!(store.expire(at(700)).unwrap(), None);
}

#[test]
fn an_unconfirmed_commit_goes_back_even_if_nobody_was_there_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    drop(store);
    let (store, repairs) = open(&dir, 599);
    assert_eq!((repairs.len(), store.pending().is_some()), (0, true));
    drop(store);
    let (store, repairs) = open(&dir, 6000);
    assert_eq!(repairs, [Repair::RolledBack { from: 3, to: 4 }]);
    assert_eq!((store.running_text(), on_disk(&dir).as_str(), store.pending()), (ONE, ONE, None));
}

#[test]
fn a_confirmed_commit_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    assert_eq!(store.confirm().unwrap().number, 2);
    assert!(matches!(store.confirm(), Err(StoreError::NothingPending)));
    drop(store);
    assert_eq!(open(&dir, 6000).0.running_text(), TWO);
}

#[test]
fn a_commit_on_top_of_an_unconfirmed_one_goes_back_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    let done = store.commit(&commit("# three\n", None)).unwrap();
    let pending = done.pending.unwrap();
    assert_eq!((pending.revision, pending.falls_back_to, pending.deadline), (4, 2, at(600)));
    store.expire(at(600)).unwrap().unwrap();
    assert_eq!(store.running_text(), ONE);
}

#[test]
fn a_deadline_in_the_past_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    let refused = store.commit(&Commit { confirm_by: Some(at(10)), ..commit(TWO, None) });
    assert!(matches!(refused, Err(StoreError::DeadlinePassed { .. })));
}

#[test]
fn a_rollback_is_a_new_revision_and_ends_the_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    let done = store.rollback(2, &Commit { why: "it was wrong", ..commit("", None) }).unwrap();
    assert_eq!((done.revision, done.pending), (4, None));
    assert_eq!((store.current().why.as_str(), on_disk(&dir).as_str()), ("it was wrong", ONE));
    drop(store);
    assert_eq!(open(&dir, 6000).1, []);
}

#[test]
fn an_edit_on_disk_is_seen_and_not_overwritten_but_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    fs::write(dir.path().join("etc/cluster.toml"), TWO).unwrap();
    assert_eq!(store.edited_on_disk().unwrap().as_deref(), Some(TWO));
    let Err(StoreError::EditedOnDisk { current: 2, diff }) = store.commit(&commit("# three\n", None)) else {
        panic!("the edit was overwritten")
    };
    assert!(diff.unified.contains("+udp_port = 7000"), "{}", diff.unified);
    assert!(store.rollback(1, &commit("", None)).is_err());

    drop(store);
    let (mut store, repairs) = open(&dir, 2);
    assert_eq!((repairs.len(), store.running_text()), (0, ONE), "opening adopts nothing by itself");
    let done = store.adopt("root", "disk", at(30)).unwrap().unwrap();
    assert_eq!(
        (done.revision, store.running_text(), store.current().why.as_str()),
        (3, TWO, "edited on disk")
    );
    assert_eq!(store.adopt("root", "disk", at(31)).unwrap(), None);
    store.commit(&commit("# three\n", None)).unwrap();

    fs::write(dir.path().join("etc/cluster.toml"), ONE).unwrap();
    store.discard_edit().unwrap();
    assert_eq!(on_disk(&dir), "# three\n");
}

#[test]
fn an_edit_in_another_encoding_is_refused_with_its_place_and_the_last_good_revision_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let latin1 = b"# one\n# f\xfcr alle\n";
    let write = || fs::write(dir.path().join("etc/cluster.toml"), latin1).unwrap();
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    write();
    let first = Store::open_at(&dir.path().join("etc"), &dir.path().join("var"), at(0));
    assert!(first.unwrap_err().to_string().contains("line 2: this is not UTF-8"), "nothing else is known");
    fs::remove_file(dir.path().join("etc/cluster.toml")).unwrap();

    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    write();
    drop(store);
    let (mut store, repairs) = open(&dir, 2);
    assert_eq!((repairs, store.running_text()), (vec![], ONE));
    assert!(matches!(store.edited_on_disk(), Err(StoreError::NotText { line: 2, .. })));
    assert!(store.commit(&commit(TWO, None)).is_err(), "it isn't overwritten");
    assert_eq!(fs::read(dir.path().join("etc/cluster.toml")).unwrap(), latin1);
    store.discard_edit().unwrap();
    assert_eq!(on_disk(&dir), ONE);
}

#[test]
fn an_edit_on_disk_that_a_roll_back_finds_is_put_aside_and_comes_into_no_history() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    // Nobody has checked it: it isn't even text.
    fs::write(dir.path().join("etc/cluster.toml"), b"ports = \"\xff").unwrap();
    let aside = dir.path().join("etc/cluster.toml.edited-3");
    let back = store.expire(at(600)).unwrap().unwrap();
    assert_eq!((back.revision, back.previous, back.set_aside.as_deref()), (4, 3, Some(aside.as_path())));
    assert_eq!((on_disk(&dir).as_str(), store.running_text()), (ONE, ONE));
    assert_eq!(fs::read(&aside).unwrap(), b"ports = \"\xff");
    let texts: Vec<_> = store.history(9).unwrap().iter().map(|m| store.text_of(m.number).unwrap()).collect();
    assert_eq!(texts, [ONE, TWO, ONE, ""]);
}

#[test]
fn an_edit_on_disk_is_put_aside_too_if_nobody_was_there_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(ONE, None) }).unwrap();
    drop(store);
    fs::write(dir.path().join("etc/cluster.toml"), TWO).unwrap();
    let (store, repairs) = open(&dir, 6000);
    let aside = dir.path().join("etc/cluster.toml.edited-2");
    assert_eq!(repairs, [Repair::SetAside(aside.clone()), Repair::RolledBack { from: 2, to: 3 }]);
    assert_eq!((fs::read_to_string(aside).unwrap().as_str(), store.running_text()), (TWO, ""));
}

#[test]
fn an_edit_that_goes_back_by_hand_is_not_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.commit(&commit(ONE, None)).unwrap();
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(TWO, None) }).unwrap();
    fs::write(dir.path().join("etc/cluster.toml"), ONE).unwrap();
    assert_eq!(store.expire(at(600)).unwrap().unwrap().set_aside, None);
    assert_eq!(on_disk(&dir), ONE);
}

#[test]
fn a_missing_text_is_restored_and_a_damaged_revision_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    for text in [ONE, TWO] {
        store.commit(&commit(text, None)).unwrap();
    }
    drop(store);
    fs::remove_file(dir.path().join("etc/cluster.toml")).unwrap();
    fs::write(dir.path().join("lib/revisions/000002/meta.json"), "{").unwrap();
    let (mut store, repairs) = open(&dir, 2);
    assert!(
        matches!(&repairs[..], [Repair::Damaged { number: 2, .. }, Repair::TextRestored(3)]),
        "{repairs:?}"
    );
    assert_eq!(on_disk(&dir), TWO);
    assert_eq!(store.history(10).unwrap().len(), 2);
    assert!(matches!(store.text_of(2), Err(StoreError::Damaged { .. })));
    assert_eq!(store.commit(&commit(ONE, None)).unwrap().revision, 4);
}

#[test]
fn a_damaged_newest_revision_loses_neither_the_text_nor_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    for text in [ONE, TWO] {
        store.commit(&commit(text, None)).unwrap();
    }
    drop(store);
    fs::write(dir.path().join("lib/revisions/000003/cluster.toml"), "rot").unwrap();
    let (mut store, _) = open(&dir, 2);
    assert_eq!((store.current().number, on_disk(&dir).as_str()), (2, TWO));
    let adopted = store.adopt("root", "disk", at(3)).unwrap().unwrap();
    assert_eq!((adopted.revision, store.running_text()), (4, TWO));
}

#[test]
fn old_revisions_go_but_not_what_a_waiting_commit_falls_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    store.keep_at_most(5);
    for number in 0..10 {
        store.commit(&commit(&format!("# {number}\n"), None)).unwrap();
    }
    let numbers = |store: &Store| store.history(99).unwrap().iter().map(|m| m.number).collect::<Vec<_>>();
    assert_eq!(numbers(&store), [11, 10, 9, 8, 7]);
    store.commit(&Commit { confirm_by: Some(at(600)), ..commit(ONE, None) }).unwrap();
    for number in 0..10 {
        store.commit(&commit(&format!("# {number} again\n"), None)).unwrap();
    }
    assert_eq!(numbers(&store), [22, 21, 20, 19, 18, 11]);
    store.expire(at(600)).unwrap();
    assert_eq!(store.running_text(), "# 9\n");
    assert_eq!(numbers(&store), [23, 22, 21, 20, 19]);
}

#[test]
fn a_candidate_is_kept_until_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    let candidate = Candidate { base: 1, text: "[broken".into(), who: "ann".into(), saved: at(5) };
    assert_eq!(store.candidate().unwrap(), None);
    store.put_candidate(&candidate).unwrap();
    drop(store);
    (store, _) = open(&dir, 2);
    assert_eq!(store.candidate().unwrap(), Some(candidate.clone()));
    store.put_candidate(&Candidate { text: ONE.into(), ..candidate }).unwrap();
    store.commit(&commit(ONE, None)).unwrap();
    drop(store);
    (store, _) = open(&dir, 3);
    assert_eq!(store.candidate().unwrap(), None);
    store.discard_candidate().unwrap();
}

#[test]
fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir, 1);
    let again = Store::open_at(&dir.path().join("etc"), &dir.path().join("lib"), at(1));
    assert!(matches!(again, Err(StoreError::InUse { .. })));
    drop(store);
    open(&dir, 2);
}

#[test]
fn a_commit_keeps_the_mode_that_the_administrator_gave_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir, 1);
    let path = dir.path().join("etc/cluster.toml");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o640);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    store.commit(&commit(ONE, None)).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn node_toml_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir, 1);
    assert_eq!(store.node_text().unwrap(), "");
    store.write_node("hostname = \"lb1\"\n").unwrap();
    assert_eq!(store.node_text().unwrap(), "hostname = \"lb1\"\n");
}
