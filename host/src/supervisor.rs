//! The *supervisor* starts processes, and watches how they end. Where they do nothing but fail it backs
//! off, so that a broken module costs a start now and then and not all of a core; the first request that
//! is answered again ends that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pid::Pids;
use crate::process::{Exit, Process};
use crate::sandbox::Handlers;

/// So many failures in a row, nothing answered between them and all within [`PERIOD`], are a crash loop.
/// Erlang's supervisors give up at 1 in 5 s, but they fail whole programs; here only single requests fail,
/// and a client who sends nothing but bad requests must not easily reach it.
const INTENSITY: u32 = 16;

/// See [`INTENSITY`].
const PERIOD: Duration = Duration::from_secs(10);

/// The first pause between starts in a crash loop; each further failure doubles it.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: how late at most the end of a crash loop is noticed.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pause after one of this length.
#[must_use]
pub fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Starts processes of one module.
#[derive(Debug)]
pub struct Supervisor {
    handlers: Handlers,
    pids: Pids,
    /// How long start code may take.
    patience: Duration,
    /// Whether `health` has anything to say; spares the common case its lock.
    failing: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    /// The pause that is under way or was the last.
    pause: Duration,
    /// No process is started before.
    until: Option<Instant>,
}

/// Why no process was started.
#[derive(Debug)]
pub enum StartError {
    /// Processes fail one after the other: none is started for this long.
    BackingOff(Duration),
    /// This one failed while it started.
    Failed(Exit),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BackingOff(pause) => write!(f, "none is started for {pause:?}: too many failed"),
            Self::Failed(exit) => write!(f, "its start code failed ({exit}): {}", exit.reason()),
        }
    }
}

impl std::error::Error for StartError {}

impl Supervisor {
    /// Start code may take as long as `patience`.
    #[must_use]
    pub fn new(handlers: Handlers, patience: Duration) -> Self {
        Self {
            handlers,
            pids: Pids::new(),
            patience,
            failing: AtomicBool::new(false),
            health: Mutex::default(),
        }
    }

    /// Starts a process, unless it is too early for that.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(&self) -> Result<Process, StartError> {
        if let Some(pause) = self.pause() {
            return Err(StartError::BackingOff(pause));
        }
        let started = Process::start(&self.handlers, &self.pids, self.patience).await;
        started.map_err(|exit| {
            self.back_off(&mut self.health());
            StartError::Failed(exit)
        })
    }

    /// How long no process is started, if so.
    pub fn pause(&self) -> Option<Duration> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let until = self.health().until?;
        until
            .checked_duration_since(Instant::now())
            .filter(|pause| !pause.is_zero())
    }

    /// Takes note that a process answered a request.
    pub fn answered(&self) {
        if self.failing.load(Ordering::Relaxed) {
            let mut health = self.health();
            if health.until.is_some() {
                tracing::info!("processes answer again");
            }
            *health = Health::default();
            self.failing.store(false, Ordering::Relaxed);
        }
    }

    /// Takes note that a process failed while it ran.
    pub fn failed(&self) {
        let mut health = self.health();
        self.failing.store(true, Ordering::Relaxed);
        let now = Instant::now();
        if health.until.is_none() && health.since.is_none_or(|since| now - since > PERIOD) {
            (health.failures, health.since) = (0, Some(now));
        }
        health.failures += 1;
        if health.failures >= INTENSITY {
            self.back_off(&mut health);
        }
    }

    fn back_off(&self, health: &mut Health) {
        self.failing.store(true, Ordering::Relaxed);
        let now = Instant::now();
        if health.until.is_some_and(|until| until > now) {
            return; // one that was started before the pause began
        }
        if health.until.is_none() {
            tracing::error!(
                "processes fail one after the other: backing off; requests that need a new one get 503 meanwhile"
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
