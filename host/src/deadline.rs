//! A *deadline* bounds a wait. Most of what could be waited for is there at once, so a timer is set only for what
//! isn't: setting one costs more than many a call.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

/// What `work` comes to, or nothing where it isn't done by then; it is dropped in that case.
pub(crate) async fn by<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    unless(work, || tokio::time::sleep_until(deadline.into())).await
}

/// What `work` comes to, or nothing where something else comes first: what that is, is asked only once `work` has to
/// wait.
pub(crate) async fn unless<T, F: Future<Output = ()>>(
    work: impl Future<Output = T>,
    otherwise: impl FnOnce() -> F,
) -> Option<T> {
    let mut work = pin!(work);
    let mut otherwise = Some(otherwise);
    let mut other = pin!(None::<F>);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if let Some(otherwise) = otherwise.take() {
            other.set(Some(otherwise()));
        }
        match other.as_mut().as_pin_mut() {
            Some(other) => other.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
