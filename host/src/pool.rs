//! The *pool* knows who is idle. A request takes a process from it, and the call runs on the task that
//! read the request: taking is popping from a stack, most recently used first, not waking anybody.
//! With none idle the pool grows; at its size the request waits in a line, bounded in length and in time.
//!
//! The pool counts *seats*. A process that is idle, running or being started has one; there are as many as
//! the pool may have processes. A [`Lease`] is a seat in the hands of a request.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, oneshot};

use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::process::{Exit, Process};
use crate::sandbox::Failure;
use crate::supervisor::{StartError, Supervisor};

/// Processes that may be started ahead of the one they replace, beyond the pool's size. Starting takes
/// microseconds, so few overlap.
pub const OVERLAP: u32 = 4;

/// A process whose memory has grown by this share of what it may still grow, since it started, is replaced
/// between two requests, before a request has to fail for want of memory.
const HIGH_WATER: (u64, u64) = (3, 4);

/// Of the processes that were used last, so many are looked at for one that ran on the same thread. Moving a
/// process to another core costs more than the call itself; looking at more would undo last-in-first-out.
const RECENT: usize = 8;

/// Requests that wait for a process belong to one burst, and are logged as one, until for so long none has waited.
const CALM: Duration = Duration::from_secs(10);

/// How many processes there are, and how long each lives.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a process serves one request or many.
    pub reuse: Reuse,
    /// Kept alive even when idle.
    pub min: u32,
    /// The most that are alive, save for [`OVERLAP`].
    pub max: u32,
    /// Requests that one process serves at most; an eighth of it is jitter, so that processes that were
    /// started together do not end together.
    pub max_requests: Option<NonZeroU64>,
    /// What one process may have of memory, in bytes; see [`Exit::Grown`].
    pub memory: u64,
    /// Beyond `min`, a process ends when it had nothing to do for so long.
    pub idle_timeout: Duration,
    /// Requests that may wait in line.
    pub queue: usize,
    /// The longest that one waits.
    pub queue_timeout: Duration,
}

/// How many requests a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A process is created for the request, and ends with it.
    OneRequest,
    /// Any number, one after the other.
    ManyRequests,
}

/// Why a request gets no process.
#[derive(Debug)]
pub enum Refusal {
    /// All processes are busy and the line is full.
    LineFull,
    /// It stood in line for the whole of the queue timeout.
    WaitedTooLong,
    /// No process could be started.
    NotStarted(StartError),
    /// The host is stopping.
    Closed,
}

/// All processes of one module.
#[derive(Debug)]
pub struct Pool {
    supervisor: Supervisor,
    settings: Settings,
    state: Shared<Mutex<State>>,
    /// Wakes [`Pool::keep`] when there are fewer processes than `min`.
    missing: Notify,
    overlap: Arc<Semaphore>,
}

/// What all threads write, on cache lines of its own: what they only read must not travel with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shared<T>(T);

#[derive(Debug, Default)]
struct State {
    /// Least recently used first; taken from the end.
    idle: Vec<Idle>,
    /// Processes that are idle, running or being started.
    seats: u32,
    line: VecDeque<Waiter>,
    next_ticket: u64,
    /// When the last request found all processes busy.
    saturated: Option<Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Idle {
    process: Process,
    since: Instant,
    /// The thread it last ran on: its memory is in that core's cache.
    home: ThreadId,
}

impl State {
    /// The process that was used last, if possible the last on this thread.
    fn pop(&mut self) -> Option<Process> {
        let here = std::thread::current().id();
        let recent = self.idle.len().saturating_sub(RECENT);
        let at_home = self.idle[recent..]
            .iter()
            .rposition(|idle| idle.home == here);
        let at = at_home.map_or(self.idle.len().checked_sub(1)?, |at| recent + at);
        Some(self.idle.remove(at).process)
    }

    /// Joins the line, unless it has as many requests as it may.
    fn draw_ticket(&mut self, most: usize) -> Option<(u64, oneshot::Receiver<Grant>)> {
        (self.line.len() < most).then(|| {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            let (grant, granted) = oneshot::channel();
            self.line.push_back(Waiter { ticket, grant });
            (ticket, granted)
        })
    }

    /// Whether the request that finds all processes busy is the first to do so in a while.
    fn begins_burst(&mut self) -> bool {
        let now = Instant::now();
        let last = self.saturated.replace(now);
        last.is_none_or(|last| now.duration_since(last) > CALM)
    }
}

/// One request in line, by the ticket it drew.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    grant: oneshot::Sender<Grant>,
}

/// What the head of the line is handed: always a seat, with a process in it or without.
#[derive(Debug)]
enum Grant {
    Process(Process),
    Seat,
}

impl Pool {
    /// An empty pool; [`Pool::warm`] fills it.
    #[must_use]
    pub fn new(supervisor: Supervisor, settings: Settings) -> Self {
        let overlap = Arc::new(Semaphore::new(OVERLAP as usize));
        Self {
            supervisor,
            settings,
            state: Shared::default(),
            missing: Notify::new(),
            overlap,
        }
    }

    /// Starts the processes that are kept alive.
    ///
    /// # Errors
    /// Where one can't be started.
    pub async fn warm(self: &Arc<Self>) -> Result<(), StartError> {
        while let Some(seat) = self.claim_missing() {
            seat.fill(self.supervisor.start().await?);
        }
        Ok(())
    }

    /// Takes a process: an idle one, or a new one, or the next that becomes free.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn take(self: &Arc<Self>) -> Result<Lease<'_>, Refusal> {
        let seat = match self.claim()? {
            Claim::Process(process, seat) => return Ok(Lease::new(process, seat)),
            Claim::Seat(seat) => seat,
            Claim::Waiting(mut waiting) => {
                let granted =
                    tokio::time::timeout(self.settings.queue_timeout, &mut waiting.granted).await;
                match granted {
                    Ok(Ok(Grant::Process(process))) => {
                        return Ok(Lease::new(process, Seat { pool: self }));
                    }
                    Ok(Ok(Grant::Seat)) => Seat { pool: self },
                    Ok(Err(_dropped)) => return Err(Refusal::Closed),
                    Err(_elapsed) => return Err(Refusal::WaitedTooLong),
                }
            }
        };
        let process = self.supervisor.start().await.map_err(Refusal::NotStarted)?;
        Ok(Lease::new(process, seat))
    }

    /// The part of [`Pool::take`] that is under the lock.
    fn claim(self: &Arc<Self>) -> Result<Claim<'_>, Refusal> {
        let mut state = self.state();
        if state.closed {
            Err(Refusal::Closed)
        } else if let Some(process) = state.pop() {
            Ok(Claim::Process(process, Seat { pool: self }))
        } else if state.seats < self.settings.max {
            state.seats += 1;
            Ok(Claim::Seat(Seat { pool: self }))
        } else {
            let claim = match state.draw_ticket(self.settings.queue) {
                Some((ticket, granted)) => Ok(Claim::Waiting(Waiting {
                    pool: self,
                    ticket,
                    granted,
                })),
                None => Err(Refusal::LineFull),
            };
            let is_new = state.begins_burst();
            drop(state);
            if is_new {
                tracing::warn!(
                    workers = self.settings.max,
                    "max workers reached: requests wait in line"
                );
            }
            claim
        }
    }

    /// Keeps the pool at its size until it is closed: replaces what died, ends what has long been idle.
    pub async fn keep(self: &Arc<Self>) {
        let rounds = (self.settings.idle_timeout / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(1));
        while !self.state().closed {
            // A round that comes too early finds nothing to do: either reason is as good as the other.
            let _elapsed = tokio::time::timeout(rounds, self.missing.notified()).await;
            self.end_idle();
            while let Some(seat) = self.claim_missing() {
                match self.supervisor.start().await {
                    Ok(process) => seat.fill(process),
                    Err(StartError::BackingOff(pause)) => {
                        drop(seat); // somebody in line may have more luck by then
                        tokio::time::sleep(pause).await;
                    }
                    Err(StartError::Failed(_logged)) => {}
                }
            }
        }
    }

    /// Ends all idle processes; those that run end with their requests, and nothing new is begun.
    pub fn close(&self) {
        let (idle, line) = {
            let mut state = self.state();
            state.closed = true;
            let (idle, line) = (
                std::mem::take(&mut state.idle),
                std::mem::take(&mut state.line),
            );
            state.seats = state
                .seats
                .saturating_sub(u32::try_from(idle.len()).unwrap_or(u32::MAX));
            (idle, line)
        };
        drop(line);
        for Idle { process, .. } in idle {
            process.end(Exit::Stopped);
        }
        self.missing.notify_one();
    }

    /// A seat for a process that should be alive and is not.
    fn claim_missing(self: &Arc<Self>) -> Option<Seat<'_>> {
        let mut state = self.state();
        let missing = !state.closed && state.seats < self.settings.min;
        missing.then(|| {
            state.seats += 1;
            Seat { pool: self }
        })
    }

    fn end_idle(&self) {
        let now = Instant::now();
        let ended: Vec<Idle> = {
            let mut state = self.state();
            let spare = state.seats.saturating_sub(self.settings.min) as usize;
            let old = |idle: &Idle| now.duration_since(idle.since) >= self.settings.idle_timeout;
            let count = state
                .idle
                .iter()
                .take(spare)
                .take_while(|idle| old(idle))
                .count();
            state.idle.drain(..count).collect()
        };
        for idle in ended {
            idle.process.end(Exit::Idle);
            self.vacate();
        }
    }

    /// A process is free, and brings its seat: to the head of the line, or onto the stack.
    fn put_back(&self, mut process: Process) {
        process.presume(Exit::Stopped);
        let mut state = self.state();
        while !state.closed {
            let Some(waiter) = state.line.pop_front() else {
                state.idle.push(Idle {
                    process,
                    since: Instant::now(),
                    home: std::thread::current().id(),
                });
                return;
            };
            match waiter.grant.send(Grant::Process(process)) {
                Ok(()) => return,
                Err(Grant::Process(back)) => process = back, // it has just left
                Err(Grant::Seat) => return,
            }
        }
        state.seats -= 1;
        drop(state);
        process.end(Exit::Stopped);
    }

    /// A seat is free: to the head of the line, which starts its own process.
    fn vacate(&self) {
        let mut state = self.state();
        while let Some(waiter) = state.line.pop_front() {
            if waiter.grant.send(Grant::Seat).is_ok() {
                return;
            }
        }
        state.seats -= 1;
        if state.seats < self.settings.min && !state.closed {
            drop(state);
            self.missing.notify_one();
        }
    }

    /// Starts a new process on the old one's seat, and only then ends the old one: if the new one can't be
    /// started, the old one goes on. None of this is on a request's path.
    fn replace(self: &Arc<Self>, mut old: Process, exit: Exit) {
        old.presume(Exit::Stopped);
        let Ok(overlap) = Arc::clone(&self.overlap).try_acquire_owned() else {
            return self.put_back(old); // others are being replaced; after its next request, then
        };
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            match pool.supervisor.start().await {
                Ok(new) => {
                    old.end(exit);
                    pool.put_back(new);
                }
                Err(StartError::BackingOff(_) | StartError::Failed(_)) => pool.put_back(old),
            }
            drop(overlap);
        });
    }

    /// Why this process should serve no more, if so.
    fn retirement(&self, process: &Process) -> Option<Exit> {
        if let Some(most) = self.settings.max_requests {
            let jitter = scramble(process.pid()) % (most.get() / 8 + 1);
            if process.served() >= most.get() - jitter {
                return Some(Exit::Served);
            }
        }
        let (now, at_start) = process.memory();
        let may_grow = self.settings.memory.saturating_sub(at_start);
        let high_water = at_start + may_grow / HIGH_WATER.1 * HIGH_WATER.0;
        (now > at_start && now >= high_water).then_some(Exit::Grown)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that could panic runs under this lock.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request that asks for a process has at once.
enum Claim<'a> {
    Process(Process, Seat<'a>),
    Seat(Seat<'a>),
    Waiting(Waiting<'a>),
}

/// A place in line. Dropped, it is given up, and whatever was granted meanwhile goes to the next.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: u64,
    granted: oneshot::Receiver<Grant>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.granted.close();
        match self.granted.try_recv() {
            Ok(Grant::Process(process)) => self.pool.put_back(process),
            Ok(Grant::Seat) => self.pool.vacate(),
            Err(_) => {
                let mut state = self.pool.state();
                // Tickets in line are in order.
                if let Ok(at) = state
                    .line
                    .binary_search_by_key(&self.ticket, |waiter| waiter.ticket)
                {
                    state.line.remove(at);
                }
            }
        }
    }
}

/// The right to have one process alive. Dropped, it goes to the next in line.
#[derive(Debug)]
struct Seat<'a> {
    pool: &'a Arc<Pool>,
}

impl Seat<'_> {
    /// Puts an idle process on it, for whoever comes next.
    fn fill(self, process: Process) {
        let pool = self.pool;
        std::mem::forget(self); // the process brings it
        pool.put_back(process);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.pool.vacate();
    }
}

/// A process in the hands of one request. Dropped before the request is answered, it ends: the client left,
/// and what has half run is not called again.
#[derive(Debug)]
pub struct Lease<'a> {
    // Dropped in this order: the process's memory is free before another may take its seat.
    process: Process,
    seat: Seat<'a>,
}

impl<'a> Lease<'a> {
    fn new(mut process: Process, seat: Seat<'a>) -> Self {
        process.presume(Exit::ClientLeft);
        Self { process, seat }
    }
    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Sends the process a request and receives its response.
    ///
    /// # Errors
    /// A [`Failure`], to be passed to [`Lease::fail`].
    pub async fn handle(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        self.process.handle(request, deadline).await
    }

    /// The request is answered: the process is free for the next, or has served its share.
    pub fn release(self) {
        let Self { process, seat } = self;
        let pool = seat.pool;
        if pool.settings.reuse == Reuse::OneRequest {
            process.end(Exit::Served);
            return;
        }
        match pool.retirement(&process) {
            None => seat.fill(process),
            Some(exit) => {
                std::mem::forget(seat); // the process brings it
                pool.replace(process, exit);
            }
        }
    }

    /// The process failed; it ends, and its seat goes to a new one.
    pub fn fail(self, failure: Failure) {
        self.process.end(Exit::Failed(failure));
    }

    /// The host is stopping and waits for the process no longer.
    pub fn end(self) {
        self.process.end(Exit::Stopped);
    }
}

/// Well-mixed bits of a pid, as jitter: the finalizer of SplitMix64.
fn scramble(pid: Pid) -> u64 {
    let mut bits = pid.get().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
