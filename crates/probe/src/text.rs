//! A server's bytes, made fit for a terminal and a log.
use std::fmt::Write as _;

use crate::hidden;

/// Bytes of a server's words that a reason has room for.
pub(crate) const SHOWN: usize = 80;

/// At most `limit` bytes as text on one line: nothing in it moves a cursor, ends a line or breaks a log, and what is
/// hidden while a question is asked isn't in it.
pub(crate) fn shown(bytes: &[u8], limit: usize) -> String {
    escaped(&hidden::hide(bytes), limit)
}

/// The same for a piece of a stream, where a secret may be cut by the pieces' ends.
pub(crate) fn shown_piece(bytes: &[u8], limit: usize) -> String {
    escaped(&hidden::hide_in_piece(bytes), limit)
}

fn escaped(bytes: &[u8], limit: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(limit) + 2);
    let cut = &bytes[..bytes.len().min(limit)];
    for chunk in cut.utf8_chunks() {
        text.extend(
            chunk
                .valid()
                .chars()
                .flat_map(|c| if c == '\'' || c == '"' { vec![c] } else { c.escape_debug().collect() }),
        );
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if bytes.len() > limit {
        text.push('…');
    }
    text
}

/// A server's words, as long as a reason has room for.
pub(crate) fn words(bytes: impl AsRef<[u8]>) -> String {
    shown(bytes.as_ref().trim_ascii(), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_moves_no_cursor() {
        assert_eq!(shown(b"220 hi\r\n", 100), "220 hi\\r\\n");
        assert_eq!(shown(b"\x1b[2J\xff", 100), "\\u{1b}[2J\\xff");
        assert_eq!(shown("grüße 'x'".as_bytes(), 100), "grüße 'x'");
        assert_eq!(shown(b"abcdef", 3), "abc…");
    }
}
