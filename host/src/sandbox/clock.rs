//! The *clock* of an engine: while guests run, one thread moves the engine's epoch on, and at each tick a
//! running guest steps aside for whatever else its thread has to do. While none runs, the clock rests: a
//! guest that waits costs nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{EngineWeak, UpdateDeadline};

/// The longest that one guest holds its thread while others wait for it. A tick costs the thread that makes
/// it some microseconds; a millisecond keeps that below one percent of a core, and a spinning guest below
/// what a client would notice.
const TICK: Duration = Duration::from_millis(1);

/// A guest that has run for so many ticks without waiting runs long. Nearly all are done before the first.
const LONG: u32 = 10;

/// Ticks without a running guest until the clock rests: waking it costs a call more than a tick costs us.
const RESTLESS_TICKS: u32 = 100;

/// One per engine. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Clock {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: what every slice writes must not slow down what others read
struct Shared {
    /// Slices that began, and that ended: where they differ, guests run. A slice is what a guest does from
    /// one wait, or one stepping aside, to the next.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Slices that ended by stepping aside; another of the same guest begins at once.
    aside: AtomicU64,
    resting: AtomicBool,
}

/// A slice, from its beginning to its end.
struct Slice<'a>(&'a Shared);

/// What one instance knows of the time: how long it has run without waiting.
#[derive(Debug, Default)]
pub(super) struct Slices {
    ticks: u32,
    /// At the last tick: slices that had begun after a wait, all instances together.
    begun: u64,
    /// It waited since its last tick, which was some time ago then.
    waited: bool,
}

impl Clock {
    /// Starts the thread.
    pub(super) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
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
    pub(super) async fn during<F: Future>(&self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        poll_fn(|cx| {
            let _slice = self.begin();
            guest.as_mut().poll(cx)
        })
        .await
    }

    fn begin(&self) -> Slice<'_> {
        // In one order with the clock's own look at both: either it sees this slice, or we see it rest.
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Slice(&self.shared)
    }

    /// What a guest does at a tick. One that runs long and is alone goes on at once. While others are served
    /// it pauses for a tick, so that it has at most half of a core, and they wait for it half as often.
    pub(super) fn step_aside(&self, slices: &mut Slices) -> UpdateDeadline {
        if std::mem::take(&mut slices.waited) {
            return UpdateDeadline::Continue(1); // the tick was over before this slice began
        }
        let aside = self.shared.aside.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = self
            .shared
            .begun
            .load(Ordering::Relaxed)
            .wrapping_sub(aside);
        let alone = std::mem::replace(&mut slices.begun, begun) == begun;
        slices.ticks = slices.ticks.saturating_add(1);
        if slices.ticks > LONG && !alone {
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(TICK)))
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

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Slices {
    /// A new call begins, with a new deadline for its first tick.
    pub(super) fn reset(&mut self) {
        self.ticks = 0;
        self.waited = false;
    }

    /// The guest has waited for somebody else.
    pub(super) fn waited(&mut self) {
        self.ticks = 0;
        self.waited = true;
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        let mut idle_ticks = 0;
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
            idle_ticks = if self.is_idle() { idle_ticks + 1 } else { 0 };
            if idle_ticks >= RESTLESS_TICKS {
                self.rest();
                idle_ticks = 0;
            }
        }
    }

    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        if self.is_idle() {
            std::thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        // What ended is read first: a call that begins in between is seen as running.
        let ended = self.ended.load(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) == ended
    }
}
