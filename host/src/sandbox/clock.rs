//! The *clock* of an engine: while guests run, one thread moves the engine's epoch on, and at each tick a
//! running guest steps aside for whatever else its thread has to do. While none runs, the clock rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{EngineWeak, UpdateDeadline};

/// The longest that one guest holds its thread while others wait for it. A tick costs the thread that makes
/// it some microseconds; a millisecond keeps that below one percent of a core, and a spinning guest below
/// what a client would notice.
const TICK: Duration = Duration::from_millis(1);

/// A call that has run for so many ticks is a long one. Nearly all calls end before the first.
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
#[repr(align(128))] // two cache lines: what every call writes must not slow down what others read
struct Shared {
    /// Calls into guests that began, and that ended: where they differ, guests run.
    begun: AtomicU64,
    ended: AtomicU64,
    resting: AtomicBool,
}

/// A call into a guest, from its beginning to its end.
pub(super) struct Running<'a>(&'a Shared);

/// What one instance knows of the time: how long its call has run.
#[derive(Debug, Default)]
pub(super) struct Slices {
    ticks: u32,
    /// Calls that had begun at the last tick, all instances together.
    begun: u64,
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

    /// A call begins; it ends where the guard is dropped.
    pub(super) fn run(&self) -> Running<'_> {
        // In one order with the clock's own look at both: either it sees this call, or we see it rest.
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    /// What a guest does at a tick. A long call that is alone goes on at once. While others are served it
    /// pauses for a tick, so that it has at most half of a core, and they wait for it half as often.
    pub(super) fn step_aside(&self, slices: &mut Slices) -> UpdateDeadline {
        let begun = self.shared.begun.load(Ordering::Relaxed);
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

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Slices {
    /// A new call begins.
    pub(super) fn reset(&mut self) {
        self.ticks = 0;
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
