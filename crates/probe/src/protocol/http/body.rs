//! What a check looks for in the body of an answer.
use std::time::Duration;

use keel_model::HttpCheck;
use regex::bytes::Regex;

use crate::{
    Question, Trace,
    protocol::wanted::{PAUSE, Wanted},
};

/// Bytes of a body that are looked at.
const LIMIT: usize = 1024 * 1024;

/// Good, or what is wrong with the body: "lacks "OK"".
pub(super) type Verdict = Result<(), String>;

/// A body as it comes, and what is looked for in it.
pub(super) struct Looks<'q> {
    /// Must be there and wasn't found yet.
    missing: Vec<Wanted<'q>>,
    /// Must not be there.
    refused: Vec<Wanted<'q>>,
    body: Vec<u8>,
    /// Bytes that were there when it was last looked at.
    looked: usize,
}

impl<'q> Looks<'q> {
    /// None if nothing is looked for: the body doesn't matter.
    pub(super) fn new(question: &'q Question, http: &'q HttpCheck) -> Option<Self> {
        let wanted = |text: &'q Option<String>, pattern: &'q Option<Regex>| -> Vec<Wanted<'q>> {
            let text = text.as_deref().map(Wanted::Text);
            text.into_iter().chain(pattern.as_ref().map(Wanted::Pattern)).collect()
        };
        let missing = wanted(&http.expect_body, &question.expect);
        let refused = wanted(&http.refuse_body, &question.refuse);
        if missing.is_empty() && refused.is_empty() {
            return None;
        }
        Some(Self { missing, refused, body: Vec::new(), looked: 0 })
    }

    /// Bytes that came.
    pub(super) fn seen(&self) -> usize {
        self.body.len()
    }

    /// How long to wait for more before [`Self::paused`] looks at what is there; none if that was looked at.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.looked < self.body.len()).then_some(PAUSE)
    }

    /// More of the body came. It is looked at each time it has doubled: a server that sends single bytes must not
    /// make us look at everything again for each.
    pub(super) fn add(&mut self, data: &[u8], trace: &mut Trace) -> Option<Verdict> {
        if self.body.is_empty() && !data.is_empty() {
            trace.received(data);
        }
        let room = LIMIT - self.body.len();
        self.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() >= room {
            return Some(self.end());
        }
        if self.body.len() < self.looked * 2 { None } else { self.look(false) }
    }

    /// Nothing more came for a while.
    pub(super) fn paused(&mut self) -> Option<Verdict> {
        self.look(false)
    }

    /// Nothing more comes, or no more than this is looked at.
    pub(super) fn end(&mut self) -> Verdict {
        let cut = if self.body.len() >= LIMIT { " in its first MiB" } else { "" };
        self.look(true).unwrap_or_else(|| match self.missing.first() {
            Some(wanted) => Err(format!("lacks {}{cut}", wanted.words())),
            None => Ok(()),
        })
    }

    fn look(&mut self, whole: bool) -> Option<Verdict> {
        self.looked = self.body.len();
        if let Some(there) = self.refused.iter().find(|wanted| wanted.found(&self.body, whole)) {
            return Some(Err(format!("contains {}", there.words())));
        }
        self.missing.retain(|wanted| !wanted.found(&self.body, whole));
        (self.missing.is_empty() && self.refused.is_empty()).then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks<'q>(missing: &[Wanted<'q>], refused: &[Wanted<'q>]) -> Looks<'q> {
        Looks { missing: missing.to_vec(), refused: refused.to_vec(), body: Vec::new(), looked: 0 }
    }

    #[test]
    fn a_text_is_found_as_soon_as_it_is_there() {
        let mut looks = looks(&[Wanted::Text("IS_OKAY")], &[]);
        let trace = &mut Trace::quiet();
        assert_eq!(looks.add(b"CB_IS_", trace), None);
        assert_eq!(looks.add(b"OKAY, and", trace), Some(Ok(())));
    }

    #[test]
    fn a_pattern_that_looks_at_the_end_waits_for_it() {
        let pattern = Regex::new("^OK$").unwrap();
        let trace = &mut Trace::quiet();
        let mut whole = looks(&[Wanted::Pattern(&pattern)], &[]);
        assert_eq!(whole.add(b"OK", trace), None);
        assert_eq!(whole.paused(), None);
        assert_eq!(whole.end(), Ok(()));
        let mut more = looks(&[Wanted::Pattern(&pattern)], &[]);
        assert_eq!(more.add(b"OK", trace), None);
        assert_eq!(more.add(b" but not quite", trace), None);
        assert_eq!(more.end(), Err("lacks /^OK$/".to_owned()));
    }

    #[test]
    fn what_is_refused_is_looked_for_to_the_end() {
        let mut looks = looks(&[Wanted::Text("OK")], &[Wanted::Text("ERROR")]);
        let trace = &mut Trace::quiet();
        assert_eq!(looks.add(b"OK.....", trace), None);
        assert_eq!(looks.add(b"ERR", trace), None);
        assert_eq!(looks.add(b"OR", trace), None, "too little came since");
        assert_eq!(looks.paused(), Some(Err("contains \"ERROR\"".to_owned())));
    }

    #[test]
    fn a_body_without_end_is_looked_at_up_to_the_limit() {
        let mut looks = looks(&[Wanted::Text("needle")], &[]);
        let trace = &mut Trace::quiet();
        let hay = vec![b'x'; 100_000];
        let verdict = std::iter::repeat_with(|| looks.add(&hay, trace)).take(11).flatten().next();
        assert_eq!(verdict, Some(Err("lacks \"needle\" in its first MiB".to_owned())));
        assert_eq!(looks.seen(), LIMIT);
    }
}
