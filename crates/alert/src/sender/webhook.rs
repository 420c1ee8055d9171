//! JSON to a URL, signed.
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{Files, Secret, SendError, Sent, net};
use crate::{Report, text::shown};

/// How long it may take.
const TIME: Duration = Duration::from_secs(10);
/// How long the head of an answer may be.
const HEAD: usize = 16 * 1024;
/// How much is read of a refusal.
const BODY: usize = 4 * 1024;

/// Where reports are posted, as [`Report`] describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    uri: Uri,
    host: String,
    port: u16,
    secret: Option<Secret>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Webhook {
    pub(super) fn new(url: &str, secret: Option<&str>, files: &Files<'_>) -> Result<Self, String> {
        // The URL itself isn't shown: its path may be a password.
        let uri: Uri = url.parse().map_err(|error| format!("the webhook's URL can't be used: {error}"))?;
        let authority = uri.authority().ok_or("the webhook's URL names no host")?;
        if authority.as_str().contains('@') {
            return Err("the webhook's URL holds a user's name: put what it needs into its path".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let usual = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") => 80,
            _ => return Err("the webhook's URL is neither http:// nor https://".to_owned()),
        };
        Ok(Self {
            port: authority.port_u16().unwrap_or(usual),
            host,
            secret: files.read(secret)?,
            authorities: files.authorities.clone(),
            uri,
        })
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}")
    }

    pub(super) async fn send(&self, report: &Report) -> Result<Sent, SendError> {
        let body = serde_json::to_vec(report)
            .map_err(|error| SendError::Unable(format!("writing the report: {error}")))?;
        let stage = net::Stage::default();
        let posted = stage.limit(TIME, self.post(body.into(), &stage)).await;
        posted.map_err(|why| SendError::Webhook { origin: self.origin(), why }).map(|()| Sent::WELL)
    }

    async fn post(&self, body: Bytes, stage: &net::Stage) -> Result<(), String> {
        stage.is("connecting");
        let request = self.request(body, Timestamp::now().as_second())?;
        let stream = net::connect(&self.host, self.port).await?;
        if self.uri.scheme_str() == Some("https") {
            stage.is("waiting for the TLS handshake");
            let stream = net::secure(stream, &self.host, &self.authorities).await?;
            exchange(stream, request, stage).await
        } else {
            exchange(stream, request, stage).await
        }
    }

    fn request(&self, body: Bytes, second: i64) -> Result<Request<Full<Bytes>>, String> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("Evenkeel/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .header("X-Evenkeel-Timestamp", second);
        if let Some(secret) = &self.secret {
            request = request.header("X-Evenkeel-Signature", signature(secret, second, &body));
        }
        request.body(Full::new(body)).map_err(|error| format!("can't be asked: {error}"))
    }
}

fn signature(secret: &Secret, second: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret.0));
    context.update(second.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let digits = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256={digits}")
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    stage: &net::Stage,
) -> Result<(), String> {
    stage.is("waiting for the answer");
    let asked = request.uri().to_string();
    let failed = |error: hyper::Error| {
        if error.is_parse() {
            "gave an answer that isn't HTTP".to_owned()
        } else if error.is_incomplete_message() {
            "closed the connection without an answer".to_owned()
        } else {
            format!("failed: {}", net::words(&error))
        }
    };
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with this exchange, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = beginning(answer.into_body()).await;
    let body = String::from_utf8_lossy(&body);
    let words = if gives_away(&body, &asked) { String::new() } else { shown(body.trim(), 120) };
    let hint = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let colon = if words.is_empty() { "" } else { ": " };
    Err(format!("answered HTTP {}{hint}{colon}{words}", status.as_u16()))
}

/// Whether a server's words repeat a part of the path that may be a password.
fn gives_away(words: &str, path: &str) -> bool {
    /// Anything shorter is no password, and may well be a word.
    const SHORTEST: usize = 8;
    let parts = path.split(['/', '?', '&', '=']).filter(|part| part.len() >= SHORTEST);
    path.len() > 1 && words.contains(path) || parts.into_iter().any(|part| words.contains(part))
}

/// What a refusal begins with.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < BODY {
        let Some(Ok(frame)) = body.frame().await else { break };
        let Ok(data) = frame.into_data() else { break };
        let room = data.len().min(BODY - read.len());
        read.extend_from_slice(&data[..room]);
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_tools_compute() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let expected = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature(&Secret(b"key".to_vec()), 1_700_000_000, b"{}"), format!("sha256={expected}"));
    }

    #[test]
    fn an_answer_that_repeats_the_path_is_not_shown() {
        let path = "/services/T0/B0123456/abcdefgh?key=ijklmnop";
        for words in ["Cannot POST /services/T0/B0123456/abcdefgh", "no such key: ijklmnop", path] {
            assert!(gives_away(words, path), "{words}");
        }
        assert!(!gives_away("no such channel", path));
        assert!(gives_away("Cannot POST /T0", "/T0") && !gives_away("a/b", "/"));
    }

    #[test]
    fn a_url_shows_no_more_than_its_host() {
        let files = Files { secret: &|_| Ok(None), secrets: "secrets".into(), authorities: Vec::new() };
        let webhook = Webhook::new("https://hooks.example.org/T0/hidden?key=hidden", None, &files).unwrap();
        assert_eq!(webhook.origin(), "https://hooks.example.org");
        assert_eq!((webhook.host.as_str(), webhook.port), ("hooks.example.org", 443));
        let six = Webhook::new("http://[::1]:8080/", None, &files).unwrap();
        assert_eq!((six.host.as_str(), six.port), ("::1", 8080));
        assert!(Webhook::new("https://me:pass@example.org/", None, &files).is_err());
        let missing = Webhook::new("https://example.org/", Some("hook"), &files).unwrap_err();
        assert!(missing.contains("secrets/hook"), "{missing}");
    }
}
