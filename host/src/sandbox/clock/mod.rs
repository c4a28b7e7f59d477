//! The *clock* of an engine. While guests run, its thread advances the engine's epoch, and at each
//! tick a running guest yields to the other work of its thread. While no guest runs, the clock
//! rests: a guest that waits costs nothing.

mod running;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{EngineWeak, UpdateDeadline};

use crate::scheduler::{self, WeakScheduler};
use crate::table::Row;
use crate::threads;
use running::Running;

/// The longest time that a guest holds its thread while others wait. A tick costs some microseconds
/// of a thread's time. At one per millisecond, ticks take less than one percent of a core, and
/// clients don't notice a spinning guest.
const TICK: Duration = Duration::from_millis(1);

/// A guest that has run for this many milliseconds without waiting runs long. Nearly all guests
/// finish before the first tick.
const LONG_MS: u64 = 10;

/// The longest pause in milliseconds. A guest sees no tick while one instruction fills its memory,
/// or while the host copies its values. Neither takes longer than this, if the machine has time for
/// it.
const LONGEST_PAUSE_MS: u64 = 100;

/// Ticks without a new slice until the clock rests. Waking the clock adds more to a call's latency
/// than an idle tick costs.
const IDLE_TICKS: u32 = 100;

/// Slots in which threads count slices. The clock adds up all slots at each tick. Most machines
/// have fewer cores; with more threads, threads share slots.
const SLOTS: usize = 32;

/// The clock of one engine. Its thread ends with the engine.
#[derive(Debug)]
pub(super) struct Clock {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Data that the clock's thread and the guests share.
#[derive(Debug)]
struct Shared {
    /// A slice is a guest's run from one wait or yield to the next.
    running: Running<SLOTS>,
    started: Instant,
    /// Slices that ended by yielding. The same guest begins another at once.
    yielded: AtomicU64,
    /// The scheduler that runs the guests, for passing ticks on.
    scheduler: OnceLock<WeakScheduler>,
}

/// How long one instance has run without waiting.
#[derive(Debug, Default)]
pub(super) struct Slices {
    ran_ms: u64,
    /// Slices of all instances that had begun after a wait, as of the last tick.
    begun: u64,
    /// The waits of this instance as of its last tick.
    waits: u64,
    /// Whether the guest has waited, and its next tick is not set yet.
    waited: bool,
}

impl Clock {
    /// Starts the clock's thread.
    pub(super) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let thread = std::thread::Builder::new().name("clock".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.tick(&engine)
        })?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// Passes ticks to this scheduler from now on. The first call counts.
    pub(super) fn set_scheduler(&self, scheduler: WeakScheduler) {
        let _told_already = self.shared.scheduler.set(scheduler);
    }

    /// Runs a guest. Each poll of this future is a slice.
    pub(super) async fn run<F: Future>(&self, row: &Row, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        let Shared { running, .. } = &*self.shared;
        poll_fn(|cx| {
            let slot = threads::slot(SLOTS);
            let _slice = running.begin(slot, &self.thread, || self.shared.elapsed_ms());
            row.runs(self.shared.started + Duration::from_millis(running.since_ms(slot)));
            let polled = guest.as_mut().poll(cx);
            if polled.is_pending() {
                row.waits(); // slices are short, so the slice's start time will do
            }
            polled
        })
        .await
    }

    /// Decides how a guest yields at a tick. Usually it goes on as soon as its thread's other work
    /// is done. A guest that runs long while others are served pauses for as long as it ran: it
    /// gets at most half of a core, and the others wait for it half as often.
    pub(super) fn yield_at_tick(&self, slices: &mut Slices, row: &Arc<Row>) -> UpdateDeadline {
        scheduler::tick();
        let since_ms = self.shared.running.since_ms(threads::slot(SLOTS));
        let ran_ms = self.shared.elapsed_ms().saturating_sub(since_ms);
        let ran_ms = ran_ms.clamp(1, LONGEST_PAUSE_MS);
        let yielded = self.shared.yielded.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = self.shared.running.begun().wrapping_sub(yielded);
        let alone = std::mem::replace(&mut slices.begun, begun) == begun;
        row.ran(ran_ms);
        let waits = row.waited();
        if std::mem::replace(&mut slices.waits, waits) != waits {
            slices.ran_ms = 0;
        }
        slices.ran_ms = slices.ran_ms.saturating_add(ran_ms);
        let pauses = slices.ran_ms > LONG_MS && !alone;
        row.yields(true);
        let row = Arc::clone(row);
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                if pauses {
                    tokio::time::sleep(Duration::from_millis(ran_ms)).await;
                } else {
                    tokio::task::yield_now().await;
                }
                row.yields(false);
            }),
        )
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.thread.unpark(); // to notice that the engine is gone
    }
}

impl Slices {
    /// Resets the run time for a new call.
    pub(super) fn reset(&mut self) {
        self.ran_ms = 0;
    }

    /// Notes that the guest has waited.
    pub(super) fn waited(&mut self) {
        self.ran_ms = 0;
        self.waited = true;
    }

    /// Whether the guest has waited since the last call of this.
    pub(super) fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            running: Running::new(),
            started: Instant::now(),
            yielded: AtomicU64::new(0),
            scheduler: OnceLock::new(),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tick(&self, engine: &EngineWeak) {
        let mut begun = 0;
        let mut idle_ticks = 0;
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            if let Some(scheduler) = self.scheduler.get() {
                scheduler.tick();
            }
            self.running.set_now(self.elapsed_ms());
            std::thread::sleep(TICK);
            let is_idle = self.running.is_idle(&mut begun);
            idle_ticks = if is_idle { idle_ticks + 1 } else { 0 };
            if idle_ticks >= IDLE_TICKS {
                self.running.rest(begun, || self.elapsed_ms());
                idle_ticks = 0;
            }
        }
    }
}
