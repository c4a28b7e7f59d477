//! Whether guests are *running*, and so whether the clock may rest. Threads count the slices that
//! begin and end on them. The clock rests when both counts agree, and the next slice wakes it.
//!
//! A slice counts itself and then checks whether the clock rests. The clock sets `resting` and then
//! checks the counts. All four steps are in one order (`SeqCst`), so at least one side sees the
//! other.

use crate::sync::{AtomicBool, AtomicU64, Ordering, Thread, park};

/// The state that the clock and the guests of one engine share. Threads that share one of the
/// `SLOTS` only slow each other down.
#[derive(Debug)]
pub(super) struct Running<const SLOTS: usize> {
    counts: [Counts; SLOTS],
    /// The time at the last tick. Reading it costs a slice less than reading the system's clock.
    now_ms: AtomicU64,
    resting: AtomicBool,
}

/// The slices that began and that ended on the threads of one slot. Guests run while the two
/// differ.
#[derive(Debug)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The start of the last slice.
    since_ms: AtomicU64,
}

/// A slice that runs. Dropping this ends the slice, even if the guest's poll panics.
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

    /// Begins a slice on a thread of this slot. Wakes the clock if it rests.
    pub(super) fn begin(
        &self,
        slot: usize,
        clock: &Thread,
        elapsed_ms: impl FnOnce() -> u64,
    ) -> Slice<'_> {
        let counts = &self.counts[slot];
        counts.begun.fetch_add(1, Ordering::SeqCst);
        let slice = Slice(counts);
        // `resting` must be read before `now_ms`, which is outdated after a rest.
        let since_ms = if self.resting.load(Ordering::SeqCst) {
            clock.unpark();
            elapsed_ms()
        } else {
            self.now_ms.load(Ordering::Relaxed)
        };
        counts.since_ms.store(since_ms, Ordering::Relaxed);
        slice
    }

    /// The start of the last slice on a thread of this slot.
    pub(super) fn since_ms(&self, slot: usize) -> u64 {
        self.counts[slot].since_ms.load(Ordering::Relaxed)
    }

    /// Sets the time of a tick.
    pub(super) fn set_now(&self, elapsed_ms: u64) {
        self.now_ms.store(elapsed_ms, Ordering::Relaxed);
    }

    /// Whether no slice runs, and none has begun since `begun` was set. Updates `begun` to the
    /// number of slices begun so far.
    pub(super) fn is_idle(&self, begun: &mut u64) -> bool {
        // Ended slices are summed first, so that a slice that begins in between counts as running.
        let ended = self.sum(|counts| &counts.ended);
        let before = std::mem::replace(begun, self.begun());
        *begun == before && *begun == ended
    }

    /// Puts the clock's thread to sleep until a slice begins, unless one has begun since `begun`.
    pub(super) fn rest(&self, begun: u64, elapsed_ms: impl FnOnce() -> u64) {
        self.resting.store(true, Ordering::SeqCst);
        if self.begun() == begun {
            park();
        }
        self.set_now(elapsed_ms()); // before any slice reads it again
        self.resting.store(false, Ordering::SeqCst);
    }

    /// The number of slices begun so far. No count decreases, so two equal sums mean that no thread
    /// has begun a slice in between.
    pub(super) fn begun(&self) -> u64 {
        self.sum(|counts| &counts.begun)
    }

    fn sum(&self, count: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        let each = self.counts.iter();
        each.map(|counts| count(counts).load(Ordering::SeqCst))
            .sum()
    }
}
