//! From two counts to whether the handshakes of clients stall.
use proptest::prelude::*;

use super::*;

/// A server whose clients come regularly and complete their handshake after a while, or never.
struct Server {
    began: Instant,
    per_second: u64,
    takes: Duration,
    dies: Duration,
    /// Entries of a flood that was over before.
    flood: u64,
}

impl Server {
    fn counts(&self, after: Duration) -> (u64, u64) {
        let begun = |until: Duration| until.as_micros() as u64 * self.per_second / 1_000_000;
        // Whoever began early enough before its death has been through.
        let done = after.min(self.dies).saturating_sub(self.takes);
        (begun(after), begun(after) - begun(done) + self.flood)
    }

    /// When it is seen to stall within ten seconds, looked at in such steps.
    fn stalls(&self, step: Duration) -> Option<Duration> {
        let mut handshakes = Handshakes::default();
        let looks = (0..).map(|i| step * i).take_while(|after| *after < Duration::from_secs(10));
        let mut stalling = looks.filter(|after| {
            let (begun, pending) = self.counts(*after);
            handshakes.stall(self.began + *after, begun, pending)
        });
        stalling.next()
    }
}

const NEVER: Duration = Duration::from_secs(3600);

proptest! {
    #[test]
    fn a_server_that_answers_is_never_suspected(
        per_second in 0u64..100_000, takes in 0u64..180, step in 20u64..400, flood in 0u64..100_000,
    ) {
        let (takes, step) = (Duration::from_millis(takes), Duration::from_millis(step));
        let server = Server { began: Instant::now(), per_second, takes, dies: NEVER, flood };
        prop_assert_eq!(server.stalls(step), None);
    }

    #[test]
    fn one_that_is_dead_is_suspected_within_two_looks_and_the_time_they_are_given(
        per_second in 10u64..100_000, takes in 0u64..180, dies in 0u64..5_000, step in 20u64..100, flood in 0u64..100_000,
    ) {
        let [takes, dies, step] = [takes, dies, step].map(Duration::from_millis);
        let server = Server { began: Instant::now(), per_second, takes, dies, flood };
        let stalled = server.stalls(step);
        // Those that must have begun by then, and those that had begun before and are looked at with them.
        let few = Duration::from_secs(4) / per_second as u32;
        let most = dies + few + HELD + 3 * step;
        prop_assert!(stalled.is_some_and(|after| after >= dies.saturating_sub(takes) && after <= most), "{stalled:?} {most:?}");
    }
}

#[test]
fn it_takes_three_and_half_of_those_that_began() {
    let began = Instant::now();
    let stalls = |begun: u64, waiting: u64| {
        let mut handshakes = Handshakes::default();
        assert!(!handshakes.stall(began, 0, 0));
        assert!(!handshakes.stall(began + Duration::from_millis(100), begun, waiting + 1));
        // One has come to its end since, so it isn't silent.
        handshakes.stall(began + Duration::from_millis(300), begun, waiting)
    };
    assert!(!stalls(2, 2));
    assert!(stalls(3, 3));
    assert!(stalls(6, 3));
    assert!(!stalls(7, 3));
    assert!(!stalls(1000, 499));
    assert!(stalls(1000, 500));
}

#[test]
fn clients_that_all_wait_for_it_begin_no_others() {
    let began = Instant::now();
    let stalls = |ended: u64| {
        let mut handshakes = Handshakes::default();
        handshakes.stall(began, 10_000, 0);
        handshakes.stall(began + Duration::from_millis(100), 10_500, 3);
        handshakes.stall(began + Duration::from_millis(300), 10_500 + ended, 3)
    };
    assert!(stalls(0));
    assert!(!stalls(1));
}

#[test]
fn they_have_two_hundred_milliseconds_and_are_looked_at_for_a_second() {
    let began = Instant::now();
    let stalls = |looks: &[u64]| {
        let mut handshakes = Handshakes::default();
        handshakes.stall(began, 0, 0);
        let looks = looks.iter().map(|look| handshakes.stall(began + Duration::from_millis(*look), 50, 50));
        looks.last()
    };
    assert_eq!(stalls(&[100, 299]), Some(false));
    assert_eq!(stalls(&[100, 300]), Some(true));
    assert_eq!(stalls(&[100, 500, 1000]), Some(true));
    assert_eq!(stalls(&[100, 500, 1001]), Some(false), "what waits for longer won't end any more");
    assert_eq!(stalls(&[1000, 2000]), Some(true), "looks that are far between are looked back to");
    assert_eq!(stalls(&[1000, 2000, 3000]), Some(false));
}

#[test]
fn another_server_at_its_place_begins_anew() {
    let began = Instant::now();
    let mut handshakes = Handshakes::default();
    handshakes.stall(began, 1000, 0);
    handshakes.stall(began + Duration::from_millis(100), 1050, 50);
    assert!(!handshakes.stall(began + Duration::from_millis(300), 5, 5));
    assert!(!handshakes.stall(began + Duration::from_millis(500), 5, 5));
}
