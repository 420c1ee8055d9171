//! ICMP echo (RFC 792, RFC 4443), through one raw socket for each family that all pings share: a socket for each would
//! get the answers of all.
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::{net::UdpSocket, sync::oneshot, task::AbortHandle};

use crate::{Asker, Fault, Place, Trace, ask::Finding};

/// The payload of our requests: some hosts don't answer short ones.
const PAYLOAD: &[u8; 48] = b"evenkeel health check, sent by the load balancer";
/// Bytes of answers that may wait to be read, as far as the machine allows.
const BUFFER: usize = 4 << 20;
/// The longest answer that is looked at.
const ROOM: usize = 1500;

/// ICMP types of one family.
struct Types {
    request: u8,
    reply: u8,
    unreachable: u8,
    /// Whether the socket hands over the IP header too.
    with_header: bool,
}

const V4: Types = Types { request: 8, reply: 0, unreachable: 3, with_header: true };
const V6: Types = Types { request: 128, reply: 129, unreachable: 1, with_header: false };

/// What came of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Reply,
    /// A router or the host itself says that it can't be reached, with this code.
    Unreachable(u8),
}

/// Who waits for which host and number.
type Waiting = Mutex<HashMap<(IpAddr, u32), oneshot::Sender<Heard>>>;

/// Sockets that all pings share.
#[derive(Debug)]
pub struct Pinger {
    v4: Arc<UdpSocket>,
    /// None where the kernel has no IPv6.
    v6: Option<Arc<UdpSocket>>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
    listeners: Vec<AbortHandle>,
}

impl Pinger {
    /// Opens the sockets and listens until it is dropped. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Raw sockets need CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let v4 = Arc::new(socket(Domain::IPV4, Protocol::ICMPV4, &V4)?);
        let v6 = socket(Domain::IPV6, Protocol::ICMPV6, &V6).ok().map(Arc::new);
        let waiting = Arc::new(Waiting::default());
        let listening = |socket: &Arc<UdpSocket>, types: &'static Types| {
            tokio::spawn(listen(socket.clone(), waiting.clone(), types)).abort_handle()
        };
        let mut listeners = vec![listening(&v4, &V4)];
        listeners.extend(v6.as_ref().map(|socket| listening(socket, &V6)));
        // Numbers that nobody else is likely to use, and that a stranger can't guess.
        let next = AtomicU32::new(RandomState::new().build_hasher().finish() as u32);
        Ok(Self { v4, v6, waiting, next, listeners })
    }

    /// Sends one request; what comes back arrives at the receiver, as long as the question is kept.
    async fn send(&self, to: IpAddr) -> io::Result<(Forget<'_>, oneshot::Receiver<Heard>)> {
        let (socket, types) = match (to, &self.v6) {
            (IpAddr::V4(_), _) => (&self.v4, &V4),
            (IpAddr::V6(_), Some(socket)) => (socket, &V6),
            (IpAddr::V6(_), None) => return Err(io::Error::other("this kernel has no IPv6")),
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = request(types, number);
        let (sender, receiver) = oneshot::channel();
        locked(&self.waiting).insert((to, number), sender);
        // Before anything is waited for: the time may be over while the socket has no room.
        let forget = Forget { waiting: &self.waiting, key: (to, number) };
        socket.send_to(&request, SocketAddr::new(to, 0)).await?;
        Ok((forget, receiver))
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
    }
}

fn locked(waiting: &Waiting) -> MutexGuard<'_, HashMap<(IpAddr, u32), oneshot::Sender<Heard>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket(domain: Domain, protocol: Protocol, types: &Types) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.attach_filter(&filter(types))?;
    // A raw socket, sent to and received from like one for datagrams.
    UdpSocket::from_std(socket.into())
}

/// Lets through what is about pings (linux/filter.h): others' requests would fill the socket's buffer.
fn filter(types: &Types) -> [SockFilter; 6] {
    const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_X: u16 = 0x01;
    const LOAD_BYTE_AT_X: u16 = 0x50;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let begin = if types.with_header { LOAD_X_HEADER_LENGTH } else { LOAD_X };
    [
        SockFilter::new(begin, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AT_X, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, types.reply.into()),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, types.unreachable.into()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// An echo request. The kernel adds the checksum of ICMPv6 itself; that of ICMP it doesn't.
fn request(types: &Types, number: u32) -> Vec<u8> {
    let mut message = vec![types.request, 0, 0, 0];
    message.extend(number.to_be_bytes());
    message.extend(PAYLOAD);
    if types.with_header {
        let sum =
            message.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(pair[1]));
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Tells whoever waits what comes in.
async fn listen(socket: Arc<UdpSocket>, waiting: Arc<Waiting>, types: &'static Types) {
    let mut room = [0; ROOM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut room).await else { continue };
        if let Some((who, number, heard)) = understand(types, from.ip(), &room[..length.min(ROOM)])
            && let Some(sender) = locked(&waiting).remove(&(who, number))
        {
            let _ = sender.send(heard);
        }
    }
}

/// Whom a message is about, the number of the request, and what it says.
fn understand(types: &Types, from: IpAddr, bytes: &[u8]) -> Option<(IpAddr, u32, Heard)> {
    let message = if types.with_header { bytes.get(ipv4_length(bytes)?..)? } else { bytes };
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if kind == types.reply && code == 0 {
        return Some((from, number(message)?, Heard::Reply));
    }
    if kind != types.unreachable {
        return None;
    }
    // It quotes our request: whom it went to, and its number.
    let quoted = message.get(8..)?;
    let (to, request) = if types.with_header {
        let to: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
        (IpAddr::from(to), quoted.get(ipv4_length(quoted)?..)?)
    } else {
        let to: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
        (IpAddr::from(to), quoted.get(40..)?)
    };
    (*request.first()? == types.request).then_some((to, number(request)?, Heard::Unreachable(code)))
}

fn ipv4_length(packet: &[u8]) -> Option<usize> {
    Some(usize::from(*packet.first()? & 15) * 4).filter(|length| *length >= 20)
}

fn number(message: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(message.get(4..8)?.try_into().ok()?))
}

pub(crate) async fn check(place: &Place, asker: &Asker, trace: &mut Trace) -> Result<Finding, Fault> {
    let pinger = asker.pinger.as_ref().ok_or_else(|| Fault::Unable("pings need CAP_NET_RAW".to_owned()))?;
    trace.begin("waiting for the echo");
    let failed = |source| Fault::Io { doing: "sending a ping", source };
    let (_forget, heard) = pinger.send(place.address).await.map_err(failed)?;
    trace.note(|| format!("sent an echo request of {} bytes to {}", PAYLOAD.len() + 8, place.address));
    match heard.await {
        Ok(Heard::Reply) => Ok(Finding::good("answers ping")),
        Ok(Heard::Unreachable(code)) => Err(Fault::unexpected(unreachable(place.address, code))),
        Err(_) => Err(Fault::Unable("nobody listens for pings any more".to_owned())),
    }
}

/// Takes the question back when nobody waits for its answer any more.
struct Forget<'p> {
    waiting: &'p Waiting,
    key: (IpAddr, u32),
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(self.waiting).remove(&self.key);
    }
}

/// RFC 792, RFC 1812 §5.2.7.1; RFC 4443 §3.1.
fn unreachable(address: IpAddr, code: u8) -> String {
    let what = match (address, code) {
        (IpAddr::V4(_), 0) | (IpAddr::V6(_), 0) => "a router has no route to it",
        (IpAddr::V4(_), 1) | (IpAddr::V6(_), 3) => "a router says that the host doesn't answer",
        (IpAddr::V4(_), 9 | 10 | 13) | (IpAddr::V6(_), 1 | 5 | 6) => "a firewall forbids it",
        _ => "it can't be reached",
    };
    format!("{what} (ICMP code {code})")
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    #[test]
    fn a_reply_and_a_refusal_are_told_apart_and_belong_to_their_request() {
        let host: IpAddr = [192, 0, 2, 1].into();
        let mut reply = vec![0x45; 20];
        reply.extend(request(&V4, 0x1234_5678));
        reply[20] = V4.reply;
        assert_eq!(understand(&V4, host, &reply), Some((host, 0x1234_5678, Heard::Reply)));

        let mut quoted = vec![0x45; 20];
        quoted[16..20].copy_from_slice(&[192, 0, 2, 9]);
        quoted.extend(&request(&V4, 7)[..8]);
        let mut refusal = vec![0x45; 20];
        refusal.extend([V4.unreachable, 1, 0, 0, 0, 0, 0, 0]);
        refusal.extend(&quoted);
        assert_eq!(understand(&V4, host, &refusal), Some(([192, 0, 2, 9].into(), 7, Heard::Unreachable(1))));
    }

    #[test]
    fn nothing_that_comes_in_is_believed_to_be_whole() {
        let host: IpAddr = [192, 0, 2, 1].into();
        let mut packet = vec![0x45; 20];
        packet.extend([V4.unreachable, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend([0x4f; 60]);
        for length in 0..packet.len() {
            understand(&V4, host, &packet[..length]);
            understand(&V6, host, &packet[..length]);
        }
        assert_eq!(understand(&V4, host, &[0x41, 0, 0, 0]), None);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_whose_ping_was_not_sent() {
        let pinger = Pinger::open().expect("pings need CAP_NET_RAW");
        let host: IpAddr = [127, 0, 0, 1].into();
        {
            // The kernel hasn't said yet that the socket has room.
            let mut sending = std::pin::pin!(pinger.send(host));
            let pending = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
            assert!(pending && locked(&pinger.waiting).len() == 1);
        }
        assert!(locked(&pinger.waiting).is_empty());
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        let message = request(&V4, 0xffff_fffe);
        let sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) * 256 + u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
