//! The *admin* address: what whoever watches may ask a host. Nothing here changes anything.

mod live;
mod metrics;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::control::Steering;
use crate::side_door::{self, Answer, Bounds, Streams, response};

/// A client that does not read keeps others waiting no longer.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    longest: Duration::from_secs(10),
};

/// Pages that are open at one time.
const STREAMS: usize = 16;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The content type of OpenMetrics 1.0.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A host that may not have started yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<OnceLock<Arc<Steering>>>);

impl Watched {
    /// The host has started.
    pub(crate) fn started(&self, steering: &Arc<Steering>) {
        let _once = self.0.set(Arc::clone(steering));
    }

    /// Why the host is not ready for requests, if it is not.
    fn obstacle(&self) -> Option<String> {
        match self.0.get() {
            None => Some("starting".to_owned()),
            Some(steering) => steering.obstacle(),
        }
    }
}

/// Makes sure that only this machine reaches the address, unless others may.
///
/// # Errors
/// A sentence that names the flags.
pub(crate) fn check(listener: &std::net::TcpListener, allows_remote: bool) -> anyhow::Result<()> {
    let address = listener.local_addr().context("--admin")?;
    if !address.ip().is_loopback() && !allows_remote {
        bail!(
            "--admin {address}: others than this machine reach it; give --admin-allow-remote if they may"
        );
    }
    Ok(())
}

/// Serves the address for ever.
pub(crate) async fn serve(listener: TcpListener, watched: Watched) -> Infallible {
    let is_local = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    let listener = &listener;
    let accept = || async move { listener.accept().await.map(|(stream, _)| stream) };
    let streams = Streams::new(STREAMS);
    let respond = move |request| respond(request, watched.clone(), streams.clone(), is_local);
    side_door::listen("admin address", BOUNDS, accept, respond).await
}

/// Whether the client asks for an address or for `localhost`. A page from elsewhere could have its
/// own name lead here, and its browser would let it read the answer.
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host else {
        return true; // no browser leaves it out
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    name.eq_ignore_ascii_case("localhost") || is_address(address) || is_address(host)
}

async fn respond(
    request: Request<Incoming>,
    watched: Watched,
    streams: Streams,
    is_local: bool,
) -> Response<Answer> {
    if is_local && !names_this_machine(&request) {
        let text =
            "only localhost and addresses are answered here: a proxy must send such a Host\n";
        return response(StatusCode::MISDIRECTED_REQUEST, TEXT, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "nothing here changes anything\n",
        );
    }
    match request.uri().path() {
        "/" => live::page(),
        "/events" => live::events(&watched, &streams),
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match watched.obstacle() {
            None => response(StatusCode::OK, TEXT, "ready\n"),
            Some(why) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
        },
        "/metrics" => match watched
            .0
            .get()
            .map(|steering| metrics::text(steering.host()))
        {
            Some(Ok(text)) => response(StatusCode::OK, METRICS, text),
            Some(Err(std::fmt::Error)) => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                "the metrics can't be written\n",
            ),
            None => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n"),
        },
        "/status.json" => match watched.0.get() {
            Some(steering) => {
                let status = serde_json::to_vec(&steering.status()).unwrap_or_default();
                response(StatusCode::OK, JSON, status)
            }
            None => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n"),
        },
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "there is /, /metrics, /healthz, /readyz and /status.json\n",
        ),
    }
}
