//! Servers that are followed, and those that are not.
use std::time::Duration;

use keel_abi::Load;
use keel_dataplane::ServerCounters;

use super::*;

/// What servers 1, 2, … have counted: begun, pending.
fn readings(counts: &[(u64, u64)]) -> HashMap<ServerId, Reading> {
    let reading = |(begun, pending): &(u64, u64)| Reading {
        counters: ServerCounters { connections: *begun, ..ServerCounters::default() },
        load: Load { pending: *pending, ..Load::default() },
    };
    (1..).zip(counts.iter().map(reading)).collect()
}

#[test]
fn the_server_whose_handshakes_stall_is_found_among_others() {
    let began = Instant::now();
    let mut traffic = Traffic::default();
    let mut take = |after: u64, counts: &[(u64, u64)]| {
        let stalled = traffic.take(began + Duration::from_millis(after), readings(counts), |id| id != 3);
        (stalled, traffic.followed.len())
    };
    let none = HashSet::new();
    assert_eq!(take(0, &[(500, 0), (500, 2), (500, 4)]), (none.clone(), 0), "few are not worth following");
    assert_eq!(take(100, &[(540, 40), (540, 5), (540, 44)]), (none.clone(), 2));
    // What it had before is compared with too, or nothing would be known yet.
    assert_eq!(
        take(300, &[(600, 100), (600, 4), (600, 104)]),
        (HashSet::from([1]), 2),
        "the third isn't seen"
    );
    assert_eq!(
        take(400, &[(600, 0), (640, 2), (640, 144)]),
        (none, 0),
        "forgotten as soon as they have ended"
    );
}

#[test]
fn three_clients_that_hang_are_found_wherever_a_look_falls() {
    // They come within 60 ms among others that are through in 10 ms, and begin nothing else.
    for first_look in 0..100 {
        let began = Instant::now();
        let mut traffic = Traffic::default();
        let found = (0..20).any(|look| {
            let at: u64 = first_look + look * 100;
            let begun = at.min(500) / 10;
            let hanging = [400, 430, 460].iter().filter(|hung| **hung <= at).count() as u64;
            let on_their_way = begun - at.saturating_sub(10).min(500) / 10;
            let counts = [(begun + hanging, on_their_way + hanging)];
            !traffic.take(began + Duration::from_millis(at), readings(&counts), |_| true).is_empty()
        });
        assert!(found, "the first look after {first_look} ms");
    }
}

#[test]
fn a_count_below_zero_is_none() {
    let began = Instant::now();
    let mut traffic = Traffic::default();
    let mut take = |after: u64, pending: u64| {
        traffic.take(began + Duration::from_millis(after), readings(&[(500, pending)]), |_| true).len()
    };
    assert_eq!([take(0, 0), take(100, 0), take(300, u64::MAX), take(600, u64::MAX)], [0; 4]);
    assert_eq!([take(700, 3), take(950, 3)], [0, 1], "and hides nothing");
}

#[test]
fn of_many_suspects_some_are_asked_in_a_second() {
    let began = Instant::now();
    let mut traffic = Traffic::default();
    let mut grant = |after: u64, wanted| traffic.grant(wanted, began + Duration::from_millis(after));
    assert_eq!([grant(0, 3), grant(0, 10_000), grant(0, 1)], [3, 61, 0]);
    assert_eq!([grant(250, 10_000), grant(260, 10_000), grant(60_000, 10_000)], [16, 0, 64]);
}
