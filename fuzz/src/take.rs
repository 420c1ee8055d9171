//! The beginning of an input decides what is done, the rest is the frame that it is done to.
use keel_abi::Addr;

/// Takes values off the beginning of an input.
#[derive(Debug)]
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    /// The next `N` bytes; `None` if there are fewer.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    /// An address of the family asked for, never a mapped one where IPv6 is meant.
    pub fn address(&mut self, v6: bool) -> Option<Addr> {
        let [a, b, c, d] = self.bytes::<16>()?.as_chunks::<4>().0.try_into().ok()?;
        let words = [a, b, c, d].map(u32::from_ne_bytes);
        let first = words[0] | 0x20;
        Some(if v6 { Addr([first, words[1], words[2], words[3]]) } else { Addr::v4(words[3]) })
    }

    /// A number of two bytes.
    pub fn number(&mut self) -> Option<u16> {
        self.bytes::<2>().map(u16::from_ne_bytes)
    }

    /// What is left, in an allocation of exactly its size: a read beyond it is one that a sanitizer sees.
    pub fn frame(self) -> Box<[u8]> {
        self.0.into()
    }
}
