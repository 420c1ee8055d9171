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
