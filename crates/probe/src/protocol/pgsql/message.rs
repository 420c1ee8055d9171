//! PostgreSQL's messages (protocol 3.0), in frames whose lengths are looked at before anything is read.
use crate::{
    Fault,
    line::{LIMIT, Line},
    rest::Rest,
    text::words,
};

/// One message: its type and its contents.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

/// Receives the next message.
pub(super) async fn receive(line: &mut Line<'_>) -> Result<Message, Fault> {
    let head = line.exact(5).await?;
    let (kind, length) = (head[0], u32::from_be_bytes([head[1], head[2], head[3], head[4]]));
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    match length {
        Some(length) if kind.is_ascii_alphabetic() && length <= LIMIT => {
            Ok(Message { kind, body: line.exact(length).await? })
        }
        // Before protocol 3, and when it can't even start a process: a text without a length.
        _ if kind == b'E' => {
            Err(Fault::unexpected(format!("refused: {}", words([&head[1..], line.ahead()].concat()))))
        }
        _ => Err(Fault::unexpected(format!(
            "this is no PostgreSQL server: \"{}\"",
            words([&head[..], line.ahead()].concat())
        ))),
    }
}

/// A message of ours.
pub(super) fn write(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &frame(body)].concat()
}

/// The first messages have no type.
pub(super) fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

/// Who signs in where.
pub(super) fn startup(user: &str, database: &str) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    let pairs = [
        ("user", user),
        ("database", database),
        ("application_name", "evenkeel"),
        ("client_encoding", "UTF8"),
    ];
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    frame(&body)
}

/// An error of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// SQLSTATE, which means the same in every language.
    pub(super) state: String,
    pub(super) text: String,
}

impl Refusal {
    /// Reads its fields, each a letter and a text.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut rest = Rest(body);
        let (mut state, mut text) = (String::new(), String::new());
        while let Some(kind) = rest.byte().filter(|kind| *kind != 0) {
            let Some(value) = rest.text() else { break };
            match kind {
                b'C' => state = String::from_utf8_lossy(value).into_owned(),
                b'M' => text = words(value),
                _ => {}
            }
        }
        if text.is_empty() {
            text = format!("error {}", words(&state));
        }
        Self { state, text }
    }

    /// Whether the server takes nobody in now: it starts, stops, recovers or is full.
    pub(super) fn is_about_everybody(&self) -> bool {
        // Operator intervention, insufficient resources, connection (a pooler that is full), system, internal.
        self.state.is_empty()
            || ["57", "53", "08", "58", "XX"].iter().any(|class| self.state.starts_with(class))
    }

    pub(super) fn fault(&self, what: &str) -> Fault {
        Fault::unexpected(format!("{what}: {}", self.text))
    }
}

/// The texts of one row; none of them NULL.
pub(super) fn row(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = Rest(body);
    let count = u16::from_be_bytes(rest.array()?);
    let mut texts = Vec::new();
    for _ in 0..count {
        let length = u32::from_be_bytes(rest.array()?);
        texts.push(rest.take(usize::try_from(length).ok()?)?);
    }
    rest.is_empty().then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_state_and_its_words() {
        let starting = Refusal::read(b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
        assert_eq!(starting.text, "the database system is starting up");
        assert!(starting.is_about_everybody());
        let nobody = Refusal::read(b"SFATAL\0C28000\0Mrole \"x\" does not exist\0\0");
        assert!(!nobody.is_about_everybody());
        for cut in [&b""[..], b"S", b"SFATAL", b"C57P03\0M"] {
            assert!(!Refusal::read(cut).text.is_empty());
        }
    }

    #[test]
    fn a_row_is_as_long_as_it_says() {
        assert_eq!(row(b"\0\x02\0\0\0\x01f\0\0\0\x03off").unwrap(), [&b"f"[..], b"off"]);
        for wrong in [&b""[..], b"\0\x01", b"\0\x01\xff\xff\xff\xff", b"\0\x01\0\0\0\x02f", b"\0\0x"] {
            assert_eq!(row(wrong), None, "{wrong:?}");
        }
    }
}
