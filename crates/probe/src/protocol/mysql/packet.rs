//! MySQL's packets: what is sent, and what of a server's is understood.
use crate::{
    Fault,
    line::{LIMIT, Line},
    rest::Rest,
    text::{shown, words},
};

pub(super) const LONG_PASSWORD: u32 = 1;
pub(super) const LONG_FLAG: u32 = 1 << 2;
pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
pub(super) const PROTOCOL_41: u32 = 1 << 9;
pub(super) const SSL: u32 = 1 << 11;
pub(super) const TRANSACTIONS: u32 = 1 << 13;
pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
pub(super) const PLUGIN_AUTH: u32 = 1 << 19;

/// utf8mb4, which servers know since 5.5.
const CHARSET: u8 = 45;

/// Packets are numbered both ways together, from 0 with every command.
pub(super) struct Packets<'l, 't> {
    pub(super) line: &'l mut Line<'t>,
    number: u8,
}

impl<'l, 't> Packets<'l, 't> {
    pub(super) fn new(line: &'l mut Line<'t>) -> Self {
        Self { line, number: 0 }
    }

    /// A command begins: numbers begin anew.
    pub(super) fn begin(&mut self, doing: &'static str) {
        self.number = 0;
        self.line.begin(doing);
    }

    /// Receives one packet, which isn't empty.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, Fault> {
        let head = self.line.exact(4).await?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if self.number == 0 && length > LIMIT {
            // What answers first in another protocol is no length.
            return Err(not_mysql(&head));
        }
        let packet = self.line.exact(length).await?;
        match packet.first() {
            None => Err(Fault::unexpected("sent an empty packet")),
            // Errors that end a connection come with any number.
            Some(0xff) => Ok(packet),
            Some(_) if head[3] == self.number => {
                self.number = self.number.wrapping_add(1);
                Ok(packet)
            }
            Some(_) => Err(Fault::unexpected(format!(
                "packets out of order: number {}, expected {}",
                head[3], self.number
            ))),
        }
    }

    fn frame(&mut self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = vec![length[0], length[1], length[2], self.number];
        bytes.extend_from_slice(body);
        self.number = self.number.wrapping_add(1);
        bytes
    }

    pub(super) async fn send(&mut self, body: &[u8]) -> Result<(), Fault> {
        let bytes = self.frame(body);
        self.line.send(&bytes).await
    }

    pub(super) async fn send_secret(&mut self, body: &[u8], what: &str) -> Result<(), Fault> {
        let bytes = self.frame(body);
        self.line.send_secret(&bytes, what).await
    }
}

fn not_mysql(bytes: &[u8]) -> Fault {
    Fault::unexpected(format!("this is no MySQL server: it begins with \"{}\"", words(bytes)))
}

/// How a server introduces itself (handshake v10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    /// "MySQL 8.0.36", "MariaDB 10.11.4".
    pub(super) server: String,
    pub(super) can: u32,
    pub(super) salt: Vec<u8>,
    pub(super) plugin: String,
}

pub(super) fn greeting(packet: &[u8]) -> Result<Greeting, Fault> {
    match packet.first() {
        Some(0xff) => Err(Fault::unexpected(format!("refused: {}", Refusal::read(packet).text))),
        Some(10) => greeting_v10(packet).ok_or_else(|| Fault::unexpected("its greeting is incomplete")),
        _ => Err(not_mysql(packet)),
    }
}

fn greeting_v10(packet: &[u8]) -> Option<Greeting> {
    let mut rest = Rest(packet);
    rest.byte()?;
    let version = rest.text()?;
    let _thread = rest.take(4)?;
    let mut salt = rest.take(8)?.to_vec();
    rest.byte()?;
    let low = u16::from_le_bytes(rest.array()?);
    let _charset_and_status = rest.take(3)?;
    let high = u16::from_le_bytes(rest.array()?);
    let can = u32::from(low) | u32::from(high) << 16;
    let length = usize::from(rest.byte()?);
    let _reserved = rest.take(10)?;
    // The second part has 13 bytes at least, the last of which is zero and no part of it.
    let second = rest.take(length.saturating_sub(8).max(13))?;
    salt.extend_from_slice(second.strip_suffix(b"\0").unwrap_or(second));
    // Old servers don't end the name with a zero byte.
    let plugin = if can & PLUGIN_AUTH == 0 { &[] } else { rest.text().unwrap_or(rest.0) };
    Some(Greeting { server: server_name(version), can, salt, plugin: name(plugin) })
}

/// A name as it came: it decides, and is no text to show.
fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// MariaDB from 10 on calls itself 5.5.5-10.… for old replicas.
fn server_name(version: &[u8]) -> String {
    let text = shown(version, 48);
    let short = text.strip_prefix("5.5.5-").unwrap_or(&text);
    match short.split_once("-MariaDB") {
        Some((number, _)) => format!("MariaDB {number}"),
        None => format!("MySQL {short}"),
    }
}

/// An error of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) state: Option<[u8; 5]>,
    pub(super) text: String,
}

impl Refusal {
    /// Reads what can be read. Before the greeting there is no state.
    pub(super) fn read(packet: &[u8]) -> Self {
        let mut rest = Rest(packet);
        let _kind = rest.byte();
        let code = rest.array().map_or(0, u16::from_le_bytes);
        let mut marked = rest;
        let state = if marked.byte() == Some(b'#') { marked.array() } else { None };
        let said = if state.is_some() { marked.0 } else { rest.0 };
        let text = if said.is_empty() { format!("error {code}") } else { words(said) };
        Self { code, state, text }
    }
}

/// The first 32 bytes of an answer to the greeting, which alone ask for TLS.
pub(super) fn opening(flags: u32) -> Vec<u8> {
    let mut bytes = flags.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(1_u32 << 16).to_le_bytes());
    bytes.push(CHARSET);
    bytes.extend_from_slice(&[0; 23]);
    bytes
}

/// The answer to the greeting.
pub(super) fn login(flags: u32, user: &str, proof: &[u8], database: Option<&str>, plugin: &str) -> Vec<u8> {
    let mut bytes = opening(flags);
    bytes.extend_from_slice(user.as_bytes());
    bytes.push(0);
    // Proofs have 32 bytes at most; a password in clear is only sent when it is asked for.
    bytes.push(u8::try_from(proof.len()).unwrap_or_default());
    bytes.extend_from_slice(proof);
    if flags & CONNECT_WITH_DB != 0 {
        bytes.extend_from_slice(database.unwrap_or_default().as_bytes());
        bytes.push(0);
    }
    if flags & PLUGIN_AUTH != 0 {
        bytes.extend_from_slice(plugin.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Another way to sign in than the greeting proposed: its name and its salt.
pub(super) fn switch(packet: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut rest = Rest(packet);
    rest.byte()?;
    let plugin = name(rest.text()?);
    let salt = rest.0.strip_suffix(b"\0").unwrap_or(rest.0);
    Some((plugin, salt.to_vec()))
}

/// A row of texts; none in it is NULL.
pub(super) fn row(packet: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = Rest(packet);
    let mut texts = Vec::new();
    while let Some(first) = rest.byte() {
        let length = match first {
            0..=0xfa => usize::from(first),
            0xfb => 0,
            0xfc => usize::from(u16::from_le_bytes(rest.array()?)),
            // Longer ones don't fit into what was received.
            _ => return None,
        };
        texts.push(rest.take(length)?);
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let mut packet = b"\x0a8.0.36\0\x01\0\0\0".to_vec();
        packet.extend_from_slice(b"12345678\0\xff\xff\x2d\x02\0\xff\xdf\x15");
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"9abcdefghijk\0caching_sha2_password\0");
        packet
    }

    #[test]
    fn a_greeting_is_read() {
        let greeting = greeting(&example()).unwrap();
        assert_eq!(greeting.server, "MySQL 8.0.36");
        assert_eq!(greeting.salt, b"123456789abcdefghijk");
        assert_eq!(greeting.plugin, "caching_sha2_password");
        assert_eq!(greeting.can, 0xdfff_ffff);
        assert_eq!(server_name(b"5.5.5-10.11.4-MariaDB-1~deb12u1"), "MariaDB 10.11.4");
    }

    #[test]
    fn names_that_hold_the_password_are_understood() {
        crate::hidden::hiding(&["password"], || {
            let (plugin, _) = switch(b"\xfemysql_native_password\0").unwrap();
            assert_eq!(plugin, "mysql_native_password");
            assert_eq!(greeting(&example()).unwrap().plugin, "caching_sha2_password");
        });
    }

    #[test]
    fn a_greeting_that_is_cut_is_refused() {
        let whole = example();
        for length in 0..whole.len() - 22 {
            assert!(greeting(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn errors_are_told_with_and_without_a_state() {
        let blocked = Refusal::read(b"\xff\x69\x04Host '10.0.0.1' is blocked");
        assert_eq!((blocked.code, blocked.text.as_str()), (1129, "Host '10.0.0.1' is blocked"));
        let denied = Refusal::read(b"\xff\x15\x04#28000Access denied");
        assert_eq!((denied.code, denied.state), (1045, Some(*b"28000")));
        assert_eq!(denied.text, "Access denied");
        for cut in [&b"\xff"[..], b"\xff\x15", b"\xff\x15\x04", b"\xff\x15\x04#280"] {
            assert!(!Refusal::read(cut).text.is_empty());
        }
    }

    #[test]
    fn rows_end_where_they_end() {
        assert_eq!(row(b"\x01a\x02bc").unwrap(), [&b"a"[..], b"bc"]);
        for wrong in [&b"\x05a"[..], b"\xfc\xff", b"\xfd\x01\0\0a", b"\xfe\x01", b"\xff"] {
            assert_eq!(row(wrong), None, "{wrong:?}");
        }
    }
}
