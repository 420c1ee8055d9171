//! The journal's lines: who changed the configuration, and what the daemon changed by itself.
use keel_api::{ApiError, Caller, Committed, Intent};
use keel_store::{Entry, Outcome, Repair, StoreError};
use tracing::{info, warn};

use crate::{clock, interfaces::chain, node::Node};

/// A line about something nobody asked for.
fn by_itself(action: &str, subject: String, outcome: Outcome, note: String) -> Entry {
    let (who, via) = ("evenkeel".to_owned(), "daemon".to_owned());
    Entry { when: clock::now(), who, via, from: None, action: action.to_owned(), subject, outcome, note }
}

fn revision(number: u64) -> String {
    format!("revision {number}")
}

impl Node {
    /// Writes down what somebody did, or was refused.
    pub(crate) fn note(
        &mut self,
        action: &str,
        caller: &Caller,
        intent: &Intent,
        outcome: &Result<Committed, ApiError>,
    ) {
        let (subject, outcome, note) = match outcome {
            Ok(done) => (revision(done.revision), Outcome::Done, done.changes.join("; ")),
            Err(error) => (String::new(), Outcome::Refused, error.to_string()),
        };
        let note = if intent.why.is_empty() { note } else { format!("{}: {note}", intent.why) };
        self.append(&Entry {
            when: clock::now(),
            who: caller.user.clone(),
            via: caller.via.to_string(),
            from: None,
            action: action.to_owned(),
            subject,
            outcome,
            note,
        });
    }

    /// Writes down that a commit went back by itself.
    pub(crate) fn note_roll_back(&mut self, done: &keel_store::Committed) {
        let mut note = format!("revision {} was not confirmed in time", done.previous);
        if let Some(path) = &done.set_aside {
            let aside = format!("cluster.toml had been edited by hand; the edit is now {}", path.display());
            warn!("{aside}");
            note = format!("{note}; {aside}");
        }
        self.append(&by_itself("rollback", revision(done.revision), Outcome::Done, note));
    }

    /// Writes down that it should have.
    pub(crate) fn note_failed_roll_back(&mut self, error: &StoreError) {
        let unconfirmed = self.store.pending().map_or_else(|| self.store.current().number, |p| p.revision);
        let note = format!("not confirmed in time, but still in force: {}", chain(error));
        self.append(&by_itself("rollback", revision(unconfirmed), Outcome::Failed, note));
    }

    /// Logs what was put right at the start, and writes down what of it changed the configuration in force.
    pub(crate) fn note_repairs(&mut self, repairs: &[Repair]) {
        for repair in repairs {
            let (action, subject, outcome) = match repair {
                Repair::Started(_) => {
                    info!("{repair}");
                    continue;
                }
                Repair::RolledBack { to, .. } => ("rollback", revision(*to), Outcome::Done),
                Repair::RollbackFailed { from, .. } => ("rollback", revision(*from), Outcome::Failed),
                Repair::SetAside(path) => ("set-aside", path.display().to_string(), Outcome::Done),
                Repair::CommitUndone(number) => ("undo", revision(*number), Outcome::Done),
                Repair::CommitCompleted(number) => ("complete", revision(*number), Outcome::Done),
                Repair::TextRestored(number) => ("restore", revision(*number), Outcome::Done),
                _ => {
                    warn!("{repair}");
                    continue;
                }
            };
            warn!("{repair}");
            self.append(&by_itself(action, subject, outcome, repair.to_string()));
        }
    }

    /// Writes down that an edit on disk came into force at the start.
    pub(crate) fn note_adopted(&mut self, done: &keel_store::Committed) {
        let changes = format!("cluster.toml was edited on disk: {}", done.changes.join("; "));
        let entry = by_itself("commit", revision(done.revision), Outcome::Done, changes);
        self.append(&Entry { who: "root".to_owned(), via: "disk".to_owned(), ..entry });
    }

    fn append(&mut self, entry: &Entry) {
        match self.journal.append(entry) {
            Ok(()) => self.succeed("journal"),
            Err(error) => self.fail("journal", &error),
        }
    }
}
