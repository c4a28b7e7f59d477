//! A *side door* is a small HTTP server beside the one that serves: for an operator or a machine
//! that watches. It takes few connections, and none of them for long.

use std::convert::Infallible;
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

/// The longest time in which a client sends a head.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// The most bytes of a head, and of a body.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// Serves one connection, for at most `longest`.
pub(crate) async fn serve<F>(
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
