//! The *pool* knows which processes are idle. A request takes a process, and the call runs on the
//! task that read the request. Taking is popping the most recently used process from a stack, and
//! wakes no thread. If no process is idle, the pool starts one. If the pool has its full size, the
//! request waits in a line that is bounded in length and time.
//!
//! Each thread has its own stack of idle processes, so that threads don't contend. A thread with an
//! empty stack takes from another stack. The pool counts *seats*: a process that is idle,
//! running or being started has one, and there are as many as the pool may have processes. A
//! [`Lease`] is a process with its seat.

mod lease;
mod seats;
mod stacks;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::exit::Exit;
use crate::pid::Pid;
use crate::process::Process;
use crate::shutdown;
use crate::supervisor::{StartError, Supervisor};
use crate::sync::{AtomicBool, Ordering, timeout};
pub(crate) use lease::Lease;
use lease::Seat;
use seats::{Claim, Grant, Seats, Waiting};
use stacks::Stacks;

/// Processes beyond the pool's size that may be started to replace others. A start takes
/// microseconds, so few overlap.
pub(crate) const OVERLAP: u32 = 4;

/// A process is replaced between two requests when it has used this share of the memory that it
/// could still grow by after its start. Otherwise a later request would fail for lack of memory.
const HIGH_WATER: (u64, u64) = (3, 4);

/// The pause before the pool looks again for memory that other pools' processes have given back.
const MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// The number of processes in a pool, and the lifetime of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) reuse: Reuse,
    /// Processes that are kept alive even if idle. With [`Reuse::OneRequest`], they are ready and
    /// have served nobody.
    pub(crate) min: u32,
    /// The most processes alive, not counting [`OVERLAP`].
    pub(crate) max: u32,
    /// The most requests of one process. Up to an eighth less at random, so that processes that
    /// were started together don't end together.
    pub(crate) max_requests: Option<NonZeroU64>,
    /// The memory limit of one process in bytes. See [`Exit::Grown`].
    pub(crate) memory: u64,
    /// Processes beyond `min` end after they were idle for this long.
    pub(crate) idle_timeout: Duration,
    /// The most requests in line.
    pub(crate) queue: usize,
    /// The longest time that a request waits in line.
    pub(crate) queue_timeout: Duration,
}

/// How many requests a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// One. The process is created for the request, and ends with it.
    OneRequest,
    /// Any number, one after the other.
    ManyRequests,
}

/// Why a request got no process.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// All processes are busy and the line is full.
    LineFull,
    /// The request waited for the whole queue timeout.
    WaitedTooLong,
    /// No process could be started.
    NotStarted(StartError),
    /// The host is stopping.
    Closed,
}

/// All processes of one module.
#[derive(Debug)]
pub(crate) struct Pool {
    supervisor: Supervisor,
    settings: Settings,
    stacks: Stacks,
    seats: Seats,
    /// Whether a request waits in line, or the pool is retired or closed. If so, a thread that
    /// gives back a process or a seat must check the line. Every request reads this; it is written
    /// only when it changes.
    attention: AtomicBool,
    /// Notified when fewer processes than `min` are alive.
    missing: Notify,
    /// Notified when no process is alive.
    all_ended: Notify,
    overlap: Arc<Semaphore>,
    /// The part of `min` that one thread keeps ready.
    share: usize,
}

impl Pool {
    /// Creates an empty pool. [`Pool::warm`] fills it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn new(supervisor: Supervisor, settings: Settings) -> Self {
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        Self {
            supervisor,
            settings,
            stacks: Stacks::new(),
            seats: Seats::default(),
            attention: AtomicBool::new(false),
            missing: Notify::new(),
            all_ended: Notify::new(),
            overlap: Arc::new(Semaphore::new(OVERLAP as usize)),
            share: (settings.min as usize).div_ceil(threads),
        }
    }

    /// Starts the `min` processes.
    ///
    /// # Errors
    /// If a process can't be started.
    pub(crate) async fn warm(self: &Arc<Self>) -> Result<(), StartError> {
        while let Some(seat) = self.claim_missing() {
            let started = self.supervisor.start().await;
            let process = started.inspect_err(|_| self.close())?;
            self.put_back(Lease::new(process, seat));
        }
        Ok(())
    }

    /// Takes an idle process.
    pub(crate) fn take_idle(&self) -> Option<Lease> {
        self.stacks.pop().map(Lease::handed_out)
    }

    /// Takes a new process if none is idle, or the next one that becomes free.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Lease, Refusal> {
        let found = match self.claim()? {
            Claim::Found(found) => found,
            Claim::Waiting(mut waiting) => {
                let time_limit = self.settings.queue_timeout;
                match timeout(time_limit, waiting.granted()).await {
                    Ok(Some(granted)) => granted,
                    Ok(None) => return Err(Refusal::Closed),
                    Err(_elapsed) => return Err(Refusal::WaitedTooLong),
                }
            }
        };
        let lease = match found {
            Grant::Process(lease) => lease,
            Grant::Seat(seat) => {
                let started = self.supervisor.start().await;
                Lease::new(started.map_err(Refusal::NotStarted)?, seat)
            }
        };
        Ok(lease.handed_out())
    }

    /// The processes that are started or have a request. It may be otherwise at once.
    #[cfg(feature = "cluster")]
    pub(crate) fn busy(&self) -> u32 {
        let idle = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
        self.seats.taken().saturating_sub(idle)
    }

    /// Whether no process is idle, and none can be started. It may be otherwise at once.
    pub(crate) fn is_full(&self) -> bool {
        self.seats.taken() >= self.settings.max && self.stacks.are_empty()
    }

    /// Finds a process or a seat, or joins the line. Called after [`Pool::take_idle`] found
    /// nothing.
    fn claim(self: &Arc<Self>) -> Result<Claim<'_>, Refusal> {
        let may_overtake = !self.attention.load(Ordering::SeqCst);
        if may_overtake && let Some(seat) = self.take_seat(self.settings.max) {
            return Ok(Claim::Found(Grant::Seat(seat)));
        }
        let mut line = self.seats.line();
        if line.is_closed() {
            return Err(Refusal::Closed);
        }
        let claim = match line.join(self.settings.queue) {
            Some((ticket, granted)) => {
                // Joining the line must come before the look for a process or a seat.
                // [`Pool::put_back`] does both in the other order, so that one side sees the other.
                self.attention.store(true, Ordering::SeqCst);
                let found = match line.in_line() {
                    1 => self.find(Stacks::pop_surely),
                    _ => None, // earlier requests come first
                };
                if found.is_some() {
                    line.leave(ticket);
                }
                self.update_attention(&line);
                let waiting = || Claim::Waiting(Waiting::new(self, ticket, granted));
                Ok(found.map_or_else(waiting, Claim::Found))
            }
            None => Err(Refusal::LineFull),
        };
        let is_busy = !matches!(claim, Ok(Claim::Found(_)));
        let begins_burst = is_busy && line.begins_burst();
        drop(line);
        if begins_burst {
            let (workers, pool) = (self.settings.max, self.supervisor.pool());
            tracing::warn!(workers, pool, "max workers reached: requests wait in line");
        }
        claim
    }

    /// Takes an idle process, or a free seat.
    fn find(self: &Arc<Self>, pop: fn(&Stacks) -> Option<Lease>) -> Option<Grant> {
        let idle = pop(&self.stacks).map(Grant::Process);
        idle.or_else(|| self.take_seat(self.settings.max).map(Grant::Seat))
    }

    /// Takes a seat, if fewer than `most` are taken.
    fn take_seat(self: &Arc<Self>, most: u32) -> Option<Seat> {
        self.seats.take_below(most).then(|| Seat::of(self))
    }

    /// Keeps the pool at its size until it is retired or closed. Replaces processes that ended, and
    /// ends processes that were idle for too long.
    pub(crate) async fn maintain(self: &Arc<Self>) {
        let rounds = (self.settings.idle_timeout / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(1));
        while self.is_kept() {
            // The reason for waking doesn't matter: a round that comes too early finds nothing to
            // do.
            let _elapsed = timeout(rounds, self.missing.notified()).await;
            self.end_idle();
            while let Some(seat) = self.claim_missing() {
                match self.supervisor.start().await {
                    Ok(process) => self.put_back(Lease::new(process, seat)),
                    Err(StartError::BackingOff(pause)) => {
                        drop(seat); // a request in line may succeed with it
                        tokio::time::sleep(pause).await;
                    }
                    Err(StartError::OutOfMemory) => {
                        drop(seat);
                        tokio::time::sleep(MEMORY_PAUSE).await;
                    }
                    Err(StartError::Failed(..)) => {} // already logged
                }
            }
        }
    }

    /// Whether processes can't be started at present.
    pub(crate) fn is_backing_off(&self) -> bool {
        self.supervisor.is_backing_off()
    }

    /// The number of requests in line.
    pub(crate) fn in_line(&self) -> usize {
        self.seats.line().in_line()
    }

    /// Ends an idle process that its row already marks as killed. A process that works sees the
    /// mark itself.
    pub(crate) fn kill_idle(&self, pid: Pid) {
        if let Some(lease) = self.stacks.remove(pid) {
            lease.end(Exit::Killed);
        }
    }

    /// Refuses new requests and ends all idle processes. Running processes end with their requests.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut line = self.seats.line();
        line.close();
        self.update_attention(&line);
        drop(line);
        self.end_all_idle();
        self.missing.notify_one();
    }

    /// Ends all idle processes, and keeps none from now on: another pool takes the place of this
    /// one. Requests that come nevertheless, and those in line, are still served.
    pub(crate) fn retire(self: &Arc<Self>) {
        let mut line = self.seats.line();
        line.retire();
        self.update_attention(&line);
        drop(line);
        // After `attention` is set: a process that comes back later sees that.
        self.serve_line();
        self.missing.notify_one();
    }

    /// Keeps processes again, after [`Pool::retire`].
    pub(crate) fn revive(self: &Arc<Self>) {
        let mut line = self.seats.line();
        line.revive();
        self.update_attention(&line);
    }

    /// Waits until no process is alive, which happens once the pool is retired and its requests
    /// are served.
    pub(crate) async fn emptied(&self) {
        loop {
            // Registered before the check, so that an end in between isn't missed.
            let ended = self.all_ended.notified();
            if self.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Whether no process is alive and none is about to be.
    fn is_empty(&self) -> bool {
        // Under the lock, since a seat that has become free may go to a request in line.
        let line = self.seats.line();
        self.seats.taken() == 0 && line.in_line() == 0
    }

    /// Whether the pool is to have its size.
    fn is_kept(&self) -> bool {
        let line = self.seats.line();
        !line.is_closed() && !line.is_retired()
    }

    /// Ends all processes, and waits until they have ended. A process that is being started ends
    /// when it is put back.
    pub(crate) async fn end(self: &Arc<Self>) {
        self.close();
        shutdown::processes_ended(&self.all_ended, || self.seats.taken() == 0).await;
    }

    fn end_all_idle(&self) {
        for lease in self.stacks.take_all() {
            lease.end(Exit::Stopped);
        }
    }

    /// Takes a seat if fewer than `min` processes are alive.
    fn claim_missing(self: &Arc<Self>) -> Option<Seat> {
        if !self.is_kept() {
            return None;
        }
        self.take_seat(self.settings.min)
    }

    fn end_idle(&self) {
        let spare = self.seats.taken().saturating_sub(self.settings.min);
        let old = Instant::now().checked_sub(self.settings.idle_timeout);
        let ended = old.map(|old| self.stacks.take_idle_since(old, spare as usize));
        for lease in ended.unwrap_or_default() {
            lease.end(Exit::Idle);
        }
    }

    /// Gives a process back after its request. The pool replaces a process that served its share
    /// or grew too large.
    pub(crate) fn release(self: &Arc<Self>, lease: Lease) {
        if self.settings.reuse == Reuse::OneRequest {
            return self.prepare_next(lease.free_seat(Exit::Served));
        }
        match self.retirement(lease.process()) {
            Some(exit) if self.is_kept() => self.replace(lease, exit),
            Some(_) | None => self.put_back(lease),
        }
    }

    /// Puts a free process, with its seat, on this thread's stack. If requests wait in line, serves
    /// them.
    fn put_back(self: &Arc<Self>, lease: Lease) {
        let now = Instant::now();
        lease.process().row().is_idle(now);
        if let Some(killed) = self.stacks.push(lease.given_back(), now) {
            return killed.end(Exit::Killed);
        }
        // The process is on the stack before `attention` is read. [`Pool::claim`] does both in the
        // other order, so that one side sees the other.
        if self.attention.load(Ordering::SeqCst) {
            self.serve_line();
        }
    }

    /// Frees a seat. If requests wait in line, the first gets the seat and starts its own process.
    fn free_seat(self: &Arc<Self>) {
        if self.seats.give_back() {
            self.all_ended.notify_waiters();
        }
        if self.attention.load(Ordering::SeqCst) {
            self.serve_line();
        }
        if self.seats.taken() < self.settings.min {
            self.missing.notify_one();
        }
    }

    /// Hands idle processes and free seats to the requests in line.
    fn serve_line(self: &Arc<Self>) {
        let mut line = self.seats.line();
        if line.is_closed() {
            drop(line);
            return self.end_all_idle();
        }
        let mut left_over = None;
        // If this misses a process, the thread that puts the process back sees the line and comes
        // here.
        while line.in_line() > 0
            && let Some(found) = self.find(Stacks::pop)
        {
            left_over = line.grant(found);
        }
        self.update_attention(&line);
        let ends_idle = line.is_retired() && line.in_line() == 0;
        drop(line);
        if ends_idle {
            drop(left_over);
            return self.end_all_idle();
        }
        // All requests in line have just left.
        match left_over {
            Some(Grant::Process(lease)) => self.put_back(lease),
            Some(Grant::Seat(_)) | None => {} // a seat gives itself back
        }
    }

    /// Sets `attention` for the current state of the line.
    fn update_attention(&self, line: &seats::Guard<'_>) {
        let wanted = line.is_closed() || line.is_retired() || line.in_line() > 0;
        self.attention.store(wanted, Ordering::SeqCst);
    }

    /// Starts a new process on the old one's seat, and then ends the old one. If the start fails,
    /// the old process goes on. This runs off the request's path.
    fn replace(self: &Arc<Self>, old: Lease, exit: Exit) {
        let Ok(overlap) = Arc::clone(&self.overlap).try_acquire_owned() else {
            return self.put_back(old); // enough others are being replaced; tried after its next request
        };
        let (pool, old) = (Arc::clone(self), old.given_back());
        tokio::spawn(async move {
            match pool.supervisor.start().await {
                Ok(new) => pool.put_back(Lease::new(new, old.free_seat(exit))),
                // Its own memory is what the next process needs. The seat gives itself back.
                Err(StartError::OutOfMemory) => drop(old.free_seat(exit)),
                Err(StartError::BackingOff(_) | StartError::Failed(..)) => pool.put_back(old),
            }
            drop(overlap);
        });
    }

    /// Starts the next process on the seat of one that has served its only request, off the
    /// request's path. If enough processes are ready for this thread, frees the seat instead.
    fn prepare_next(self: &Arc<Self>, seat: Seat) {
        let are_ready = self.stacks.len_here() >= self.share;
        if are_ready || self.attention.load(Ordering::SeqCst) {
            return; // the seat gives itself back
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            match pool.supervisor.start().await {
                Ok(process) => pool.put_back(Lease::new(process, seat)),
                Err(
                    StartError::BackingOff(_) | StartError::Failed(..) | StartError::OutOfMemory,
                ) => drop(seat),
            }
        });
    }

    /// The reason why this process should serve no more, if any.
    fn retirement(&self, process: &Process) -> Option<Exit> {
        if let Some(most) = self.settings.max_requests {
            let jitter = mix(process.pid()) % (most.get() / 8 + 1);
            if process.row().served() >= most.get() - jitter {
                return Some(Exit::Served);
            }
        }
        let (now, at_start) = process.memory();
        let may_grow = self.settings.memory.saturating_sub(at_start);
        let high_water = at_start + may_grow / HIGH_WATER.1 * HIGH_WATER.0;
        let has_grown = now > at_start && now >= high_water;
        (has_grown || process.is_worn()).then_some(Exit::Grown)
    }
}

/// Well-mixed bits of a pid: the finalizer of SplitMix64.
fn mix(pid: Pid) -> u64 {
    let mut bits = pid.get().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
