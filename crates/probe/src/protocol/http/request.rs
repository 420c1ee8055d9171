//! The request of a check.
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::Full;
use keel_model::{HttpCheck, HttpMethod, HttpVersion};

use crate::{Fault, Place, question::Secret};

/// What we call ourselves.
pub(in crate::protocol) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("evenkeel-health/", env!("CARGO_PKG_VERSION")));

/// What is asked for; redirects change it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) tls: bool,
    pub(super) authority: Authority,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
}

impl Asked {
    /// As the check says.
    pub(super) fn first(http: &HttpCheck, place: &Place, tls: bool) -> Result<Self, Fault> {
        let method = match http.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Options => Method::OPTIONS,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        };
        let path = PathAndQuery::try_from(http.path.as_str())
            .map_err(|_| Fault::Unable(format!("`{}` is no path that can be requested", http.path)))?;
        Ok(Self { tls, authority: authority(http.host.as_deref(), place.socket(), tls)?, method, path })
    }

    /// The method after a redirect with this status (RFC 9110, 15.4); none if it is none.
    pub(super) fn redirected(&self, status: StatusCode) -> Option<Method> {
        match status.as_u16() {
            301 | 302 if self.method == Method::POST => Some(Method::GET),
            303 if self.method != Method::HEAD => Some(Method::GET),
            301 | 302 | 303 | 307 | 308 => Some(self.method.clone()),
            _ => None,
        }
    }

    pub(super) fn request(
        &self,
        http: &HttpCheck,
        secret: Option<&Secret>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let carries = matches!(self.method, Method::POST | Method::PUT);
        let body = http.body.as_deref().filter(|_| carries).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        if http.version == HttpVersion::V1 {
            headers.insert(header::HOST, value(self.authority.as_str())?);
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(header::USER_AGENT, AGENT);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if carries {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        if let Some(user) = &http.user {
            headers.insert(header::AUTHORIZATION, basic(user, secret)?);
        }
        own(http, headers)?;
        match http.version {
            HttpVersion::V1 => *request.uri_mut() = Uri::from(self.path.clone()),
            HttpVersion::V2 => {
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = self.uri()?;
            }
        }
        Ok(request)
    }

    fn uri(&self) -> Result<Uri, Fault> {
        uri(self.tls, self.authority.clone(), self.path.clone())
    }
}

/// The whole address, for HTTP/2.
pub(in crate::protocol) fn uri(tls: bool, authority: Authority, path: PathAndQuery) -> Result<Uri, Fault> {
    Uri::builder()
        .scheme(if tls { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|error| Fault::Unable(error.to_string()))
}

/// The administrator's own headers. The first one of a name takes the place of ours, more of them are added.
fn own(http: &HttpCheck, headers: &mut HeaderMap) -> Result<(), Fault> {
    for (at, header) in http.headers.iter().enumerate() {
        let name = HeaderName::try_from(header.name.as_str())
            .map_err(|_| Fault::Unable(format!("`{}` is no name of a header", header.name)))?;
        if http.headers[..at].iter().any(|before| before.name.eq_ignore_ascii_case(&header.name)) {
            headers.append(name, value(&header.value)?);
        } else {
            headers.insert(name, value(&header.value)?);
        }
    }
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::try_from(text).map_err(|_| Fault::Unable(format!("`{text}` can't stand in a header")))
}

/// RFC 7617.
fn basic(user: &str, secret: Option<&Secret>) -> Result<HeaderValue, Fault> {
    let mut both = Vec::from(user);
    both.push(b':');
    both.extend_from_slice(secret.map_or(&[], |secret| &secret.0));
    let mut text = String::from("Basic ");
    base64::engine::general_purpose::STANDARD.encode_string(&both, &mut text);
    let mut value = HeaderValue::try_from(text).map_err(|error| Fault::Unable(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whom a request names: `host`, else the address that is asked, with its port unless it is the usual one.
pub(in crate::protocol) fn authority(
    host: Option<&str>,
    to: SocketAddr,
    tls: bool,
) -> Result<Authority, Fault> {
    let usual = if tls { 443 } else { 80 };
    let text = match (host, to.ip()) {
        (Some(host), _) if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]"),
        (Some(host), _) => host.to_owned(),
        (None, IpAddr::V4(ip)) if to.port() == usual => ip.to_string(),
        (None, IpAddr::V6(ip)) if to.port() == usual => format!("[{ip}]"),
        (None, IpAddr::V4(ip)) => format!("{ip}:{}", to.port()),
        (None, IpAddr::V6(ip)) => format!("[{ip}]:{}", to.port()),
    };
    Authority::try_from(text).map_err(|error| Fault::Unable(format!("the host can't be asked for: {error}")))
}

/// The name in a Host header, if it is one and no address: what TLS asks for.
pub(in crate::protocol) fn name_of(host: &str) -> Option<&str> {
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (!address).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_address_unless_written() {
        let host = |host, to: &str, tls| authority(host, to.parse().unwrap(), tls).unwrap().to_string();
        assert_eq!(host(None, "192.0.2.1:80", false), "192.0.2.1");
        assert_eq!(host(None, "192.0.2.1:443", false), "192.0.2.1:443");
        assert_eq!(host(None, "[2001:db8::1]:443", true), "[2001:db8::1]");
        assert_eq!(host(None, "[2001:db8::1]:8443", true), "[2001:db8::1]:8443");
        assert_eq!(host(Some("www.example.org:81"), "192.0.2.1:80", false), "www.example.org:81");
        assert_eq!(host(Some("2001:db8::2"), "192.0.2.1:80", false), "[2001:db8::2]");
    }

    #[test]
    fn only_names_are_asked_for_by_tls() {
        assert_eq!(name_of("www.example.org"), Some("www.example.org"));
        assert_eq!(name_of("www.example.org:8443"), Some("www.example.org"));
        for address in ["192.0.2.1", "192.0.2.1:443", "[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"] {
            assert_eq!(name_of(address), None, "{address}");
        }
    }

    #[test]
    fn basic_authentication_shows_no_password() {
        let value = basic("Aladdin", Some(&Secret(b"open sesame".to_vec()))).unwrap();
        assert_eq!(value.as_bytes(), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(value.is_sensitive());
    }
}
