//! Heads that are written anew.
use crate::{Body, Field, Form, Method, Request, Span, field::Marks};

/// A head that is being written to the end of a buffer.
#[derive(Debug)]
pub struct Head<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Head<'a> {
    /// Begins a request like `request`, in origin form, to `host`: the one that was asked for, or another name for the
    /// server where the client (of HTTP/1.0) named none. The field `Host` isn't passed on by itself, as the target may say
    /// otherwise (RFC 9112 §3.2.2).
    pub fn request(out: &'a mut Vec<u8>, head: &[u8], request: &Request, host: &[u8]) -> Self {
        out.extend_from_slice(request.method_name.in_head(head));
        out.push(b' ');
        let path = request.target.path.in_head(head);
        match path.first() {
            None if request.target.form == Form::Absolute && request.method == Method::Options => {
                out.push(b'*')
            }
            None | Some(b'?') => out.push(b'/'),
            Some(_) => {}
        }
        out.extend_from_slice(path);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let mut begun = Self { out };
        begun.field(b"Host", &[host]);
        begun
    }

    /// Begins a response.
    pub fn response(out: &'a mut Vec<u8>, status: u16, reason: &[u8]) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(decimal(status.into(), &mut [0; 20]));
        out.push(b' ');
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    /// Writes the fields of another head but those that are marked.
    pub fn copy(&mut self, head: &[u8], fields: &[Field], without: Marks) -> &mut Self {
        for (_, field) in fields.iter().enumerate().filter(|(number, _)| !without.has(*number)) {
            self.field(field.name.in_head(head), &[field.value.in_head(head)]);
        }
        self
    }

    /// Writes a field; its value is these pieces, one behind the other, and must hold no line end.
    pub fn field(&mut self, name: &[u8], value: &[&[u8]]) -> &mut Self {
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        for piece in value {
            debug_assert!(!piece.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            self.out.extend_from_slice(piece);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Writes where the body ends.
    pub fn body(&mut self, body: Body) -> &mut Self {
        match body {
            Body::Length(length) => self.field(b"Content-Length", &[decimal(length, &mut [0; 20])]),
            Body::Chunked => self.field(b"Transfer-Encoding", &[b"chunked"]),
            Body::None | Body::UntilClose => self,
        }
    }

    /// Asks for another protocol, or says that it is spoken.
    pub fn upgrade(&mut self, head: &[u8], protocol: Span) -> &mut Self {
        self.field(b"Connection", &[b"Upgrade"]).field(b"Upgrade", &[protocol.in_head(head)])
    }

    /// Ends the head.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// A number in decimal digits.
pub fn decimal(number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    let mut left = number;
    loop {
        at -= 1;
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return &room[at..];
        }
    }
}
