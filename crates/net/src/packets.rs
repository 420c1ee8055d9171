//! IP packets of one TCP connection, or one pair of UDP ports, that the kernel's TCP and UDP know nothing about: received
//! by any interface, sent as ready frames out of a given one.
//!
//! To close a packet socket the kernel waits until no packet is being received anywhere, which takes milliseconds.
//! So sockets are handed back and used again; those too many are closed elsewhere.
use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use socket2::{Domain, SockFilter, SockRef, Socket, Type};
use tokio::{io::ReadBuf, net::UdpSocket, runtime::Handle};

use crate::announce::packet_address;

/// Idle sockets that are kept, of each family. Each of them costs a packet for the kernel a few nanoseconds.
const IDLE: usize = 64;
/// Packets that a connection has left behind at most.
const LEFT_BEHIND: usize = 4096;

/// Whose ports the ends of a channel have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Segments of one connection.
    Tcp,
    /// Datagrams, and all ICMP messages that the other end sends to this one: refusals are among them, and the kernel drops
    /// those that come from an address of its own.
    Udp,
}

/// Packet sockets that connections share, one after the other. Use it within one tokio runtime.
#[derive(Debug, Default)]
pub struct PacketPool {
    v4: Mutex<Vec<UdpSocket>>,
    v6: Mutex<Vec<UdpSocket>>,
    sender: Mutex<Option<Arc<Socket>>>,
}

/// One connection's packets. Dropping it hands its socket back.
#[derive(Debug)]
pub struct PacketChannel {
    pool: Arc<PacketPool>,
    /// Taken when it is handed back.
    receiver: Option<UdpSocket>,
    sender: Arc<Socket>,
    v4: bool,
}

impl PacketPool {
    /// The packets that come from `from` for `to`, both of one family. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// What the kernel says to opening a packet socket.
    pub fn open(
        self: &Arc<Self>,
        transport: Transport,
        from: SocketAddr,
        to: SocketAddr,
    ) -> io::Result<PacketChannel> {
        let filter = filter(transport, from, to)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "addresses of two families"))?;
        let sender = self.sender()?;
        let v4 = from.is_ipv4();
        let idle = locked(self.idle(v4)).pop();
        let receiver = match idle {
            Some(receiver) => {
                renew(&receiver, &filter)?;
                receiver
            }
            None => receiver(v4, &filter)?,
        };
        Ok(PacketChannel { pool: self.clone(), receiver: Some(receiver), sender, v4 })
    }

    fn idle(&self, v4: bool) -> &Mutex<Vec<UdpSocket>> {
        if v4 { &self.v4 } else { &self.v6 }
    }

    fn sender(&self) -> io::Result<Arc<Socket>> {
        let mut sender = locked(&self.sender);
        if let Some(sender) = &*sender {
            return Ok(sender.clone());
        }
        // Protocol 0: the kernel queues no received packet for us.
        let opened = Arc::new(Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?);
        Ok(sender.insert(opened).clone())
    }
}

impl Drop for PacketPool {
    fn drop(&mut self) {
        let mut all = std::mem::take(&mut *locked(&self.v4));
        all.append(&mut locked(&self.v6));
        close(all, locked(&self.sender).take());
    }
}

impl PacketChannel {
    /// Receives one IP packet: how much of `room` it fills. One that is longer is cut.
    ///
    /// # Errors
    /// What the kernel says to receiving.
    pub fn poll_receive(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(receiver) = &self.receiver else { return Poll::Pending };
        let mut room = ReadBuf::new(room);
        receiver.poll_recv(cx, &mut room).map_ok(|()| room.filled().len())
    }

    /// Queues one frame, Ethernet header included, on the interface of this index.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, `WouldBlock` or `ENOBUFS` when its queue is full.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        self.sender.send_to(frame, &packet_address(interface, 0)?).map(drop)
    }
}

impl Drop for PacketChannel {
    fn drop(&mut self) {
        let Some(receiver) = self.receiver.take() else { return };
        let silent = SockRef::from(&receiver).attach_filter(&[NOTHING]).is_ok();
        let mut idle = locked(self.pool.idle(self.v4));
        if silent && idle.len() < IDLE {
            idle.push(receiver);
        } else {
            drop(idle);
            close(vec![receiver], None);
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes sockets where nobody waits for it.
fn close(receivers: Vec<UdpSocket>, sender: Option<Arc<Socket>>) {
    let receivers: Vec<_> = receivers.into_iter().map(UdpSocket::into_std).collect();
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn_blocking(move || drop((receivers, sender)));
    }
}

/// A socket for the packets that the filter lets through, without their link-layer header.
fn receiver(v4: bool, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let ethertype = if v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
    // It begins with protocol 0, so that nothing is queued before the filter is there.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
    socket.attach_filter(filter)?;
    // The interface is none: answers may come another way than questions go.
    socket.bind(&packet_address(0, ethertype as u16)?)?;
    // Received from like a socket for datagrams.
    UdpSocket::from_std(socket.into())
}

/// Empties an idle socket and lets other packets in.
fn renew(receiver: &UdpSocket, filter: &[SockFilter]) -> io::Result<()> {
    let socket = SockRef::from(receiver);
    let mut room = [MaybeUninit::uninit(); 1];
    for _ in 0..LEFT_BEHIND {
        if socket.recv(&mut room).is_err() {
            break;
        }
    }
    socket.attach_filter(filter)
}

// Classic BPF (linux/filter.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Where the packet's type is "read" (SKF_AD_OFF + SKF_AD_PKTTYPE).
const PACKET_TYPE: u32 = 0xffff_f004;
/// Addressed to this machine (PACKET_HOST): nothing that a bridge or a tracer overhears.
const TO_US: u32 = 0;

const NOTHING: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
const EVERYTHING: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);

/// A filter that lets nothing through.
pub fn deaf() -> [SockFilter; 1] {
    [NOTHING]
}

/// Lets packets from one end to the other through: none if they are of two families.
fn filter(transport: Transport, from: SocketAddr, to: SocketAddr) -> Option<Vec<SockFilter>> {
    // What is loaded and from where, and what it must be.
    let mut tests: Vec<(u16, u32, u32)> = vec![(LOAD_WORD, PACKET_TYPE, TO_US)];
    let (protocol_at, icmp) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tests.extend([(LOAD_WORD, 12, from.into()), (LOAD_WORD, 16, to.into())]);
            (9, libc::IPPROTO_ICMP)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let words = [from.octets(), to.octets()].concat();
            let words = words
                .chunks_exact(4)
                .map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
            tests.extend((8..).step_by(4).zip(words).map(|(at, word)| (LOAD_WORD, at, word)));
            (6, libc::IPPROTO_ICMPV6)
        }
        _ => return None,
    };
    let mut program: Vec<SockFilter> =
        tests.into_iter().flat_map(|(load, at, wanted)| must_be(load, at, wanted)).collect();
    // Nothing of a later fragment is a port; then X is the length of the IPv4 header.
    if from.is_ipv4() {
        program.extend([
            SockFilter::new(LOAD_HALF, 0, 0, 6),
            SockFilter::new(JUMP_IF_ANY, 0, 1, 0x1fff),
            NOTHING,
            SockFilter::new(LOAD_X_HEADER_LENGTH, 0, 0, 0),
        ]);
    }
    let protocol = match transport {
        Transport::Tcp => libc::IPPROTO_TCP,
        Transport::Udp => {
            program.extend([
                SockFilter::new(LOAD_BYTE, 0, 0, protocol_at),
                SockFilter::new(JUMP_IF_EQUAL, 0, 1, icmp as u32),
                EVERYTHING,
            ]);
            libc::IPPROTO_UDP
        }
    };
    program.extend(must_be(LOAD_BYTE, protocol_at, protocol as u32));
    let (load, ports) = if from.is_ipv4() { (LOAD_HALF_AT_X, 0) } else { (LOAD_HALF, 40) };
    program.extend(must_be(load, ports, from.port().into()));
    program.extend(must_be(load, ports + 2, to.port().into()));
    program.push(EVERYTHING);
    Some(program)
}

fn must_be(load: u16, at: u32, wanted: u32) -> [SockFilter; 3] {
    [SockFilter::new(load, 0, 0, at), SockFilter::new(JUMP_IF_EQUAL, 1, 0, wanted), NOTHING]
}
