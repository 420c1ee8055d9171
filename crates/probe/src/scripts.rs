//! Where scripts run: in a process of their own, which is nobody on this machine, is started before the daemon gives its
//! privileges up and ends with it. The two talk in lines of JSON over a socket.
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    pin::pin,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::Command,
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// Scripts under way at once; others wait, which counts towards their time.
const AT_ONCE: usize = 64;
/// Those of one service at most, so that its slow ones don't keep all others waiting. One of them counts for no other
/// service: however many services have scripts that hang, each goes on with one at a time.
const OF_ONE: usize = AT_ONCE / 4 * 3;
/// How long what a script has written is read after its end, where something that it left behind keeps that open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Bytes of a script's output that are kept; the rest is read and thrown away, so that it isn't held up.
const OUTPUT: usize = 4096;
/// Bytes of one line between the two processes.
const LINE: usize = 64 * 1024;

/// A script and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptCall {
    /// The file that is executed. No shell looks at this or at the arguments.
    pub path: PathBuf,
    /// What it is given.
    pub args: Vec<String>,
    /// The service whose servers are checked: each has its share of what may run at once.
    pub service: String,
    /// Milliseconds after which it is killed, with all that it started.
    pub limit_ms: u64,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum ScriptEnd {
    /// By itself, or by a signal from elsewhere (no code).
    Ended {
        /// Its exit code.
        code: Option<i32>,
        /// The end of what it wrote, standard output and errors together.
        output: String,
    },
    /// It took too long.
    TimedOut,
    /// It never began, or too late to end.
    NotStarted {
        /// Why.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Request {
    id: u64,
    #[serde(flatten)]
    call: ScriptCall,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    id: u64,
    #[serde(flatten)]
    end: ScriptEnd,
}

/// Who waits for which call.
#[derive(Debug, Default)]
struct Waiting {
    calls: HashMap<u64, oneshot::Sender<ScriptEnd>>,
    /// The other process is gone: nobody will answer any more.
    over: bool,
}

impl Waiting {
    /// Whoever waits learns that nobody will answer, and so does whoever comes later.
    fn end(&mut self) {
        self.over = true;
        self.calls.clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's side: has scripts run.
#[derive(Debug, Clone)]
pub struct ScriptRunner {
    requests: mpsc::UnboundedSender<String>,
    waiting: Arc<Mutex<Waiting>>,
    next: Arc<AtomicU64>,
}

impl ScriptRunner {
    /// Talks to a process that [serves scripts](serve_scripts) at the other end. Call it within a tokio runtime.
    pub fn new(stream: UnixStream) -> Self {
        let (requests, mut sending) = mpsc::unbounded_channel::<String>();
        let waiting = Arc::new(Mutex::<Waiting>::default());
        let (read, mut write) = stream.into_split();
        let unsent = waiting.clone();
        tokio::spawn(async move {
            while let Some(line) = sending.recv().await {
                if write.write_all(line.as_bytes()).await.is_err() {
                    break;
                }
            }
            locked(&unsent).end();
        });
        let answers = waiting.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(reply) = serde_json::from_str::<Reply>(&line)
                    && let Some(sender) = locked(&answers).calls.remove(&reply.id)
                {
                    let _ = sender.send(reply.end);
                }
            }
            locked(&answers).end();
        });
        Self { requests, waiting, next: Arc::default() }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// The process that runs scripts is gone, or there are too many arguments.
    pub async fn run(&self, call: ScriptCall) -> Result<ScriptEnd, String> {
        let gone = || "the process that runs scripts has ended: restart keeld".to_owned();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_string(&Request { id, call }).map_err(|error| error.to_string())? + "\n";
        if line.len() > LINE {
            return Err(format!("the script's arguments are longer than {LINE} bytes"));
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = locked(&self.waiting);
            if waiting.over {
                return Err(gone());
            }
            waiting.calls.insert(id, sender);
        }
        let _forget = Forget { waiting: &self.waiting, id };
        self.requests.send(line).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}

/// Takes a question back that nobody waits for any more.
struct Forget<'w> {
    waiting: &'w Mutex<Waiting>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(self.waiting).calls.remove(&self.id);
    }
}

/// The other side: runs scripts until the daemon closes the socket, and ends all that still run then.
///
/// # Errors
/// The socket can't be read any more.
pub async fn serve_scripts(stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let (replies, mut sending) = mpsc::unbounded_channel::<String>();
    let room = Arc::new(Room::new());
    let writer = tokio::spawn(async move {
        while let Some(line) = sending.recv().await {
            if write.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut running = tokio::task::JoinSet::new();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        if (&mut read).take(LINE as u64).read_line(&mut line).await? == 0 {
            break;
        }
        let Ok(Request { id, call }) = serde_json::from_str(&line) else { continue };
        let (room, replies) = (room.clone(), replies.clone());
        running.spawn(async move {
            let end = room.run(&call).await;
            if let Ok(line) = serde_json::to_string(&Reply { id, end }) {
                let _ = replies.send(line + "\n");
            }
        });
        while running.try_join_next().is_some() {}
    }
    // Dropped, they are killed with all that they started.
    running.shutdown().await;
    writer.abort();
    Ok(())
}

/// Who may run when.
struct Room {
    all: Semaphore,
    services: Mutex<HashMap<String, Arc<Turns>>>,
}

/// The turns of one service.
struct Turns {
    /// Its own, whatever others do.
    own: Semaphore,
    /// How many of the common ones it may have.
    common: Semaphore,
}

impl Room {
    fn new() -> Self {
        Self { all: Semaphore::new(AT_ONCE), services: Mutex::default() }
    }

    fn of(&self, service: &str) -> Arc<Turns> {
        let mut services = locked(&self.services);
        // Those that nobody waits for and that no script holds.
        services.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = services.entry(service.to_owned());
        let fresh = || Turns { own: Semaphore::new(1), common: Semaphore::new(OF_ONE - 1) };
        turns.or_insert_with(|| Arc::new(fresh())).clone()
    }

    /// Runs a script when it is its turn, and kills it at the end of its time. If others have used that up, nothing is
    /// known about it.
    async fn run(&self, call: &ScriptCall) -> ScriptEnd {
        let limit = Duration::from_millis(call.limit_ms);
        let crowded = |why: String| ScriptEnd::NotStarted { why };
        let begun = Instant::now();
        let turns = self.of(&call.service);
        let common = async {
            let share = turns.common.acquire().await;
            (share, self.all.acquire().await)
        };
        let turn = async {
            tokio::select! {
                biased;
                own = turns.own.acquire() => (own, None),
                (share, turn) = common => (share, Some(turn)),
            }
        };
        let Ok(_turn) = timeout(limit, turn).await else {
            return crowded(if turns.common.available_permits() == 0 {
                format!("{OF_ONE} of this service's scripts are running already")
            } else {
                format!("{AT_ONCE} scripts are running already, one of this service among them")
            });
        };
        let waited = begun.elapsed();
        match timeout(limit.saturating_sub(waited), run(call)).await {
            Ok(end) => end,
            Err(_) if waited > limit / 4 => {
                crowded("too many scripts are running already, and its turn came too late".to_owned())
            }
            Err(_) => ScriptEnd::TimedOut,
        }
    }
}

/// Runs one script. Dropped before its end, it kills the script with all that it started.
async fn run(call: &ScriptCall) -> ScriptEnd {
    let spawned = Command::new(&call.path)
        .args(&call.args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return ScriptEnd::NotStarted { why: error.to_string() },
    };
    let group = Group(child.id());
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut output = Vec::new();
    let mut errors = Vec::new();
    let status = {
        let mut tails =
            pin!(async { tokio::join!(tail(&mut out, &mut output), tail(&mut err, &mut errors)) });
        let (status, tailed) = tokio::select! {
            status = child.wait() => (status, false),
            _ = &mut tails => (child.wait().await, true),
        };
        // It has ended: what it left running must not keep us waiting for more words.
        drop(group);
        if !tailed {
            let _ = timeout(LAST_WORDS, tails).await;
        }
        status
    };
    output.extend(errors);
    let output = String::from_utf8_lossy(&output).into_owned();
    match status {
        Ok(status) => ScriptEnd::Ended { code: status.code(), output },
        Err(error) => ScriptEnd::NotStarted { why: error.to_string() },
    }
}

/// Reads all, and keeps the end.
async fn tail(from: &mut Option<impl tokio::io::AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut room = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut room).await {
        into.extend_from_slice(&room[..count]);
        let surplus = into.len().saturating_sub(OUTPUT);
        into.drain(..surplus);
    }
}

/// The processes of a script: killed when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
