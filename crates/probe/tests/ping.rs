//! Pings, on the loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use keel_pool::Outcome;
use keel_probe::{Asker, Pinger, Place, Trace, ask};
use support::{Kept, place};

async fn asked(address: &str) -> keel_probe::Answer {
    let asker = Asker { pinger: Some(Pinger::open().expect("pings need CAP_NET_RAW")), ..Asker::default() };
    let question = Kept::default().question("type = \"ping\"\ntimeout = \"1s\"").unwrap();
    let place = Place { address: address.parse().unwrap(), ..place(0) };
    ask(&question, &place, &asker, &mut Trace::quiet()).await
}

#[tokio::test]
async fn a_host_that_answers_is_good_in_both_families() {
    for address in ["127.0.0.1", "127.9.9.9", "::1"] {
        let answer = asked(address).await;
        assert_eq!(
            (answer.outcome, answer.reason.as_str()),
            (Some(Outcome::Good), "answers ping"),
            "{address}"
        );
    }
}

#[tokio::test]
async fn many_at_once_each_get_their_own_answer() {
    let asker = Asker { pinger: Some(Pinger::open().unwrap()), ..Asker::default() };
    let question = Kept::default().question("type = \"ping\"\ntimeout = \"1s\"").unwrap();
    let good = async |n: u8| {
        let place = Place { address: [127, 0, 1, n].into(), ..place(0) };
        ask(&question, &place, &asker, &mut Trace::quiet()).await.outcome == Some(Outcome::Good)
    };
    let mut all = Vec::new();
    for n in 1..=200 {
        all.push(good(n));
    }
    assert!(futures_util::future::join_all(all).await.into_iter().all(|good| good));
}

#[tokio::test]
async fn without_raw_sockets_nothing_is_concluded() {
    let answer = Kept::default().asked("type = \"ping\"", 0).await;
    assert_eq!(answer.outcome, None, "{answer:?}");
}
