//! What is news: how everything is now, compared with how it was. Nothing else is decided here.
use std::collections::HashMap;

use keel_alert::{Severity, Subject};

/// How a subject is, as far as people care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing is known, or nothing new.
    Unknown,
    /// It works.
    Fine,
    /// It works and wants no new connections.
    Drains,
    /// It works because its servers' health isn't believed.
    Panics,
    /// It doesn't work.
    Bad,
}

/// The subjects that are watched, each with its condition when last looked at.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    subjects: HashMap<Subject, (Condition, u64)>,
    round: u64,
}

impl Watched {
    /// Begins to look at everything: what isn't seen until [`Watched::end`] is watched no longer.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// How a subject is now. Says whether that is news.
    pub(crate) fn see(&mut self, subject: &Subject, now: Condition) -> Option<Severity> {
        let round = self.round;
        let Some((condition, seen)) = self.subjects.get_mut(subject) else {
            self.subjects.insert(subject.clone(), (now, round));
            return news(Condition::Unknown, now);
        };
        *seen = round;
        let news = news(*condition, now);
        if now != Condition::Unknown {
            *condition = now;
        }
        news
    }

    /// Forgets what wasn't seen; true if there was trouble with some of it, which nobody will call over now.
    pub(crate) fn end(&mut self) -> bool {
        let mut troubled = false;
        self.subjects.retain(|_, (condition, seen)| {
            let stays = *seen == self.round;
            troubled |= !stays && matches!(condition, Condition::Drains | Condition::Panics | Condition::Bad);
            stays
        });
        troubled
    }

    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.keys()
    }
}

/// What a change is. That something works is none if nothing else was known, and nothing follows from not knowing.
fn news(before: Condition, now: Condition) -> Option<Severity> {
    use Condition::{Bad, Drains, Fine, Panics, Unknown};
    match (before, now) {
        (_, Unknown) | (Unknown | Fine, Fine) | (Drains, Drains) | (Panics, Panics) | (Bad, Bad) => None,
        (Drains | Panics | Bad, Fine) => Some(Severity::Recovered),
        (Unknown | Fine | Panics | Bad, Drains) => Some(Severity::Notice),
        (Unknown | Fine | Drains | Bad, Panics) | (Unknown | Fine | Drains | Panics, Bad) => {
            Some(Severity::Problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> Subject {
        Subject::Server { service: "web".to_owned(), server: name.to_owned() }
    }

    /// What each step of one server's way says.
    fn told(way: &[Condition]) -> Vec<Option<Severity>> {
        let mut watched = Watched::default();
        way.iter().map(|condition| watched.see(&server("rs1"), *condition)).collect()
    }

    #[test]
    fn a_server_that_comes_up_for_the_first_time_is_no_news_and_one_that_is_down_is() {
        use Condition::{Bad, Fine, Unknown};
        assert_eq!(told(&[Unknown, Fine, Fine]), [None, None, None]);
        assert_eq!(told(&[Fine]), [None]);
        assert_eq!(told(&[Unknown, Bad, Bad]), [None, Some(Severity::Problem), None]);
    }

    #[test]
    fn every_trouble_is_told_once_and_ends_once() {
        use Condition::{Bad, Drains, Fine, Panics};
        use Severity::{Notice, Problem, Recovered};
        assert_eq!(told(&[Fine, Bad, Bad, Fine]), [None, Some(Problem), None, Some(Recovered)]);
        assert_eq!(told(&[Fine, Drains, Drains, Fine]), [None, Some(Notice), None, Some(Recovered)]);
        assert_eq!(
            told(&[Fine, Panics, Bad, Panics, Fine]),
            [None, Some(Problem), Some(Problem), Some(Problem), Some(Recovered)]
        );
    }

    #[test]
    fn not_knowing_for_a_while_changes_nothing() {
        use Condition::{Bad, Fine, Unknown};
        let (problem, recovered) = (Some(Severity::Problem), Some(Severity::Recovered));
        assert_eq!(told(&[Fine, Unknown, Fine]), [None, None, None]);
        assert_eq!(told(&[Bad, Unknown, Bad, Unknown, Fine]), [problem, None, None, None, recovered]);
    }

    #[test]
    fn what_is_watched_no_longer_is_forgotten_and_its_trouble_reported() {
        let mut watched = Watched::default();
        watched.begin();
        let _ = watched.see(&server("rs1"), Condition::Fine);
        let _ = watched.see(&server("rs2"), Condition::Bad);
        assert!(!watched.end());
        watched.begin();
        let _ = watched.see(&server("rs2"), Condition::Bad);
        assert!(!watched.end(), "the one that left was fine");
        watched.begin();
        assert!(watched.end());
        assert_eq!(watched.subjects().count(), 0);
        watched.begin();
        assert_eq!(watched.see(&server("rs2"), Condition::Bad), Some(Severity::Problem), "it is new again");
    }
}
