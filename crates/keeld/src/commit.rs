//! Changing the configuration: check, write down, put in force. Nothing is half applied: a text with an error, or one
//! that the packet path has no room for, changes nothing.
use std::net::IpAddr;

use keel_api::{ApiError, Caller, Committed, Intent, PendingConfirm};
use keel_model::{Cluster, Problem, load_cluster};
use keel_store::{Commit, StoreError};
use tracing::{info, warn};

use crate::{
    clock,
    interfaces::chain,
    names,
    node::{Node, Read, check},
};

/// What failures about keeping the configuration are listed under.
const CONFIGURATION: &str = "configuration";

impl Node {
    /// Checks a configuration against this node.
    pub(crate) async fn check(&self, read: Read) -> (Option<Cluster>, Vec<Problem>) {
        let own: Vec<IpAddr> = self.own_addresses().await;
        check(read, &self.config, &own)
    }

    /// Puts a text in force as a new revision, and writes into the journal who did it.
    pub(crate) async fn commit(
        &mut self,
        read: Read,
        caller: &Caller,
        intent: &Intent,
    ) -> Result<Committed, ApiError> {
        let outcome = self.try_commit(read, caller, intent).await;
        self.note("commit", caller, intent, &outcome);
        outcome
    }

    async fn try_commit(
        &mut self,
        mut read: Read,
        caller: &Caller,
        intent: &Intent,
    ) -> Result<Committed, ApiError> {
        let text = std::mem::take(&mut read.text);
        let (cluster, problems) = self.check(read).await;
        let Some(cluster) = cluster else { return Err(ApiError::refused(problems)) };
        self.has_room(&cluster)?;
        let now = clock::now();
        let confirm_by = match intent.confirm.map(|after| now.checked_add(after)) {
            None => None,
            Some(Ok(deadline)) => Some(deadline),
            Some(Err(_)) => return Err(ApiError::bad_request("the time to confirm is too long")),
        };
        let via = caller.via.to_string();
        let commit = Commit {
            text: &text,
            expected: intent.expected,
            who: &caller.user,
            via: &via,
            why: &intent.why,
            now,
            confirm_by,
            read: Some((&self.cluster, &cluster)),
        };
        let done = self.store.commit(&commit).map_err(refused)?;
        self.in_force(cluster, &done).await;
        Ok(self.committed(done, problems))
    }

    /// Goes back to an earlier revision, whose text was read, and writes into the journal who did it.
    pub(crate) async fn roll_back(
        &mut self,
        number: u64,
        read: Read,
        caller: &Caller,
        intent: &Intent,
    ) -> Result<Committed, ApiError> {
        let outcome = self.try_roll_back(number, read, caller, intent).await;
        self.note("rollback", caller, intent, &outcome);
        outcome
    }

    /// Keeps the commit that waits, and writes into the journal who did it.
    pub(crate) fn confirm(&mut self, caller: &Caller) -> Result<Committed, ApiError> {
        let outcome = self.store.confirm().map_err(refused).map(|meta| Committed {
            revision: meta.number,
            previous: meta.number,
            changes: Vec::new(),
            warnings: Vec::new(),
            pending_confirm: None,
        });
        self.note("confirm", caller, &Intent::default(), &outcome);
        outcome
    }

    async fn try_roll_back(
        &mut self,
        number: u64,
        read: Read,
        caller: &Caller,
        intent: &Intent,
    ) -> Result<Committed, ApiError> {
        if intent.confirm.is_some() {
            // One that wants confirming is a commit like any other: it goes back to what runs now.
            return self.try_commit(read, caller, intent).await;
        }
        let (cluster, problems) = self.check(read).await;
        let Some(cluster) = cluster else { return Err(ApiError::refused(problems)) };
        self.has_room(&cluster)?;
        let via = caller.via.to_string();
        let commit = Commit {
            expected: intent.expected,
            who: &caller.user,
            via: &via,
            why: &intent.why,
            now: clock::now(),
            read: Some((&self.cluster, &cluster)),
            ..Commit::default()
        };
        let done = self.store.rollback(number, &commit).map_err(refused)?;
        self.in_force(cluster, &done).await;
        Ok(self.committed(done, problems))
    }

    /// Rolls back a commit that wasn't confirmed in time.
    pub(crate) async fn follow_the_store(&mut self) {
        match self.store.expire(clock::now()) {
            Ok(None) => self.succeed(CONFIGURATION),
            Ok(Some(done)) => {
                self.succeed(CONFIGURATION);
                warn!(revision = done.revision, "not confirmed in time: the former configuration is back");
                self.note_roll_back(&done);
                let text = self.store.running_text().to_owned();
                let (checked, problems) = self.check(Read::new(text.clone())).await;
                for problem in problems.iter().filter(|problem| problem.is_error()) {
                    warn!(place = problem.path, "the configuration gone back to: {}", problem.text);
                }
                if let Some(cluster) = checked.or_else(|| load_cluster(&text).0) {
                    self.in_force(cluster, &done).await;
                }
            }
            Err(error) => {
                // It is tried again every second; the journal needs it once.
                if !self.failures.contains_key(CONFIGURATION) {
                    self.note_failed_roll_back(&error);
                }
                self.fail(CONFIGURATION, &error);
            }
        }
    }

    fn has_room(&self, cluster: &Cluster) -> Result<(), ApiError> {
        let desired = self.desired_of(cluster);
        match keel_dataplane::plan(self.dataplane.shadow(), &desired) {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::conflict(chain(&error))),
        }
    }

    async fn in_force(&mut self, cluster: Cluster, done: &keel_store::Committed) {
        if done.revision != done.previous {
            info!(revision = done.revision, changes = done.changes.len(), "configuration in force");
        }
        self.cluster = cluster;
        self.configure_alerts();
        self.names.keep(&names::wanted(&self.cluster), clock::now());
        self.names.wake.notify_one();
        self.apply_all().await;
    }

    /// Tries again what the packet path refused.
    pub(crate) async fn retry_services(&mut self) {
        if self.failures.contains_key("packet path") {
            self.apply_services().await;
        }
    }

    /// Makes packet path, addresses and next hops what the configuration says.
    pub(crate) async fn apply_all(&mut self) {
        self.configure_health();
        self.apply_services().await;
        if !self.failures.contains_key("packet path") {
            self.names.applied();
        }
        self.resolve_new_hops().await;
        self.apply_addresses().await;
        self.tell_changes();
    }

    fn committed(&self, done: keel_store::Committed, problems: Vec<Problem>) -> Committed {
        let mut warnings = problems;
        warnings.extend(done.warning.map(|text| Problem::warning("", text)));
        warnings.extend(self.unresolved_names());
        warnings.extend(self.health_problems());
        warnings.extend(
            self.failures.iter().map(|(subject, text)| Problem::warning(subject.clone(), text.clone())),
        );
        Committed {
            revision: done.revision,
            previous: done.previous,
            changes: done.changes,
            warnings,
            pending_confirm: done.pending.as_ref().map(pending),
        }
    }

    /// The commit that waits to be confirmed.
    pub(crate) fn pending(&self) -> Option<PendingConfirm> {
        self.store.pending().map(pending)
    }
}

fn pending(pending: &keel_store::Pending) -> PendingConfirm {
    let left = pending.deadline.duration_since(clock::now()).as_secs();
    PendingConfirm {
        revision: pending.revision,
        falls_back_to: pending.falls_back_to,
        deadline: pending.deadline,
        seconds_left: u64::try_from(left).unwrap_or(0),
        user: pending.who.clone(),
    }
}

/// A store's refusal for the API.
pub(crate) fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict { expected, current, diff } => ApiError::revision_mismatch(expected, current, diff_of(*diff)),
        StoreError::EditedOnDisk { .. } => ApiError::conflict(
            "cluster.toml was edited on disk and is not in force yet, so a change now would overwrite that edit",
        )
        .with_remedy(
            "`keel config diff` shows it; `keel apply /etc/evenkeel/cluster.toml` puts it in force, \
             and restarting keeld does the same",
        ),
        error @ StoreError::NotText { .. } => ApiError::conflict(chain(&error))
            .with_remedy("save it as UTF-8; until then no change is made, so as not to overwrite it"),
        StoreError::NoSuchRevision { number, oldest, newest } => ApiError::not_found("revision", &number.to_string(), [])
            .with_remedy(format!("revisions {oldest} to {newest} are kept; see `keel config history`")),
        StoreError::NothingPending => ApiError::conflict("no commit waits to be confirmed"),
        error => ApiError::internal(&error),
    }
}

/// The store's difference for the API.
pub(crate) fn diff_of(diff: keel_store::Diff) -> keel_api::Diff {
    keel_api::Diff { from: diff.from, to: diff.to, changes: diff.changes, unified: diff.unified }
}
