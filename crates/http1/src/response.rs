//! Response heads.
use std::mem::MaybeUninit;

use crate::{
    Body, Field, Known, Limits, Method, Options, Refusal, Span,
    field::{self, Marks, Room},
};

/// A response's head. Its ranges are of the bytes that it was read from; it is made to be read into again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The status, from 100 on.
    pub status: u16,
    /// The reason phrase.
    pub reason: Span,
    /// HTTP/1.1 or HTTP/1.0.
    pub minor: u8,
    /// All fields, in their order.
    pub fields: Vec<Field>,
    /// Those that end here and aren't passed on as they are.
    pub hop: Marks,
    /// The protocol that is spoken from here on, if the status is 101.
    pub upgrade: Option<Span>,
    /// What it says about its connection.
    pub options: Options,
    /// Where its body ends.
    pub body: Body,
    /// The length that a response without a body says it would have with one: to HEAD, and with status 304.
    pub would_be: Option<u64>,
}

impl Response {
    /// Reads a head that answers a request with `method`, as [`crate::Scan`] found it.
    ///
    /// # Errors
    /// What is wrong with it; what this holds then means nothing.
    pub fn read(&mut self, head: &[u8], method: Method, limits: &Limits) -> Result<(), Refusal> {
        let mut room: Room<'_> = [const { MaybeUninit::uninit() }; Limits::MOST_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut parsed,
            head,
            &mut room,
        )?;
        let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Refusal::StatusLine);
        };
        if status != httparse::Status::Complete(head.len()) || code < 100 {
            return Err(Refusal::StatusLine);
        }
        self.fields.clear();
        field::take(parsed.headers, head, false, limits, &mut self.fields)?;
        self.status = code;
        self.minor = minor;
        self.reason = Span::of(parsed.reason.unwrap_or_default().as_bytes(), head);
        self.hop = Marks::default();
        self.options = Options::read(head, &self.fields, &mut self.hop);
        (self.body, self.would_be) = Body::of_response(head, &self.fields, minor, code, method)?;
        self.upgrade = self.field(Known::Upgrade).filter(|_| code == 101).map(|field| field.value);
        Ok(())
    }

    /// The first field of a kind.
    pub fn field(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == known)
    }

    /// Another response to the same request follows (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether the server keeps its connection after this (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        let kept = !self.options.close && (self.minor == 1 || self.options.keep_alive);
        kept && self.body != Body::UntilClose && self.status != 101
    }
}
