//! Authorities of our own, certificates that they sign, and a server that shows them.
use std::{fs, path::Path, sync::Arc};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ALL_VERSIONS, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Who signs, trusted as `own.pem` in its folder.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub folder: TempDir,
}

/// A certificate and its key, as PEM.
pub struct Shown {
    pub certificate: String,
    pub key: String,
}

impl Shown {
    /// Signed by itself, for this name.
    pub fn alone(name: &str) -> Self {
        Self::signed_by_itself(vec![name.to_owned()])
    }

    fn signed_by_itself(names: Vec<String>) -> Self {
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// What a server of ours needs to show it.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::new(config(self, ALL_VERSIONS))
    }
}

/// Writes `cert.pem` and `key.pem` for the loopback, signed by themselves, into a folder, and returns what a server of
/// ours needs.
pub fn identity(folder: &Path) -> Arc<ServerConfig> {
    let shown = Shown::signed_by_itself(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    fs::write(folder.join("cert.pem"), &shown.certificate).unwrap();
    fs::write(folder.join("key.pem"), &shown.key).unwrap();
    shown.config()
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let own = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("own.pem"), own.pem()).unwrap();
        Self { params, key, folder }
    }

    /// Its own certificate, as if a server's.
    pub fn own(&self) -> Shown {
        Shown {
            certificate: fs::read_to_string(self.folder.path().join("own.pem")).unwrap(),
            key: self.key.serialize_pem(),
        }
    }

    /// Signs a certificate that is valid between two days, counted from today.
    pub fn sign(&self, names: &[&str], from: i64, until: i64) -> Shown {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let day = |days| {
            let date = date(days);
            date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
        };
        (params.not_before, params.not_after) = (day(from), day(until));
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Shown { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A day, counted from today.
pub fn date(days: i64) -> jiff::civil::Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date().checked_add(days.days()).unwrap()
}

/// Accepts TLS.
pub fn acceptor(
    shown: &Shown,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> TlsAcceptor {
    let mut config = config(shown, versions);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn config(shown: &Shown, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

/// Shakes hands and waits for whoever came to leave.
pub async fn shaker(shown: &Shown, versions: &[&'static SupportedProtocolVersion]) -> u16 {
    let acceptor = acceptor(shown, versions, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await;
                }
            });
        }
    });
    port
}
