//! A *connection* from its first byte to its last: it is opened, speaks HTTP/1.1 or HTTP/2, ends
//! when its client makes no progress, and is drained when the host stops.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::listener::{Peer, Permit, Spoken};
use super::opening::{self, Opened};
use super::patience::{Activity, Alarm, Ended};
use super::request::Ends;
use super::stopwatch::Stopwatch;
use super::upload::Uploading;
use super::wire::{Accepted, Plain, Stream};
use super::{Service, http1, http2};
use crate::shutdown::Phase;

/// The time after the grace time in which clients may read their 503.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// The time in which a client that has just connected may still ask, when the host stops.
pub(super) const FIRST_HEAD: Duration = Duration::from_secs(1);

/// What the requests of one connection of HTTP/1.1 share with it, or the one request of a stream of
/// HTTP/2 with the stream. It outlives the stack of its task in hyper's eyes.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: Arc<Ends>,
    pub(super) activity: Arc<Activity>,
    pub(super) stopwatch: Stopwatch,
    /// Whether the host has as many requests as it may have.
    pub(super) is_crowded: bool,
    /// A stream counts as long as this lives.
    _room: Option<Permit>,
    /// Whether a body was cut off that can only be ended by closing the connection.
    is_cut: AtomicBool,
    /// The upload of the last request, if there was one.
    uploading: Mutex<Option<Uploading>>,
}

impl Connection {
    pub(super) fn new(ends: Arc<Ends>, activity: Arc<Activity>, stopwatch: Stopwatch) -> Self {
        Self {
            ends,
            activity,
            stopwatch,
            is_crowded: false,
            _room: None,
            is_cut: AtomicBool::new(false),
            uploading: Mutex::default(),
        }
    }

    /// A stream of HTTP/2, for which there is room or not.
    pub(super) fn stream(ends: Arc<Ends>, stopwatch: Stopwatch, room: Option<Permit>) -> Self {
        Self {
            is_crowded: room.is_none(),
            _room: room,
            ..Self::new(ends, Arc::new(Activity::new()), stopwatch)
        }
    }

    /// Notes that a response has broken off in the middle of its body.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Notes the upload of the current request.
    pub(super) fn uploads(&self, uploading: Uploading) {
        *self
            .uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(uploading);
    }

    pub(super) fn has_unread_upload(&self) -> bool {
        let uploading = self
            .uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uploading.as_ref().is_some_and(Uploading::is_unread)
    }
}

/// Serves the requests of a connection, until it ends.
pub(super) async fn serve(
    mut socket: Accepted,
    peer: Peer,
    spoken: Arc<Spoken>,
    service: Arc<Service>,
    _permit: Permit,
) {
    if let Accepted::Tcp(stream) = &socket {
        // Responses are written whole, so waiting for more bytes would only delay them.
        let _ = stream.set_nodelay(true);
    }
    let (read, write) = socket.split();
    let stream = write.whole();
    let activity = Arc::new(Activity::new());
    let stopwatch = Stopwatch::new(&service.steps);
    let plain = Plain::new(read, stream, &activity, stopwatch.clone());
    let opened = opening::open(plain, stream, peer, &spoken, &service).await;
    let Opened {
        wire,
        is_http_2,
        ends,
    } = match opened {
        Ok(opened) => opened,
        Err(unopened) => {
            unopened.tell(peer, stream, &service);
            return stream.discard().await;
        }
    };
    if is_http_2 {
        return Box::pin(http2::serve(wire, stream, ends, &service)).await;
    }
    if spoken.tls.is_some() || spoken.has_proxy_header {
        activity.note(); // the time so far was for something else than a head
    }
    let shared = Connection::new(ends, Arc::clone(&activity), stopwatch);
    http1::serve(wire, stream, Arc::new(shared), &service).await;
}

/// Runs a connection until it ends, its client makes no progress, or the host has stopped. `None`
/// if the host has waited for it long enough.
pub(super) async fn run<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    conclude: impl Fn(Pin<&mut C>),
    stream: Stream<'_>,
    activity: &Activity,
    service: &Service,
) -> Option<Result<(), Ended>> {
    let mut stopping = service.stopping.clone();
    let mut alarm = Alarm::new(activity, service.settings.header_time);
    let mut reset = pin!(stream.reset());
    tokio::select! {
        biased;
        result = alarm.watch(connection.as_mut(), reset.as_mut()) => return Some(flat(result)),
        () = stopping.reached(Phase::Draining) => {}
    }
    if !activity.was_asked() {
        // Concluding would close the connection, which the client believes to be accepted.
        let asked = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if activity.was_asked() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Ok(Some(result)) = tokio::time::timeout(FIRST_HEAD, asked).await {
            return Some(result.map_err(Ended::from));
        }
    }
    conclude(connection.as_mut());
    // Requests that have begun may finish.
    tokio::select! {
        biased;
        result = alarm.watch(connection.as_mut(), reset.as_mut()) => return Some(flat(result)),
        () = stopping.reached(Phase::Ending) => {}
    }
    let lingering = tokio::time::timeout(LINGER, connection).await;
    lingering.ok().map(|result| result.map_err(Ended::from))
}

fn flat(result: Result<hyper::Result<()>, Ended>) -> Result<(), Ended> {
    result?.map_err(Ended::from)
}
