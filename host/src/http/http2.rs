//! A connection that speaks HTTP/2: a *stream* for each request, many at a time. What holds for a
//! connection of HTTP/1.1 holds for each stream: its deadlines, its limits, its crash. Whatever
//! ends a stream, the others don't notice.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Service;
use super::body::ResponseBody;
use super::connection::{self, Connection, LINGER};
use super::frames::Frames;
use super::heads::MAX_HEAD_BYTES;
use super::patience::{Activity, Alarm, Ended};
use super::refusals::Reason;
use super::request::Ends;
use super::stopwatch::Stopwatch;
use super::wire::{Stream, Wire};

/// Streams of one connection at a time: as many as nginx allows. All connections together have as
/// many as there may be connections.
const MAX_STREAMS: u32 = 128;

/// Bytes of one request's body that may come before somebody reads them.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all requests of one connection: with less, those that nobody reads yet would hold
/// up the others. All streams together are bounded, and so is this memory.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Bytes of one response that may wait for the client's window.
const SEND_BYTES: usize = 64 << 10;

/// Bytes of a response that are handed over at once: one frame. So the deadline of a stream covers
/// all of a response but its end, and a client that takes several at a time makes progress in each.
const PIECE_BYTES: usize = 16 << 10;

/// A write of so many bytes is more than the host's answers to pings and settings.
const LEAST_PROGRESS: usize = 256;

/// What the streams of one connection share.
#[derive(Debug)]
struct Shared {
    activity: Activity,
    /// The stream whose task begins next.
    next: Mutex<Option<Arc<Connection>>>,
    /// Responses since the socket looked last.
    answered: AtomicU64,
    /// Whether the client has sent too many frames that ask for nothing.
    is_flooded: AtomicBool,
    /// The longest time in which a client takes nothing of a response.
    patience: Duration,
}

pub(super) async fn serve(
    wire: Wire<'_>,
    stream: Stream<'_>,
    ends: Arc<Ends>,
    service: &Arc<Service>,
) {
    let shared = Arc::new(Shared {
        activity: Activity::new(),
        next: Mutex::default(),
        answered: AtomicU64::new(0),
        is_flooded: AtomicBool::new(false),
        patience: service.settings.header_time,
    });
    let socket = Socket {
        wire,
        frames: Frames::new(),
        shared: &shared,
    };
    let respond = service_fn(|request: hyper::Request<Incoming>| {
        let stopwatch = Stopwatch::new(&service.steps);
        stopwatch.arrived();
        let room = Arc::clone(&service.streams).try_acquire_owned().ok();
        let stream = Arc::new(Connection::stream(Arc::clone(&ends), stopwatch, room));
        shared.begin(&stream);
        let (service, shared) = (Arc::clone(service), Arc::clone(&shared));
        async move {
            let response = service.respond(request, None, &stream).await;
            stream.activity.note();
            shared.answered.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(response.map(|body| StreamBody {
                body,
                rest: Bytes::new(),
                is_split: false,
                stream,
            }))
        }
    });
    let connection = http2::Builder::new(Tasks(Arc::clone(&shared)))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(socket), respond);
    let mut connection = pin!(connection);
    let conclude = http2::Connection::graceful_shutdown;
    let activity = &shared.activity;
    let result = connection::run(connection.as_mut(), conclude, stream, activity, service).await;
    let client = &ends.client;
    match result {
        Some(Err(_)) if shared.is_flooded.load(Ordering::Relaxed) => {
            service.refusals.note(Reason::Flood, client, None);
        }
        Some(Err(Ended::Broken(error))) if is_flood(&error) => {
            let detail = error.source().map(ToString::to_string);
            let refusals = &service.refusals;
            refusals.note(Reason::Flood, client, detail.as_deref());
        }
        Some(Err(Ended::Stalled)) => {
            // A client that is about to ask learns that it must ask somebody else.
            connection.as_mut().graceful_shutdown();
            let _elapsed = tokio::time::timeout(LINGER, connection).await;
        }
        Some(Err(error)) => tracing::debug!(%client, %error, "connection ended early"),
        Some(Ok(())) | None => {}
    }
}

/// Whether `h2` itself has ended the connection for a flood: of resets, or of a head's frames. It
/// bounds those before [`Frames`] does, and logs nothing that names the client.
fn is_flood(error: &hyper::Error) -> bool {
    let cause = error.source();
    let cause = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}

impl Shared {
    /// A request has come. Its task begins before anything else is done.
    fn begin(&self, stream: &Arc<Connection>) {
        stream.activity.pause();
        self.activity.begin_stream();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(stream));
    }
}

/// Runs each stream in a task of its own.
#[derive(Clone)]
struct Tasks(Arc<Shared>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let next = &self.0.next;
        let Some(stream) = next.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            // Only CONNECT has tasks of other kinds, and is never accepted.
            return;
        };
        let running = Running(Arc::clone(&self.0));
        tokio::spawn(async move {
            let mut alarm = Alarm::new(&stream.activity, running.0.patience);
            let nobody = pin!(std::future::pending());
            // Dropping the task resets the stream.
            if let Err(error) = alarm.watch(pin!(task), nobody).await {
                let client = &stream.ends.client;
                tracing::debug!(%client, %error, "stream ended early");
            }
        });
    }
}

/// Counts a stream, as long as it lives.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.activity.end_stream();
    }
}

/// A response on its way to a stream, in small pieces. A piece is asked for when those before are
/// on their way.
struct StreamBody {
    body: ResponseBody,
    /// What is left of a large piece.
    rest: Bytes,
    /// Whether some of it was handed over.
    is_split: bool,
    stream: Arc<Connection>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        this.stream.activity.note();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        this.is_split |= this.rest.len() > PIECE_BYTES;
        let most = this.rest.len().min(PIECE_BYTES);
        let mut piece = this.rest.split_to(most);
        if this.is_split && this.rest.is_empty() {
            // The end of a response may wait for its client. The whole of it shall not.
            piece = Bytes::copy_from_slice(&piece);
            this.is_split = false;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        match hint.exact() {
            Some(length) => SizeHint::with_exact(length + self.rest.len() as u64),
            None => hint,
        }
    }
}

/// The wire of a connection. It counts frames on their way to hyper.
struct Socket<'a> {
    wire: Wire<'a>,
    frames: Frames,
    shared: &'a Shared,
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buffer))?;
        let answered = self.shared.answered.swap(0, Ordering::Relaxed);
        if self.frames.came(&buffer.filled()[before..], answered) {
            return Poll::Ready(Ok(()));
        }
        self.shared.is_flooded.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::other(
            "too many frames that ask for nothing",
        )))
    }
}

impl Socket<'_> {
    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written {
            self.frames.went(*count);
            if *count >= LEAST_PROGRESS {
                self.shared.activity.note_unless_paused();
            }
        }
        written
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, pieces);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
