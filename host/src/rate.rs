//! Limits a log line that anybody can cause to one a second. The next line says how many were
//! skipped.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines of one kind. A reader of the log still sees what happens, and a
/// flood of events costs nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// The limiter of one kind of line.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    written: Option<Instant>,
    /// Lines skipped since then.
    skipped: u64,
}

impl Rate {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Count {
            written: None,
            skipped: 0,
        }))
    }

    /// Whether a line may be written. If so, returns how many were skipped before it.
    pub(crate) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // These are plain values: a panic elsewhere leaves nothing half-done in them.
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |written| now.saturating_duration_since(written) < PAUSE;
        if count.written.is_some_and(is_early) {
            count.skipped += 1;
            return None;
        }
        count.written = Some(now);
        Some(std::mem::take(&mut count.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_and_a_count_of_the_rest() {
        let (rate, start) = (Rate::default(), Instant::now());
        let after = |millis| rate.admit_at(start + Duration::from_millis(millis));
        let seen = [0, 1, 999, 1000, 1001, 5000, 6000].map(after);
        assert_eq!(seen, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
