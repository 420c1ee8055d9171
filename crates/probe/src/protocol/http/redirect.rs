//! Where a redirect leads: another place on the server that is asked, or away from it.
use std::net::{IpAddr, SocketAddr};

use http::{
    StatusCode,
    uri::{Authority, PathAndQuery},
};

use crate::{
    Fault,
    text::{SHOWN, shown},
};

/// What was asked for.
pub(super) struct From<'f> {
    pub(super) tls: bool,
    /// Whom the request named.
    pub(super) sent: &'f Authority,
    /// Whom it went to.
    pub(super) socket: SocketAddr,
    pub(super) path: &'f PathAndQuery,
}

/// The path that is asked for next (RFC 9110, 10.2.2; RFC 3986, 5.2).
pub(super) fn follow(status: StatusCode, location: &[u8], from: &From<'_>) -> Result<PathAndQuery, Fault> {
    let fault = |why: &str| {
        Fault::unexpected(format!("HTTP {} leads to \"{}\": {why}", status.as_u16(), shown(location, SHOWN)))
    };
    let text = std::str::from_utf8(location).map_err(|_| fault("no place that can be asked for"))?;
    let text = text.trim().split('#').next().unwrap_or_default();
    let path =
        on_server(text, from).ok_or_else(|| fault("not followed, it is not the server that is asked"))?;
    PathAndQuery::try_from(path).map_err(|_| fault("no place that can be asked for"))
}

/// The path, if the place is on the server that is asked.
fn on_server(text: &str, from: &From<'_>) -> Option<String> {
    let rest = match scheme(text) {
        Some((scheme, rest)) => {
            let same = scheme.eq_ignore_ascii_case(if from.tls { "https" } else { "http" });
            Some(rest).filter(|rest| same && rest.starts_with("//"))?
        }
        None => text,
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return from
            .is_same(authority)
            .then(|| if path.starts_with('/') { tidy(path) } else { format!("/{path}") });
    }
    Some(match rest.chars().next() {
        Some('/') => tidy(rest),
        Some('?') => format!("{}{rest}", from.path.path()),
        Some(_) => {
            let base = from.path.path().rsplit_once('/').map_or("", |(base, _)| base);
            tidy(&format!("{base}/{rest}"))
        }
        None => from.path.to_string(),
    })
}

/// The scheme and what follows its colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(legal))
        .then_some((scheme, rest))
}

impl From<'_> {
    /// Whether an authority is the one we named, or the address that we ask.
    fn is_same(&self, authority: &str) -> bool {
        let usual = if self.tls { 443 } else { 80 };
        let Some((host, port)) = parts(authority, usual) else { return false };
        let named = parts(self.sent.as_str(), usual)
            .is_some_and(|(named, at)| named.eq_ignore_ascii_case(host) && at == port);
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        named || (address == Some(self.socket.ip()) && port == self.socket.port())
    }
}

fn parts(authority: &str, usual: u16) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address.
        Some((_, port)) if port.ends_with(']') => Some((authority, usual)),
        Some((host, "")) => Some((host, usual)),
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, usual)),
    }
}

/// Removes `.` and `..` from a path, not from its query (RFC 3986, 5.2.4).
fn tidy(text: &str) -> String {
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
        if last && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(location: &str) -> Result<String, String> {
        let from = From {
            tls: false,
            sent: &Authority::from_static("www.example.org:8080"),
            socket: "192.0.2.1:8081".parse().unwrap(),
            path: &PathAndQuery::from_static("/a/b?q=1"),
        };
        let led = follow(StatusCode::FOUND, location.as_bytes(), &from);
        led.map(|path| path.to_string()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn places_on_the_server_are_resolved() {
        for (location, path) in [
            ("/login", "/login"),
            ("c?d=../e", "/a/c?d=../e"),
            ("../c/./d", "/c/d"),
            ("../../../..", "/"),
            ("?x", "/a/b?x"),
            ("", "/a/b?q=1"),
            ("#top", "/a/b?q=1"),
            ("x:y", "away"),
            ("./x:y", "/a/x:y"),
            ("http://WWW.example.org:8080", "/"),
            ("http://www.example.org:8080?x", "/?x"),
            ("//www.example.org:8080/x#y", "/x"),
            ("HTTP://192.0.2.1:8081/x", "/x"),
        ] {
            match led(location) {
                Ok(led) => assert_eq!(led, path, "{location}"),
                Err(fault) => {
                    assert!(path == "away" && fault.contains("not followed"), "{location}: {fault}")
                }
            }
        }
    }

    #[test]
    fn other_servers_are_not_asked() {
        for away in [
            "http://www.example.org/",
            "https://www.example.org:8080/",
            "http://192.0.2.1/",
            "http://192.0.2.2:8081/",
            "http://user@www.example.org:8080/",
            "//evil.example/",
            "http:/x",
            "http://www.example.org:99999/",
            "javascript:alert(1)",
        ] {
            let fault = led(away).unwrap_err();
            assert!(fault.starts_with("HTTP 302 leads to \"") && fault.contains("not followed"), "{fault}");
        }
        assert!(led("/\u{1}").unwrap_err().contains("no place"));
    }
}
