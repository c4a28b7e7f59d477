//! The primitives of waiting and waking. Files that wait and wake by hand import these types only
//! from here, so that a model checker can substitute its own: `tests/models` compiles the same
//! files against another `sync`.

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, park};

pub(crate) use tokio::sync::oneshot;
pub(crate) use tokio::time::error::Elapsed;
pub(crate) use tokio::time::{Instant, Sleep, sleep_until, timeout};
