//! A *deadline* bounds a wait. Most awaited results are ready at once, so a timer is set only for
//! the others: setting one costs more than many calls.
//!
//! Callers pass large futures by pinned reference. A future passed by value takes up its size twice
//! in the caller's future: once as an argument, once where it is polled.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

/// The outcome of `work`, or `None` if the deadline passes first. `work` is dropped in either case.
pub(crate) async fn by<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    unless(pin!(work), || tokio::time::sleep_until(deadline.into()))
        .await
        .ok()
}

/// The outcome of `work`, or that of the other future if it finishes first. The other future is
/// created only once `work` has to wait.
pub(crate) async fn unless<T, O, F: Future<Output = O>>(
    work: impl Future<Output = T>,
    otherwise: impl FnOnce() -> F,
) -> Result<T, O> {
    let mut work = pin!(work);
    let mut otherwise = Some(otherwise);
    let mut other = pin!(None::<F>);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if let Some(otherwise) = otherwise.take() {
            other.set(Some(otherwise()));
        }
        match other.as_mut().as_pin_mut() {
            Some(other) => other.poll(cx).map(Err),
            None => Poll::Pending,
        }
    })
    .await
}
