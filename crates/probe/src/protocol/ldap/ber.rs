//! The little of BER (X.690) that LDAP uses (RFC 4511 §5.1): definite lengths, tags of one byte.
use crate::rest::Rest;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const SEQUENCE: u8 = 0x30;

/// How a length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// It is this.
    Is(usize),
    /// It stands in so many bytes that follow.
    Follows(usize),
}

/// The first byte of a length; none if LDAP doesn't allow it: the indefinite form, or more than any message needs.
pub(super) fn length(first: u8) -> Option<Length> {
    match first {
        0..=0x7f => Some(Length::Is(usize::from(first))),
        0x81..=0x84 => Some(Length::Follows(usize::from(first & 0x7f))),
        _ => None,
    }
}

/// A length of up to four bytes.
pub(super) fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
}

/// Takes one element: its tag, and its contents, which end where it ends.
pub(super) fn element<'b>(rest: &mut Rest<'b>) -> Option<(u8, &'b [u8])> {
    let tag = rest.byte()?;
    let length = match length(rest.byte()?)? {
        Length::Is(length) => length,
        Length::Follows(count) => big_endian(rest.take(count)?),
    };
    Some((tag, rest.take(length)?))
}

/// Takes one element that must have this tag.
pub(super) fn tagged<'b>(rest: &mut Rest<'b>, tag: u8) -> Option<&'b [u8]> {
    element(rest).filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
}

/// Takes a number that isn't negative.
pub(super) fn number(rest: &mut Rest<'_>, tag: u8) -> Option<u32> {
    match tagged(rest, tag)? {
        [first, ..] if first & 0x80 != 0 => None,
        bytes @ ([_] | [_, _] | [_, _, _] | [_, _, _, _]) => u32::try_from(big_endian(bytes)).ok(),
        _ => None,
    }
}

/// Writes one element.
pub(super) fn write(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = contents.len().to_be_bytes();
    match u8::try_from(contents.len()) {
        Ok(short @ 0..=0x7f) => bytes.push(short),
        _ => {
            bytes.push(0x84);
            bytes.extend_from_slice(&length[length.len() - 4..]);
        }
    }
    bytes.extend_from_slice(contents);
    bytes
}

/// Writes one element that consists of others.
pub(super) fn write_all(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    write(tag, &parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = write(OCTETS, &vec![b'x'; length]);
            let mut rest = Rest(&bytes);
            assert_eq!(tagged(&mut rest, OCTETS).map(<[u8]>::len), Some(length));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let wrong: [&[u8]; 8] = [
            &[],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x85, 0, 0, 0, 0, 1, b'x'],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x84, 1],
            &[4, 0xff],
        ];
        for wrong in wrong {
            assert_eq!(element(&mut Rest(wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_small_and_not_negative() {
        assert_eq!(number(&mut Rest(&[2, 1, 49]), INTEGER), Some(49));
        assert_eq!(number(&mut Rest(&[2, 2, 0, 200]), INTEGER), Some(200));
        for wrong in [&[2, 0][..], &[2, 1, 0x80], &[2, 5, 0, 0, 0, 0, 1], &[10, 1, 0]] {
            assert_eq!(number(&mut Rest(wrong), INTEGER), None, "{wrong:?}");
        }
    }
}
