//! What a head says about its connection.
use crate::{Field, Known, field::Marks};

/// The options of `Connection` that mean something here (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The connection ends after this message.
    pub close: bool,
    /// It is kept: HTTP/1.0 has to say so.
    pub keep_alive: bool,
    /// Another protocol is asked for, or spoken from here on.
    pub upgrade: bool,
    /// The client takes trailers (`TE: trailers`).
    pub trailers: bool,
}

/// The elements of a list (RFC 9110 §5.6.1), without white space around them.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

impl Options {
    /// Reads them, and marks the fields that end here: those of the connection itself and those that `Connection` names.
    /// Framing, `Host` and `Upgrade` are among them, as they are written anew.
    pub(crate) fn read(head: &[u8], fields: &[Field], hop: &mut Marks) -> Self {
        let mut options = Self::default();
        for (number, field) in fields.iter().enumerate() {
            match field.known {
                Known::Connection => {
                    hop.mark(number);
                    options.take(field.value.in_head(head), head, fields, hop);
                }
                Known::Te => {
                    hop.mark(number);
                    let mut codings = elements(field.value.in_head(head));
                    options.trailers |= codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
                }
                Known::Host
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::ContentLength
                | Known::Upgrade
                | Known::Lookalike => hop.mark(number),
                Known::Other
                | Known::Trailer
                | Known::Expect
                | Known::Authorization
                | Known::Cookie
                | Known::SetCookie
                | Known::Location
                | Known::Date
                | Known::Forwarded
                | Known::XForwardedFor
                | Known::XForwardedHost
                | Known::XForwardedProto => {}
            }
        }
        options
    }

    fn take(&mut self, value: &[u8], head: &[u8], fields: &[Field], hop: &mut Marks) {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                for (number, field) in fields.iter().enumerate() {
                    if field.known.can_be_nominated() && field.name.in_head(head).eq_ignore_ascii_case(option)
                    {
                        hop.mark(number);
                    }
                }
            }
        }
    }
}
