//! The parts that waiting and waking are made of. Files that wait and wake by hand name these types
//! through this module only, so that a model checker can put its own in their place: `tests/models`
//! includes the same files beside another `sync`.

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, park};

pub(crate) use tokio::sync::oneshot;
pub(crate) use tokio::time::error::Elapsed;
pub(crate) use tokio::time::{Instant, Sleep, sleep_until, timeout};
