//! When answers turn a verdict.
use proptest::prelude::*;

use super::*;

const RHYTHM: Rhythm = Rhythm {
    interval: Duration::from_secs(4),
    fast_interval: Duration::from_secs(1),
    rise: 2,
    fall: 3,
    flap_window: Duration::from_secs(60),
};

/// A watch that is fed answers at the times when it asks for them.
struct Fed {
    watch: Watch,
    began: Instant,
    now: Instant,
}

impl Fed {
    fn new(rhythm: Rhythm) -> Self {
        let began = Instant::now();
        Self { watch: Watch::new(rhythm, began), began, now: began }
    }

    fn feed(&mut self, outcome: Outcome) -> Verdict {
        self.now = self.watch.due();
        self.watch.asked(self.now, 0);
        self.watch.answered(outcome, self.now);
        self.watch.verdict()
    }

    fn all(&mut self, outcomes: &[Outcome]) -> Vec<Verdict> {
        outcomes.iter().map(|outcome| self.feed(*outcome)).collect()
    }

    fn age(&self) -> u64 {
        self.now.duration_since(self.began).as_millis() as u64
    }
}

use Outcome::{Bad, Drain as Draining, Good};
use Verdict::{Down, Drain, Unknown, Up};

#[test]
fn rise_and_fall_count_answers_in_a_row() {
    let mut fed = Fed::new(RHYTHM);
    assert_eq!(
        fed.all(&[Good, Good, Bad, Bad, Good, Bad, Bad, Bad]),
        [Unknown, Up, Up, Up, Up, Up, Up, Down]
    );
    assert_eq!(Fed::new(RHYTHM).all(&[Bad, Good, Bad, Bad, Bad]), [Unknown, Unknown, Unknown, Unknown, Down]);
}

#[test]
fn doubt_is_settled_in_the_fast_rhythm() {
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good]);
    assert_eq!(fed.age(), 100, "the first verdict comes at once");
    fed.feed(Good);
    assert_eq!(fed.age(), 4_100, "what is known is looked at in its interval");
    fed.all(&[Bad, Bad, Bad]);
    assert_eq!(
        (fed.watch.verdict(), fed.age()),
        (Down, 10_100),
        "4 s to the first failure, then every second"
    );
}

#[test]
fn a_failure_in_traffic_is_looked_into_at_once() {
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good, Good]);
    let now = fed.now + Duration::from_millis(100);
    fed.watch.suspect(now);
    assert_eq!(fed.watch.due(), now);
    fed.feed(Good);
    assert_eq!(fed.watch.due(), now + RHYTHM.fast_interval, "and once more soon");
    fed.feed(Good);
    assert_eq!(fed.watch.due(), now + RHYTHM.fast_interval + RHYTHM.interval);
}

#[test]
fn failures_in_traffic_that_go_on_set_no_other_pace_than_the_fast_rhythm() {
    let mut fed = Fed::new(Rhythm { interval: Duration::from_secs(60), ..RHYTHM });
    fed.all(&[Good, Good, Good]);
    let (began, mut asked) = (fed.now, 0);
    for millisecond in 1..=10_000 {
        let now = began + Duration::from_millis(millisecond);
        fed.watch.suspect(now);
        if fed.watch.due() <= now {
            fed.watch.asked(now, 0);
            fed.watch.answered(Good, now);
            asked += 1;
        }
    }
    assert_eq!(asked, 10, "one a second");
    fed.all(&[Good, Good]);
    let later = fed.now + Duration::from_secs(12);
    fed.watch.suspect(later);
    assert_eq!(fed.watch.due(), later, "after a pause it is believed at once again");
    fed.all(&[Bad, Bad, Bad]);
    let due = fed.watch.due();
    fed.watch.suspect(fed.now);
    assert_eq!((fed.watch.verdict(), fed.watch.due()), (Down, due), "of one that is down it is nothing new");
}

#[test]
fn clients_that_fail_and_a_bad_answer_bring_the_other_questions_forward() {
    let falls = |fall: u32| {
        let mut fed = Fed::new(Rhythm { fall, interval: Duration::from_secs(60), ..RHYTHM });
        fed.all(&[Good, Good, Good]);
        let suspected = fed.now;
        fed.watch.suspect(suspected);
        let answers = (1..).find(|_| fed.feed(Bad) == Down).unwrap_or(0);
        assert_eq!(
            fed.watch.due(),
            fed.now + Duration::from_secs(60),
            "one that is down is no longer urgent"
        );
        (answers, fed.now.duration_since(suspected).as_millis())
    };
    assert_eq!(falls(1), (1, 0));
    assert_eq!(falls(2), (2, 300));
    assert_eq!(falls(3), (3, 300));
    assert_eq!(falls(11), (11, 1000), "ten times a second at most");
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good, Good]);
    fed.watch.suspect(fed.now);
    fed.all(&[Bad, Good, Bad]);
    assert_eq!(fed.watch.due(), fed.now + RHYTHM.fast_interval, "a good answer speaks against it");
}

#[test]
fn what_cant_be_asked_or_comes_to_no_verdict_is_not_asked_ten_times_a_second() {
    let mut fed = Fed::new(RHYTHM);
    fed.watch.asked(fed.now, 0);
    fed.watch.unable(fed.now);
    assert_eq!(fed.watch.due(), fed.now + RHYTHM.interval);
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Bad, Good, Bad, Good]);
    assert_eq!(fed.watch.verdict(), Unknown);
    assert_eq!(
        fed.age(),
        2 * 100 + 2 * 1000,
        "as many as may bring a verdict quickly, the rest in the fast rhythm"
    );
}

#[test]
fn a_server_that_wants_to_drain_drains_and_bad_answers_among_them_dont_break_connections() {
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good]);
    assert_eq!(fed.all(&[Draining, Draining, Draining]), [Up, Up, Drain]);
    assert_eq!(fed.all(&[Bad, Bad, Draining, Bad, Bad, Bad]), [Drain, Drain, Drain, Drain, Drain, Down]);
    assert_eq!(
        fed.all(&[Draining, Draining, Draining, Draining]).last(),
        Some(&Drain),
        "alive, and asks for no more"
    );
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good]);
    assert_eq!(fed.all(&[Bad, Draining, Bad]), [Up, Up, Drain]);
}

#[test]
fn whoever_falls_soon_after_it_came_up_needs_twice_as_many_good_answers() {
    let mut fed = Fed::new(RHYTHM);
    let goods_to_rise = |fed: &mut Fed| (1..).find(|_| fed.feed(Good) == Up).unwrap_or(0);
    let mut needed = Vec::new();
    for _ in 0..8 {
        needed.push(goods_to_rise(&mut fed));
        fed.all(&[Bad, Bad, Bad]);
    }
    assert_eq!(needed, [2, 4, 8, 16, 32, 64, 64, 64]);
    goods_to_rise(&mut fed);
    fed.all(&[Good; 20]);
    fed.all(&[Bad, Bad, Bad]);
    assert_eq!(goods_to_rise(&mut fed), 2, "it had stayed up for the window");
}

#[test]
fn first_checks_are_spread_and_a_few_begin_at_once() {
    let now = Instant::now();
    let last = |count| first_check(count, Duration::from_secs(4), u32::MAX, now).duration_since(now);
    assert_eq!(last(1), Duration::from_micros(500));
    assert_eq!(last(1000), Duration::from_millis(500));
    assert_eq!(last(100_000), Duration::from_secs(4));
    assert_eq!(first_check(1000, Duration::from_secs(4), 0, now), now);
}

#[test]
fn a_changed_rhythm_keeps_what_is_known() {
    let mut fed = Fed::new(RHYTHM);
    fed.all(&[Good, Good, Good]);
    let now = fed.now;
    fed.watch.set_rhythm(Rhythm { interval: Duration::from_secs(1), ..RHYTHM }, now);
    assert_eq!((fed.watch.verdict(), fed.watch.due()), (Up, now + Duration::from_secs(1)));
}

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    prop::collection::vec(prop_oneof![3 => Just(Good), 1 => Just(Draining), 2 => Just(Bad)], 0..200)
}

fn rhythms() -> impl Strategy<Value = Rhythm> {
    (1u32..6, 1u32..6, 1u64..10, 0u64..120).prop_map(|(rise, fall, interval, window)| Rhythm {
        interval: Duration::from_secs(interval),
        fast_interval: Duration::from_millis(500 * interval),
        rise,
        fall,
        flap_window: Duration::from_secs(window),
    })
}

/// What may happen to a watch besides answers.
#[derive(Debug, Clone, Copy)]
enum Event {
    Answer(Outcome),
    Unable,
    Suspect,
    Rhythm(Rhythm),
    Time(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let answer = prop_oneof![3 => Just(Good), 1 => Just(Draining), 3 => Just(Bad)].prop_map(Event::Answer);
    let event = prop_oneof![
        12 => answer,
        1 => Just(Event::Unable),
        4 => Just(Event::Suspect),
        1 => rhythms().prop_map(Event::Rhythm),
        4 => (0u64..20_000).prop_map(Event::Time),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn whatever_else_happens_only_answers_turn_verdicts_and_the_next_question_is_near(
        first in rhythms(), events in events(), jitter in any::<i8>(),
    ) {
        let began = Instant::now();
        let (mut watch, mut rhythm, mut now) = (Watch::new(first, began), first, began);
        // Answers in a row that speak for a verdict, as a plain count.
        let (mut good, mut bad) = (0, 0);
        for event in events {
            let before = watch.verdict();
            match event {
                Event::Answer(outcome) => {
                    now = now.max(watch.due());
                    watch.asked(now, jitter);
                    watch.answered(outcome, now);
                    good = if outcome == Good { good + 1 } else { 0 };
                    bad = if outcome == Bad { bad + 1 } else { 0 };
                    prop_assert!(before == watch.verdict() || watch.verdict() != Up || good >= rhythm.rise);
                    prop_assert!(before == watch.verdict() || watch.verdict() != Down || bad >= rhythm.fall);
                    prop_assert!(watch.verdict() == Down || bad < rhythm.fall);
                }
                Event::Unable => {
                    now = now.max(watch.due());
                    watch.asked(now, jitter);
                    watch.unable(now);
                }
                Event::Suspect => {
                    let due = watch.due();
                    watch.suspect(now);
                    prop_assert!(watch.due() <= due, "never later for it");
                    prop_assert!(watch.due() >= now.min(due));
                }
                Event::Rhythm(new) => {
                    watch.set_rhythm(new, now);
                    rhythm = new;
                }
                Event::Time(milliseconds) => now += Duration::from_millis(milliseconds),
            }
            prop_assert!(matches!(event, Event::Answer(_)) || watch.verdict() == before);
            let longest = first.interval.max(rhythm.interval).max(Duration::from_secs(10)).mul_f64(1.1);
            prop_assert!(watch.due() <= now + longest);
        }
    }

    #[test]
    fn never_up_before_rise_never_down_before_fall(rhythm in rhythms(), outcomes in outcomes()) {
        let mut fed = Fed::new(rhythm);
        for end in 0..outcomes.len() {
            let before = fed.watch.verdict();
            let after = fed.feed(outcomes[end]);
            let row = |wanted: Outcome, count: u32| {
                let begin = (end + 1).saturating_sub(count as usize);
                end + 1 >= count as usize && outcomes[begin..=end].iter().all(|o| *o == wanted)
            };
            if before != Up && after == Up {
                prop_assert!(row(Good, rhythm.rise));
            }
            if before != Down && after == Down {
                prop_assert!(row(Bad, rhythm.fall));
            }
            if before == Up && after == Drain {
                let begin = (end + 1).saturating_sub(rhythm.fall as usize);
                prop_assert!(outcomes[begin..=end].iter().all(|o| *o != Good));
            }
            prop_assert!(after != Unknown || before == Unknown, "what is known is not forgotten");
        }
    }

    #[test]
    fn enough_answers_in_a_row_always_decide(rhythm in rhythms(), outcomes in outcomes()) {
        let mut fed = Fed::new(rhythm);
        fed.all(&outcomes);
        let mut up = fed.watch.clone();
        let needed = up.rise_needed().max(rhythm.rise << MOST_DOUBLINGS);
        for _ in 0..needed {
            up.answered(Good, fed.now);
        }
        prop_assert_eq!(up.verdict(), Up);
        for _ in 0..rhythm.fall {
            fed.watch.answered(Bad, fed.now);
        }
        prop_assert_eq!(fed.watch.verdict(), Down);
    }

    #[test]
    fn flapping_is_bounded(seed in prop::collection::vec(0u32..4, 50..400)) {
        // A server that does its worst: up as soon as it may be, down again at once, with pauses in between.
        let mut fed = Fed::new(RHYTHM);
        let mut rises = Vec::new();
        for pause in seed {
            while fed.feed(Good) != Up {}
            rises.push(fed.now);
            fed.all(&vec![Good; pause as usize]);
            while fed.feed(Bad) != Down {}
        }
        // After the first few, one rise takes at least the doubled number of checks in the slow rhythm.
        let longest = RHYTHM.interval * (RHYTHM.rise << (MOST_DOUBLINGS - 1));
        let late: Vec<_> = rises.windows(2).skip(MOST_DOUBLINGS as usize).collect();
        for pair in late {
            prop_assert!(pair[1].duration_since(pair[0]) >= longest, "{:?}", pair[1].duration_since(pair[0]));
        }
    }

    #[test]
    fn the_next_question_is_always_within_an_interval_and_a_tenth(rhythm in rhythms(), outcomes in outcomes(), jitter in any::<i8>()) {
        let mut fed = Fed::new(rhythm);
        for outcome in outcomes {
            let now = fed.watch.due();
            fed.watch.asked(now, jitter);
            fed.watch.answered(outcome, now);
            let pause = fed.watch.due().duration_since(now);
            prop_assert!(pause <= rhythm.interval.mul_f64(1.1));
            prop_assert!(pause >= rhythm.fast_interval.min(FIRST_INTERVAL).mul_f64(0.89));
        }
    }
}
