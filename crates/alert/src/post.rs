//! A channel's reports that wait, and who carries them: again and again until they have arrived or are too old.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{ChannelKind, Report, sender::Setup};

/// After the first failure.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// Between two attempts at most.
const LAST_RETRY: Duration = Duration::from_secs(300);
/// What is older is no news any more.
const OLD: Duration = Duration::from_secs(86_400);
/// Reports that wait at most, and their entries.
const REPORTS: usize = 100;
const ENTRIES: usize = 10_000;

/// How the channels are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Every channel that is configured.
    pub channels: Vec<ChannelStatus>,
    /// Events that came faster than they could be taken in.
    pub lost_events: u64,
}

/// How one channel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// Which.
    pub channel: ChannelKind,
    /// Where it leads; of a webhook no more than the host.
    pub to: String,
    /// When something arrived last.
    pub last_success: Option<Timestamp>,
    /// What went wrong last. It is over if `last_success` is later.
    pub last_error: Option<Failure>,
    /// Reports that wait.
    pub waiting: usize,
    /// Reports that were given up: too old, or too many.
    pub lost: u64,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why, in one line.
    pub why: String,
}

/// A channel that is configured, with its reports.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) setup: Setup,
    pub(crate) post: Arc<Post>,
}

/// Reports that wait. It outlives a change of the channel's settings.
#[derive(Debug, Default)]
pub(crate) struct Post {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    count: u64,
    last_success: Option<Timestamp>,
    last_error: Option<Failure>,
    lost: u64,
    /// Events of lost reports that the next one counts.
    untold: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    since: Instant,
    report: Arc<Report>,
}

/// What is sent at once: all that waits, joined.
struct Batch {
    /// The number of its last report.
    last: u64,
    untold: u64,
    report: Arc<Report>,
}

impl Post {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, report: Arc<Report>, now: Instant) {
        self.state().push(report, now);
        self.news.notify_one();
    }

    fn batch(&self, now: Instant) -> Option<Batch> {
        self.state().batch(now)
    }

    fn sent(&self, batch: &Batch, remark: Option<String>) {
        let mut state = self.state();
        state.waiting.retain(|waiting| waiting.number > batch.last);
        state.untold = state.untold.saturating_sub(batch.untold);
        let now = Timestamp::now();
        state.last_success = Some(now);
        if let Some(why) = remark {
            state.last_error = Some(Failure { at: now, why });
        }
    }

    /// Forgets the last error, or remembers this one in its place.
    pub(crate) fn begin_anew(&self, error: Option<String>) {
        self.state().last_error = error.map(|why| Failure { at: Timestamp::now(), why });
    }

    fn failed(&self, why: String) {
        self.state().last_error = Some(Failure { at: Timestamp::now(), why });
    }
}

impl State {
    fn push(&mut self, report: Arc<Report>, now: Instant) {
        self.count += 1;
        self.waiting.push_back(Waiting { number: self.count, since: now, report });
        let mut entries: usize = self.waiting.iter().map(|waiting| waiting.report.events.len()).sum();
        while self.waiting.len() > REPORTS || (entries > ENTRIES && self.waiting.len() > 1) {
            entries -= self.waiting.front().map_or(0, |oldest| oldest.report.events.len());
            self.lose_oldest();
        }
    }

    fn lose_oldest(&mut self) {
        if let Some(oldest) = self.waiting.pop_front() {
            self.lost += 1;
            self.untold = self.untold.saturating_add(oldest.report.weight());
        }
    }

    fn batch(&mut self, now: Instant) -> Option<Batch> {
        while self.waiting.front().is_some_and(|oldest| now.saturating_duration_since(oldest.since) > OLD) {
            self.lose_oldest();
        }
        let last = self.waiting.back()?;
        let report = match (self.waiting.len(), self.untold) {
            (1, 0) => last.report.clone(),
            _ => {
                let mut joined = Report::join(self.waiting.iter().map(|waiting| &*waiting.report))?;
                joined.more = joined.more.saturating_add(self.untold);
                Arc::new(joined)
            }
        };
        Some(Batch { last: last.number, untold: self.untold, report })
    }
}

impl Channel {
    pub(crate) fn status(&self) -> ChannelStatus {
        let state = self.post.state();
        ChannelStatus {
            channel: self.setup.kind,
            to: self.setup.to.clone(),
            last_success: state.last_success,
            last_error: state.last_error.clone(),
            waiting: state.waiting.len(),
            lost: state.lost,
        }
    }

    /// Carries what waits until `closing` says true; then tries once more what waits still.
    pub(crate) async fn carry(self: Arc<Self>, mut closing: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let last = *closing.borrow();
            let Some(batch) = self.post.batch(Instant::now()) else {
                if last {
                    return;
                }
                tokio::select! {
                    () = self.post.news.notified() => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
                continue;
            };
            match self.setup.sender.send(&batch.report).await {
                Ok(sent) => {
                    self.post.sent(&batch, sent.remark);
                    failures = 0;
                }
                Err(error) => {
                    self.post.failed(error.to_string());
                    if last {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause(failures)) => {}
                        _ = closing.wait_for(|closing| *closing) => {}
                    }
                    failures += 1;
                }
            }
        }
    }
}

/// How long to wait after so many failures.
fn pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Arc<Report> {
        Arc::new(Report::test("lb1", Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn pauses_grow_up_to_five_minutes() {
        let seconds: Vec<u64> = (0..9).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(pause(u32::MAX), LAST_RETRY);
    }

    #[tokio::test]
    async fn what_waits_is_sent_as_one_report_and_what_was_lost_is_counted_in_it() {
        let post = Post::default();
        let now = Instant::now();
        for _ in 0..REPORTS + 20 {
            post.push(report(), now);
        }
        let batch = post.batch(now).unwrap();
        assert_eq!(post.state().waiting.len(), REPORTS);
        assert_eq!(post.state().lost, 20);
        assert_eq!((batch.report.weight(), batch.report.events.len()), (120, 1));
        assert_eq!(batch.report.more, 20);
        // Something comes while it is under way: that is not taken for sent.
        post.push(report(), now);
        post.sent(&batch, None);
        let batch = post.batch(now).unwrap();
        assert_eq!(
            (post.state().waiting.len(), batch.report.weight()),
            (1, 2),
            "one waits, one was lost since"
        );
    }

    #[tokio::test]
    async fn what_is_a_day_old_is_given_up() {
        let post = Post::default();
        let now = Instant::now();
        post.push(report(), now);
        assert!(post.batch(now + OLD).is_some());
        assert!(post.batch(now + OLD + Duration::from_secs(1)).is_none());
        assert_eq!(post.state().lost, 1);
    }
}
