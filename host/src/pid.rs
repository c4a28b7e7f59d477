//! A *pid* is the number of a process, or of a client that waits for a program's response.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a process or of a client. The host never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZeroU64);

/// The lower bits of a pid, which number the processes of one host. The upper 20 are the host's
/// number in its cluster, so that a pid means the same everywhere.
const SERIAL_BITS: u32 = 44;

/// Hands out pids.
#[derive(Debug)]
pub(crate) struct Pids(AtomicU64);

impl Pids {
    /// The pids of a host. A host that is alone has the number 0, and its pids begin with 1.
    #[must_use]
    pub(crate) const fn new(host: u32) -> Self {
        Self(AtomicU64::new((host as u64) << SERIAL_BITS | 1))
    }

    pub(crate) fn next(&self) -> Pid {
        // 2^44 pids at ten thousand a second last for half a century.
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Pid(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

impl Pid {
    /// The pid with this number. 0 is no pid.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number of its host.
    pub(crate) fn host(self) -> u32 {
        (self.0.get() >> SERIAL_BITS) as u32
    }

    /// Whether both are of one host.
    pub(crate) fn is_near(self, other: Self) -> bool {
        (self.0.get() ^ other.0.get()) >> SERIAL_BITS == 0
    }

    /// The number as an integer.
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
