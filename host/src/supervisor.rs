//! The *supervisor* starts processes. Where they can't even be started it backs off, so that a
//! broken module costs a start now and then and not all of a core; the first that starts again ends
//! that.
//!
//! A process that fails while it serves is no reason to back off: that request failed, and the next
//! one gets another process at once. Starting one takes microseconds, which is all that a storm of
//! crashes can cost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::process::Process;
use crate::sandbox::Handlers;
use crate::table::Table;

/// The first pause after a failed start; each further one doubles it.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: how late at most it is noticed that processes can be started again.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pause after one of this length.
#[must_use]
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Starts processes of one module.
#[derive(Debug)]
pub(crate) struct Supervisor {
    handlers: Handlers,
    table: Arc<Table>,
    /// The number of the pool that the processes are for.
    pool: u32,
    /// How long start code may take.
    patience: Duration,
    /// Whether `health` has anything to say; spares the common case its lock.
    failing: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The pause that is under way or was the last.
    pause: Duration,
    /// No process is started before.
    until: Option<Instant>,
}

/// Why no process was started.
#[derive(Debug)]
pub enum StartError {
    /// The last one could not be started: none is started for this long.
    BackingOff(Duration),
    /// The start code failed: why, and what the log has of it.
    Failed(Exit, String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BackingOff(pause) => {
                write!(f, "none is started for {pause:?}: the last start failed")
            }
            Self::Failed(exit, reason) => write!(f, "its start code failed ({exit}): {reason}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Supervisor {
    /// Start code may take as long as `patience`.
    #[must_use]
    pub(crate) fn new(
        handlers: Handlers,
        table: Arc<Table>,
        pool: u32,
        patience: Duration,
    ) -> Self {
        Self {
            handlers,
            table,
            pool,
            patience,
            failing: AtomicBool::new(false),
            health: Mutex::default(),
        }
    }

    /// Starts a process, unless it is too early for that.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) async fn start(&self) -> Result<Process, StartError> {
        if let Some(pause) = self.pause() {
            return Err(StartError::BackingOff(pause));
        }
        match Process::start(&self.handlers, &self.table, self.pool, self.patience).await {
            Ok(process) => {
                self.recover();
                Ok(process)
            }
            Err((exit, reason)) => {
                self.back_off();
                Err(StartError::Failed(exit, reason))
            }
        }
    }

    /// How long no process is started, if so.
    fn pause(&self) -> Option<Duration> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let until = self.health().until?;
        until
            .checked_duration_since(Instant::now())
            .filter(|pause| !pause.is_zero())
    }

    fn recover(&self) {
        if self.failing.load(Ordering::Relaxed) {
            let mut health = self.health();
            if health.until.is_some() {
                tracing::info!("processes can be started again");
            }
            *health = Health::default();
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    fn back_off(&self) {
        let mut health = self.health();
        self.failing.store(true, Ordering::Relaxed);
        let now = Instant::now();
        if health.until.is_some_and(|until| until > now) {
            return; // its start began before the pause did
        }
        if health.until.is_none() {
            tracing::error!(
                "processes can't be started: backing off; requests that need a new one get 503 meanwhile"
            );
        }
        health.pause = longer(health.pause);
        health.until = Some(now + health.pause);
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // Plain values, whole after every step: a panic elsewhere leaves nothing half-done in them.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
