//! The host's `sync`, for the model checker.

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

/// The time is over.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Models have no time. A timeout of zero polls once, at any moment. All other timeouts never
/// elapse.
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
