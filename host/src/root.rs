//! The *root* of a program is kept alive while the host serves: where it ends, another is started,
//! at longer and longer intervals if none of them comes to take a request. Requests go to whichever
//! root there is.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::exit::Exit;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::supervisor::{FIRST_PAUSE, LONGEST_PAUSE, longer};
use crate::table::{NotAdmitted, ProcessError, Waiting};
use crate::tree::{Closing, Root, Tree};

/// How long a request waits for a root that is being started again. Starting one takes
/// microseconds; it waits for longer only where the descendants of the last one have not left room
/// for it.
const ROOT_PATIENCE: Duration = Duration::from_secs(1);

/// When there was no room for a root, it is tried again after this while. Descendants of one that
/// has ended end at their next tick.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// A program that serves.
#[derive(Debug)]
pub(crate) struct RootKeeper {
    tree: Arc<Tree>,
    state: Mutex<State>,
    /// Told when there is another root.
    started: Notify,
    /// The last root ended without having taken a request, and none has been answered since.
    is_failing: AtomicBool,
    _closing: Closing,
}

#[derive(Debug)]
struct State {
    /// One that was started and that nobody watches yet.
    root: Option<Root>,
    /// When the next one is started, where the host backs off.
    next: Option<Instant>,
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unanswered {
    /// The root's mailbox is full.
    Full,
    /// There is no root; another is started in so long.
    NoRoot(Duration),
    /// The host is stopping.
    Closed,
    /// The process that was to answer ended.
    Ended(Pid, Exit),
    /// The time was over. Who was to answer, and whether that one ends for it.
    Late(Option<(Pid, bool)>),
}

impl RootKeeper {
    /// Starts the root of this tree; [`RootKeeper::keep`] keeps it alive.
    ///
    /// # Errors
    /// Where not even one process may be started.
    pub(crate) fn new(tree: Arc<Tree>) -> Result<Self, ProcessError> {
        let root = Some(tree.start_root(Vec::new())?);
        Ok(Self {
            _closing: tree.closing(),
            tree,
            state: Mutex::new(State { root, next: None }),
            started: Notify::new(),
            is_failing: AtomicBool::new(false),
        })
    }

    /// Starts another root whenever one ends, until the host stops. One that had taken a request is
    /// replaced at once: that request may be why it ended. Otherwise the pauses become longer and
    /// longer.
    pub(crate) async fn keep(&self) {
        let mut pause = Duration::ZERO;
        while !self.tree.table().is_closed() {
            let root = self.state().root.take();
            let Some(mut root) = root.or_else(|| self.tree.start_root(Vec::new()).ok()) else {
                tokio::time::sleep(ROOM_PAUSE).await;
                continue;
            };
            let started = Instant::now();
            self.state().next = None;
            self.started.notify_waiters();
            let (pid, exit) = (root.pid.get(), root.ended().await);
            if self.tree.table().is_closed() {
                return;
            }
            let is_sound = root.was_asked() || started.elapsed() > LONGEST_PAUSE;
            self.is_failing.store(!is_sound, Ordering::Relaxed);
            pause = if is_sound {
                Duration::ZERO
            } else {
                longer(pause)
            };
            let pause_ms = pause.as_millis() as u64;
            tracing::error!(pid, %exit, pause_ms, "the root has ended, and is started again");
            if !pause.is_zero() {
                self.state().next = Some(Instant::now() + pause);
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Asks the program, which has until `deadline`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn ask(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Pid, Response), Unanswered> {
        let table = self.tree.table();
        let mut waiting = self.admit(Box::new(request), deadline).await?;
        match tokio::time::timeout_at(deadline.into(), waiting.answer()).await {
            Ok((pid, Ok(response))) => {
                let is_failing = self.is_failing.load(Ordering::Relaxed);
                if is_failing && self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the root answers again");
                }
                Ok((pid, response))
            }
            // Not its own doing: the host has ended them all.
            Ok((_, Err(_))) if table.is_closed() => Err(Unanswered::Closed),
            Ok((pid, Err(exit))) => Err(Unanswered::Ended(pid, exit)),
            Err(_elapsed) => Err(Unanswered::Late(table.expire(waiting.client()))),
        }
    }

    /// Ends the program; some of it may still run for a moment.
    pub(crate) fn close(&self) {
        self.tree.table().close();
    }

    /// Ends the program, and waits for that.
    pub(crate) async fn end(&self) {
        self.tree.end_all().await;
    }

    /// Puts a request into the root's mailbox. While a root is being started, it waits for that.
    async fn admit(
        &self,
        mut request: Box<Request>,
        deadline: Instant,
    ) -> Result<Waiting<'_>, Unanswered> {
        let table = self.tree.table();
        let patience = deadline.min(Instant::now() + ROOT_PATIENCE);
        loop {
            // Asked for before the look at the table: a root that is started in between is not
            // missed.
            let mut started = pin!(self.started.notified());
            started.as_mut().enable();
            request = match table.admit(request) {
                Ok(waiting) => return Ok(waiting),
                Err(NotAdmitted::Full) => return Err(Unanswered::Full),
                Err(NotAdmitted::NoRoot(request)) => request,
            };
            if table.is_closed() {
                return Err(Unanswered::Closed);
            }
            let next = self.state().next;
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            if let Some(pause) = pause {
                return Err(Unanswered::NoRoot(pause));
            }
            if tokio::time::timeout_at(patience.into(), started)
                .await
                .is_err()
            {
                return Err(Unanswered::NoRoot(FIRST_PAUSE));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
