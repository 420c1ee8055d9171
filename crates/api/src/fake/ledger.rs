//! Revisions in memory: the same rules as the real ones.

use jiff::{SignedDuration, Timestamp};

use crate::caller::Caller;
use crate::control::Intent;
use crate::error::{ApiError, Result};
use crate::types::{
    Candidate, Committed, ConfigText, Diff, DiffQuery, PendingConfirm, Problem, Revision, Severity,
};

/// Texts by revision, the history of them, and the candidate.
#[derive(Debug)]
pub(super) struct Ledger {
    texts: Vec<String>,
    history: Vec<Revision>,
    pub(super) candidate: Option<Candidate>,
    pending: Option<PendingConfirm>,
}

/// The time everything happens at.
pub(super) fn noon() -> Timestamp {
    Timestamp::constant(1_795_262_400, 0)
}

/// Lines that begin with `bad`.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("bad"))
        .map(|(index, line)| Problem {
            path: "service[0].weight".to_owned(),
            text: format!("\"{line}\" is not a weight; write a number from 0 to 65535"),
            severity: Severity::Error,
            line: Some(index + 1),
        })
        .collect()
}

fn refuse_errors(text: &str) -> Result<()> {
    let problems = problems(text);
    if problems.is_empty() { Ok(()) } else { Err(ApiError::refused(problems)) }
}

impl Ledger {
    pub(super) fn new() -> Self {
        let first = Revision {
            revision: 1,
            committed: noon(),
            user: "factory".to_owned(),
            via: "daemon".to_owned(),
            why: "first start".to_owned(),
            changes: Vec::new(),
            running: true,
            unconfirmed: false,
        };
        Self {
            texts: vec!["# cluster.toml\n".to_owned()],
            history: vec![first],
            candidate: None,
            pending: None,
        }
    }

    pub(super) fn running(&self) -> ConfigText {
        let revision = self.texts.len() as u64;
        ConfigText { revision, text: self.texts.last().cloned().unwrap_or_default() }
    }

    pub(super) fn pending(&self) -> Option<PendingConfirm> {
        self.pending.clone()
    }

    pub(super) fn text(&self, revision: Option<u64>) -> Result<ConfigText> {
        let Some(number) = revision else { return Ok(self.running()) };
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        match index.and_then(|i| self.texts.get(i)) {
            Some(text) => Ok(ConfigText { revision: number, text: text.clone() }),
            None => Err(ApiError::not_found("revision", &number.to_string(), [])
                .with_remedy("see the revisions there are with: keel config history")),
        }
    }

    pub(super) fn history(&self, limit: usize) -> Vec<Revision> {
        self.history.iter().rev().take(limit).cloned().collect()
    }

    pub(super) fn diff(&self, query: DiffQuery) -> Result<Diff> {
        let from = self.text(query.from)?;
        let (to, name) = match (query.to, &self.candidate) {
            (Some(revision), _) => (self.text(Some(revision))?.text, format!("revision {revision}")),
            (None, Some(candidate)) => (candidate.text.clone(), "the candidate".to_owned()),
            (None, None) => return Err(no_candidate()),
        };
        Ok(compare(&from, &to, name))
    }

    pub(super) fn put_candidate(
        &mut self,
        caller: &Caller,
        text: &str,
        expected: Option<u64>,
    ) -> Result<Candidate> {
        self.expect(expected)?;
        let candidate = Candidate {
            base: self.running().revision,
            text: text.to_owned(),
            user: caller.user.clone(),
            saved: noon(),
            problems: problems(text),
        };
        self.candidate = Some(candidate.clone());
        Ok(candidate)
    }

    pub(super) fn commit_candidate(&mut self, caller: &Caller, intent: &Intent) -> Result<Committed> {
        let candidate = self.candidate.clone().ok_or_else(no_candidate)?;
        let intent = Intent { expected: intent.expected.or(Some(candidate.base)), ..intent.clone() };
        let changes = self.diff(DiffQuery::default())?.changes;
        let committed = self.commit(caller, &intent, candidate.text, changes)?;
        self.candidate = None;
        Ok(committed)
    }

    pub(super) fn commit(
        &mut self,
        caller: &Caller,
        intent: &Intent,
        text: String,
        changes: Vec<String>,
    ) -> Result<Committed> {
        self.expect(intent.expected)?;
        refuse_errors(&text)?;
        let previous = self.running();
        if previous.text == text {
            return Ok(unchanged(previous.revision));
        }
        self.texts.push(text);
        let revision = previous.revision + 1;
        self.pending = intent.confirm.map(|after| PendingConfirm {
            revision,
            falls_back_to: previous.revision,
            deadline: noon() + SignedDuration::try_from(after).unwrap_or_default(),
            seconds_left: after.as_secs(),
            user: caller.user.clone(),
        });
        self.record(caller, intent, revision, changes.clone());
        Ok(Committed {
            revision,
            previous: previous.revision,
            changes,
            warnings: Vec::new(),
            pending_confirm: self.pending(),
        })
    }

    pub(super) fn confirm(&mut self) -> Result<Committed> {
        let Some(pending) = self.pending.take() else {
            return Err(ApiError::conflict("no commit waits to be confirmed")
                .with_remedy("see what was committed with: keel config history"));
        };
        for line in &mut self.history {
            line.unconfirmed = false;
        }
        Ok(unchanged(pending.revision))
    }

    fn record(&mut self, caller: &Caller, intent: &Intent, revision: u64, changes: Vec<String>) {
        for line in &mut self.history {
            line.running = false;
        }
        self.history.push(Revision {
            revision,
            committed: noon(),
            user: caller.user.clone(),
            via: caller.via.to_string(),
            why: intent.why.clone(),
            changes,
            running: true,
            unconfirmed: self.pending.is_some(),
        });
    }

    fn expect(&self, expected: Option<u64>) -> Result<()> {
        let running = self.running();
        match expected {
            Some(revision) if revision != running.revision => {
                let base = self.text(Some(revision))?;
                let diff = compare(&base, &running.text, format!("revision {}", running.revision));
                Err(ApiError::revision_mismatch(revision, running.revision, diff))
            }
            _ => Ok(()),
        }
    }
}

fn unchanged(revision: u64) -> Committed {
    Committed {
        revision,
        previous: revision,
        changes: Vec::new(),
        warnings: Vec::new(),
        pending_confirm: None,
    }
}

fn no_candidate() -> ApiError {
    ApiError::conflict("there is no candidate").with_remedy("start one with: keel config edit")
}

/// Line by line, good enough for texts that only grow.
fn compare(from: &ConfigText, to: &str, to_name: String) -> Diff {
    let from_name = format!("revision {}", from.revision);
    let added: Vec<&str> = to.lines().filter(|l| !from.text.lines().any(|old| old == *l)).collect();
    let removed: Vec<&str> = from.text.lines().filter(|l| !to.lines().any(|new| new == *l)).collect();
    let mut unified = String::new();
    if !(added.is_empty() && removed.is_empty()) {
        unified = format!("--- {from_name}\n+++ {to_name}\n");
        removed.iter().for_each(|line| unified.push_str(&format!("-{line}\n")));
        added.iter().for_each(|line| unified.push_str(&format!("+{line}\n")));
    }
    let changes = added.iter().map(|line| format!("added: {line}")).collect();
    Diff { from: from_name, to: to_name, changes, unified }
}
