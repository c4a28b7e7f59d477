//! The *root* of a program is kept alive while the host serves: where it ends, another is started, at longer
//! and longer intervals if it does nothing but end. Requests go to whichever root there is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mailbox::MailError;
use crate::message::{ExitStatus, Request, Response};
use crate::pid::Pid;
use crate::supervisor::{FIRST_PAUSE, LONGEST_PAUSE, longer};
use crate::table::ProcessError;
use crate::tree::{Closing, Root, Tree};

/// A program that serves.
#[derive(Debug)]
pub struct RootKeeper {
    tree: Arc<Tree>,
    state: Mutex<State>,
    /// A request was answered since the last root began: nothing is so broken that it needs long pauses.
    has_answered: AtomicBool,
    _closing: Closing,
}

#[derive(Debug)]
struct State {
    /// One that was started and that nobody watches yet.
    root: Option<Root>,
    /// When the next one is started, while there is none.
    next: Option<Instant>,
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug)]
pub enum Unanswered {
    /// The root's mailbox is full.
    Full,
    /// There is no root; another is started in so long.
    NoRoot(Duration),
    /// The host is stopping.
    Closed,
    /// The process that was to answer ended.
    Ended(Pid, ExitStatus),
    /// The time was over. Who was to answer, and whether that one ends for it.
    Late(Option<(Pid, bool)>),
}

impl RootKeeper {
    /// Starts the root of this tree; [`RootKeeper::keep`] keeps it alive.
    ///
    /// # Errors
    /// Where not even one process may be started.
    pub fn new(tree: Arc<Tree>) -> Result<Self, ProcessError> {
        let root = Some(tree.plant(Vec::new())?);
        Ok(Self {
            _closing: tree.closing(),
            tree,
            state: Mutex::new(State { root, next: None }),
            has_answered: AtomicBool::new(false),
        })
    }

    /// Starts another root whenever one ends, until the host stops.
    pub async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let root = self.state().root.take();
            if let Some(root) = root.or_else(|| self.tree.plant(Vec::new()).ok()) {
                self.state().next = None;
                let (pid, exit) = (root.pid.get(), root.ended().await);
                if self.tree.table().is_closed() {
                    return;
                }
                if self.has_answered.swap(false, Ordering::Relaxed)
                    || started.elapsed() > LONGEST_PAUSE
                {
                    pause = Duration::ZERO;
                }
                pause = longer(pause);
                let pause_ms = pause.as_millis() as u64;
                tracing::error!(pid, %exit, pause_ms, "the root has ended, and is started again");
            }
            self.state().next = Some(Instant::now() + pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks the program, which has until `deadline`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<(Pid, Response), Unanswered> {
        let table = self.tree.table();
        let mut waiting = table.admit(request).map_err(|error| match error {
            MailError::Full | MailError::TooLarge => Unanswered::Full,
            MailError::NoProcess | MailError::NotYours | MailError::TimedOut => {
                Unanswered::NoRoot(self.pause())
            }
        })?;
        match tokio::time::timeout_at(deadline.into(), waiting.answer()).await {
            Ok((pid, Ok(response))) => {
                if !self.has_answered.load(Ordering::Relaxed) {
                    self.has_answered.store(true, Ordering::Relaxed);
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
    pub fn close(&self) {
        self.tree.table().close();
    }

    /// Ends the program, and waits for that.
    pub async fn end(&self) {
        self.tree.fell().await;
    }

    fn pause(&self) -> Duration {
        let next = self.state().next;
        next.map_or(FIRST_PAUSE, |next| {
            next.saturating_duration_since(Instant::now())
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
