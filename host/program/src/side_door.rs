//! A *side door* is a small HTTP server beside the one that serves: for an operator or a machine
//! that watches. It takes few connections. None of them stays for long, except for a few that are
//! told what happens, for as long as they listen.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};

/// The longest time in which a client sends a head.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// The longest time in which a client takes no byte of an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// The most bytes of a head, and of a body.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// The pause after the host has run out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Pieces of a stream that wait for its client.
const PIECES: usize = 16;

/// How many clients a side door takes, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at one time. Further ones wait in the socket's line.
    pub(crate) connections: usize,
    /// The longest time of a connection that is told nothing.
    pub(crate) longest: Duration,
}

/// The clients that may be told what happens at one time. Fewer than connections, so that others
/// find one.
#[derive(Clone, Debug)]
pub(crate) struct Streams(Arc<Semaphore>);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole(Option<Bytes>),
    /// Pieces, until whoever writes them stops.
    Stream {
        pieces: mpsc::Receiver<Bytes>,
        _permit: OwnedSemaphorePermit,
    },
}

/// The end at which a stream is written.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Bytes>);

/// The client has left, or takes nothing.
#[derive(Debug)]
pub(crate) struct Left;

/// Serves the clients that `accept` lets in, for ever. `door` is its name in the log.
pub(crate) async fn listen<S, A, F>(
    door: &str,
    bounds: Bounds,
    accept: impl Fn() -> A,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Future<Output = io::Result<S>>,
    F: Future<Output = Response<Answer>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return std::future::pending().await; // can't happen: nobody closes it
        };
        match accept().await {
            Ok(stream) => {
                let respond = respond.clone();
                tokio::spawn(async move {
                    serve(bounds.longest, stream, respond).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a client of the {door}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection, for at most `longest` unless it is told what happens.
async fn serve<F>(
    longest: Duration,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    respond: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Response<Answer>>,
{
    let is_told = AtomicBool::new(false);
    let service = service_fn(|request| {
        let responding = respond(request);
        async {
            let response = responding.await;
            let streams = matches!(response.body(), Answer::Stream { .. });
            is_told.store(streams, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_BYTES)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service);
    let mut served = std::pin::pin!(served);
    // A client that breaks off, or stays for too long, harms nobody.
    let ended = tokio::time::timeout(longest, served.as_mut()).await;
    if ended.is_err() && is_told.load(Ordering::Relaxed) {
        served.as_mut().graceful_shutdown(); // this answer is its last
        let _ended = served.await;
    }
}

/// A response.
pub(crate) fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Answer> {
    let body = Some(body.into()).filter(|body| !body.is_empty());
    with_kind(status, kind, Answer::Whole(body))
}

impl Streams {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// A response whose body `write` makes, in a task of its own, until it or the client ends.
    pub(crate) fn stream<F>(
        &self,
        kind: &'static str,
        write: impl FnOnce(Writer) -> F,
    ) -> Response<Answer>
    where
        F: Future<Output = Result<(), Left>> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            let text = "as many clients as may are told what happens already\n";
            return response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", text);
        };
        let (writer, pieces) = mpsc::channel(PIECES);
        let left = writer.clone();
        let writing = write(Writer(writer));
        tokio::spawn(async move {
            tokio::select! {
                _ended = writing => {}
                () = left.closed() => {}
            }
        });
        let mut response = with_kind(
            StatusCode::OK,
            kind,
            Answer::Stream {
                pieces,
                _permit: permit,
            },
        );
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Writer {
    /// Writes a piece, once the client has room for it.
    ///
    /// # Errors
    /// [`Left`].
    pub(crate) async fn write(&self, piece: impl Into<Bytes>) -> Result<(), Left> {
        self.0.send(piece.into()).await.map_err(|_| Left)
    }
}

fn with_kind(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Stream { pieces, .. } => ready!(pieces.poll_recv(cx)),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

/// A connection whose client must take a byte now and then.
struct Impatient<S> {
    stream: S,
    /// Runs while a write waits.
    alarm: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Impatient<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            alarm: Box::pin(tokio::time::sleep(WRITE_TIME)),
            waits: false,
        }
    }

    /// The outcome of a write, or an error if it has waited for too long.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !std::mem::replace(&mut self.waits, true) {
            self.alarm.as_mut().reset(Instant::now() + WRITE_TIME);
        }
        ready!(self.alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
