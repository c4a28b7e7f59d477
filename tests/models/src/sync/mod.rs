//! The host's `sync`, as the model checker has it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) use shuttle::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::thread::{Thread, park};

pub(crate) mod oneshot;
mod sleep;

pub(crate) use sleep::{Instant, NEVER, Sleep, sleep_until};

/// The time was over.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Models have no time. Whoever has no patience looks once, which may be at any time; all others
/// wait for ever.
pub(crate) async fn timeout<F: Future>(
    patience: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    if !patience.is_zero() {
        return Ok(future.await);
    }
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(Elapsed),
    }
}
