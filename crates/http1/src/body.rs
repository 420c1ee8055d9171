//! Where a body ends (RFC 9112 §6.3).
use crate::{Field, Known, Method, Refusal, connection::elements};

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, the last one is empty.
    Chunked,
    /// Until the server closes the connection.
    UntilClose,
}

/// What a head says of its body's length: `Content-Length`, and whether `Transfer-Encoding` says `chunked`.
struct Said {
    length: Option<u64>,
    chunked: bool,
}

fn said(head: &[u8], fields: &[Field], lenient: bool) -> Result<Said, Refusal> {
    let mut said = Said { length: None, chunked: false };
    for field in fields {
        let value = field.value.in_head(head);
        match field.known {
            Known::ContentLength => {
                let length = number(value).ok_or(Refusal::ContentLength)?;
                match said.length {
                    Some(before) if !lenient || before != length => return Err(Refusal::ContentLength),
                    _ => said.length = Some(length),
                }
            }
            Known::TransferEncoding => {
                let mut codings = elements(value);
                let only = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
                if said.chunked || !only || codings.next().is_some() {
                    return Err(Refusal::TransferEncoding);
                }
                said.chunked = true;
            }
            _ => {}
        }
    }
    if said.chunked && said.length.is_some() { Err(Refusal::BothLengths) } else { Ok(said) }
}

/// Digits only: no sign, no space, no list.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

impl Body {
    pub(crate) fn of_request(head: &[u8], fields: &[Field], minor: u8) -> Result<Self, Refusal> {
        let said = said(head, fields, false)?;
        match said.length {
            // Before HTTP/1.1 it meant nothing.
            _ if said.chunked && minor == 0 => Err(Refusal::TransferEncoding),
            _ if said.chunked => Ok(Self::Chunked),
            Some(length) => Ok(Self::Length(length)),
            None => Ok(Self::None),
        }
    }

    /// The body of a response to `method`, and the length that one without a body says it would have (RFC 9110 §8.6).
    pub(crate) fn of_response(
        head: &[u8],
        fields: &[Field],
        minor: u8,
        status: u16,
        method: Method,
    ) -> Result<(Self, Option<u64>), Refusal> {
        let said = said(head, fields, true)?;
        if said.chunked && minor == 0 {
            return Err(Refusal::TransferEncoding);
        }
        let bare = method == Method::Head || matches!(status, 100..=199 | 204 | 304);
        let body = match said.length {
            _ if bare => Self::None,
            _ if said.chunked => Self::Chunked,
            Some(length) => Self::Length(length),
            None => Self::UntilClose,
        };
        Ok((body, said.length.filter(|_| method == Method::Head || status == 304)))
    }
}
