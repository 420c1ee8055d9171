//! Load from the client that counts every failure: new connections one after the other, connections that are kept and
//! asked again and again, and datagrams.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::asking::any_like;
use crate::rig::{CLIENT, runtime};
use crate::{Answers, Rig, eventually};

/// An answer that takes longer is a failure. A lost SYN is sent again after one and after three seconds.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two questions of the same asker, so that the lab's machine has time for the rest.
const PAUSE: Duration = Duration::from_millis(2);

/// Who asks what.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Where new connections go, each with so many askers.
    pub fresh: Vec<(SocketAddr, usize)>,
    /// Where connections go that are kept to the end.
    pub kept: Vec<(SocketAddr, usize)>,
    /// Where datagrams go.
    pub datagrams: Vec<(SocketAddr, usize)>,
    /// The client's addresses to be used in turn; its main one if there are none.
    pub sources: Vec<IpAddr>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Questions answered.
    pub answered: u64,
    /// Who answered new connections, by where they went.
    pub servers: BTreeMap<SocketAddr, Answers>,
    /// Each failure in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Fails unless everything was answered.
    #[track_caller]
    pub fn unharmed(&self) -> &Self {
        assert!(
            self.failures.is_empty(),
            "{} of {} failed, the first: {:#?}",
            self.failures.len(),
            self.answered + self.failures.len() as u64,
            &self.failures[..self.failures.len().min(8)]
        );
        self
    }
}

/// Load that is running.
#[derive(Debug, Default)]
pub struct Load {
    stop: AtomicBool,
    answered: AtomicU64,
    tally: Mutex<Tally>,
    began: Mutex<Option<Instant>>,
    /// How often the tally was taken: an answer counts for its server only if it was asked for since then.
    taken: AtomicU64,
}

impl Load {
    /// Waits until so many more questions are answered (or failed).
    pub fn more(&self, count: u64) {
        let goal = self.done() + count;
        eventually("the load goes on", || self.done() >= goal);
    }

    fn done(&self) -> u64 {
        self.answered.load(Ordering::Relaxed) + self.tally().failures.len() as u64
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap()
    }

    /// What came of it since it was last taken. Who answered counts only for connections that began since then.
    pub fn take(&self) -> Tally {
        self.taken.fetch_add(1, Ordering::SeqCst);
        let answered = self.answered.swap(0, Ordering::Relaxed);
        Tally { answered, ..std::mem::take(&mut *self.tally()) }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// `since` is the number of takings when a new connection began; none for other questions.
    fn count(&self, to: SocketAddr, since: Option<u64>, answer: io::Result<String>) {
        match answer {
            Ok(server) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                if since == Some(self.taken.load(Ordering::SeqCst)) {
                    *self.tally().servers.entry(to).or_default().entry(server).or_default() += 1;
                }
            }
            Err(error) => {
                let kind = if since.is_some() { "new connection" } else { "kept connection or datagram" };
                let at = self.began.lock().unwrap().map_or(0, |began| began.elapsed().as_millis());
                self.tally().failures.push(format!("{to} ({kind}) at {at} ms: {error}"));
            }
        }
    }
}

/// Stops the load also when the test panics.
struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Rig {
    /// Does something while the client asks. Kept connections are all made and asked once before it begins.
    pub fn under_load<T>(&self, plan: &Plan, work: impl FnOnce(&Load) -> T) -> (Tally, T) {
        let load = Load::default();
        *load.began.lock().unwrap() = Some(Instant::now());
        let result = std::thread::scope(|scope| {
            let running = scope.spawn(|| self.inside(CLIENT, || runtime().block_on(ask_all(plan, &load))));
            let stop = Stop(&load);
            load.more(askers(plan) * 3);
            let result = work(&load);
            drop(stop);
            running.join().unwrap();
            result
        });
        (load.take(), result)
    }
}

fn askers(plan: &Plan) -> u64 {
    [&plan.fresh, &plan.kept, &plan.datagrams].into_iter().flatten().map(|(_, count)| *count as u64).sum()
}

async fn ask_all(plan: &Plan, load: &Load) {
    let mut sources = plan.sources.iter().copied().cycle();
    let mut source = |to: &SocketAddr| {
        let found = sources.by_ref().take(plan.sources.len()).find(|from| from.is_ipv4() == to.is_ipv4());
        found.unwrap_or_else(|| any_like(to.ip()))
    };
    let mut all: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for (to, count) in &plan.fresh {
        (0..*count).for_each(|_| all.push(Box::pin(fresh(source(to), *to, load))));
    }
    for (to, count) in &plan.kept {
        (0..*count).for_each(|_| all.push(Box::pin(kept(source(to), *to, load))));
    }
    for (to, count) in &plan.datagrams {
        (0..*count).for_each(|_| all.push(Box::pin(datagrams(source(to), *to, load))));
    }
    join_all(all).await;
}

async fn fresh(from: IpAddr, to: SocketAddr, load: &Load) {
    while !load.stopped() {
        let answer = async {
            let mut stream = connect(from, to).await?;
            ask(&mut stream, "close").await
        };
        let since = load.taken.load(Ordering::SeqCst);
        load.count(to, Some(since), within_limit(answer).await);
        sleep(PAUSE).await;
    }
}

/// One connection to the end, and always the same server behind it.
async fn kept(from: IpAddr, to: SocketAddr, load: &Load) {
    let mut stream = match within_limit(connect(from, to)).await {
        Ok(stream) => stream,
        Err(error) => return load.count(to, None, Err(error)),
    };
    let mut first = None;
    while !load.stopped() {
        let answer = within_limit(ask(&mut stream, "keep-alive")).await;
        let answer = answer.and_then(|server| match first.get_or_insert_with(|| server.clone()) {
            known if *known == server => Ok(server),
            known => Err(io::Error::other(format!("it was {known}'s connection and {server} answered"))),
        });
        let over = answer.is_err();
        load.count(to, None, answer);
        if over {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// When a datagram is taken for lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);

async fn datagrams(from: IpAddr, to: SocketAddr, load: &Load) {
    let mut buffer = [0; 2048];
    let socket = async {
        let socket = UdpSocket::bind((from, 0)).await?;
        socket.connect(to).await.map(|()| socket)
    };
    let socket = match socket.await {
        Ok(socket) => socket,
        Err(error) => return load.count(to, None, Err(error)),
    };
    while !load.stopped() {
        // As every client of a datagram protocol: a link's ring that overflows while two cores are busy loses a packet
        // that nobody sends again.
        let answer = async {
            loop {
                socket.send(b"who").await?;
                if let Ok(length) = timeout(ASK_AGAIN, socket.recv(&mut buffer)).await {
                    return Ok(String::from_utf8_lossy(&buffer[..length?]).trim().to_owned());
                }
            }
        };
        load.count(to, None, within_limit(answer).await);
        sleep(PAUSE).await;
    }
}

async fn within_limit<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::Error::other(format!("no answer in {LIMIT:?}"))))
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// One question on a connection: who the server says it is.
async fn ask(stream: &mut TcpStream, connection: &str) -> io::Result<String> {
    let question = format!("GET / HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("the connection ended before the answer"));
        }
        if let Some(body) = body_of(&answer) {
            return Ok(body);
        }
    }
}

/// The body of a complete answer.
fn body_of(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    (body.len() >= length.parse().ok()?).then(|| body.trim().to_owned())
}
