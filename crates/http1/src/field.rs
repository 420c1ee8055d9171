//! Fields of heads and trailer sections.
use std::mem::MaybeUninit;

use crate::{Limits, Refusal, Span};

/// A field of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name as it was written.
    pub name: Span,
    /// Its value without white space around it.
    pub value: Span,
    /// What the name means here.
    pub known: Known,
}

/// Names that somebody here looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are the fields' registered names")]
pub enum Known {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    Upgrade,
    Expect,
    Authorization,
    Cookie,
    SetCookie,
    Location,
    Date,
    Forwarded,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    /// Reads as one of `Forwarded` and its kin where `_` and `-` are one, and is never passed on.
    Lookalike,
}

impl Known {
    /// By a name, whatever its case.
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            4 if is("date") => Self::Date,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            8 if is("location") => Self::Location,
            9 if is("forwarded") => Self::Forwarded,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            10 if is("set-cookie") => Self::SetCookie,
            13 if is("authorization") => Self::Authorization,
            14 if is("content-length") => Self::ContentLength,
            15 if is("x-forwarded-for") => Self::XForwardedFor,
            16 if is("proxy-connection") => Self::ProxyConnection,
            16 if is("x-forwarded-host") => Self::XForwardedHost,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-forwarded-proto") => Self::XForwardedProto,
            _ => Self::Other,
        }
    }

    /// Whether a `Connection` field may name it: never what routing, framing, sessions or logs stand on, whoever asks.
    pub(crate) fn can_be_nominated(self) -> bool {
        matches!(
            self,
            Self::Other
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::Upgrade
                | Self::Connection
        )
    }

    /// A request's field by its name. Servers that hand fields on as environment variables can't tell `_` from `-`.
    fn in_request(name: &[u8]) -> Result<Self, Refusal> {
        let known = Self::of(name);
        if known != Self::Other || memchr::memchr(b'_', name).is_none() {
            return Ok(known);
        }
        let mut dashed = [0; "transfer-encoding".len()];
        let Some(dashed) = dashed.get_mut(..name.len()) else { return Ok(Self::Other) };
        for (dashed, byte) in dashed.iter_mut().zip(name) {
            *dashed = if *byte == b'_' { b'-' } else { *byte };
        }
        match Self::of(dashed) {
            Self::ContentLength | Self::TransferEncoding => Err(Refusal::Ambiguous),
            Self::XForwardedFor | Self::XForwardedHost | Self::XForwardedProto => Ok(Self::Lookalike),
            _ => Ok(Self::Other),
        }
    }
}

/// Some of a head's fields, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u128);

impl Marks {
    /// Marks a field.
    pub fn mark(&mut self, number: usize) {
        debug_assert!(number < Limits::MOST_FIELDS);
        self.0 |= 1 << number;
    }

    /// Whether it is marked.
    pub fn has(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// Room for a head's fields that nobody has to clear.
pub(crate) type Room<'a> = [MaybeUninit<httparse::Header<'a>>; Limits::MOST_FIELDS];

/// Where a request's or a response's fields are.
pub(crate) fn take(
    found: &[httparse::Header<'_>],
    head: &[u8],
    of_request: bool,
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<(), Refusal> {
    if found.len() > limits.fields {
        return Err(Refusal::HeadTooLarge);
    }
    for field in found {
        let name = field.name.as_bytes();
        let known = if of_request { Known::in_request(name)? } else { Known::of(name) };
        fields.push(Field { name: Span::of(name, head), value: Span::of(field.value, head), known });
    }
    Ok(())
}

/// The fields of a trailer section, whole and with the empty line at its end.
pub(crate) fn trailers(section: &[u8], limits: &Limits) -> Result<Vec<Field>, Refusal> {
    let mut room = [httparse::EMPTY_HEADER; Limits::MOST_FIELDS];
    let mut fields = Vec::new();
    match httparse::parse_headers(section, &mut room)? {
        httparse::Status::Complete((length, found)) if length == section.len() => {
            take(found, section, true, limits, &mut fields)?;
            Ok(fields)
        }
        _ => Err(Refusal::FieldName),
    }
}
