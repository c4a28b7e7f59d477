//! A *side door* is a small HTTP server beside the one that serves: for an operator or a machine
//! that watches. It takes few connections, and none of them for long.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

/// The longest time in which a client sends a head.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// The most bytes of a head, and of a body.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// The pause after the host has run out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many clients a side door takes, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at one time. Further ones wait in the socket's line.
    pub(crate) connections: usize,
    /// The longest time of a connection.
    pub(crate) longest: Duration,
}

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
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
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

/// Serves one connection, for at most `longest`.
async fn serve<F>(
    longest: Duration,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    respond: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let responding = respond(request);
        async { Ok::<_, Infallible>(responding.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off, or stays for too long, harms nobody.
    let _ended = tokio::time::timeout(longest, served).await;
}

/// A response.
pub(crate) fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
