//! Keeps the *root process* of a program alive while the host serves. When it ends, the keeper
//! starts another. The pauses grow if root processes end without having taken a request. Each
//! request goes to the current root process.

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
use crate::tree::{RootProcess, Tree};

/// The longest time that a request waits for a new root process. A start takes microseconds. It
/// takes longer only while descendants of the last root process use up a limit.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause before the next try if a limit leaves no room for a root process. Descendants of an
/// ended root process end at their next tick.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// The interval of looks at a new root process, which tells nobody that it asks for a message.
const GLANCE: Duration = Duration::from_millis(5);

/// Serves requests with a program. Dropping this ends the processes of the program.
#[derive(Debug)]
pub(crate) struct RootSupervisor {
    tree: Arc<Tree>,
    /// The arguments of each root process.
    args: Vec<String>,
    restart: Mutex<Restart>,
    /// Notified when a root process is started.
    started: Notify,
    /// Whether the last root process ended without having taken a request, and none has answered
    /// since.
    is_failing: AtomicBool,
    /// Notified when another program or a pool takes the place of this program.
    retired: Notify,
}

#[derive(Debug)]
struct Restart {
    /// A started root process that [`RootSupervisor::maintain`] has not taken over yet.
    root: Option<RootProcess>,
    /// The last root process that was started.
    pid: Pid,
    /// Whether no root process is started any more.
    is_retired: bool,
    /// The time of the next start, while the keeper backs off.
    next: Option<Instant>,
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unanswered {
    /// The root process's mailbox is full.
    Full,
    /// There is no root process. The next start comes after this time.
    NoRoot(Duration),
    Closed,
    /// The process that held the request ended.
    Ended(Pid, Exit),
    /// The deadline passed. The process that held the request, and whether it ends for this.
    Late(Option<(Pid, bool)>),
}

/// Why a program can't take the place of another.
#[derive(Debug)]
pub(crate) enum NotSucceeding {
    /// The limits leave no room for another root process.
    NotStarted(ProcessError),
    /// The root process ended before it asked for a message.
    Ended(Exit),
}

impl RootSupervisor {
    /// Starts the root process of this tree, which gets requests at once.
    /// [`RootSupervisor::maintain`] keeps one alive.
    ///
    /// # Errors
    /// If the limits don't allow even one process.
    pub(crate) fn new(tree: Arc<Tree>, args: Vec<String>) -> Result<Self, ProcessError> {
        let root = tree.start_root(args.clone())?;
        Ok(Self::of(tree, args, root))
    }

    /// Starts the root process of this tree, which gets requests from [`RootSupervisor::begin`] on,
    /// and waits until it asks for a message. A root process that has not done so after
    /// `time_limit` has much to do, and counts as sound.
    ///
    /// # Errors
    /// If the limits don't allow another process, or if the root process ends.
    pub(crate) async fn succeeding(
        tree: Arc<Tree>,
        args: Vec<String>,
        time_limit: Duration,
    ) -> Result<Self, NotSucceeding> {
        let root = tree.start_successor(args.clone());
        let root = root.map_err(NotSucceeding::NotStarted)?;
        let supervisor = Self::of(tree, args, root);
        let Some(mut root) = supervisor.restart().root.take() else {
            return Ok(supervisor); // can't happen: it was put there just now
        };
        let deadline = Instant::now() + time_limit;
        while !root.has_asked() && Instant::now() < deadline {
            if let Ok(exit) = tokio::time::timeout(GLANCE, root.ended()).await {
                return Err(NotSucceeding::Ended(exit));
            }
        }
        supervisor.restart().root = Some(root);
        Ok(supervisor)
    }

    fn of(tree: Arc<Tree>, args: Vec<String>, root: RootProcess) -> Self {
        Self {
            tree,
            args,
            restart: Mutex::new(Restart {
                pid: root.pid,
                root: Some(root),
                is_retired: false,
                next: None,
            }),
            started: Notify::new(),
            is_failing: AtomicBool::new(false),
            retired: Notify::new(),
        }
    }

    /// Has the root process get the requests from now on.
    pub(crate) fn begin(&self) {
        self.tree.table().promote(self.restart().pid);
    }

    /// Starts no root process any more. The one that lives serves until this is dropped.
    pub(crate) fn retire(&self) {
        self.restart().is_retired = true;
        self.retired.notify_one();
    }

    /// Has the root process get the requests again, after [`RootSupervisor::retire`].
    /// [`RootSupervisor::maintain`] keeps one alive then.
    pub(crate) fn revive(&self) {
        self.restart().is_retired = false;
        self.begin();
    }

    /// Ends the processes. [`RootSupervisor::revive`] starts others.
    pub(crate) fn rest(&self) {
        let pid = {
            let mut restart = self.restart();
            restart.root = None;
            restart.pid
        };
        self.tree.table().signal(pid, Exit::Stopped);
    }

    /// Waits until no client waits for a response.
    pub(crate) async fn finished(&self) {
        while self.tree.table().has_clients() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Whether root processes end before they have taken a request.
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Keeps a root process alive until the host stops, or another takes the place of this program.
    pub(crate) async fn maintain(&self) {
        loop {
            tokio::select! {
                () = self.keep() => return,
                // It may have been revived since.
                () = self.retired.notified() => if self.restart().is_retired {
                    return;
                },
            }
        }
    }

    /// A started root process, or one that is started now.
    fn next_root(&self) -> Option<RootProcess> {
        // Under the lock, so that a retired program starts none.
        let mut restart = self.restart();
        if restart.is_retired {
            return None;
        }
        let root = restart.root.take();
        let root = root.or_else(|| self.tree.start_root(self.args.clone()).ok())?;
        restart.pid = root.pid;
        restart.next = None;
        Some(root)
    }

    /// Starts another root process whenever one ends, until the host stops. One that had taken a
    /// request is replaced at once, because the request may have ended it. Otherwise the pauses
    /// grow.
    async fn keep(&self) {
        let mut pause = Duration::ZERO;
        while !self.tree.table().is_closed() {
            let Some(root) = self.next_root() else {
                tokio::time::sleep(ROOM_PAUSE).await;
                continue;
            };
            let started = Instant::now();
            self.started.notify_waiters();
            let mut kept = Kept {
                restart: &self.restart,
                root: Some(root),
            };
            let Some(root) = &mut kept.root else {
                return; // can't happen: it was put there just now
            };
            let (pid, exit) = (root.pid.get(), root.ended().await);
            if self.tree.table().is_closed() {
                return;
            }
            let has_taken_request = root.has_taken_request();
            kept.root = None;
            let is_sound = has_taken_request || started.elapsed() > LONGEST_PAUSE;
            self.is_failing.store(!is_sound, Ordering::Relaxed);
            pause = if is_sound {
                Duration::ZERO
            } else {
                longer(pause)
            };
            let pause_ms = pause.as_millis() as u64;
            let hint = (!is_sound && exit == Exit::Normal)
                .then_some("it took no request; a program that serves none is for `run`");
            tracing::error!(pid, %exit, pause_ms, hint, "the root has ended, and is started again");
            if !pause.is_zero() {
                self.restart().next = Some(Instant::now() + pause);
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Sends the program a request and waits for the response until `deadline`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn ask(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Pid, Response), Unanswered> {
        let waiting = self.admit(Box::new(request), deadline).await?;
        self.answered(waiting, deadline).await
    }

    /// As [`RootSupervisor::ask`], of a root process that may not get the requests yet.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn probe(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Pid, Response), Unanswered> {
        let pid = self.restart().pid;
        let waiting = self.tree.table().admit_to(pid, Box::new(request));
        let waiting = waiting.map_err(|error| match error {
            NotAdmitted::Full => Unanswered::Full,
            NotAdmitted::NoRoot(_) => Unanswered::NoRoot(FIRST_PAUSE),
        })?;
        self.answered(waiting, deadline).await
    }

    async fn answered(
        &self,
        mut waiting: Waiting<'_>,
        deadline: Instant,
    ) -> Result<(Pid, Response), Unanswered> {
        let table = self.tree.table();
        match tokio::time::timeout_at(deadline.into(), waiting.answer()).await {
            Ok((pid, Ok(response))) => {
                let is_failing = self.is_failing.load(Ordering::Relaxed);
                if is_failing && self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the root answers again");
                }
                Ok((pid, response))
            }
            // Not the process's own failure: the host has ended all processes.
            Ok((_, Err(_))) if table.is_closed() => Err(Unanswered::Closed),
            Ok((pid, Err(exit))) => Err(Unanswered::Ended(pid, exit)),
            Err(_elapsed) => Err(Unanswered::Late(table.expire(waiting.client()))),
        }
    }

    /// Tells all processes to end. Some may run for another moment.
    pub(crate) fn close(&self) {
        self.tree.table().close();
    }

    /// Ends all processes, and waits for their end.
    pub(crate) async fn end(&self) {
        self.tree.end_all().await;
    }

    /// Puts a request into the root process's mailbox. If a root process is about to start, waits
    /// for it.
    async fn admit(
        &self,
        mut request: Box<Request>,
        deadline: Instant,
    ) -> Result<Waiting<'_>, Unanswered> {
        let table = self.tree.table();
        let time_limit = deadline.min(Instant::now() + START_TIMEOUT);
        loop {
            // Registered before the look into the table, so that a start in between isn't missed.
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
            let next = self.restart().next;
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            if let Some(pause) = pause {
                return Err(Unanswered::NoRoot(pause));
            }
            if tokio::time::timeout_at(time_limit.into(), started)
                .await
                .is_err()
            {
                return Err(Unanswered::NoRoot(FIRST_PAUSE));
            }
        }
    }

    fn restart(&self) -> MutexGuard<'_, Restart> {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The root process that is kept alive. If its keeper stops, another may go on with it.
struct Kept<'a> {
    restart: &'a Mutex<Restart>,
    root: Option<RootProcess>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(root) = self.root.take() {
            let mut restart = self.restart.lock().unwrap_or_else(PoisonError::into_inner);
            restart.root = Some(root);
        }
    }
}

impl Drop for RootSupervisor {
    fn drop(&mut self) {
        let pid = self.restart().pid;
        self.tree.table().signal(pid, Exit::Stopped);
    }
}
