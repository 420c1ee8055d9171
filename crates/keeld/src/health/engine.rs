//! Asks the questions that are due, on a thread of its own: what holds the node up delays no check, and the other way
//! round.
use std::{
    convert::Infallible,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use keel_probe::{Answer, Asker, Trace, ask};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::{Notify, oneshot},
    task::{LocalSet, spawn_local},
};
use tracing::{info, warn};

use super::board::{Board, Job};
use crate::{clock, fallback, privileges};

/// Questions under way at once, if descriptors allow.
const AT_ONCE: usize = 16_384;
/// Descriptors for everything else.
const OTHERS: u64 = 512 + 3 * fallback::MOST as u64;
/// What is due is asked for no more often than this, unless something becomes due earlier than it was: so ten thousand
/// checks wake the thread some hundred times a second and not some thousand times, and each time it finds several answers
/// too.
const ROUND: Duration = Duration::from_millis(5);
/// The loop sleeps no longer than this.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the node and the engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    board: Mutex<Board>,
    /// There is something else to ask.
    wake: Notify,
    /// A verdict or a share has changed.
    pub(crate) changed: Notify,
    /// The engine runs.
    running: AtomicBool,
}

impl Shared {
    pub(crate) fn new(board: Board) -> Arc<Self> {
        Arc::new(Self {
            board: Mutex::new(board),
            wake: Notify::new(),
            changed: Notify::new(),
            running: AtomicBool::new(false),
        })
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board was changed: perhaps something is due earlier.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
}

/// Numbers without a pattern, good enough to spread checks (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        // Without the kernel's randomness checks are spread all the same, only always alike.
        let _ = getrandom::fill(&mut seed);
        Self(u64::from_ne_bytes(seed) | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

/// Starts the thread. It runs as long as the process: what is returned comes to its end if it doesn't.
pub(crate) fn start(
    shared: Arc<Shared>,
    asker: impl FnOnce() -> Asker + Send + 'static,
) -> std::io::Result<oneshot::Receiver<Infallible>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (alive, watched) = oneshot::channel();
    thread::Builder::new().name("health".to_owned()).spawn(move || {
        let _alive = alive;
        privileges::shed();
        let room = descriptors();
        info!(at_once = room, "checking servers");
        LocalSet::new().block_on(&runtime, async move {
            shared.running.store(true, Ordering::Relaxed);
            run(shared, Rc::new(asker()), room).await
        });
    })?;
    Ok(watched)
}

/// As many questions at once as there are descriptors for, after asking for more of them.
fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let enough = AT_ONCE as u64 + OTHERS;
    if limit.current.is_some_and(|current| current < enough) {
        limit.current = Some(limit.maximum.map_or(enough, |most| most.min(enough)));
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let have = getrlimit(Resource::Nofile).current.unwrap_or(enough);
    usize::try_from(have.saturating_sub(OTHERS)).unwrap_or(AT_ONCE).clamp(64, AT_ONCE)
}

async fn run(shared: Arc<Shared>, asker: Rc<Asker>, room: usize) -> Infallible {
    let mut random = Random::new();
    let under_way = Rc::new(());
    let mut told_full = false;
    loop {
        let now = Instant::now();
        let free = room.saturating_sub(Rc::strong_count(&under_way) - 1);
        let (jobs, next) = {
            let mut board = shared.board();
            board.take_steps(now);
            let jobs = board.take_due(now, free, &mut || random.next() as i8);
            (jobs, board.next_due())
        };
        if free == 0 && !std::mem::replace(&mut told_full, true) {
            warn!("{room} checks are under way at once: others wait (raise the limit of open files)");
        }
        told_full &= free <= room / 2;
        for job in jobs {
            // Boxed: a task of its size would be moved.
            let one = Box::pin(carry_out(shared.clone(), asker.clone(), job));
            let mark = under_way.clone();
            spawn_local(async move {
                one.await;
                drop(mark);
            });
        }
        shared.tell();
        // A moment's rest when everything is under way: something due wouldn't be taken anyway.
        let rest = if free == 0 { Duration::from_millis(50) } else { ROUND };
        let until = next.unwrap_or(now + LONGEST).clamp(now + rest, now + LONGEST);
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = shared.wake.notified() => {}
        }
    }
}

async fn carry_out(shared: Arc<Shared>, asker: Rc<Asker>, job: Job) {
    let mut asked = Asked { shared, id: job.id, answered: false };
    let answer = ask(&job.question, &job.place, &asker, &mut Trace::quiet()).await;
    asked.answered = true;
    asked.shared.take(job.id, answer);
}

/// A question that is under way. If asking it panics, that is nobody's answer, and it is asked again the next time.
struct Asked {
    shared: Arc<Shared>,
    id: u64,
    answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            let why = "cannot check: this node's own code broke off (see keeld's log)";
            self.shared.take(self.id, Answer::unable(why));
        }
    }
}

impl Shared {
    fn take(&self, id: u64, answer: Answer) {
        let now = Instant::now();
        let mut board = self.board();
        let before = board.next_due();
        board.answered(id, answer, now, clock::now());
        let earlier = board.next_due() < before || before.is_none();
        drop(board);
        if earlier {
            self.wake();
        }
        self.tell();
    }

    fn tell(&self) {
        if self.board().has_changed() {
            self.changed.notify_one();
        }
    }
}
