//! A *pid* is the number of a process, or of a client who waits for a program's response.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a process or of a client. Never used twice while the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZeroU64);

/// Gives out pids.
#[derive(Debug)]
pub(crate) struct Pids(AtomicU64);

impl Pids {
    /// Pids from 1 up.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub(crate) fn next(&self) -> Pid {
        // 2^64 processes at a million a second last for half a million years.
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Pid(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

impl Default for Pids {
    fn default() -> Self {
        Self::new()
    }
}

impl Pid {
    /// The pid of this number. Nobody has 0.
    pub(crate) fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
