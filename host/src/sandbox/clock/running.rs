//! Whether guests are *running*, and with that whether the clock may rest. Threads count the slices
//! that begin and end on them. The clock rests when the counts agree, and the next slice wakes it.
//!
//! A slice counts itself and then looks whether the clock rests. The clock says that it rests and
//! then looks at the counts. All four are in one order (`SeqCst`), so at least one of the two sees
//! the other.

use crate::sync::{AtomicBool, AtomicU64, Ordering, Thread, park};

/// What the clock and the guests of one engine know of each other. Threads that share a slot of the
/// `SLOTS` slow each other down, and nothing else.
#[derive(Debug)]
pub(super) struct Running<const SLOTS: usize> {
    counts: [Counts; SLOTS],
    /// The time at the last tick: a slice has this for less than a look at the time.
    now_ms: AtomicU64,
    resting: AtomicBool,
}

/// Slices that began and slices that ended, on the threads of one slot: where they differ, guests
/// run.
#[derive(Debug)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// When the last slice began.
    since_ms: AtomicU64,
}

/// A slice that runs. Dropping this ends the slice, also where the guest's poll panics.
pub(super) struct Slice<'a>(&'a Counts);

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl<const SLOTS: usize> Running<SLOTS> {
    pub(super) fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counts {
                begun: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                since_ms: AtomicU64::new(0),
            }),
            now_ms: AtomicU64::new(0),
            resting: AtomicBool::new(false),
        }
    }

    /// A slice begins on a thread of this slot. Wakes the clock's thread where it rests.
    pub(super) fn begin(
        &self,
        slot: usize,
        clock: &Thread,
        elapsed_ms: impl FnOnce() -> u64,
    ) -> Slice<'_> {
        let counts = &self.counts[slot];
        counts.begun.fetch_add(1, Ordering::SeqCst);
        let slice = Slice(counts);
        // The look at `resting` comes before the look at `now_ms`, which is too old after a rest.
        let since_ms = if self.resting.load(Ordering::SeqCst) {
            clock.unpark();
            elapsed_ms()
        } else {
            self.now_ms.load(Ordering::Relaxed)
        };
        counts.since_ms.store(since_ms, Ordering::Relaxed);
        slice
    }

    /// When the last slice on a thread of this slot began.
    pub(super) fn since_ms(&self, slot: usize) -> u64 {
        self.counts[slot].since_ms.load(Ordering::Relaxed)
    }

    /// The clock ticks.
    pub(super) fn set_now(&self, elapsed_ms: u64) {
        self.now_ms.store(elapsed_ms, Ordering::Relaxed);
    }

    /// Whether no slice runs, and none has begun since `begun` had. Sets `begun` to how many have
    /// now.
    pub(super) fn is_idle(&self, begun: &mut u64) -> bool {
        // Slices that ended are counted first: a slice that begins in between is seen as running.
        let ended = self.sum(|counts| &counts.ended);
        let before = std::mem::replace(begun, self.begun());
        *begun == before && *begun == ended
    }

    /// The clock's thread sleeps until a slice begins, unless one did since there were `begun`.
    pub(super) fn rest(&self, begun: u64, elapsed_ms: impl FnOnce() -> u64) {
        self.resting.store(true, Ordering::SeqCst);
        if self.begun() == begun {
            park();
        }
        self.set_now(elapsed_ms()); // before any slice relies on it again
        self.resting.store(false, Ordering::SeqCst);
    }

    /// Slices that have begun in all. Two sums that are the same saw the same on every thread: no
    /// count goes back.
    pub(super) fn begun(&self) -> u64 {
        self.sum(|counts| &counts.begun)
    }

    fn sum(&self, count: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        let each = self.counts.iter();
        each.map(|counts| count(counts).load(Ordering::SeqCst))
            .sum()
    }
}
