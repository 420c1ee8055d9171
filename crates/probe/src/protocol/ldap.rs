//! LDAP (RFC 4511): a bind, and an entry that must be there.
mod ber;

use keel_model::LdapCheck;

use self::ber::{BOOLEAN, ENUMERATED, INTEGER, Length, OCTETS, SEQUENCE};
use crate::{Fault, Question, ask::Finding, line::Line, rest::Rest, text::words};

// The operations, by their tags (RFC 4511 §4.2 and following).
const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;

/// RFC 4511 §4.14.1.
const STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// An UnbindRequest, as message 4.
const UNBIND: &[u8] = &[SEQUENCE, 5, INTEGER, 1, 4, 0x42, 0];
/// Messages before the end of a search for one entry, at most.
const MESSAGES: usize = 16;

pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    ldap: &LdapCheck,
) -> Result<Finding, Fault> {
    if let Some(ready) = &question.tls {
        if ldap.tls.starttls {
            starttls(&mut line).await?;
        }
        line.secure(&ldap.tls, ready, None).await?;
    }
    let ends = line.certificate_ends();
    bind(&mut line, question, ldap).await?;
    let mut text = match &ldap.bind_dn {
        Some(_) => "bind accepted",
        None => "anonymous bind accepted",
    };
    if let Some(base) = &ldap.base_dn {
        search(&mut line, base).await?;
        text = "bind accepted, the entry is there";
    }
    line.part(UNBIND);
    Ok(Finding::good(text).with_certificate(ends))
}

/// Asks to change over to TLS.
async fn starttls(line: &mut Line<'_>) -> Result<(), Fault> {
    line.begin("waiting for the answer to StartTLS");
    // [0] requestName
    line.send(&message(1, &ber::write(EXTENDED, &ber::write(0x80, STARTTLS)))).await?;
    let operation = receive(line, 1).await?;
    let result = operation.result(EXTENDED_DONE)?;
    if result.code == 0 { Ok(()) } else { Err(result.fault("StartTLS was refused")) }
}

/// A simple bind (RFC 4511 §4.2); without a name and a password it is anonymous (RFC 4513 §5.1.1).
async fn bind(line: &mut Line<'_>, question: &Question, ldap: &LdapCheck) -> Result<(), Fault> {
    line.begin("waiting for the answer to the bind");
    let name = ldap.bind_dn.as_deref().unwrap_or_default();
    let password = question.secret.as_ref().filter(|_| ldap.bind_dn.is_some());
    let request = ber::write_all(
        BIND,
        &[
            ber::write(INTEGER, &[3]),
            ber::write(OCTETS, name.as_bytes()),
            // [0] simple
            ber::write(0x80, password.map_or(&[], |secret| &secret.0)),
        ],
    );
    line.send_secret(&message(2, &request), "bind").await?;
    let operation = receive(line, 2).await?;
    let result = operation.result(BIND_DONE)?;
    if result.code == 0 { Ok(()) } else { Err(result.fault("bind refused")) }
}

/// Looks for the entry itself, without its attributes ("1.1", RFC 4511 §4.5.1.8).
async fn search(line: &mut Line<'_>, base: &str) -> Result<(), Fault> {
    line.begin("waiting for the answer to the search");
    let request = ber::write_all(
        SEARCH,
        &[
            ber::write(OCTETS, base.as_bytes()),
            // baseObject, neverDerefAliases
            ber::write(ENUMERATED, &[0]),
            ber::write(ENUMERATED, &[0]),
            // One entry, no limit in time, types only.
            ber::write(INTEGER, &[1]),
            ber::write(INTEGER, &[0]),
            ber::write(BOOLEAN, &[0xff]),
            // [7] present
            ber::write(0x87, b"objectClass"),
            ber::write(SEQUENCE, &ber::write(OCTETS, b"1.1")),
        ],
    );
    line.send(&message(3, &request)).await?;
    let mut found = false;
    for _ in 0..MESSAGES {
        let operation = receive(line, 3).await?;
        match operation.tag {
            ENTRY => found = true,
            REFERENCE => {}
            _ => {
                let result = operation.result(SEARCH_DONE)?;
                return match result.code {
                    0 if found => Ok(()),
                    0 => Err(Fault::unexpected("the entry of `base_dn` isn't there, or may not be read")),
                    32 => Err(result.fault("the entry of `base_dn` isn't there")),
                    _ => Err(result.fault("search refused")),
                };
            }
        }
    }
    Err(Fault::unexpected(format!("more than {MESSAGES} answers to a search for one entry")))
}

/// A request as a message.
fn message(number: u8, operation: &[u8]) -> Vec<u8> {
    ber::write_all(SEQUENCE, &[ber::write(INTEGER, &[number]), operation.to_vec()])
}

/// What a server answered.
#[derive(Debug)]
struct Operation {
    tag: u8,
    contents: Vec<u8>,
}

impl Operation {
    /// The result that it must be (RFC 4511 §4.1.9).
    fn result(&self, tag: u8) -> Result<Outcome, Fault> {
        if self.tag != tag {
            return Err(Fault::unexpected(format!("answered with another operation ({:#04x})", self.tag)));
        }
        outcome(&self.contents).ok_or_else(|| Fault::unexpected("its answer has no result code"))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: u32,
    text: String,
}

impl Outcome {
    fn fault(&self, what: &str) -> Fault {
        let code = code_words(self.code).map_or_else(|| format!("result {}", self.code), str::to_owned);
        Fault::unexpected(match self.text.as_str() {
            "" => format!("{what}: {code}"),
            text => format!("{what}: {code}: {text}"),
        })
    }
}

fn outcome(contents: &[u8]) -> Option<Outcome> {
    let mut rest = Rest(contents);
    let code = ber::number(&mut rest, ENUMERATED)?;
    let _matched = ber::tagged(&mut rest, OCTETS)?;
    let text = ber::tagged(&mut rest, OCTETS)?;
    // Active Directory ends its texts with a zero byte.
    Some(Outcome { code, text: words(text.strip_suffix(b"\0").unwrap_or(text)) })
}

/// Receives the answer to a request.
async fn receive(line: &mut Line<'_>, number: u8) -> Result<Operation, Fault> {
    let head = line.exact(2).await?;
    let length = match (head[0], ber::length(head[1])) {
        (SEQUENCE, Some(Length::Is(length))) => length,
        (SEQUENCE, Some(Length::Follows(count))) => ber::big_endian(&line.exact(count).await?),
        _ => {
            return Err(Fault::unexpected(format!("this is no LDAP server: \"{}\"", words(&head))));
        }
    };
    let body = line.exact(length).await?;
    let (found, tag, contents) =
        split(&body).ok_or_else(|| Fault::unexpected("its answer is no LDAP message"))?;
    match found {
        // RFC 4511 §4.4: the server says something of its own accord, which is that it closes.
        0 => {
            let said = outcome(contents);
            Err(said.map_or_else(
                || Fault::unexpected("the server ended the session"),
                |said| said.fault("the server ended the session"),
            ))
        }
        _ if found == u32::from(number) => Ok(Operation { tag, contents: contents.to_vec() }),
        _ => Err(Fault::unexpected(format!("answered message {found}, asked was {number}"))),
    }
}

/// The number of a message, the tag of its operation and what is in it.
fn split(body: &[u8]) -> Option<(u32, u8, &[u8])> {
    let mut rest = Rest(body);
    let number = ber::number(&mut rest, INTEGER)?;
    let (tag, contents) = ber::element(&mut rest)?;
    Some((number, tag, contents))
}

/// The codes that a check can meet (RFC 4511, appendix A.2).
fn code_words(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        4 => "size limit exceeded",
        7 => "authentication method not supported",
        8 => "a stronger authentication is required",
        10 => "it refers to another server",
        11 => "administrative limit exceeded",
        13 => "it wants TLS first",
        32 => "no such object",
        34 => "invalid DN",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "the server is busy",
        52 => "the server is unavailable",
        53 => "the server is unwilling to perform",
        80 => "other error",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_told_in_words() {
        let answer = outcome(b"\x0a\x01\x31\x04\x00\x04\x05data\0").unwrap();
        let text = answer.fault("bind refused").to_string();
        assert_eq!(text, "bind refused: invalid credentials: data");
        assert_eq!(Outcome { code: 99, text: String::new() }.fault("x").to_string(), "x: result 99");
        for cut in [&b""[..], b"\x0a\x01", b"\x0a\x01\x31\x04\x00", b"\x0a\x01\x31\x04\x00\x04\x7f"] {
            assert_eq!(outcome(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn the_goodbye_is_a_message() {
        let mut rest = Rest(UNBIND);
        let body = ber::tagged(&mut rest, SEQUENCE).unwrap();
        assert_eq!(split(body), Some((4, 0x42, &[][..])));
    }
}
