//! The driver: takes events in without ever holding up who tells them, asks the digest what is due, hands it to the
//! channels.
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use keel_model::Alerts;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use crate::{
    ChannelKind, Digest, Event, Files, Report, SendError, Status, Subject,
    post::{Channel, Post},
    sender::{Sender, Setup, setups},
};

/// Events that wait to be taken in at most: that takes microseconds, so that more come only if something is very wrong.
const EVENTS: usize = 16_384;

/// Told what happened, and asked how the channels are. Clones tell the same [`Worker`].
#[derive(Debug, Clone)]
pub struct Alerter {
    orders: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
}

/// Does the work: spawn [`Worker::run`].
#[derive(Debug)]
pub struct Worker {
    orders: mpsc::UnboundedReceiver<Order>,
    shared: Arc<Shared>,
    digest: Digest,
    couriers: JoinSet<()>,
    running: Vec<(Arc<Channel>, AbortHandle)>,
    closing: watch::Sender<bool>,
}

/// What came of a test on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Which.
    pub channel: ChannelKind,
    /// Where it leads; of a webhook no more than the host.
    pub to: String,
    /// Whether the report left, and what wasn't as it should be nevertheless (some recipient was refused, but not all).
    pub outcome: Result<Option<String>, SendError>,
}

#[derive(Debug, Default)]
struct Shared {
    channels: Mutex<Vec<Arc<Channel>>>,
    /// Events that wait.
    waiting: AtomicUsize,
    /// Events that were lost, and those of them that no report has counted yet.
    lost: AtomicU64,
    untold: AtomicU64,
}

/// In one queue, so that what is forgotten is forgotten after what happened to it before.
enum Order {
    Happened(Event),
    Configured { every: Duration },
    KeepOnly(Box<dyn Fn(&Subject) -> bool + Send>, String),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Happened(_) => "Happened",
            Self::Configured { .. } => "Configured",
            Self::KeepOnly(..) => "KeepOnly",
        })
    }
}

impl Alerter {
    /// An alerter and its worker. What can't be used (a secret is missing) is said by [`Alerter::status`].
    #[must_use]
    pub fn new(alerts: &Alerts, files: &Files<'_>) -> (Self, Worker) {
        let (orders, taken) = mpsc::unbounded_channel();
        let alerter = Self { orders, shared: Arc::default() };
        let worker = Worker {
            orders: taken,
            shared: alerter.shared.clone(),
            digest: Digest::new(alerts.every),
            couriers: JoinSet::new(),
            running: Vec::new(),
            closing: watch::Sender::new(false),
        };
        alerter.configure(alerts, files);
        (alerter, worker)
    }

    /// Something happened. This never waits: events that come too fast are lost, and counted.
    pub fn tell(&self, event: Event) {
        let before = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= EVENTS || self.orders.send(Order::Happened(event)).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The configuration or a secret may have changed. Channels that didn't change go on; those that did try again what
    /// waits at once; those that are gone drop it.
    pub fn configure(&self, alerts: &Alerts, files: &Files<'_>) {
        {
            let mut channels = self.shared.channels();
            *channels = setups(alerts, files).into_iter().map(|setup| succeed(&channels, setup)).collect();
        }
        let _ = self.orders.send(Order::Configured { every: alerts.every });
    }

    /// Forgets the troubles of everything else, because it is no longer watched: call it when something was removed from
    /// the configuration, or no all-clear would ever come. `node` is who says so.
    pub fn keep_only(&self, watched: impl Fn(&Subject) -> bool + Send + 'static, node: &str) {
        let _ = self.orders.send(Order::KeepOnly(Box::new(watched), node.to_owned()));
    }

    /// How the channels are.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            channels: self.shared.channels().iter().map(|channel| channel.status()).collect(),
            lost_events: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Sends a test report over every channel now, past what waits, and says what came of it. It takes 16 seconds at
    /// most.
    pub async fn test(&self, node: &str) -> Vec<Tested> {
        let report = Arc::new(Report::test(node, Timestamp::now()));
        let channels = self.shared.channels().clone();
        let mut attempts = JoinSet::new();
        for (place, channel) in channels.into_iter().enumerate() {
            let report = report.clone();
            attempts.spawn(async move {
                let outcome = channel.setup.sender.send(&report).await.map(|sent| sent.remark);
                (place, Tested { channel: channel.setup.kind, to: channel.setup.to.clone(), outcome })
            });
        }
        let mut tested = attempts.join_all().await;
        tested.sort_by_key(|(place, _)| *place);
        tested.into_iter().map(|(_, tested)| tested).collect()
    }
}

/// The channel of these settings: the same as before, or another with what waits for the one before.
fn succeed(before: &[Arc<Channel>], setup: Setup) -> Arc<Channel> {
    let predecessor = before.iter().find(|channel| channel.setup.kind == setup.kind);
    if let Some(same) = predecessor.filter(|channel| channel.setup == setup) {
        return same.clone();
    }
    let post = predecessor.map_or_else(|| Arc::new(Post::default()), |channel| channel.post.clone());
    // What was wrong with the settings before says nothing about these.
    post.begin_anew(match &setup.sender {
        Sender::Unable(why) => Some(why.clone()),
        Sender::Mail(_) | Sender::Webhook(_) | Sender::Syslog(_) => None,
    });
    Arc::new(Channel { setup, post })
}

impl Shared {
    fn channels(&self) -> MutexGuard<'_, Vec<Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Works until the last [`Alerter`] is dropped; then tells what is gathered, tries once what waits, and ends.
    pub async fn run(mut self) {
        loop {
            let due = self.digest.due().map(Instant::from_std);
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                () = until(due) => {}
                // None ends by itself. One that panicked is replaced, or what waits for it would wait for ever.
                Some(_) = self.couriers.join_next() => self.send_couriers(),
            }
            let now = Instant::now();
            if self.digest.due().is_some_and(|due| due <= now.into_std()) {
                self.report(now);
            }
        }
        self.report(Instant::now());
        self.closing.send_replace(true);
        while self.couriers.join_next().await.is_some() {}
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now().into_std();
        match order {
            Order::Happened(event) => {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
                self.digest.happened(event, now);
            }
            Order::Configured { every } => {
                self.digest.set_every(every);
                self.send_couriers();
            }
            Order::KeepOnly(watched, node) => {
                self.digest.keep_only(watched, &node, Timestamp::now(), now);
            }
        }
    }

    fn report(&mut self, now: Instant) {
        if self.digest.due().is_some() {
            self.digest.missed(self.shared.untold.swap(0, Ordering::Relaxed));
        }
        let Some(report) = self.digest.flush(now.into_std()).map(Arc::new) else { return };
        for channel in &*self.shared.channels() {
            channel.post.push(report.clone(), now);
        }
    }

    /// One courier for each channel that there is now; those of other channels stop where they are.
    fn send_couriers(&mut self) {
        let wanted = self.shared.channels().clone();
        self.running.retain(|(channel, courier)| {
            let stays = wanted.iter().any(|wanted| Arc::ptr_eq(wanted, channel));
            if !stays {
                courier.abort();
            }
            stays && !courier.is_finished()
        });
        for channel in wanted {
            if !self.running.iter().any(|(running, _)| Arc::ptr_eq(running, &channel)) {
                let courier = self.couriers.spawn(channel.clone().carry(self.closing.subscribe()));
                self.running.push((channel, courier));
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
