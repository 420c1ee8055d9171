//! Several checks of one server, one verdict.
use keel_model::Require;

use crate::Verdict;

/// The verdict of several checks, and the number of the one that decides. None for no check at all.
///
/// `All`: the worst counts (down, then unknown, then drain). `Any`: the best counts (up, then drain, then unknown).
pub fn combine(require: Require, verdicts: impl IntoIterator<Item = Verdict>) -> Option<(usize, Verdict)> {
    let rank = |verdict: Verdict| match (require, verdict) {
        (Require::All, Verdict::Down) | (Require::Any, Verdict::Up) => 0,
        (Require::All, Verdict::Unknown) | (Require::Any, Verdict::Drain) => 1,
        (Require::All, Verdict::Drain) | (Require::Any, Verdict::Unknown) => 2,
        (Require::All, Verdict::Up) | (Require::Any, Verdict::Down) => 3,
    };
    verdicts.into_iter().enumerate().min_by_key(|(_, verdict)| rank(*verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Down, Drain, Unknown, Up};

    #[test]
    fn the_worst_counts_if_all_are_required_and_the_best_if_one_is_enough() {
        let all = |verdicts: &[Verdict]| combine(Require::All, verdicts.iter().copied());
        assert_eq!(all(&[Up, Up]), Some((0, Up)));
        assert_eq!(all(&[Up, Drain]), Some((1, Drain)));
        assert_eq!(all(&[Drain, Unknown]), Some((1, Unknown)));
        assert_eq!(all(&[Up, Down, Unknown]), Some((1, Down)));
        let any = |verdicts: &[Verdict]| combine(Require::Any, verdicts.iter().copied());
        assert_eq!(any(&[Down, Up]), Some((1, Up)));
        assert_eq!(any(&[Down, Drain, Unknown]), Some((1, Drain)));
        assert_eq!(any(&[Down, Unknown]), Some((1, Unknown)));
        assert_eq!(any(&[Down, Down]), Some((0, Down)));
        assert_eq!(any(&[]), None);
    }
}
