//! A connection with a server: bytes both ways, within limits, every piece noted.
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;
use keel_model::Tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Empty, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::{
    Fault, Trace,
    tcp::{self, Opening},
    text::shown,
    through::Stack,
    tls,
};

/// Bytes of an answer at most, unless a protocol needs more.
pub(crate) const LIMIT: usize = 64 * 1024;

/// How long a server may take to close after a goodbye.
const LEAVE: Duration = Duration::from_secs(1);

/// What carries the bytes.
pub(crate) enum Wire {
    Tcp(tcp::Stream),
    Tls(Box<TlsStream<Box<Wire>>>),
    /// A connection of our own, to the virtual address.
    Through(Box<Stack>),
    /// None: TLS is being agreed on.
    Taken(Empty),
}

/// A connection and what was read of it ahead.
pub(crate) struct Line<'t> {
    wire: Wire,
    ahead: Vec<u8>,
    pub(crate) trace: &'t mut Trace,
    pub(crate) peer: SocketAddr,
}

impl<'t> Line<'t> {
    pub(crate) fn new(wire: Wire, peer: SocketAddr, trace: &'t mut Trace) -> Self {
        Self { wire, ahead: Vec::new(), trace, peer }
    }

    /// Begins something, worded to complete "no answer in 2 s while …" and "connection closed while …".
    pub(crate) fn begin(&mut self, doing: &'static str) {
        self.trace.begin(doing);
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.write(bytes).await?;
        self.trace.sent(bytes);
        Ok(())
    }

    /// Sends bytes that no trace may show: `what` says what they are.
    pub(crate) async fn send_secret(&mut self, bytes: &[u8], what: &str) -> Result<(), Fault> {
        self.write(bytes).await?;
        self.trace.sent_secret(what, bytes.len());
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let doing = self.trace.doing();
        let failed = |source| Fault::Io { doing, source };
        self.wire.write_all(bytes).await.map_err(failed)?;
        self.wire.flush().await.map_err(failed)
    }

    /// What was received and not yet used.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Receives something more; false at the end.
    pub(crate) async fn more(&mut self) -> Result<bool, Fault> {
        let doing = self.trace.doing();
        if self.ahead.len() >= LIMIT {
            return Err(Fault::TooLong { doing, limit: LIMIT });
        }
        let before = self.ahead.len();
        let mut room = [0; 4096];
        let count = self.wire.read(&mut room).await.map_err(|source| Fault::Io { doing, source })?;
        self.ahead.extend_from_slice(&room[..count]);
        if count > 0 {
            let received = &self.ahead[before..];
            self.trace.received(received);
        }
        Ok(count > 0)
    }

    /// Receives something more, which must come.
    pub(crate) async fn need_more(&mut self) -> Result<(), Fault> {
        if self.more().await? { Ok(()) } else { Err(Fault::Closed { doing: self.trace.doing() }) }
    }

    /// The next line without its end (LF, or CR LF), lossily as text.
    pub(crate) async fn line(&mut self) -> Result<String, Fault> {
        let mut looked = 0;
        let end = loop {
            if let Some(at) = self.ahead[looked..].iter().position(|byte| *byte == b'\n') {
                break looked + at;
            }
            looked = self.ahead.len();
            self.need_more().await?;
        };
        let line: Vec<u8> = self.ahead.drain(..=end).collect();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// The next `count` bytes; more than [`LIMIT`] are refused before anything is read.
    pub(crate) async fn exact(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        if count > LIMIT {
            return Err(Fault::TooLong { doing: self.trace.doing(), limit: LIMIT });
        }
        while self.ahead.len() < count {
            self.need_more().await?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Changes over to TLS. `name` is what is asked for when the check names nothing.
    pub(crate) async fn secure(
        &mut self,
        how: &Tls,
        ready: &tls::Ready,
        name: Option<&str>,
    ) -> Result<(), Fault> {
        if !self.ahead.is_empty() {
            // Text before the handshake that a client would take for protected (CVE-2011-0411).
            return Err(Fault::unexpected("the server went on talking in clear text where TLS should begin"));
        }
        self.begin("waiting for the TLS handshake");
        let wire = std::mem::replace(&mut self.wire, Wire::Taken(tokio::io::empty()));
        let stream = tls::connect(wire, self.peer.ip(), how, ready, name, self.trace).await?;
        self.wire = Wire::Tls(Box::new(stream));
        Ok(())
    }

    /// This side's address.
    pub(crate) fn own_address(&self) -> Result<SocketAddr, Fault> {
        match &self.wire {
            Wire::Tcp(stream) => stream.local_addr(),
            Wire::Through(stack) => Ok(stack.own_address()),
            Wire::Tls(_) | Wire::Taken(_) => Err(io::ErrorKind::NotConnected.into()),
        }
        .map_err(|source| Fault::Io { doing: self.trace.doing(), source })
    }

    /// When the certificate ends that the server showed, if it showed one.
    pub(crate) fn certificate_ends(&self) -> Option<Timestamp> {
        self.tls().and_then(tls::ends)
    }

    /// The certificate's end and the rest, if TLS is spoken.
    pub(crate) fn tls(&self) -> Option<&TlsStream<Box<Wire>>> {
        match &self.wire {
            Wire::Tls(stream) => Some(stream),
            Wire::Tcp(_) | Wire::Through(_) | Wire::Taken(_) => None,
        }
    }

    /// Takes leave while the answer is already on its way: `last` is sent, or the end of what we say if there is
    /// nothing to say, and the server has a second to close. Without that it sees a reset, which some servers write
    /// into their log at every check, and some count against this node.
    pub(crate) fn part(self, last: &'static [u8]) {
        let (mut wire, trace) = self.into_wire();
        trace.note(|| match last {
            [] => "closing the connection".to_owned(),
            last => format!("sent {} bytes: {}, and closing the connection", last.len(), shown(last, 80)),
        });
        let leave = async move {
            let said = match last {
                [] => wire.shutdown().await,
                last => {
                    async {
                        wire.write_all(last).await?;
                        wire.flush().await
                    }
                    .await
                }
            };
            let mut room = [0; 1024];
            // A server that goes on talking is left after LIMIT bytes.
            for _ in 0..LIMIT / room.len() {
                if said.is_err() || !matches!(wire.read(&mut room).await, Ok(1..)) {
                    break;
                }
            }
        };
        tokio::spawn(tokio::time::timeout(LEAVE, leave));
    }

    /// What carries the bytes, for libraries that speak the protocol themselves, and the trace.
    pub(crate) fn into_wire(self) -> (Wire, &'t mut Trace) {
        (self.wire, self.trace)
    }
}

/// Opens a TCP connection.
pub(crate) async fn connect<'t>(
    to: SocketAddr,
    opening: Opening,
    trace: &'t mut Trace,
) -> Result<Line<'t>, Fault> {
    let stream = tcp::open(to, opening, trace).await?;
    Ok(Line::new(Wire::Tcp(stream), to, trace))
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Through(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Taken(nothing) => Pin::new(nothing).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Through(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Taken(nothing) => Pin::new(nothing).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Through(stream) => Pin::new(stream).poll_flush(cx),
            Self::Taken(nothing) => Pin::new(nothing).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Through(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Taken(nothing) => Pin::new(nothing).poll_shutdown(cx),
        }
    }
}
