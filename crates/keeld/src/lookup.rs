//! Asking the name servers: many names at a time, each within a time limit, and never while the node is locked. A name
//! server that is slow delays nothing but the names it is asked for.
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{
    clock,
    daemon::Shared,
    names::{self, Answered, Asked},
    node::Read,
};

/// How often host names are looked up again.
const EVERY: Duration = Duration::from_secs(30);
/// A look-up that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a start waits for names that never had an answer.
pub(crate) const AT_START: Duration = Duration::from_secs(3);
/// How long a change waits for the names that are new in it, before it takes the node's lock.
const BEFORE_A_CHANGE: Duration = Duration::from_millis(500);
/// Look-ups under way at once. Each holds a thread until the system's resolver gives up.
const AT_ONCE: usize = 16;

/// Looks all names up. Those that have no answer when `patience` is over have failed.
pub(crate) async fn look_up_all(asked: BTreeSet<Asked>, patience: Duration) -> Vec<Answered> {
    let deadline = Instant::now() + patience;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for one in asked.iter().cloned() {
        let room = room.clone();
        tasks.spawn(async move {
            let _turn = room.acquire().await;
            let answer = look_up(&one).await;
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
    let silence = format!("no answer from the name servers within {patience:?}");
    answered.extend(left.into_iter().map(|asked| (asked, Err(silence.clone()))));
    answered
}

/// Looks a name up, preferring the family of its service.
async fn look_up(asked: &Asked) -> Result<IpAddr, String> {
    let found = match timeout(PATIENCE, tokio::net::lookup_host((asked.name.as_str(), 0))).await {
        Err(_) => return Err(format!("no answer from the name servers within {PATIENCE:?}")),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(found)) => found,
    };
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    choose(&addresses, asked.v6).ok_or_else(|| "the name has no address".to_owned())
}

/// One of several addresses: of the preferred family if there is any, and the lowest, so that name servers that turn
/// their answers around don't move the server at every look-up.
fn choose(addresses: &[IpAddr], v6: bool) -> Option<IpAddr> {
    addresses.iter().copied().min_by_key(|address| (address.is_ipv6() != v6, *address))
}

/// Reads a text that is about to be put in force and looks up its names, so that its servers have addresses at once. The
/// node is not locked meanwhile; what isn't known in time comes later.
pub(crate) async fn foresee(node: &Shared, text: String) -> Read {
    let read = Read::new(text);
    let Some(cluster) = &read.cluster else { return read };
    let wanted = names::wanted(cluster);
    let unknown = if wanted.is_empty() { wanted } else { node.lock().await.names.unknown(wanted) };
    if !unknown.is_empty() {
        let answered = look_up_all(unknown, BEFORE_A_CHANGE).await;
        node.lock().await.names.take(answered, clock::now());
    }
    read
}

/// Looks host names up, again and again, and at once when there are new ones.
pub(crate) async fn follow_names(node: Shared) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let wake = node.lock().await.names.wake.clone();
    loop {
        let all = tokio::select! {
            _ = ticks.tick() => true,
            () = wake.notified() => false,
        };
        let asked = {
            let node = node.lock().await;
            let wanted = names::wanted(&node.cluster);
            if all { wanted } else { node.names.unknown(wanted) }
        };
        let rounds = asked.len().div_ceil(AT_ONCE) as u32;
        let answered = look_up_all(asked, (PATIENCE + Duration::from_secs(1)) * rounds.max(1)).await;
        let mut node = node.lock().await;
        let wanted = names::wanted(&node.cluster);
        let now = clock::now();
        node.names.take(answered, now);
        node.names.keep(&wanted, now);
        // Perhaps by an answer that was asked for a change which was refused then.
        if node.names.unapplied() {
            node.apply_all().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_family_and_then_the_lowest_address_is_chosen() {
        let addresses: Vec<IpAddr> =
            ["fd00::1", "10.0.0.2", "10.0.0.1"].map(|address| address.parse().unwrap()).into();
        assert_eq!(choose(&addresses, false), Some(addresses[2]));
        assert_eq!(choose(&addresses, true), Some(addresses[0]));
        assert_eq!(choose(&addresses[1..], true), Some(addresses[2]), "another family is better than none");
        assert_eq!(choose(&[], true), None);
    }

    #[tokio::test]
    async fn a_literal_in_a_name_needs_no_name_server() {
        let asked = BTreeSet::from([Asked { name: "localhost".to_owned(), v6: false }]);
        let answered = look_up_all(asked, Duration::from_secs(5)).await;
        assert_eq!(answered[0].1, Ok("127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn nothing_asked_takes_no_time() {
        let started = Instant::now();
        assert!(look_up_all(BTreeSet::new(), Duration::from_secs(60)).await.is_empty());
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
