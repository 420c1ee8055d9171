//! What all channels share: finding a host, TLS, limits, words for what failed.
use std::{
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::text::shown;

/// Bytes of others' words at most.
const WORDS: usize = 120;

/// What is going on, so that a time-out can say what it waited for.
#[derive(Debug, Default)]
pub(super) struct Stage(Mutex<&'static str>);

impl Stage {
    /// Worded to complete "gave no answer in 15 s while …".
    pub(super) fn is(&self, doing: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    /// Ends what takes too long.
    pub(super) async fn limit<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let late = |_| {
            let doing = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            format!("gave no answer in {} s while {doing}", time.as_secs())
        };
        tokio::time::timeout(time, work).await.map_err(late).flatten()
    }
}

/// Host and port of `host:port`, the host without brackets.
pub(super) fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

/// Every address of a host.
pub(super) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| format!("can't be found: looking up {host}: {}", io_words(&error)))?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() { Err(format!("can't be found: {host} has no address")) } else { Ok(found) }
}

/// Opens a TCP connection to the first address that takes it.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut why = String::new();
    for address in addresses(host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => why = format!("can't be reached: {}", io_words(&error)),
        }
    }
    Err(why)
}

/// TLS that trusts the system's authorities and these.
pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    authorities: &[CertificateDer<'static>],
) -> Result<TlsStream<S>, String> {
    let mut roots = system_roots().clone();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("can't be spoken to by TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("can't be spoken to by TLS: `{host}` is no name for it"))?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| format!("failed: {}", words(&error)))
}

fn system_roots() -> &'static RootCertStore {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        store
    })
}

/// An error and its causes in words: what TLS said, else what the kernel said, else the last cause.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error;
    while let Some(here) = cause {
        if let Some(tls) = here.downcast_ref::<rustls::Error>() {
            return format!("TLS: {}", tls_words(tls));
        }
        if let Some(io) = here.downcast_ref::<io::Error>() {
            let inner = io.get_ref().map(|inner| inner as &(dyn Error + 'static));
            return inner.map_or_else(|| io_words(io), words);
        }
        last = here;
        cause = here.source();
    }
    shown(&last.to_string(), WORDS)
}

fn io_words(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused".to_owned(),
        Kind::ConnectionReset | Kind::BrokenPipe => "connection reset".to_owned(),
        Kind::HostUnreachable => "no route to the host, or it doesn't answer ARP".to_owned(),
        Kind::NetworkUnreachable => "network unreachable: there is no route".to_owned(),
        Kind::UnexpectedEof => "connection closed".to_owned(),
        _ => shown(&error.to_string(), WORDS),
    }
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired".to_owned()
        }
        E::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is signed by nobody who is trusted here".to_owned()
        }
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the certificate is for another name".to_owned(),
        E::InvalidMessage(_) => "no TLS is spoken on this port".to_owned(),
        other => shown(&other.to_string(), WORDS),
    }
}

/// A stream of lines of which not more than a limit is read, and never more than one line at once: what follows the
/// answer to STARTTLS in clear text is then met by the handshake, not taken for protected (CVE-2011-0411).
#[derive(Debug)]
pub(super) struct Lines<S> {
    stream: S,
    left: usize,
    ahead: Vec<u8>,
    given: usize,
}

impl<S> Lines<S> {
    pub(super) fn new(stream: S, limit: usize) -> Self {
        Self { stream, left: limit, ahead: Vec::new(), given: 0 }
    }

    pub(super) fn carrier(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lines<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.given == this.ahead.len() {
            if this.left == 0 {
                return Poll::Ready(Err(io::Error::other("it says more than any mail relay needs to")));
            }
            let mut room = [0; 4096];
            let most = this.left.min(room.len());
            let mut room = ReadBuf::new(&mut room[..most]);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room))?;
            this.left -= room.filled().len();
            this.ahead.clear();
            this.ahead.extend_from_slice(room.filled());
            this.given = 0;
        }
        let rest = this.ahead.get(this.given..).unwrap_or_default();
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let count = line.min(buf.remaining());
        buf.put_slice(&rest[..count]);
        this.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lines<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, BufReader};

    use super::*;

    #[test]
    fn a_host_and_its_port_are_told_apart() {
        assert_eq!(host_port("mail.example.org:25"), Some(("mail.example.org", 25)));
        assert_eq!(host_port("[2001:db8::1]:587"), Some(("2001:db8::1", 587)));
        assert_eq!(host_port("mail.example.org"), None);
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_not_without_end() {
        let mut lines = Lines::new(&b"220 go\r\n250 injected\r\nx"[..], 16);
        let mut room = [0; 100];
        assert_eq!(lines.read(&mut room).await.unwrap(), 8);
        let mut reader = BufReader::new(lines);
        assert_eq!(reader.read(&mut room).await.unwrap(), 8);
        assert!(reader.read(&mut room).await.is_err());
    }
}
