//! One TCP connection of our own, carried on by whoever reads and writes.
use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use keel_net::PacketChannel;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, Checksum, Device, DeviceCapabilities, Medium},
    socket::tcp::{RecvError, Socket as Tcp, SocketBuffer, State},
    time::Instant as Tick,
    wire::{HardwareAddress, IpCidr},
};
use socket2::Socket;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{HOPS, frame};
use crate::place::Via;

/// Bytes that may wait, each way: with that a server sends so much at most before it waits for us.
const WINDOW: usize = 16 * 1024;
/// The largest packet that arrives: a window that the kernel has put together, and headers.
const ROOM: usize = WINDOW + 256;
/// Packets that are looked at before others have their turn.
const BURST: usize = 64;

/// A connection.
pub(crate) struct Stack {
    /// Our end.
    from: SocketAddr,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    wire: PacketWire,
    began: Instant,
    timer: Pin<Box<Sleep>>,
    /// Holds our port.
    _held: Socket,
}

impl Stack {
    /// Begins to connect.
    pub(super) fn new(
        channel: PacketChannel,
        held: Socket,
        via: Via,
        from: SocketAddr,
        to: SocketAddr,
        seed: u64,
    ) -> io::Result<Self> {
        let mut wire = PacketWire {
            channel,
            via,
            vip: to.ip(),
            flow: seed as u32,
            room: vec![0; ROOM],
            filled: 0,
            failure: None,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, Tick::ZERO);
        route(&mut interface, from.ip(), to.ip())?;
        let buffer = || SocketBuffer::new(vec![0; WINDOW]);
        let mut tcp = Tcp::new(buffer(), buffer());
        tcp.set_nagle_enabled(false);
        tcp.set_ack_delay(None);
        tcp.set_hop_limit(Some(HOPS));
        let invalid =
            |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        tcp.connect(interface.context(), to, from).map_err(|error| invalid(&error))?;
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(tcp);
        let timer = Box::pin(sleep(Duration::ZERO));
        Ok(Self { from, interface, sockets, tcp, wire, began: Instant::now(), timer, _held: held })
    }

    /// Our end.
    pub(crate) fn own_address(&self) -> SocketAddr {
        self.from
    }

    /// Waits until the connection is there.
    pub(super) async fn connected(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            self.carry_on(cx)?;
            match self.tcp().state() {
                State::SynSent | State::SynReceived => Poll::Pending,
                State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
                _ => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    fn tcp(&mut self) -> &mut Tcp<'static> {
        self.sockets.get_mut(self.tcp)
    }

    fn now(&self) -> Tick {
        Tick::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Looks at what has arrived and sends what is due.
    fn step(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Does all that can be done now, and sees to it that the task is woken when there is more to do.
    fn carry_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.step();
        let mut quiet = false;
        for _ in 0..BURST {
            match self.wire.poll_receive(cx) {
                Poll::Ready(received) => received?,
                Poll::Pending => {
                    quiet = true;
                    break;
                }
            }
            self.step();
        }
        if !quiet || self.wait(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.wire.failure.take().map_or(Ok(()), Err)
    }

    /// Sets the timer for what is due next; ready if that is now.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        let Some(delay) = self.interface.poll_delay(now, &self.sockets) else { return Poll::Pending };
        let deadline = tokio::time::Instant::now() + Duration::from_micros(delay.total_micros());
        self.timer.as_mut().reset(deadline);
        self.timer.as_mut().poll(cx)
    }

    fn read(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tcp = self.tcp();
        if tcp.can_recv() {
            let count = tcp.recv_slice(buf.initialize_unfilled()).map_err(io::Error::other)?;
            buf.advance(count);
            // There is room again, which the server should know.
            self.step();
            return Poll::Ready(Ok(()));
        }
        if tcp.may_recv() {
            return Poll::Pending;
        }
        match tcp.recv_slice(&mut []) {
            Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ok(_) | Err(RecvError::Finished) => Poll::Ready(Ok(())),
        }
    }
}

/// Gives the interface our address, and everything else a way.
fn route(interface: &mut Interface, own: IpAddr, vip: IpAddr) -> io::Result<()> {
    let length = if own.is_ipv4() { 32 } else { 128 };
    let mut done = true;
    interface.update_ip_addrs(|addresses| done = addresses.push(IpCidr::new(own.into(), length)).is_ok());
    // There is no link layer: which address the way leads by doesn't matter.
    done &= match vip {
        IpAddr::V4(vip) => interface.routes_mut().add_default_ipv4_route(vip).is_ok(),
        IpAddr::V6(vip) => interface.routes_mut().add_default_ipv6_route(vip).is_ok(),
    };
    if done { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Reset, like the kernel's connections of checks: nothing of it stays behind, here or there.
        self.tcp().abort();
        self.step();
    }
}

impl AsyncRead for Stack {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stack = self.get_mut();
        stack.carry_on(cx)?;
        stack.read(buf)
    }
}

impl AsyncWrite for Stack {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stack = self.get_mut();
        stack.carry_on(cx)?;
        let tcp = stack.tcp();
        if !tcp.may_send() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !tcp.can_send() {
            return Poll::Pending;
        }
        let count = tcp.send_slice(bytes).map_err(io::Error::other)?;
        stack.step();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().carry_on(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stack = self.get_mut();
        stack.tcp().close();
        ready!(Pin::new(stack).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// Where its packets go out and come in.
struct PacketWire {
    channel: PacketChannel,
    via: Via,
    vip: IpAddr,
    /// Tells this connection's packets from others' where paths of equal length are shared.
    flow: u32,
    room: Vec<u8>,
    /// Bytes of a packet that has arrived and wasn't looked at.
    filled: usize,
    failure: Option<io::Error>,
}

impl PacketWire {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.filled = ready!(self.channel.poll_receive(cx, &mut self.room))?;
        Poll::Ready(Ok(()))
    }
}

impl Device for PacketWire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _now: Tick) -> Option<(Received<'_>, Sender<'_>)> {
        let filled = std::mem::take(&mut self.filled);
        if filled == 0 {
            return None;
        }
        let Self { channel, via, vip, flow, room, failure, .. } = self;
        let received = room.get(..filled)?;
        Some((Received(received), Sender { channel, via, vip: *vip, flow: *flow, failure }))
    }

    fn transmit(&mut self, _now: Tick) -> Option<Sender<'_>> {
        let Self { channel, via, vip, flow, failure, .. } = self;
        Some(Sender { channel, via, vip: *vip, flow: *flow, failure })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit =
            usize::from(self.via.mtu).saturating_sub(frame::wrapped(&self.via));
        // Packets of virtual machines on the same host arrive with the checksum of TCP left out, which only the kernel
        // can tell from a wrong one.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

/// A packet that has arrived.
struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(self.0)
    }
}

/// The way out.
struct Sender<'a> {
    channel: &'a PacketChannel,
    via: &'a Via,
    vip: IpAddr,
    flow: u32,
    failure: &'a mut Option<io::Error>,
}

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let head = frame::overhead(self.via);
        let mut bytes = vec![0; head + length];
        let result = write(&mut bytes[head..]);
        if frame::write(&mut bytes, self.via, self.vip, length, self.flow).is_some()
            && let Err(error) = self.channel.send(self.via.interface, &bytes)
            // What doesn't fit into a queue is lost like on any network, and sent again.
            && error.kind() != io::ErrorKind::WouldBlock
            && error.raw_os_error() != Some(libc::ENOBUFS)
        {
            *self.failure = Some(error);
        }
        result
    }
}
