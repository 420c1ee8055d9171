//! One question and its answer, within its time.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use keel_model::format_duration;
use keel_net::PacketPool;
use keel_pool::Outcome;

use crate::{Fault, Place, Question, ScriptRunner, Trace, protocol};

/// What a question came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Good or not; none if this node could not ask, which says nothing about the server.
    pub outcome: Option<Outcome>,
    /// Why, for people: "HTTP 503, expected 200".
    pub reason: String,
    /// The share of its weight that the server asks for, per cent (agents).
    pub share: Option<u16>,
    /// When the certificate that it showed ends.
    pub certificate_ends: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
}

impl Answer {
    /// Nothing is known about the server: this node could not ask.
    pub fn unable(why: impl Into<String>) -> Self {
        Self { outcome: None, reason: why.into(), share: None, certificate_ends: None, took: Duration::ZERO }
    }
}

/// What a protocol found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    pub(crate) text: String,
    pub(crate) share: Option<u16>,
    pub(crate) certificate_ends: Option<Timestamp>,
}

impl Finding {
    /// The server works: `text` says what it answered.
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self::of(Outcome::Good, text)
    }

    /// Something else.
    pub(crate) fn of(outcome: Outcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into(), share: None, certificate_ends: None }
    }

    /// With the end of the certificate that was shown.
    pub(crate) fn with_certificate(self, certificate_ends: Option<Timestamp>) -> Self {
        Self { certificate_ends, ..self }
    }
}

/// What questions share: sockets for pings, the runner of scripts.
#[derive(Debug, Default)]
pub struct Asker {
    /// For pings; none where raw sockets aren't allowed.
    pub pinger: Option<protocol::Pinger>,
    /// For scripts; none where none may run.
    pub scripts: Option<ScriptRunner>,
    /// Packet sockets for checks that go through a virtual address.
    pub packets: Arc<PacketPool>,
}

/// Asks. It ends when the question's time is over, whatever the server does.
pub async fn ask(question: &Question, place: &Place, asker: &Asker, trace: &mut Trace) -> Answer {
    let began = Instant::now();
    // Some servers repeat what they were told.
    let work = question.hidden.during(protocol::check(question, place, asker, trace));
    let found = tokio::time::timeout(question.patience(), work).await;
    let took = began.elapsed();
    let answer =
        |outcome, reason: String| Answer { outcome, reason, share: None, certificate_ends: None, took };
    let answer = match found {
        Ok(Ok(found)) => Answer {
            outcome: Some(found.outcome),
            reason: found.text,
            share: found.share,
            certificate_ends: found.certificate_ends,
            took,
        },
        Ok(Err(fault)) if fault.is_ours() => answer(None, fault.to_string()),
        Ok(Err(fault)) => answer(Some(Outcome::Bad), fault.to_string()),
        Err(_) if question.is_script() => answer(
            None,
            Fault::Unable("the process that runs scripts does not answer".to_owned()).to_string(),
        ),
        Err(_) => {
            let patience = format_duration(question.timeout);
            answer(Some(Outcome::Bad), format!("no answer in {patience} while {}", trace.doing()))
        }
    };
    let answer = Answer { reason: question.hidden.out_of(answer.reason), ..answer };
    trace.note(|| answer.reason.clone());
    trace.hide(&question.hidden);
    answer
}

impl Fault {
    /// Whether it says something about this node and nothing about the server.
    fn is_ours(&self) -> bool {
        match self {
            Self::Unable(_) => true,
            // Out of descriptors, memory, ports; an address that isn't ours; a rule of our own. Not EACCES: the kernel
            // says that where the other side refuses with ICMPv6 "administratively prohibited".
            Self::Io { source, .. } => matches!(
                source.raw_os_error(),
                Some(
                    libc::EMFILE
                        | libc::ENFILE
                        | libc::ENOMEM
                        | libc::ENOBUFS
                        | libc::EADDRNOTAVAIL
                        | libc::EPERM
                )
            ),
            Self::Closed { .. } | Self::TooLong { .. } | Self::Unexpected(_) | Self::Tls(_) => false,
        }
    }
}
