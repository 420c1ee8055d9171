//! Request heads.
use std::mem::MaybeUninit;

use crate::{
    Body, Field, Form, Known, Limits, Options, Refusal, Span, Target,
    field::{self, Marks, Room},
    target,
};

/// A method (RFC 9110 §9). Others are passed on like POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "they are the methods' names")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Trace,
    Patch,
    Connect,
    Other,
}

impl Method {
    /// By its name; methods are case-sensitive.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether doing it twice does no more than doing it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// Whose fault it is that a head can't be read: the parser reads on behind a request line that is none.
#[cold]
fn blame(head: &[u8], error: httparse::Error) -> Refusal {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let is_version =
        |text: &[u8]| matches!(text, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']);
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        // What HTTP/2 begins with (RFC 9113 §3.4): to whoever doesn't speak it that is no request.
        [Some(b"PRI"), Some(b"*"), ..] => Refusal::RequestLine,
        [Some(method), Some(target), Some(version), None]
            if !method.is_empty() && !target.is_empty() && is_version(version) =>
        {
            error.into()
        }
        _ => Refusal::RequestLine,
    }
}

/// A request's head. Its ranges are of the bytes that it was read from; it is made to be read into again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The method as it was written.
    pub method_name: Span,
    /// What it is for.
    pub target: Target,
    /// The whole target as it was written.
    pub target_text: Span,
    /// HTTP/1.1 or HTTP/1.0.
    pub minor: u8,
    /// All fields, in their order.
    pub fields: Vec<Field>,
    /// Those that end here and aren't passed on as they are.
    pub hop: Marks,
    /// Who is asked: the target's host, else `Host`. Empty if neither says.
    pub host: Span,
    /// The protocol that is asked for, if one is.
    pub upgrade: Option<Span>,
    /// What it says about its connection.
    pub options: Options,
    /// Where its body ends.
    pub body: Body,
    /// The client waits for a word before it sends the body.
    pub expects_continue: bool,
}

impl Request {
    /// Reads a head: from the first byte of its request line to the empty line's end, as [`crate::Scan`] found it.
    ///
    /// # Errors
    /// What is wrong with it; what this holds then means nothing.
    pub fn read(&mut self, head: &[u8], limits: &Limits) -> Result<(), Refusal> {
        let mut room: Room<'_> = [const { MaybeUninit::uninit() }; Limits::MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(head, &mut room).map_err(|error| blame(head, error))?;
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::RequestLine);
        };
        if status != httparse::Status::Complete(head.len()) {
            return Err(Refusal::RequestLine);
        }
        if target.len() > limits.target {
            return Err(Refusal::TargetTooLong);
        }
        self.fields.clear();
        field::take(parsed.headers, head, true, limits, &mut self.fields)?;
        self.method = Method::of(method.as_bytes());
        self.method_name = Span::of(method.as_bytes(), head);
        self.minor = minor;
        self.target_text = Span::of(target.as_bytes(), head);
        self.target = Target::read(target.as_bytes(), head, self.method)?;
        self.hop = Marks::default();
        self.options = Options::read(head, &self.fields, &mut self.hop);
        self.body = Body::of_request(head, &self.fields, minor)?;
        self.host = self.find_host(head)?;
        self.upgrade = self.find_upgrade();
        self.expects_continue = self.find_expectation(head)?;
        Ok(())
    }

    /// Whether the client keeps its connection after this (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        !self.options.close && (self.minor == 1 || self.options.keep_alive)
    }

    /// The first field of a kind.
    pub fn field(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == known)
    }

    fn find_host(&self, head: &[u8]) -> Result<Span, Refusal> {
        let mut hosts = self.fields.iter().filter(|field| field.known == Known::Host);
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.value,
            (None, None) if self.minor == 0 => Span::default(),
            _ => return Err(Refusal::HostCount),
        };
        if !target::is_host(host.in_head(head)) {
            return Err(Refusal::Host);
        }
        if self.target.form != Form::Absolute {
            return Ok(host);
        }
        let named = self.target.host.in_head(head);
        if !host.is_empty() && !host.in_head(head).eq_ignore_ascii_case(named) {
            return Err(Refusal::HostMismatch);
        }
        Ok(self.target.host)
    }

    /// Both fields have to say so, and HTTP/1.0 can't (RFC 9110 §7.8).
    fn find_upgrade(&self) -> Option<Span> {
        if !self.options.upgrade || self.minor == 0 {
            return None;
        }
        self.field(Known::Upgrade).map(|field| field.value)
    }

    fn find_expectation(&self, head: &[u8]) -> Result<bool, Refusal> {
        let Some(field) = self.field(Known::Expect) else { return Ok(false) };
        if !field.value.in_head(head).eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::Expect);
        }
        // RFC 9110 §10.1.1: ignored in HTTP/1.0, and where there is nothing to wait for.
        Ok(self.minor == 1 && !matches!(self.body, Body::None | Body::Length(0)))
    }
}
