//! Patience with clients: the time of a client's last progress, the longest time without progress,
//! and whether the client has reset its connection while its request runs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Why a connection, or a stream of one, ended before its client closed it.
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
    /// The streams of a connection of HTTP/2, each of which has a patience of its own.
    streams: AtomicUsize,
    /// Whether there was any request.
    was_asked: AtomicBool,
}

impl Activity {
    /// A request is being served: now the client waits for the host.
    const PAUSED: u64 = u64::MAX;

    pub(super) fn new() -> Self {
        Self {
            connected: Instant::now(),
            last: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            was_asked: AtomicBool::new(false),
        }
    }

    /// A request has come.
    pub(super) fn pause(&self) {
        self.was_asked.store(true, Ordering::Relaxed);
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

    pub(super) fn begin_stream(&self) {
        self.was_asked.store(true, Ordering::Relaxed);
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// The client's patience begins when its last stream has ended.
    pub(super) fn end_stream(&self) {
        self.note();
        self.streams.fetch_sub(1, Ordering::Release);
    }

    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Acquire) > 0
    }

    fn is_paused(&self) -> bool {
        self.last().is_none()
    }

    fn last(&self) -> Option<Instant> {
        if self.has_streams() {
            return None;
        }
        match self.last.load(Ordering::Relaxed) {
            Self::PAUSED => None,
            millis => Some(self.connected + Duration::from_millis(millis)),
        }
    }
}

/// Ends a connection, or a stream, whose client makes no progress for as long as the header
/// timeout.
pub(super) struct Alarm<'a> {
    activity: &'a Activity,
    patience: Duration,
    /// Fires at the earliest possible end of the patience, and is set again only then. So a
    /// connection costs one timer per timeout, not one per request. There is none before the first
    /// wait for the client.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(activity: &'a Activity, patience: Duration) -> Self {
        Self {
            activity,
            patience,
            timer: None,
        }
    }

    /// Runs a connection or a stream until it ends, its client stalls, or `reset` reports that the
    /// client has reset it. `reset` is polled only while a request runs, since the socket isn't
    /// read then. A client that only closes its own side has sent everything, and still wants the
    /// response.
    pub(super) async fn watch<T>(
        &mut self,
        mut watched: Pin<&mut impl Future<Output = T>>,
        mut reset: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<T, Ended> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = watched.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.activity.is_paused() && reset.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Ended::Reset));
            }
            self.poll_stalled(cx).map(|()| Err(Ended::Stalled))
        })
        .await
    }

    /// The timer goes on while the client waits for the host: whoever ends the pause may be another
    /// task, which wakes nobody.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            // The end of a stream of HTTP/2 is in another task, and wakes nobody.
            None if self.activity.is_paused() && !self.activity.has_streams() => {
                return Poll::Pending;
            }
            none => none.insert(Box::pin(tokio::time::sleep(self.patience))),
        };
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = self.activity.last().unwrap_or(now) + self.patience;
            if now >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
