//! A connection that speaks HTTP/1.1: one request after the other.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Service;
use super::connection::{self, Connection, LINGER};
use super::heads::MAX_HEAD_BYTES;
use super::patience::Ended;
use super::refusals::Reason;
use super::socket::{Hints, Socket};
use super::wire::{Stream, Wire};

pub(super) async fn serve(
    wire: Wire<'_>,
    stream: Stream<'_>,
    shared: Arc<Connection>,
    service: &Service,
) {
    let hints = Hints::new();
    let socket = Socket::new(wire, &hints, shared.stopwatch.clone());
    let respond = service_fn(|request: hyper::Request<Incoming>| {
        shared.activity.pause();
        shared.stopwatch.began();
        hints.tell_body(request.body().size_hint().exact());
        let (flaw, shared) = (hints.flaw(), &shared);
        async move {
            let response = service.respond(request, flaw, shared).await;
            shared.activity.note();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(true)
        .serve_connection(TokioIo::new(socket), respond);
    let mut connection = pin!(connection);
    let conclude = http1::Connection::graceful_shutdown;
    let activity = &shared.activity;
    let result = connection::run(connection.as_mut(), conclude, stream, activity, service).await;
    if matches!(result, Some(Err(Ended::Stalled))) {
        // Over TLS, an idle client learns by `close_notify` that nobody has cut the connection.
        connection.as_mut().graceful_shutdown();
        let _elapsed = tokio::time::timeout(LINGER, connection.as_mut()).await;
    }
    let client = &shared.ends.client;
    let refused = match result {
        Some(Err(Ended::Stalled)) if hints.has_half() => Some((Reason::SlowHead, None)),
        Some(Err(Ended::Broken(error))) if error.is_parse_too_large() => {
            Some((Reason::HeadTooLarge, Some(error)))
        }
        Some(Err(Ended::Broken(error))) if error.is_parse() => Some((Reason::NotHttp, Some(error))),
        Some(Err(error)) => {
            tracing::debug!(%client, %error, "connection ended early");
            None
        }
        Some(Ok(())) | None => None,
    };
    if let Some((reason, error)) = &refused {
        let detail = error.as_ref().map(hyper::Error::to_string);
        service.refusals.note(*reason, client, detail.as_deref());
    }
    if shared.is_cut() {
        // HTTP/1.0 has no other way to say that a body without a length is incomplete.
        stream.cut();
    } else if refused.is_some() || hints.flaw().is_some() || shared.has_unread_upload() {
        stream.discard().await;
    }
}
