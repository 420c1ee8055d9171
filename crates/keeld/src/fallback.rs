//! What answers when no server can: a page of our own on the loopback, and for layer 4 the way there. The packet path
//! leaves such a service's new connections to the kernel, a rule of ours turns them to a port of the virtual address that
//! is open only then, and what comes in there is handed to the fallback.
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use keel_abi::service_flags;
use keel_dataplane::{Desired, DesiredService};
use keel_model::Service;
use keel_net::nft::Redirect;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
    time::timeout,
};
use tracing::warn;

use crate::node::Node;

/// Connections at once that are handed over, and as many to the page: one more is closed. Each takes up to three descriptors,
/// and whoever floods a dead service must not take those that checks need.
pub(crate) const MOST: usize = 512;
/// A client that isn't there any more is found out by asking after this time, so often, and so many times. It may belong to
/// a server again.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);
/// How long the page may take as a whole.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the page waits for a request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a client is listened to when the fallback has ended.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of a request at most.
const HEAD: usize = 16 * 1024;
const BACKLOG: i32 = 1024;

const PAGE: &str = include_str!("fallback.html");

/// The ways to fallbacks.
#[derive(Debug)]
pub(crate) struct Fallback {
    open: Vec<Open>,
    /// Some services need a way that isn't there.
    pub(crate) lacking: bool,
    /// For all ways together, also when they are closed and opened again.
    room: Arc<Semaphore>,
}

/// A way that is open.
#[derive(Debug)]
struct Open {
    way: Way,
    port: u16,
    task: AbortHandle,
}

impl Open {
    fn redirect(&self) -> Redirect {
        Redirect { address: self.way.vip, ports: self.way.ports.clone(), to: self.port }
    }
}

impl Drop for Open {
    /// Nobody new comes in. Those who have go on.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fallback {
    /// Serves the built-in page on the loopback, in both families, as long as the process runs.
    pub(crate) fn start() -> Self {
        let most = at_once();
        let room = Arc::new(Semaphore::new(most));
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let at = SocketAddr::new(address, Service::FALLBACK_PORT);
            match listen(at) {
                Ok(listener) => drop(tokio::spawn(serve(listener, room.clone(), page))),
                // Something of the administrator's may answer there instead.
                Err(error) => warn!("the built-in fallback page is not at {at}: {error}"),
            }
        }
        Self { open: Vec::new(), lacking: false, room: Arc::new(Semaphore::new(most)) }
    }

    /// The rules that lead to the ways that are open.
    pub(crate) fn redirects(&self) -> Vec<Redirect> {
        self.open.iter().map(Open::redirect).collect()
    }

    fn open(&mut self, way: &Way) -> io::Result<()> {
        if self.open.iter().any(|open| open.way == *way) {
            return Ok(());
        }
        let listener = listen(SocketAddr::new(way.vip, 0))?;
        let port = listener.local_addr()?.port();
        let target = way.target;
        let hand_over = move |stream| hand_over(stream, target);
        let task = tokio::spawn(serve(listener, self.room.clone(), hand_over)).abort_handle();
        self.open.push(Open { way: way.clone(), port, task });
        Ok(())
    }
}

/// Connections at once, for as many as there are descriptors for.
fn at_once() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(limit / 8).unwrap_or(MOST).min(MOST)
}

/// Listens on an address that this node may not hold at the moment.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if at.is_ipv4() {
        socket.set_freebind_v4(true)?
    } else {
        socket.set_freebind_v6(true)?
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn serve<F: Future<Output = io::Result<()>> + Send + 'static>(
    listener: TcpListener,
    room: Arc<Semaphore>,
    answer: impl Fn(TcpStream) -> F,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(turn) = room.clone().try_acquire_owned() else { continue };
        let answering = answer(stream);
        tokio::spawn(async move {
            let _ = answering.await;
            drop(turn);
        });
    }
}

/// How long it takes is the fallback's to say: when it has ended, so has the connection.
async fn hand_over(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    SockRef::from(&client).set_tcp_keepalive(&KEEPALIVE)?;
    let mut fallback = TcpStream::connect(to).await?;
    let ((mut from_client, mut to_client), (mut from_fallback, mut to_fallback)) =
        (client.split(), fallback.split());
    let mut there = pin!(async {
        copy(&mut from_client, &mut to_fallback).await?;
        to_fallback.shutdown().await
    });
    let mut back = pin!(async {
        copy(&mut from_fallback, &mut to_client).await?;
        to_client.shutdown().await
    });
    tokio::select! {
        said = &mut there => {
            said?;
            back.await
        }
        answered = &mut back => {
            answered?;
            // What the client still sends is read: a reset because of it could overtake the answer.
            timeout(LINGER, there).await.unwrap_or(Ok(()))
        }
    }
}

/// Says that the service is unavailable: to HTTP as a page with status 503, to anything else by closing.
async fn page(stream: TcpStream) -> io::Result<()> {
    timeout(PATIENCE, say_unavailable(stream)).await.unwrap_or(Ok(()))
}

async fn say_unavailable(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let read = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(false);
            }
            if !looks_like_http(&head) {
                return Ok(false);
            }
        }
        Ok::<_, io::Error>(true)
    };
    if !timeout(REQUEST, read).await.unwrap_or(Ok(false))? {
        return Ok(());
    }
    let body = if head.starts_with(b"HEAD ") { "" } else { PAGE };
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Retry-After: 10\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        PAGE.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // The rest of the request is read: a reset because of it could overtake the page.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A request begins with a method in capitals.
fn looks_like_http(head: &[u8]) -> bool {
    let word = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    word.len() <= 16 && word.iter().all(u8::is_ascii_uppercase)
}

/// A way from a service's address to its fallback on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    service: String,
    vip: IpAddr,
    ports: Vec<(u16, u16)>,
    target: SocketAddr,
}

impl Node {
    /// The ways that services of `desired` need.
    pub(crate) fn ways_to_fallbacks(&self, desired: &Desired) -> Vec<Way> {
        let answered_here = |service: &&DesiredService| service.flags & service_flags::ANSWERED_HERE != 0;
        (desired.services.iter().filter(answered_here))
            .filter_map(|found| self.cluster.service(&found.name))
            .filter(|service| service.as_layer4().is_some_and(|layer4| layer4.protocol.has_tcp()))
            .filter_map(|service| {
                let ports = service.ports.ranges().collect();
                let name = service.name.to_string();
                Some(Way { service: name, vip: service.address, ports, target: service.fallback? })
            })
            .collect()
    }

    /// Opens these besides those that are open. Returns the services whose clients are led there now.
    pub(crate) async fn open_fallbacks(&mut self, ways: &[Way]) -> BTreeSet<String> {
        let mut refused = BTreeSet::new();
        for way in ways {
            if let Err(error) = self.fallback.open(way) {
                let subject = format!("fallback of {}", way.service);
                self.fail(&subject, &error);
                refused.insert(subject);
            }
        }
        self.forget_failures("fallback of ", &refused);
        self.lead_to_fallbacks().await;
        let in_force = self.nftables.as_ref().map_or(&[][..], |rules| &rules.redirects);
        let led = |open: &&Open| in_force.contains(&open.redirect());
        let open: BTreeSet<String> =
            self.fallback.open.iter().filter(led).map(|open| open.way.service.clone()).collect();
        self.fallback.lacking = ways.iter().any(|way| !open.contains(&way.service));
        open
    }

    /// Closes all but these, when no rule leads there any more.
    pub(crate) async fn close_fallbacks(&mut self, ways: &[Way]) {
        let open = std::mem::take(&mut self.fallback.open);
        let (stay, closing): (Vec<Open>, _) = open.into_iter().partition(|open| ways.contains(&open.way));
        self.fallback.open = stay;
        self.lead_to_fallbacks().await;
        drop(closing);
    }

    async fn lead_to_fallbacks(&mut self) {
        let in_force = self.nftables.as_ref().map_or(&[][..], |rules| &rules.redirects);
        if *in_force != self.fallback.redirects() {
            self.apply_nftables().await;
        }
    }

    /// Somebody may have flushed the rules, and then clients would meet this node's own programs.
    pub(crate) async fn watch_fallbacks(&mut self) {
        if !self.fallback.open.is_empty() {
            self.apply_nftables().await;
        }
    }
}
