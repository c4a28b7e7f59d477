//! The *clock* of an engine: while guests run, one thread moves the engine's epoch on, and at each tick a
//! running guest steps aside for whatever else its thread has to do. While none runs, the clock rests: a
//! guest that waits costs nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{EngineWeak, UpdateDeadline};

use crate::scheduler;
use crate::table::Row;

/// The longest that one guest holds its thread while others wait for it. A tick costs the thread that makes
/// it some microseconds; a millisecond keeps that below one percent of a core, and a spinning guest below
/// what a client would notice.
const TICK: Duration = Duration::from_millis(1);

/// A guest that has run for so many milliseconds without waiting runs long. Nearly all are done before the first
/// tick.
const LONG_MS: u64 = 10;

/// The longest pause, in milliseconds. A guest sees no tick while one instruction fills its memory or the host copies
/// what it hands over; neither takes longer than this where the machine has time for it.
const LONGEST_PAUSE_MS: u64 = 100;

/// Ticks without a new slice until the clock rests: waking it costs a call more than a tick costs us.
const RESTLESS_TICKS: u32 = 100;

/// One per engine. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Clock {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Threads count for themselves; beyond so many, more than most machines have cores, they share with others. The
/// clock adds them all up at each tick.
const COUNTS: usize = 32;

#[derive(Debug)]
struct Shared {
    counts: [Counts; COUNTS],
    started: Instant,
    /// Milliseconds since `started`, at the last tick: a slice can have this for less than a look at the time.
    now_ms: AtomicU64,
    /// Slices that ended by stepping aside; another of the same guest begins at once.
    aside: AtomicU64,
    resting: AtomicBool,
}

/// Slices that began, and that ended, on one thread: where they differ, guests run. A slice is what a guest does
/// from one wait, or one stepping aside, to the next.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// When the last one began.
    since_ms: AtomicU64,
}

/// A slice that runs. Dropping this ends it, also where the guest's poll panics.
struct Slice<'a>(&'a Counts);

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// What one instance knows of the time: how long it has run without waiting.
#[derive(Debug, Default)]
pub(super) struct Slices {
    ran_ms: u64,
    /// At the last tick: slices that had begun after a wait, all instances together.
    begun: u64,
    /// It has waited, and its next tick is not set yet.
    waited: bool,
}

impl Clock {
    /// Starts the thread.
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

    /// Runs a guest: whatever polls this future is a slice.
    pub(super) async fn during<F: Future>(&self, row: &Row, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        poll_fn(|cx| {
            let counts = self.shared.counts();
            // In one order with the clock's own look at both: either it sees this slice, or we see it rest.
            counts.begun.fetch_add(1, Ordering::SeqCst);
            let _slice = Slice(counts);
            let mut since_ms = self.shared.now_ms.load(Ordering::Relaxed);
            if self.shared.resting.load(Ordering::SeqCst) {
                self.thread.unpark();
                since_ms = self.shared.elapsed_ms();
            }
            counts.since_ms.store(since_ms, Ordering::Relaxed);
            row.runs(self.shared.started + Duration::from_millis(since_ms));
            let polled = guest.as_mut().poll(cx);
            if polled.is_pending() {
                row.waits(); // its slice began a moment ago
            }
            polled
        })
        .await
    }

    /// What a guest does at a tick. One that runs long and is alone goes on at once. While others are served
    /// it pauses for as long as it ran, so that it has half of a core at most, and they wait for it half as often.
    pub(super) fn step_aside(&self, slices: &mut Slices, row: &Row) -> UpdateDeadline {
        scheduler::tick();
        let since_ms = self.shared.counts().since_ms.load(Ordering::Relaxed);
        let ran_ms = self.shared.elapsed_ms().saturating_sub(since_ms);
        let ran_ms = ran_ms.clamp(1, LONGEST_PAUSE_MS);
        let aside = self.shared.aside.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = self.shared.begun().wrapping_sub(aside);
        let alone = std::mem::replace(&mut slices.begun, begun) == begun;
        row.ran(ran_ms);
        slices.ran_ms = slices.ran_ms.saturating_add(ran_ms);
        if slices.ran_ms > LONG_MS && !alone {
            let pause = Duration::from_millis(ran_ms);
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause)))
        } else {
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.thread.unpark(); // to find that the engine is gone
    }
}

impl Slices {
    /// A new call begins.
    pub(super) fn reset(&mut self) {
        self.ran_ms = 0;
    }

    /// The guest has waited for somebody else.
    pub(super) fn waited(&mut self) {
        self.ran_ms = 0;
        self.waited = true;
    }

    /// Whether it has waited since this was asked last.
    pub(super) fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counts::default()),
            started: Instant::now(),
            now_ms: AtomicU64::new(0),
            aside: AtomicU64::new(0),
            resting: AtomicBool::new(false),
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
            self.now_ms.store(self.elapsed_ms(), Ordering::Relaxed);
            std::thread::sleep(TICK);
            // What ended is read first: a slice that begins in between is seen as running.
            let ended = self.ended();
            let before = std::mem::replace(&mut begun, self.begun());
            let is_idle = begun == before && begun == ended;
            idle_ticks = if is_idle { idle_ticks + 1 } else { 0 };
            if idle_ticks >= RESTLESS_TICKS {
                self.rest(begun);
                idle_ticks = 0;
            }
        }
    }

    /// Sleeps until a slice begins, unless one did since there were `begun`.
    fn rest(&self, begun: u64) {
        self.resting.store(true, Ordering::SeqCst);
        if self.begun() == begun {
            std::thread::park();
        }
        self.now_ms.store(self.elapsed_ms(), Ordering::Relaxed); // before any slice relies on it again
        self.resting.store(false, Ordering::SeqCst);
    }

    /// In all. Two looks that see the same saw the same on every thread: no count goes back.
    fn begun(&self) -> u64 {
        self.sum(|counts| &counts.begun)
    }

    fn ended(&self) -> u64 {
        self.sum(|counts| &counts.ended)
    }

    fn sum(&self, count: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        let each = self.counts.iter();
        each.map(|counts| count(counts).load(Ordering::SeqCst))
            .sum()
    }

    /// Those of this thread.
    fn counts(&self) -> &Counts {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THIS: usize = THREADS.fetch_add(1, Ordering::Relaxed) % COUNTS;
        }
        &self.counts[THIS.with(|this| *this)]
    }
}
