//! What a check looks for in what a server says, which comes in pieces that mean nothing: where they end is no end of
//! what is said, and a server that sends single bytes must not make us look at everything again for each.
use std::time::Duration;

use memchr::memmem;
use regex::bytes::Regex;

use crate::text::{SHOWN, shown};

/// Silence after which is looked at what came so far.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// Bytes beyond a match on which it may depend: a pattern's `\b` or `$` looks at one character.
const MARGIN: usize = 4;

/// One thing that is looked for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'w> {
    Text(&'w str),
    Pattern(&'w Regex),
}

impl Wanted<'_> {
    /// Whether it is there, whatever may follow. What is whole has no more to follow.
    pub(super) fn found(self, said: &[u8], whole: bool) -> bool {
        match self {
            Self::Text(text) => memmem::find(said, text.as_bytes()).is_some(),
            Self::Pattern(pattern) if whole => pattern.is_match(said),
            Self::Pattern(pattern) => {
                pattern.shortest_match(said).is_some_and(|end| end + MARGIN <= said.len())
            }
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Text(text) => format!("\"{}\"", shown(text.as_bytes(), SHOWN)),
            Self::Pattern(pattern) => format!("/{}/", shown(pattern.as_str().as_bytes(), SHOWN)),
        }
    }
}

/// Looks for the end of one thing in what comes.
pub(super) struct Search<'w> {
    wanted: Wanted<'w>,
    /// Bytes that were there when it was last looked at.
    looked: usize,
    /// Bytes that were there when it was last looked at as if they were all.
    whole: usize,
}

impl<'w> Search<'w> {
    pub(super) fn new(wanted: Wanted<'w>) -> Self {
        Self { wanted, looked: 0, whole: 0 }
    }

    /// Where it ends in what was said so far, if no byte that may follow can change that. What is whole is followed by
    /// none, or not soon. A pattern is looked for each time twice as much is there.
    pub(super) fn end(&mut self, said: &[u8], whole: bool) -> Option<usize> {
        let looked = self.looked;
        if whole {
            self.whole = said.len();
        }
        match self.wanted {
            Wanted::Text(text) => {
                self.looked = said.len();
                // It may have begun in what was looked at.
                let from = looked.saturating_sub(text.len().saturating_sub(1)).min(said.len());
                memmem::find(&said[from..], text.as_bytes()).map(|at| from + at + text.len())
            }
            Wanted::Pattern(_) if !whole && said.len() < looked * 2 => None,
            Wanted::Pattern(pattern) => {
                self.looked = said.len();
                let end = pattern.find(said)?.end();
                (whole || end + MARGIN <= said.len()).then_some(end)
            }
        }
    }

    /// Whether a pause would tell something new about what was said so far.
    pub(super) fn is_open(&self, said: &[u8]) -> bool {
        matches!(self.wanted, Wanted::Pattern(_)) && self.whole < said.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it ends after each of these pieces.
    fn ends(wanted: Wanted<'_>, pieces: &[&str]) -> Vec<Option<usize>> {
        let (mut search, mut said) = (Search::new(wanted), Vec::new());
        let mut end = |piece: &&str| {
            said.extend_from_slice(piece.as_bytes());
            search.end(&said, false)
        };
        pieces.iter().map(&mut end).collect()
    }

    #[test]
    fn a_text_is_found_across_pieces() {
        assert_eq!(ends(Wanted::Text("OKAY"), &["..O", "K", "A", "Y."]), [None, None, None, Some(6)]);
        assert_eq!(ends(Wanted::Text("."), &["", "a", "."]), [None, None, Some(2)]);
        assert_eq!(ends(Wanted::Text("aab"), &["aa", "ab"]), [None, Some(4)]);
    }

    #[test]
    fn a_pattern_waits_for_what_may_change_its_end() {
        let line = Regex::new("^250.*").unwrap();
        assert_eq!(ends(Wanted::Pattern(&line), &["250 he", "llo\r\n250 more"]), [None, Some(10)]);
        let mut search = Search::new(Wanted::Pattern(&line));
        assert_eq!(search.end(b"250 hello\r\n", false), None);
        assert!(search.is_open(b"250 hello\r\n"), "a pause decides");
        assert_eq!(search.end(b"250 hello\r\n", true), Some(10));
        assert!(!search.is_open(b"250 hello\r\n"));
    }

    #[test]
    fn a_pattern_is_looked_for_when_there_is_twice_as_much() {
        let ok = Regex::new("OK").unwrap();
        let pieces = ["xxxxxxxx", "OK......", "."];
        assert_eq!(ends(Wanted::Pattern(&ok), &pieces), [None, Some(10), None]);
        assert_eq!(ends(Wanted::Pattern(&ok), &["xxxxxxxxxx", "OK......"]), [None, None]);
    }
}
