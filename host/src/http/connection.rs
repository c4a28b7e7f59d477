//! Connections: accepted up to a number, watched for clients who make no progress, drained when the host
//! stops.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};

use super::Service;
use super::stopwatch::Stopwatch;
use crate::shutdown::Phase;

/// The largest head, request line and all fields, in bytes. A larger one gets 431. Twice what nginx and
/// Apache take by default.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// After the grace time, what clients have to read their 503.
const LINGER: Duration = Duration::from_millis(500);

/// When the host has run out of descriptors, it looks again after this while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a connection beyond `--max-connections` is sent, before it is closed.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 54\r\n\r\n\
    503 Service Unavailable: too many connections at once\n";

/// Accepts connections until the host stops; returns when all of them are closed.
pub async fn listen(listener: TcpListener, service: Arc<Service>) {
    let room = Arc::new(Semaphore::new(service.settings.max_connections));
    // Every connection holds a sender; when the last is gone, nothing can be received.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    let mut stopping = service.stopping.clone();
    let accept_all = async {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(permit) => {
                        let connection =
                            serve(stream, client, Arc::clone(&service), permit, open.clone());
                        tokio::spawn(connection);
                    }
                    Err(_full) => turn_away(&stream, client),
                },
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stopping.reached(Phase::Draining) => {}
        () = accept_all => {}
    }
    drop(listener);
    drop(open);
    let _closed = all_closed.recv().await;
}

fn turn_away(stream: &TcpStream, client: SocketAddr) {
    tracing::debug!(%client, "turned away: too many connections");
    // What has come already is read, lest closing resets the connection before the answer is read. A fresh
    // socket takes an answer of this size at once, or the client is gone.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(TURNED_AWAY);
}

async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    service: Arc<Service>,
    _permit: OwnedSemaphorePermit,
    _open: mpsc::Sender<Infallible>,
) {
    // Responses are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let stopwatch = Stopwatch::new(&service.steps);
    let io = TokioIo::new(Watched {
        stream,
        activity: Arc::clone(&activity),
        stopwatch: stopwatch.clone(),
    });
    let mut stopping = service.stopping.clone();
    let name: Arc<str> = client.to_string().into();
    let respond = service_fn(|request| {
        activity.pause();
        stopwatch.began();
        let (service, activity, name) = (&service, &activity, Arc::clone(&name));
        let stopwatch = &stopwatch;
        async move {
            let response = service.respond(request, name, stopwatch).await;
            activity.note();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, respond);
    let mut connection = pin!(connection);
    let mut alarm = Alarm::new(&activity, service.settings.header_timeout);
    let mut result = tokio::select! {
        biased;
        result = alarm.watch(connection.as_mut()) => Some(result),
        () = stopping.reached(Phase::Draining) => None,
    };
    if result.is_none() {
        connection.as_mut().graceful_shutdown();
        // What has begun may finish.
        result = tokio::select! {
            biased;
            result = alarm.watch(connection.as_mut()) => Some(result),
            () = stopping.reached(Phase::Ending) => {
                tokio::time::timeout(LINGER, connection).await.ok().map(|result| result.map_err(Ended::from))
            }
        };
    }
    if let Some(Err(error)) = result {
        tracing::debug!(%client, %error, "connection ended early");
    }
}

/// Why a connection ended before its client closed it.
#[derive(Debug)]
enum Ended {
    /// Its client made no progress.
    Stalled,
    /// What its client sent is not HTTP, or it went away in the middle.
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
            Self::Broken(error) => error.fmt(f),
        }
    }
}

/// When a client last made progress: sent a whole head, or took some of a response. A head that trickles in
/// byte by byte is no progress.
#[derive(Debug)]
struct Activity {
    connected: Instant,
    /// Milliseconds after `connected`, or [`Activity::PAUSED`].
    last: AtomicU64,
}

impl Activity {
    /// A request is being served: now the client waits for us.
    const PAUSED: u64 = u64::MAX;

    fn new() -> Self {
        Self {
            connected: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn pause(&self) {
        self.last.store(Self::PAUSED, Ordering::Relaxed);
    }

    fn note(&self) {
        let millis = self.connected.elapsed().as_millis();
        let millis = u64::try_from(millis).unwrap_or(Self::PAUSED - 1);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn note_unless_paused(&self) {
        if self.last.load(Ordering::Relaxed) != Self::PAUSED {
            self.note();
        }
    }

    fn last(&self) -> Option<Instant> {
        match self.last.load(Ordering::Relaxed) {
            Self::PAUSED => None,
            millis => Some(self.connected + Duration::from_millis(millis)),
        }
    }
}

/// Ends a connection whose client makes no progress for as long as the header timeout.
struct Alarm<'a> {
    activity: &'a Activity,
    patience: Duration,
    /// Fires at the earliest time that could be too late, and is set again only then: a connection costs
    /// one timer per timeout, not one per request.
    timer: Pin<Box<Sleep>>,
}

impl<'a> Alarm<'a> {
    fn new(activity: &'a Activity, patience: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(patience));
        Self {
            activity,
            patience,
            timer,
        }
    }

    async fn watch(
        &mut self,
        mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    ) -> Result<(), Ended> {
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Ended::from)),
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

/// A socket that notes when its client sends, and when it takes what is sent.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
    stopwatch: Stopwatch,
}

impl Watched {
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.activity.note_unless_paused();
            self.stopwatch.written();
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.stopwatch.arrived();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
