//! What a request is for (RFC 9112 §3.2).
use crate::{Method, Refusal, Span};

/// How the target was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Path and query.
    #[default]
    Origin,
    /// With scheme and host.
    Absolute,
    /// `*`: the server as a whole.
    Asterisk,
}

/// A request's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// How it was written.
    pub form: Form,
    /// The host in the absolute form, with its port if it names one.
    pub host: Span,
    /// Path and query. In the absolute form the path may be missing: it is `/` then, or `*` with OPTIONS.
    pub path: Span,
}

impl Target {
    pub(crate) fn read(target: &[u8], head: &[u8], method: Method) -> Result<Self, Refusal> {
        if method == Method::Connect {
            return Err(Refusal::Connect);
        }
        // No white space, no controls, nothing beyond ASCII; a fragment is the client's own business.
        if !target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#') {
            return Err(Refusal::Target);
        }
        if target.first() == Some(&b'/') {
            return Ok(Self { form: Form::Origin, host: Span::default(), path: Span::of(target, head) });
        }
        if target == b"*" {
            let whole = Self { form: Form::Asterisk, host: Span::default(), path: Span::of(target, head) };
            return if method == Method::Options { Ok(whole) } else { Err(Refusal::Target) };
        }
        let rest = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
            let (begin, rest) = target.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let rest = rest.ok_or(Refusal::Target)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if host.is_empty() || !is_host(host) {
            return Err(Refusal::Target);
        }
        Ok(Self { form: Form::Absolute, host: Span::of(host, head), path: Span::of(path, head) })
    }
}

/// Whether this is a name or an address, perhaps with a port (RFC 9110 §7.2). Of the characters of RFC 3986 §3.2.2 only
/// those are taken that names have: the others serve to mislead.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let (address, rest) = rest.split_at(end);
            let is_address =
                str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (&b"6"[..], rest.get(1..).unwrap_or_default())
        }
        None => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_port = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    is_port && name.iter().all(is_name) && (!name.is_empty() || port.is_empty())
}
