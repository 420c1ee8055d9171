//! Where a head ends.
use crate::{Limits, Refusal};

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Every line ends with CR LF.
    Client,
    /// LF alone is a line's end too: old programs write such heads, and what we make of them is unambiguous.
    Server,
}

/// Looks for the end of a head while it arrives, each byte once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Looked at so far.
    seen: usize,
    /// Where the present line begins.
    line: usize,
    /// Where the head begins.
    begin: usize,
}

impl Scan {
    /// Looks at what has come since the last call; `bytes` are all since the head's begin. Where the head begins and ends,
    /// as soon as its end is there: an empty line before it is passed over (RFC 9112 §2.2).
    ///
    /// # Errors
    /// A line end that isn't one, more than one empty line before the head, more bytes than the limit without an end.
    pub fn find(
        &mut self,
        bytes: &[u8],
        peer: Peer,
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        while let Some(found) = memchr::memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let at = self.seen + found;
            let text = bytes.get(self.line..at).unwrap_or_default();
            let empty = match (text, peer) {
                ([], Peer::Client) => return Err(Refusal::BareLf),
                ([] | [b'\r'], _) => true,
                ([.., b'\r'], _) | (_, Peer::Server) => false,
                (_, Peer::Client) => return Err(Refusal::BareLf),
            };
            let first = self.line == self.begin;
            (self.seen, self.line) = (at + 1, at + 1);
            if !empty {
                continue;
            }
            if !first {
                return if self.line - self.begin > limits.head {
                    Err(Refusal::HeadTooLarge)
                } else {
                    Ok(Some((self.begin, self.line)))
                };
            }
            if self.begin > 0 {
                return Err(Refusal::EmptyLines);
            }
            self.begin = self.line;
        }
        self.seen = bytes.len();
        if self.seen - self.begin >= limits.head { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }
}
