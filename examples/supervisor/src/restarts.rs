//! How often is too often: a worker that crashes at every start must not be started for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many restarts, of all workers together, …
pub(crate) const MOST: usize = 5;

/// … are fine in so much time. One more, and the cause is none that a restart removes.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);

/// The restarts of the last [`PERIOD`], the oldest first.
#[derive(Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Counts one more. Gives its number within the period, or none if it is one too many.
    pub(crate) fn one_more(&mut self, now: Instant) -> Option<usize> {
        while self.0.front().is_some_and(|&then| now - then >= PERIOD) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        (self.0.len() <= MOST).then_some(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_in_ten_seconds_are_one_too_many() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut restarts = Restarts::default();
        for nth in 1..=5 {
            assert_eq!(restarts.one_more(after(nth)), Some(nth as usize));
        }
        assert_eq!(restarts.one_more(after(10)), None);
    }

    #[test]
    fn old_ones_are_forgotten() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut restarts = Restarts::default();
        for nth in 1..=5 {
            assert_eq!(restarts.one_more(after(nth)), Some(nth as usize));
        }
        assert_eq!(restarts.one_more(after(11)), Some(5));
        assert_eq!(restarts.one_more(after(60)), Some(1));
    }
}
