//! When names are due.
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn asked(number: usize) -> Asked {
    Asked { name: format!("rs{number}.example"), v6: false }
}

/// A schedule of so many names, and the time they were added at.
fn following(count: usize) -> (Schedule, Instant) {
    let (mut schedule, now) = (Schedule::default(), Instant::now());
    schedule.follow(&(0..count).map(asked).collect(), now);
    (schedule, now)
}

/// Looks up all that is due, with this result.
fn round(schedule: &mut Schedule, ttl: Option<Duration>, now: Instant) -> usize {
    let begun = schedule.begin(now);
    for asked in &begun {
        schedule.end(asked);
        schedule.note(asked, ttl, now);
    }
    begun.len()
}

/// How long after `now` a name with this result is due.
fn pause(schedule: &mut Schedule, ttl: Option<Duration>, now: Instant) -> Duration {
    schedule.note(&asked(0), ttl, now);
    schedule.deadline(now).unwrap() - now
}

/// Within the tenth that names drift apart by.
fn about(pause: Duration, expected: Duration) -> bool {
    pause >= expected && pause <= expected + (expected / 10).min(SPREAD)
}

#[test]
fn a_name_is_due_at_once_and_then_when_its_ttl_is_over() {
    let (mut schedule, now) = following(1);
    assert_eq!(schedule.begin(now), [asked(0)]);
    assert!(schedule.begin(now).is_empty(), "it is under way");
    assert_eq!(schedule.deadline(now), None, "there is nothing to wait for but its end");
    schedule.end(&asked(0));
    schedule.note(&asked(0), Some(300 * SECOND), now);
    let due = schedule.deadline(now).unwrap();
    assert!(about(due - now, 300 * SECOND), "{:?}", due - now);
    assert!(schedule.begin(due - Duration::from_nanos(1)).is_empty());
    assert_eq!(schedule.begin(due), [asked(0)]);
}

#[test]
fn a_ttl_counts_within_limits() {
    let (mut schedule, now) = following(1);
    for (ttl, expected) in [(0, 2), (1, 2), (2, 2), (3, 3), (60, 60), (3600, 3600), (86_400, 3600)] {
        let found = pause(&mut schedule, Some(ttl * SECOND), now);
        assert!(about(found, expected * SECOND), "{ttl} s: {found:?}");
    }
    assert!(about(pause(&mut schedule, Some(Duration::MAX), now), LONGEST));
}

#[test]
fn failures_make_the_pause_grow_and_an_answer_ends_that() {
    let (mut schedule, now) = following(1);
    for expected in [1, 2, 4, 8, 16, 30, 30] {
        let found = pause(&mut schedule, None, now);
        assert!(about(found, expected * SECOND), "{expected} s: {found:?}");
    }
    for _ in 0..1000 {
        schedule.note(&asked(0), None, now);
    }
    assert!(about(pause(&mut schedule, None, now), LONGEST_PAUSE));
    assert!(about(pause(&mut schedule, Some(60 * SECOND), now), 60 * SECOND));
    assert!(about(pause(&mut schedule, None, now), FIRST_PAUSE));
}

#[test]
fn names_with_one_ttl_drift_apart() {
    let (mut schedule, mut now) = following(1000);
    while round(&mut schedule, Some(300 * SECOND), now) > 0 {}
    now += 302 * SECOND;
    let due = schedule.entries.values().filter(|entry| entry.due <= now).count();
    assert!((200..=600).contains(&due), "{due} of 1000 in two of five seconds");
}

#[test]
fn so_many_are_under_way_and_no_more() {
    let (mut schedule, now) = following(1000);
    assert_eq!(schedule.begin(now).len(), AT_ONCE);
    assert!(schedule.begin(now).is_empty());
    assert_eq!(schedule.deadline(now), None, "the others wait for one to end, not for a time");
    schedule.end(&asked(0));
    schedule.note(&asked(0), Some(60 * SECOND), now);
    assert_eq!(schedule.begin(now).len(), 1);
}

#[test]
fn names_that_fail_leave_room_for_those_that_do_not() {
    let (mut schedule, now) = following(1000);
    while round(&mut schedule, None, now) > 0 {}
    let later = now + 10 * SECOND;
    assert_eq!(schedule.begin(later).len(), DOUBTFUL_AT_ONCE, "they have failed before");
    // All of the others go on meanwhile, however long these take.
    schedule.follow(&(0..1100).map(asked).collect(), later);
    let mut done = 0;
    for _ in 0..100usize.div_ceil(AT_ONCE - DOUBTFUL_AT_ONCE) {
        done += round(&mut schedule, Some(60 * SECOND), later);
    }
    assert_eq!(done, 100);
    assert!(schedule.begin(later).is_empty());
    schedule.hurry(later);
    assert_eq!(
        schedule.begin(later).len(),
        AT_ONCE - DOUBTFUL_AT_ONCE,
        "other name servers change nothing in that"
    );
}

#[test]
fn who_has_waited_longest_is_first() {
    let (mut schedule, now) = following(0);
    for number in 0..100 {
        schedule.entries.insert(asked(number), Entry::new(now - (number as u32) * SECOND));
    }
    let begun = schedule.begin(now);
    assert_eq!(begun, (0..AT_ONCE).map(|i| asked(99 - i)).collect::<Vec<_>>());
}

#[test]
fn other_name_servers_make_everything_due_and_what_is_under_way_once_more() {
    let (mut schedule, now) = following(2);
    schedule.note(&asked(0), Some(300 * SECOND), now);
    assert_eq!(schedule.begin(now), [asked(1)]);
    schedule.hurry(now);
    assert_eq!(schedule.begin(now), [asked(0)]);
    schedule.end(&asked(1));
    schedule.note(&asked(1), Some(300 * SECOND), now);
    assert_eq!(schedule.begin(now), [asked(1)], "the former name servers have said that");
    for number in 0..2 {
        schedule.end(&asked(number));
        schedule.note(&asked(number), Some(300 * SECOND), now);
    }
    assert!(schedule.begin(now).is_empty(), "once is enough");
}

#[test]
fn what_is_not_wanted_any_more_is_forgotten_when_its_look_up_has_ended() {
    let (mut schedule, now) = following(2);
    assert_eq!(schedule.begin(now).len(), 2);
    schedule.end(&asked(1));
    schedule.note(&asked(1), None, now);
    schedule.follow(&BTreeSet::new(), now);
    assert_eq!(schedule.entries.keys().collect::<Vec<_>>(), [&asked(0)], "its place is taken");
    schedule.end(&asked(0));
    schedule.follow(&BTreeSet::new(), now);
    assert!(schedule.entries.is_empty());
}

#[test]
fn an_answer_for_a_change_counts_before_the_change_is_made() {
    let (mut schedule, now) = following(0);
    schedule.note(&asked(0), Some(60 * SECOND), now);
    schedule.follow(&BTreeSet::from([asked(0)]), now);
    assert!(schedule.begin(now).is_empty());
}
