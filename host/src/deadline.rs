//! A *deadline* bounds a wait. Most of what could be waited for is there at once, so a timer is set
//! only for what isn't: setting one costs more than many a call.
//!
//! Callers pass large futures pinned where they are. A future that is passed by value is in the
//! caller's future twice: as an argument, and where it is polled.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

/// What `work` comes to, or nothing where it isn't done by then; it is dropped in that case.
pub(crate) async fn by<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    unless(pin!(work), || tokio::time::sleep_until(deadline.into()))
        .await
        .ok()
}

/// The outcome of `work`, or else that of another future which comes first. The other is made only
/// once `work` has to wait.
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
