//! What a question did, step by step, for whoever tests it by hand.
use std::time::{Duration, Instant};

use crate::{
    hidden::Hidden,
    text::{shown, shown_piece},
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the question began.
    pub at: Duration,
    /// What happened.
    pub text: String,
}

/// The steps of one question. Unless asked to, it only remembers what is going on, for the words of a time-out.
#[derive(Debug)]
pub struct Trace {
    doing: &'static str,
    began: Instant,
    steps: Option<Vec<Step>>,
}

/// Bytes of each piece that are shown.
const SHOWN: usize = 256;
/// Steps that are written down: a server that sends single bytes makes as many as it likes.
const STEPS: usize = 500;

impl Trace {
    /// For regular checks: nothing is written down.
    pub fn quiet() -> Self {
        Self { doing: "starting", began: Instant::now(), steps: None }
    }

    /// Writes every step down.
    pub fn full() -> Self {
        Self { steps: Some(Vec::new()), ..Self::quiet() }
    }

    /// What is going on now: "waiting for the greeting".
    pub fn doing(&self) -> &'static str {
        self.doing
    }

    /// How long ago the question began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The steps so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }

    /// Begins something, worded to complete "no answer in 2 s while …".
    pub(crate) fn begin(&mut self, doing: &'static str) {
        self.doing = doing;
    }

    /// Notes something.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let Some(steps) = &mut self.steps else { return };
        let at = self.began.elapsed();
        match steps.len() {
            ..STEPS => steps.push(Step { at, text: text() }),
            STEPS => steps.push(Step { at, text: "further steps are not written down".to_owned() }),
            _ => {}
        }
    }

    /// Takes these out of every step.
    pub(crate) fn hide(&mut self, hidden: &Hidden) {
        for step in self.steps.iter_mut().flatten() {
            step.text = hidden.out_of(std::mem::take(&mut step.text));
        }
    }

    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.note(|| format!("sent {} bytes: {}", bytes.len(), shown(bytes, SHOWN)));
    }

    /// Says that something was sent whose bytes are nobody's business.
    pub(crate) fn sent_secret(&mut self, what: &str, length: usize) {
        self.note(|| format!("sent {length} bytes: {what}, not shown"));
    }

    pub(crate) fn received(&mut self, bytes: &[u8]) {
        self.note(|| format!("received {} bytes: {}", bytes.len(), shown_piece(bytes, SHOWN)));
    }
}
