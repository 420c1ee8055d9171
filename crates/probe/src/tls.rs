//! TLS with a server: trusted by the system's authorities, by our own, or not looked at.
use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use keel_model::Tls;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_native_certs::{CertificateResult, load_native_certs};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Fault, ReadyError, Trace, line::Wire, text::shown};

/// Everything TLS needs that doesn't change from one question to the next.
#[derive(Debug, Clone)]
pub(crate) struct Ready(Arc<ClientConfig>);

/// The one place where the cryptography is chosen.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())).clone()
}

impl Ready {
    /// Makes a check's TLS ready. `alpn` are the protocols that are offered.
    pub(crate) fn new(how: &Tls, authorities: &Path, alpn: &[&[u8]]) -> Result<Self, ReadyError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ReadyError::Other(error.to_string()))?;
        let mut config = if how.verify {
            builder.with_root_certificates(roots(how.ca.as_deref(), authorities)?).with_no_client_auth()
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
                .with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // A resumed session would not show the certificate that new clients get.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }
}

fn roots(own: Option<&str>, authorities: &Path) -> Result<Arc<RootCertStore>, ReadyError> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let Some(name) = own else { return system(&SYSTEM, load_native_certs) };
    let path = authorities.join(name);
    let refused = |why: String| ReadyError::Authority { name: name.to_owned(), path: path.clone(), why };
    let found = CertificateDer::pem_file_iter(&path).map_err(|error| refused(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in found {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        store.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if store.is_empty() { Err(refused("it holds no certificate".to_owned())) } else { Ok(Arc::new(store)) }
}

/// The system's authorities. None at all says nothing about servers, and isn't kept: they may be installed later.
fn system(
    kept: &OnceLock<Arc<RootCertStore>>,
    load: impl FnOnce() -> CertificateResult,
) -> Result<Arc<RootCertStore>, ReadyError> {
    if let Some(store) = kept.get() {
        return Ok(store.clone());
    }
    let found = load();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ReadyError::Other(format!(
            "this node trusts no authority{why}: install the package ca-certificates, or name one in `ca`"
        )));
    }
    Ok(kept.get_or_init(|| Arc::new(store)).clone())
}

/// The handshake. The name is the check's own, else `name`, else the address.
pub(crate) async fn connect(
    wire: Wire,
    address: IpAddr,
    how: &Tls,
    ready: &Ready,
    name: Option<&str>,
    trace: &mut Trace,
) -> Result<TlsStream<Box<Wire>>, Fault> {
    let asked = how.server_name.as_deref().or(name);
    let name = match asked.map(|name| ServerName::try_from(name.to_owned())) {
        Some(Ok(name)) => name,
        Some(Err(_)) => {
            return Err(Fault::Unable(format!("`{}` is no name for TLS", asked.unwrap_or_default())));
        }
        None => ServerName::IpAddress(address.into()),
    };
    let connector = TlsConnector::from(ready.0.clone());
    let stream = connector.connect(name, Box::new(wire)).await.map_err(fault)?;
    trace.note(|| describe(&stream));
    Ok(stream)
}

fn describe(stream: &TlsStream<Box<Wire>>) -> String {
    let connection = stream.get_ref().1;
    let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
    let ends = ends(stream).map_or_else(String::new, |at| format!(", certificate until {}", day(at)));
    format!("{version} with {suite}{ends}")
}

/// When the server's certificate ends.
pub(crate) fn ends(stream: &TlsStream<Box<Wire>>) -> Option<Timestamp> {
    let first = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(first).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A failed handshake in words.
fn fault(error: std::io::Error) -> Fault {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Fault::Io { doing: "waiting for the TLS handshake", source: error };
    };
    let at = |time: &UnixTime| {
        Timestamp::from_second(time.as_secs().try_into().unwrap_or(i64::MAX))
            .map_or_else(|_| "?".to_owned(), day)
    };
    use rustls::Error as E;
    Fault::Tls(match cause {
        E::InvalidCertificate(CertificateError::Expired) => "the certificate has expired".to_owned(),
        E::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            format!("the certificate expired {}", ago(not_after.as_secs(), time.as_secs(), &at(not_after)))
        }
        E::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            format!("the certificate is not valid before {}", at(not_before))
        }
        E::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is signed by nobody who is trusted here".to_owned()
        }
        E::InvalidCertificate(CertificateError::NotValidForName) => {
            "the certificate is for another name".to_owned()
        }
        E::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            format!("the certificate is for {}, not for {}", names(presented), expected.to_str())
        }
        // What `openssl req -x509` makes unless told otherwise.
        E::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the certificate signed itself as an authority (CA:TRUE): no server's certificate may be one"
                .to_owned()
        }
        E::InvalidMessage(_) => "the server speaks no TLS on this port".to_owned(),
        E::AlertReceived(alert) => format!("the server refused the handshake: {alert:?}"),
        other => other.to_string(),
    })
}

/// The names of a certificate, of which there may be hundreds. They come as `DnsName("www.example.org")`.
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 3;
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        shown(inner.trim_matches('"').as_bytes(), 80)
    };
    let mut text = presented.iter().take(SHOWN).map(bare).collect::<Vec<_>>().join(", ");
    match presented.len() {
        0 => text.push_str("no name"),
        count if count > SHOWN => text.push_str(&format!(" and {} more", count - SHOWN)),
        _ => {}
    }
    text
}

/// "yesterday (2026-11-20)", "5 days ago (…)".
fn ago(then: u64, now: u64, date: &str) -> String {
    match now.saturating_sub(then) / 86_400 {
        0 => format!("today ({date})"),
        1 => format!("yesterday ({date})"),
        days => format!("{days} days ago ({date})"),
    }
}

/// Takes any certificate: the check asks whether the server works, not who it is. That the server has the certificate's
/// key is as little of interest, and to look at it would need a certificate that is modern (X.509 v3, no short key).
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_and_bare() {
        let many: Vec<String> = (1..=5).map(|n| format!("DnsName(\"{n}.example.org\")")).collect();
        assert_eq!(names(&many), "1.example.org, 2.example.org, 3.example.org and 2 more");
        assert_eq!(names(&many[..1]), "1.example.org");
        assert_eq!(names(&["IpAddress(192.0.2.1)".to_owned()]), "192.0.2.1");
        assert_eq!(names(&[]), "no name");
    }

    #[test]
    fn no_authorities_are_said_and_looked_for_again() {
        let kept = OnceLock::new();
        let refused = system(&kept, CertificateResult::default).unwrap_err().to_string();
        assert!(refused.contains("install the package ca-certificates"), "{refused}");
        assert!(!system(&kept, load_native_certs).unwrap().is_empty(), "install the package ca-certificates");
        assert!(system(&kept, CertificateResult::default).is_ok(), "what was found is kept");
    }
}
