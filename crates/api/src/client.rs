//! The client: the same calls as [`crate::Control`], over the unix socket.
//!
//! One connection per request. A failure to connect says what is the matter and what to do about it.

mod calls;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, IF_MATCH};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::{ApiError, Kind};
use crate::socket::socket_path;

/// How long an answer may take. A commit compiles everything anew, so this is generous.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is listening.
    #[error("keeld is not running here: nothing answers on {}", socket.display())]
    NotRunning {
        /// The socket tried.
        socket: PathBuf,
    },
    /// The socket is there, but not for us.
    #[error("no permission to talk to keeld through {}", socket.display())]
    PermissionDenied {
        /// The socket tried.
        socket: PathBuf,
    },
    /// Connecting or talking failed in some other way.
    #[error("talking to keeld through {} failed", socket.display())]
    Transport {
        /// The socket tried.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer within a minute.
    #[error("keeld did not answer within {} seconds", PATIENCE.as_secs())]
    Timeout,
    /// The answer is not what this version expects.
    #[error("keeld's answer was not understood")]
    Answer {
        /// What was wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The daemon said no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ClientError {
    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NotRunning { .. } => {
                "start it with `systemctl start keeld`, or name its folder with --run-dir; \
                 `journalctl -u keeld` says why it stopped"
                    .to_owned()
            }
            Self::PermissionDenied { .. } => {
                "run the command with sudo; to look without it, join the group `evenkeel`".to_owned()
            }
            Self::Transport { .. } | Self::Timeout => {
                "see how the daemon is doing with `systemctl status keeld`".to_owned()
            }
            Self::Answer { .. } => {
                "keel and keeld may be of different versions: compare them with `keel version`".to_owned()
            }
            Self::Api(error) => return error.remedy.as_deref().map(str::to_owned),
        })
    }

    /// Whether the daemon could not be reached at all.
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NotRunning { .. } | Self::PermissionDenied { .. } | Self::Transport { .. } | Self::Timeout
        )
    }
}

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon whose run folder this is.
    pub fn in_run_dir(run_dir: &Path) -> Self {
        Self { socket: socket_path(run_dir) }
    }

    /// The daemon behind this socket.
    pub const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Sends a request as it is and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ClientError> {
        tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(|_| ClientError::Timeout)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.cannot_connect(e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.transport(e))?;
        // The connection must be driven while the answer is awaited; it ends with the answer.
        let talk = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::from_parts(head, bytes))
        };
        let driver = tokio::spawn(connection);
        let answer = talk.await.map_err(|e| self.transport(e));
        driver.abort();
        answer
    }

    fn cannot_connect(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
            io::ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket },
            _ => self.transport(error),
        }
    }

    fn transport(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Transport { socket: self.socket.clone(), source: error.into() }
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let body = self.plain(call).await?;
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        serde_json::from_slice(&body).map_err(|source| ClientError::Answer { source })
    }

    /// The body of a good answer, as it is; a problem is an error.
    async fn plain(&self, call: Call) -> Result<Bytes, ClientError> {
        let response = self.send(call.into_request()?).await?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(body);
        }
        Err(serde_json::from_slice::<ApiError>(&body).unwrap_or_else(|_| unexpected(status, &body)).into())
    }
}

/// An error answer that is no problem document.
fn unexpected(status: StatusCode, body: &[u8]) -> ApiError {
    ApiError::new(Kind::Internal, format!("keeld answered {status}"), String::from_utf8_lossy(body))
}

/// A request being put together.
struct Call {
    method: Method,
    target: String,
    expected: Option<u64>,
    body: Vec<u8>,
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        Self { method, target: path, expected: None, body: Vec::new() }
    }

    fn query(mut self, query: &impl Serialize) -> Result<Self, ClientError> {
        let text = serde_urlencoded::to_string(query).map_err(|e| ApiError::bad_request(e.to_string()))?;
        if !text.is_empty() {
            self.target.push('?');
            self.target.push_str(&text);
        }
        Ok(self)
    }

    fn body(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        self.body = serde_json::to_vec(body).map_err(|e| ApiError::bad_request(e.to_string()))?;
        Ok(self)
    }

    const fn expecting(mut self, revision: Option<u64>) -> Self {
        self.expected = revision;
        self
    }

    fn into_request(self) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder().method(self.method).uri(self.target).header(HOST, "keeld");
        if let Some(revision) = self.expected {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        if !self.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(Bytes::from(self.body)))
            .map_err(|e| ApiError::bad_request(e.to_string()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_reaching_the_daemon_has_its_own_advice() {
        let client = Client::in_run_dir(Path::new("/run/evenkeel"));
        let remedy = |kind: io::ErrorKind| client.cannot_connect(kind.into()).remedy().unwrap_or_default();
        assert!(remedy(io::ErrorKind::NotFound).contains("systemctl start keeld"));
        assert!(remedy(io::ErrorKind::ConnectionRefused).contains("systemctl start keeld"));
        assert!(remedy(io::ErrorKind::PermissionDenied).contains("sudo"));
        assert!(remedy(io::ErrorKind::OutOfMemory).contains("systemctl status keeld"));
        assert!(client.cannot_connect(io::ErrorKind::PermissionDenied.into()).is_unreachable());
    }
}
