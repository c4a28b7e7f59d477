//! A *deadline* bounds a wait. Most of what could be waited for is there at once, so a timer is set only for what
//! isn't: setting one costs more than many a call.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

/// What `work` comes to, or nothing where it isn't done by then; it is dropped in that case.
pub(crate) async fn by<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match at_once(work.as_mut()).await {
        Some(done) => Some(done),
        None => tokio::time::timeout_at(deadline.into(), work).await.ok(),
    }
}

/// What `work` comes to, if that takes no waiting.
pub(crate) async fn at_once<T>(mut work: impl Future<Output = T> + Unpin) -> Option<T> {
    poll_fn(|cx| match Pin::new(&mut work).poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
