//! The *admin* address: what a machine that watches may ask a host. Nothing here changes anything.

mod metrics;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::control::Steering;
use crate::side_door::{self, response};

/// Connections at one time. Further ones wait in the socket's line.
const CONNECTIONS: usize = 64;

/// The longest time of a connection. A client that does not read keeps others waiting no longer.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

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
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return std::future::pending().await; // can't happen: nobody closes it
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let watched = watched.clone();
                tokio::spawn(async move {
                    let respond = |request| respond(request, watched.clone());
                    side_door::serve(CONNECTION_TIME, stream, respond).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a client of the admin address");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn respond(request: Request<Incoming>, watched: Watched) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "nothing here changes anything\n",
        );
    }
    match request.uri().path() {
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
            "there is /metrics, /healthz, /readyz and /status.json\n",
        ),
    }
}
