//! Where scripts run: in a process of their own, which is nobody on this machine, is started before the daemon gives its
//! privileges up and ends with it. The two talk in lines of JSON over a socket.
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// Scripts under way at once; others wait, which counts towards their time.
const AT_ONCE: usize = 64;
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
    /// It never began.
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

type Waiting = Mutex<HashMap<u64, oneshot::Sender<ScriptEnd>>>;

fn locked(waiting: &Waiting) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<ScriptEnd>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's side: has scripts run.
#[derive(Debug, Clone)]
pub struct ScriptRunner {
    requests: mpsc::UnboundedSender<String>,
    waiting: Arc<Waiting>,
    next: Arc<AtomicU64>,
}

impl ScriptRunner {
    /// Talks to a process that [serves scripts](serve_scripts) at the other end. Call it within a tokio runtime.
    pub fn new(stream: UnixStream) -> Self {
        let (requests, mut sending) = mpsc::unbounded_channel::<String>();
        let waiting = Arc::new(Waiting::default());
        let (read, mut write) = stream.into_split();
        tokio::spawn(async move {
            while let Some(line) = sending.recv().await {
                if write.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let answers = waiting.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(reply) = serde_json::from_str::<Reply>(&line)
                    && let Some(sender) = locked(&answers).remove(&reply.id)
                {
                    let _ = sender.send(reply.end);
                }
            }
            // Whoever waits learns that nobody will answer.
            locked(&answers).clear();
        });
        Self { requests, waiting, next: Arc::default() }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// The process that runs scripts is gone.
    pub async fn run(&self, call: ScriptCall) -> Result<ScriptEnd, String> {
        let gone = || "the process that runs scripts has ended: restart keeld".to_owned();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_string(&Request { id, call }).map_err(|error| error.to_string())?;
        let (sender, receiver) = oneshot::channel();
        locked(&self.waiting).insert(id, sender);
        let _forget = Forget { waiting: &self.waiting, id };
        self.requests.send(line + "\n").map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }
}

/// Takes a question back that nobody waits for any more.
struct Forget<'w> {
    waiting: &'w Waiting,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(self.waiting).remove(&self.id);
    }
}

/// The other side: runs scripts until the daemon closes the socket, and ends all that still run then.
///
/// # Errors
/// The socket can't be read any more.
pub async fn serve_scripts(stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let (replies, mut sending) = mpsc::unbounded_channel::<String>();
    let room = Arc::new(Semaphore::new(AT_ONCE));
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
            let limit = Duration::from_millis(call.limit_ms);
            let in_turn = async {
                let _turn = room.acquire().await;
                run(&call).await
            };
            let end = timeout(limit, in_turn).await.unwrap_or(ScriptEnd::TimedOut);
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
    let (status, ..) =
        tokio::join!(wait(&mut child), tail(&mut out, &mut output), tail(&mut err, &mut errors));
    drop(group);
    output.extend(errors);
    let output = String::from_utf8_lossy(&output).into_owned();
    match status {
        Ok(status) => ScriptEnd::Ended { code: status.code(), output },
        Err(error) => ScriptEnd::NotStarted { why: error.to_string() },
    }
}

async fn wait(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    child.wait().await
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
