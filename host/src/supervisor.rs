//! The *supervisor* starts processes. If a start fails, it backs off, so that a broken module costs
//! an occasional start and not a whole core. The first successful start ends the back-off.
//!
//! A process that fails while it serves is no reason to back off. Only that request fails, and the
//! next one gets a new process at once. A start takes microseconds, so that is all a storm of
//! crashes costs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::kind::Kind;
use crate::process::{NotStarted, Process};
use crate::sandbox::Prepared;
use crate::table::{OutOfMemory, Table};

/// The first pause after a failed start. Each further failure doubles the pause.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, and so the longest time until a recovery is noticed.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pause that follows a pause of this length.
#[must_use]
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Starts processes of one module.
#[derive(Debug)]
pub(crate) struct Supervisor {
    module: Prepared,
    kind: Kind,
    table: Arc<Table>,
    /// The memory that one process may have, in bytes.
    memory: u64,
    /// The longest time for start code.
    time_limit: Duration,
    /// Whether `health` differs from its default. Spares the common case the lock.
    failing: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The current or last pause.
    pause: Duration,
    /// Until then, no process is started.
    until: Option<Instant>,
}

/// Why no process was started.
#[derive(Debug)]
pub enum StartError {
    /// The last start failed, and the supervisor starts none for this long.
    BackingOff(Duration),
    /// The start code failed: the exit, and the reason for the log.
    Failed(Exit, String),
    /// All processes of the host together have as much memory as they may.
    OutOfMemory,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BackingOff(pause) => {
                write!(f, "none is started for {pause:?}: the last start failed")
            }
            Self::Failed(exit, reason) => write!(f, "its start code failed ({exit}): {reason}"),
            Self::OutOfMemory => {
                f.write_str("all processes of the host together have as much memory as they may")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl Supervisor {
    /// Creates a supervisor of processes that may have this memory each, in bytes. `time_limit` is
    /// the longest time for start code.
    #[must_use]
    pub(crate) fn new(
        module: Prepared,
        kind: Kind,
        table: Arc<Table>,
        memory: u64,
        time_limit: Duration,
    ) -> Self {
        Self {
            module,
            kind,
            table,
            memory,
            time_limit,
            failing: AtomicBool::new(false),
            health: Mutex::default(),
        }
    }

    /// Starts a process, unless the supervisor backs off.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) async fn start(&self) -> Result<Process, StartError> {
        if let Some(pause) = self.pause() {
            return Err(StartError::BackingOff(pause));
        }
        let begun = Instant::now();
        // No fault of the module's: the next start may find memory that another process had.
        let life = self.table.enter_pooled(self.kind, self.memory);
        let life = life.map_err(|OutOfMemory| StartError::OutOfMemory)?;
        match Process::start(&self.module, life, self.time_limit).await {
            Ok(process) => {
                self.table.tally().started(begun.elapsed());
                self.recover();
                Ok(process)
            }
            Err(NotStarted(exit, reason)) => {
                self.back_off();
                Err(StartError::Failed(exit, reason))
            }
        }
    }

    /// The name of the pool, if the host has several.
    pub(crate) fn pool(&self) -> Option<&str> {
        self.table.name()
    }

    /// Whether processes can't be started at present.
    pub(crate) fn is_backing_off(&self) -> bool {
        self.pause().is_some()
    }

    /// The rest of the current pause, if any.
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
                tracing::info!(pool = self.pool(), "processes can be started again");
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
            return; // this start had begun before the pause did
        }
        if health.until.is_none() {
            tracing::error!(
                pool = self.pool(),
                "processes can't be started: backing off; requests that need a new one get 503 meanwhile"
            );
        }
        health.pause = longer(health.pause);
        health.until = Some(now + health.pause);
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // These are plain values, and no step can panic halfway.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
