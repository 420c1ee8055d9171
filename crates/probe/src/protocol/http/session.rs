//! A connection on which HTTP is spoken.
use std::{
    error::Error as _,
    fmt::Write as _,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use crate::{
    Fault, Trace,
    line::{LIMIT, Line, Wire},
    text::{SHOWN, shown},
};

/// Bytes of a head that are shown in a trace.
const HEAD: usize = 1024;

type Carried = TokioIo<Wire>;
type Body = Full<Bytes>;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Version {
    One,
    Two,
}

/// A connection on which one request is made. Nothing of it outlives it.
pub(in crate::protocol) struct Session {
    talk: Talk,
    /// The connection's own part is done.
    over: bool,
}

enum Talk {
    One(http1::SendRequest<Body>, Box<http1::Connection<Carried, Body>>),
    Two(
        http2::SendRequest<Body>,
        http2::Connection<Carried, Body, Spawner>,
        #[expect(dead_code, reason = "ends its tasks when dropped")] Tasks,
    ),
    /// It failed, and why was told.
    Gone,
}

impl Session {
    /// Begins to speak. With TLS the version must have been agreed on.
    pub(in crate::protocol) async fn open(line: Line<'_>, version: Version) -> Result<Self, Fault> {
        let agreed = line.tls().map(|stream| stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let (wire, trace) = line.into_wire();
        let talk = match version {
            Version::One => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(LIMIT).title_case_headers(true);
                let begun = builder.handshake(TokioIo::new(wire)).await;
                let (sender, connection) = begun.map_err(|error| fault_two(&error, trace))?;
                Talk::One(sender, Box::new(connection))
            }
            Version::Two if agreed == Some(false) => {
                return Err(Fault::unexpected("the server doesn't offer HTTP/2 (ALPN)"));
            }
            Version::Two => two(wire, trace).await?,
        };
        Ok(Self { talk, over: false })
    }

    /// Makes the request.
    pub(in crate::protocol) async fn ask(
        &mut self,
        request: Request<Body>,
        trace: &mut Trace,
    ) -> Result<Response<Incoming>, Fault> {
        trace.note(|| {
            let line = format!("{} {} {:?}", request.method(), request.uri(), self.version());
            format!("sent {}", head(line, request.headers()))
        });
        let answer = match &mut self.talk {
            Talk::One(sender, _) => {
                let sending = sender.send_request(request);
                self.drive(sending).await
            }
            Talk::Two(sender, ..) => {
                let sending = sender.send_request(request);
                self.drive(sending).await
            }
            Talk::Gone => return Err(Fault::Closed { doing: trace.doing() }),
        };
        let answer = answer.map_err(|error| self.fault(error, trace))?;
        trace.note(|| {
            let line = format!("{:?} {}", answer.version(), answer.status());
            format!("received {}", head(line, answer.headers()))
        });
        Ok(answer)
    }

    fn version(&self) -> http::Version {
        if matches!(self.talk, Talk::Two(..)) { http::Version::HTTP_2 } else { http::Version::HTTP_11 }
    }

    /// Waits for something that the connection brings, and carries the connection on meanwhile, without a task.
    pub(in crate::protocol) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => {
                self.advance(cx);
                work.as_mut().poll(cx)
            }
        })
        .await
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if self.over {
            return;
        }
        // Its errors come to whoever waits for the answer, too.
        self.over = match &mut self.talk {
            // The socket is closed at once when we have what we want: a half-close before costs a system call.
            Talk::One(_, connection) => connection.poll_without_shutdown(cx).is_ready(),
            Talk::Two(_, connection, _) => Pin::new(connection).poll(cx).is_ready(),
            Talk::Gone => true,
        };
    }

    /// What went wrong, in words. Nothing can be asked on this connection any more.
    pub(in crate::protocol) fn fault(&mut self, error: hyper::Error, trace: &mut Trace) -> Fault {
        match std::mem::replace(&mut self.talk, Talk::Gone) {
            Talk::One(_, connection) => fault_one(&error, &connection.into_parts().read_buf, trace),
            Talk::Two(..) | Talk::Gone => fault_two(&error, trace),
        }
    }
}

async fn two(wire: Wire, trace: &Trace) -> Result<Talk, Fault> {
    let tasks = Tasks::default();
    let mut builder = http2::Builder::new(Spawner(tasks.0.clone()));
    // Room for little: a body that nobody reads must not fill the memory.
    let (stream, connection) = (LIMIT as u32 * 4, LIMIT as u32 * 4);
    builder.initial_stream_window_size(stream).initial_connection_window_size(connection);
    builder.max_header_list_size(LIMIT as u32);
    let begun = builder.handshake(TokioIo::new(wire)).await;
    let (sender, connection) = begun.map_err(|error| fault_two(&error, trace))?;
    Ok(Talk::Two(sender, connection, tasks))
}

/// A head on one line, without what authenticates us.
fn head(line: String, headers: &HeaderMap) -> String {
    let mut text = line;
    for (name, value) in headers {
        let shown = if value.is_sensitive() { b"(not shown)" } else { value.as_bytes() };
        let _ = write!(text, ", {name}: {}", String::from_utf8_lossy(shown));
        if text.len() > HEAD {
            break;
        }
    }
    shown(text.as_bytes(), HEAD)
}

/// What went wrong on HTTP/1.1, where `unread` came and wasn't understood.
fn fault_one(error: &hyper::Error, unread: &[u8], trace: &mut Trace) -> Fault {
    let doing = trace.doing();
    if let Some(fault) = broken(error, doing) {
        return fault;
    }
    if error.is_parse_too_large() {
        return Fault::unexpected(format!("the answer's headers are too many, or longer than {LIMIT} bytes"));
    }
    if error.is_incomplete_message() || unread.is_empty() {
        return no_http(error, doing);
    }
    trace.received(unread);
    // A TLS alert (RFC 8446, 5.1), and the frame SETTINGS that HTTP/2 begins with (RFC 9113, 6.5).
    Fault::unexpected(match unread {
        [0x15, 3, ..] => "speaks no HTTP, but TLS: is it meant to be a check of type https?".to_owned(),
        [0, _, _, 4, ..] => "speaks no HTTP/1.1, but HTTP/2: is it meant to be version = \"2\"?".to_owned(),
        said => format!("speaks no HTTP: it said \"{}\"", shown(said, SHOWN)),
    })
}

/// Without anything that could be shown.
fn no_http(error: &hyper::Error, doing: &'static str) -> Fault {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Fault::Closed { doing };
    }
    Fault::unexpected(format!("speaks no proper HTTP: {}", cause(error)))
}

/// What went wrong on HTTP/2.
fn fault_two(error: &hyper::Error, trace: &Trace) -> Fault {
    let doing = trace.doing();
    if let Some(fault) = broken(error, doing) {
        return fault;
    }
    let Some(error) = find::<h2::Error>(error) else { return no_http(error, doing) };
    match error.get_io() {
        Some(error) => broken_io(error, doing),
        None if error.is_remote() && error.is_go_away() => {
            Fault::unexpected(format!("the server ended the HTTP/2 connection: {}", reason(error)))
        }
        None if error.is_remote() => {
            Fault::unexpected(format!("the server refused the HTTP/2 request: {}", reason(error)))
        }
        None => Fault::unexpected(format!("speaks no HTTP/2: {error}")),
    }
}

fn reason(error: &h2::Error) -> String {
    error.reason().map_or_else(|| error.to_string(), |reason| reason.description().to_owned())
}

fn cause(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// An error of some type among the causes.
fn find<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The connection broke.
fn broken(error: &hyper::Error, doing: &'static str) -> Option<Fault> {
    find::<io::Error>(error).map(|source| broken_io(source, doing))
}

fn broken_io(source: &io::Error, doing: &'static str) -> Fault {
    use io::ErrorKind as Kind;
    if matches!(source.kind(), Kind::BrokenPipe | Kind::UnexpectedEof | Kind::ConnectionAborted) {
        return Fault::Closed { doing };
    }
    let source = match source.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(source.kind(), source.to_string()),
    };
    Fault::Io { doing, source }
}

type Handles = Arc<Mutex<Vec<AbortHandle>>>;

/// The tasks of one connection: they end when this is dropped.
#[derive(Default)]
struct Tasks(Handles);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// Starts what HTTP/2 wants to run beside the request.
#[derive(Clone)]
struct Spawner(Handles);

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::spawn(future).abort_handle();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}
