//! TCP connections as checks want them: little work for this node and for the server, and nothing that stays behind.
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

use crate::{Fault, Trace};

/// Who says something first on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The check does, or nobody does. What ends the handshake waits for the first bytes and goes with them (by itself
    /// within 200 ms): a packet less on both sides. If the connection is closed before, the server's program never hears
    /// of it, and doesn't count a client that broke off.
    Ours,
    /// The server greets when it has seen the handshake's end.
    Theirs,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
    /// Acknowledgements are delayed, from the handshake's on.
    delays: bool,
    /// How often something was sent, as far as it matters.
    sent: u8,
    /// Something was received.
    received: bool,
}

/// Opens a connection.
pub(crate) async fn open(to: SocketAddr, opening: Opening, trace: &mut Trace) -> Result<Stream, Fault> {
    trace.begin("connecting");
    let failed = |source| Fault::Io { doing: "connecting", source };
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    // Thousands of checks would leave tens of thousands of connections in TIME_WAIT: they are reset when done.
    socket.set_zero_linger().map_err(failed)?;
    let delays = opening == Opening::Ours;
    if delays {
        // tcp(7), TCP_QUICKACK: without it the acknowledgement of the server's SYN is delayed too.
        SockRef::from(&socket).set_tcp_quickack(false).map_err(failed)?;
    }
    let stream = socket.connect(to).await.map_err(failed)?;
    trace.note(|| format!("connected to {to}"));
    Ok(Stream { stream, delays, sent: 0, received: false })
}

impl Stream {
    /// This side's address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

/// Most checks send once and receive once: what only matters to longer talks costs its system call when they begin.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.received && std::mem::take(&mut this.delays) {
            // A server that sends in small pieces would wait for each acknowledgement, 40 ms. If it can't be set the
            // talk goes on all the same.
            let _ = SockRef::from(&this.stream).set_tcp_quickack(true);
        }
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.received = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.sent = this.sent.saturating_add(1);
        if this.sent == 2 {
            // The second small piece would wait for the server's delayed acknowledgement of the first, 40 ms.
            this.stream.set_nodelay(true)?;
        }
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
