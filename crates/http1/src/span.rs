//! Where something is in a buffer.

/// A range of a head's bytes. Heads are shorter than 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// Bytes `start` to `end`, both less than 64 KiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= usize::from(u16::MAX));
        Self { start: start as u16, end: end as u16 }
    }

    /// Where `part`, a piece of `whole`, lies in it.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        if part.is_empty() {
            return Self::default();
        }
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        Self::new(start, start + part.len())
    }

    /// Its bytes.
    pub fn in_head(self, head: &[u8]) -> &[u8] {
        head.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }

    /// How many bytes.
    pub fn len(self) -> usize {
        usize::from(self.end - self.start)
    }

    /// Nothing is there.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}
