//! Patience with clients: the time of a client's last progress, the longest time without progress,
//! and whether the client has reset its connection while its request runs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Why a connection ended before its client closed it.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client made no progress.
    Stalled,
    /// The client reset the connection while its request was running.
    Reset,
    /// The client sent bytes that are not HTTP, or left in the middle.
    Broken(hyper::Error),
}

impl From<hyper::Error> for Ended {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stalled => f.write_str("its client made no progress"),
            Self::Reset => f.write_str("its client has reset it"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

/// The time of a client's last progress. Progress is a whole head that is sent, or some bytes of a
/// response that are taken. Single bytes of a head are no progress.
#[derive(Debug)]
pub(super) struct Activity {
    connected: Instant,
    /// Milliseconds after `connected`, or [`Activity::PAUSED`].
    last: AtomicU64,
}

impl Activity {
    /// A request is being served: now the client waits for the host.
    const PAUSED: u64 = u64::MAX;

    pub(super) fn new() -> Self {
        Self {
            connected: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn pause(&self) {
        self.last.store(Self::PAUSED, Ordering::Relaxed);
    }

    pub(super) fn note(&self) {
        let millis = self.connected.elapsed().as_millis();
        let millis = u64::try_from(millis).unwrap_or(Self::PAUSED - 1);
        self.last.store(millis, Ordering::Relaxed);
    }

    pub(super) fn note_unless_paused(&self) {
        if !self.is_paused() {
            self.note();
        }
    }

    fn is_paused(&self) -> bool {
        self.last.load(Ordering::Relaxed) == Self::PAUSED
    }

    fn last(&self) -> Option<Instant> {
        match self.last.load(Ordering::Relaxed) {
            Self::PAUSED => None,
            millis => Some(self.connected + Duration::from_millis(millis)),
        }
    }
}

/// Ends a connection whose client makes no progress for as long as the header timeout.
pub(super) struct Alarm<'a> {
    activity: &'a Activity,
    patience: Duration,
    /// Fires at the earliest possible end of the patience, and is set again only then. So a
    /// connection costs one timer per timeout, not one per request.
    timer: Pin<Box<Sleep>>,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(activity: &'a Activity, patience: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(patience));
        Self {
            activity,
            patience,
            timer,
        }
    }

    /// Runs a connection until it ends, its client stalls, or `reset` reports that the client has
    /// reset it. `reset` is polled only while a request runs, since the socket isn't read then. A
    /// client that only closes its own side has sent everything, and still wants the response.
    pub(super) async fn watch(
        &mut self,
        mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
        mut reset: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Ended> {
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Ended::from)),
            Poll::Pending if self.activity.is_paused() => {
                reset.as_mut().poll(cx).map(|()| Err(Ended::Reset))
            }
            Poll::Pending => self.poll_stalled(cx).map(|()| Err(Ended::Stalled)),
        })
        .await
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(last) = self.activity.last() {
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let due = last + self.patience;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
