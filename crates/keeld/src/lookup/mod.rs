//! Looking names up: many at a time, each when it is due, and never while the node is locked. A name server that is slow
//! delays nothing but the names it is asked for.
mod resolver;
mod server;
mod system;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until},
};

pub(crate) use self::resolver::{Files, Resolver};
use crate::{
    clock,
    daemon::Shared,
    names::{self, Answered, Asked, schedule::AT_ONCE},
    node::Read,
};

/// How long a start waits for names that never had an answer.
pub(crate) const AT_START: Duration = Duration::from_secs(3);
/// How long a change waits for the names that are new in it, before it takes the node's lock.
const BEFORE_A_CHANGE: Duration = Duration::from_millis(500);
/// How often it is looked whether `/etc/hosts` or `/etc/resolv.conf` has changed.
const GLANCE: Duration = Duration::from_secs(1);
/// Answers that come within this time of one another are put in force together. It also bounds what a name server can make
/// of us whose answers are never the same.
const GATHER: Duration = Duration::from_millis(100);

/// Where a name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: IpAddr,
    /// For how long the name servers say so.
    pub(crate) ttl: Duration,
}

/// Why there is nothing from the name servers.
fn silence(patience: Duration) -> String {
    format!("no answer from the name servers within {patience:?}")
}

/// Looks all names up. Those that have no answer when `patience` is over have failed.
pub(crate) async fn look_up_all(
    resolver: &Arc<Resolver>,
    asked: BTreeSet<Asked>,
    patience: Duration,
) -> Vec<Answered> {
    let deadline = Instant::now() + patience;
    resolver.refresh();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for one in asked.iter().cloned() {
        let (room, resolver) = (room.clone(), resolver.clone());
        tasks.spawn(async move {
            let _turn = room.acquire().await;
            let answer = resolver.look_up(&one).await;
            (one, answer)
        });
    }
    let (mut answered, mut left) = (Vec::new(), asked);
    loop {
        let next = tokio::select! {
            next = tasks.join_next() => next,
            () = sleep_until(deadline) => None,
        };
        let Some(done) = next else { break };
        if let Ok((asked, answer)) = done {
            left.remove(&asked);
            answered.push((asked, answer));
        }
    }
    answered.extend(left.into_iter().map(|asked| (asked, Err(silence(patience)))));
    answered
}

/// Reads a text that is about to be put in force and looks up its names, so that its servers have addresses at once. The
/// node is not locked meanwhile; what isn't known in time comes later.
pub(crate) async fn foresee(node: &Shared, text: String) -> Read {
    let read = Read::new(text);
    let Some(cluster) = &read.cluster else { return read };
    let wanted = names::wanted(cluster);
    if wanted.is_empty() {
        return read;
    }
    let (unknown, resolver) = {
        let node = node.lock().await;
        (node.names.unknown(wanted), node.resolver.clone())
    };
    if !unknown.is_empty() {
        let answered = look_up_all(&resolver, unknown, BEFORE_A_CHANGE).await;
        node.lock().await.names.take(answered, clock::now(), std::time::Instant::now());
    }
    read
}

/// Looks every host name up whenever it is due.
pub(crate) async fn follow_names(node: Shared) {
    let (wake, resolver) = {
        let node = node.lock().await;
        (node.names.wake.clone(), node.resolver.clone())
    };
    let mut under_way = UnderWay::default();
    let mut generation = resolver.refresh();
    loop {
        let glance = Instant::now() + GLANCE;
        let latest = resolver.refresh();
        let anew = std::mem::replace(&mut generation, latest) != latest;
        let (begun, next) = begin(&node, anew).await;
        for asked in begun {
            under_way.begin(asked, resolver.clone());
        }
        let first = tokio::select! {
            first = under_way.next() => first,
            () = wake.notified() => continue,
            () = sleep_until(next.map_or(glance, |next| glance.min(next))) => continue,
        };
        sleep(GATHER).await;
        take(&node, under_way.all_with(first)).await;
    }
}

/// The names that are due, and when there will be others.
async fn begin(node: &Shared, anew: bool) -> (Vec<Asked>, Option<Instant>) {
    let mut node = node.lock().await;
    let wanted = names::wanted(&node.cluster);
    let now = std::time::Instant::now();
    let schedule = &mut node.names.schedule;
    schedule.follow(&wanted, now);
    if anew {
        schedule.hurry(now);
    }
    (schedule.begin(now), schedule.deadline(now).map(Instant::from_std))
}

/// Puts answers in force.
async fn take(node: &Shared, answered: Vec<Answered>) {
    let mut node = node.lock().await;
    for (asked, _) in &answered {
        node.names.schedule.end(asked);
    }
    let now = clock::now();
    node.names.take(answered, now, std::time::Instant::now());
    let wanted = names::wanted(&node.cluster);
    node.names.keep(&wanted, now);
    // Perhaps by an answer that was asked for a change which was refused then.
    if node.names.unapplied() {
        node.apply_all().await;
    }
}

/// Look-ups that were begun.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<Answered>,
    asked: HashMap<Id, Asked>,
}

impl UnderWay {
    fn begin(&mut self, asked: Asked, resolver: Arc<Resolver>) {
        let name = asked.clone();
        let task = self.tasks.spawn(async move {
            let answer = resolver.look_up(&asked).await;
            (asked, answer)
        });
        self.asked.insert(task.id(), name);
    }

    /// The next one that ends; waits for ever if there is none.
    async fn next(&mut self) -> Answered {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(ended) => {
                    if let Some(answered) = self.ended(ended) {
                        return answered;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// This one and all that have ended meanwhile.
    fn all_with(&mut self, first: Answered) -> Vec<Answered> {
        let mut answered = vec![first];
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            answered.extend(self.ended(ended));
        }
        answered
    }

    fn ended(&mut self, ended: Result<(Id, Answered), JoinError>) -> Option<Answered> {
        match ended {
            Ok((id, answered)) => {
                self.asked.remove(&id);
                Some(answered)
            }
            // It panicked. The name is asked for again like after any failure.
            Err(error) => {
                let asked = self.asked.remove(&error.id())?;
                Some((asked, Err(format!("the look-up failed: {error}"))))
            }
        }
    }
}

#[cfg(test)]
#[path = "../../tests/daemon/name_server.rs"]
#[expect(dead_code, reason = "the daemon's tests, whose it is, need more of it")]
mod name_server;
#[cfg(test)]
mod tests;
