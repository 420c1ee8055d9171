//! What is left of a message that is being read: nothing is taken that isn't there.

/// Bytes not yet read. Every method takes from the front, or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest<'b>(pub(crate) &'b [u8]);

impl<'b> Rest<'b> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next bytes, as many as an array has.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A text that ends with a zero byte, which is taken too.
    pub(crate) fn text(&mut self) -> Option<&'b [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_that_is_not_there() {
        let mut rest = Rest(b"ab\0cd");
        assert_eq!(rest.text(), Some(&b"ab"[..]));
        assert_eq!(rest.text(), None);
        assert_eq!(rest.array::<3>(), None);
        assert_eq!(rest.take(usize::MAX), None);
        assert_eq!(rest.byte(), Some(b'c'));
        assert_eq!(rest.take(1), Some(&b"d"[..]));
        assert!(rest.is_empty());
    }
}
