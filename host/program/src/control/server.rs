//! The control socket's *server*. Few clients at a time, and none of them for long: nothing here
//! costs anybody who is served anything.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};

use super::api;
use super::events::Query;
use super::place::{Place, Socket};
use super::steering::Steering;
use crate::cli::{LogLevel, Pid};
use crate::side_door::{self, Answer, Bounds, HEAD_TIME, MAX_BYTES, Streams};

/// Loading a module may take long, and so may draining.
const BOUNDS: Bounds = Bounds {
    connections: 32,
    longest: Duration::from_secs(600),
};

/// Clients that are told what happens, at one time.
const STREAMS: usize = 16;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// A socket that is bound and not served yet. Dropping it, or what serves it, removes it.
#[derive(Debug)]
pub(crate) struct Control {
    socket: Option<Socket>,
    /// Why there is no socket where there should be one.
    obstacle: Option<String>,
}

/// A request that is not carried out, and why.
struct Refused(StatusCode, String);

impl Control {
    /// Binds the socket.
    ///
    /// # Errors
    /// If it can't be bound, or others could use it. In the usual place this is no reason not to
    /// serve: the log will say that nobody can steer this host.
    pub(crate) fn bind(place: &Place) -> anyhow::Result<Self> {
        match (place.bind(), place) {
            (Ok(socket), _) => Ok(Self {
                socket,
                obstacle: None,
            }),
            (Err(error), Place::Usual) => Ok(Self {
                socket: None,
                obstacle: Some(format!("{error:#}")),
            }),
            (Err(error), Place::At(_) | Place::Nowhere) => Err(error.context("--control")),
        }
    }

    /// The path of the socket, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.socket.as_ref().map(|socket| socket.path.path())
    }

    /// Serves the socket for ever.
    pub(crate) async fn serve(self, steering: Arc<Steering>) -> Infallible {
        if let Some(reason) = self.obstacle {
            tracing::warn!(
                reason,
                "there is no control socket: `ps`, `kill` and others can't reach this host"
            );
        }
        let Some(socket) = self.socket else {
            return std::future::pending().await;
        };
        let listener = socket.listener.try_clone().and_then(UnixListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "the control socket can't be served");
                return std::future::pending().await;
            }
        };
        let listener = &listener;
        let accept = || async move {
            loop {
                let (stream, _) = listener.accept().await?;
                if is_own(&stream) {
                    return Ok(stream);
                }
                let user = stream.peer_cred().map(|user| user.uid()).ok();
                tracing::warn!(
                    user,
                    "another user's client was refused at the control socket"
                );
            }
        };
        let streams = Streams::new(STREAMS);
        let respond = move |request| respond(request, Arc::clone(&steering), streams.clone());
        side_door::listen("control socket", BOUNDS, accept, respond).await
    }
}

/// Whether the client runs as this host's user, or as root.
fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let user = stream.peer_cred().map(|user| user.uid());
    user.is_ok_and(|user| user == own || user == 0)
}

async fn respond(
    request: Request<Incoming>,
    steering: Arc<Steering>,
    streams: Streams,
) -> Response<Answer> {
    let is_read = request.method() == Method::GET;
    let answered = if is_read && request.uri().path() == "/events" {
        events(&request, &steering, &streams)
    } else {
        let asked = format!("{} {}", request.method(), request.uri());
        let answered = answer(request, &steering).await;
        if !is_read {
            match &answered {
                Ok(_) => tracing::info!(asked, "steered over the control socket"),
                Err(Refused(_, refused)) => {
                    tracing::warn!(asked, refused, "steered over the control socket");
                }
            }
        }
        answered.map(|body| side_door::response(StatusCode::OK, JSON, body))
    };
    answered.unwrap_or_else(|Refused(status, error)| {
        side_door::response(status, JSON, json(&api::Refusal { error }))
    })
}

/// Tells the client what happens, for as long as it listens.
fn events(
    request: &Request<Incoming>,
    steering: &Steering,
    streams: &Streams,
) -> Result<Response<Answer>, Refused> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let query = query.map_err(|problem| bad(&problem))?;
    let mut events = steering.watch(&query).map_err(not_found)?;
    Ok(streams.stream(LINES, |writer| async move {
        while let Some(event) = events.next().await {
            writer.write(event.line()).await?;
        }
        Ok(())
    }))
}

/// Carries a request out.
async fn answer(request: Request<Incoming>, steering: &Steering) -> Result<Vec<u8>, Refused> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let failed = |error: anyhow::Error| Refused(StatusCode::CONFLICT, format!("{error:#}"));
    match (&method, &*parts) {
        (&Method::GET, ["processes"]) => Ok(json(&steering.processes())),
        (&Method::GET, ["status"]) => Ok(json(&steering.status())),
        (&Method::DELETE, ["processes", pid]) => {
            let pid = pid.parse().map_err(|_| bad("a pid is a number"))?;
            let way = api::Way::of(request.uri().query().unwrap_or_default());
            let way = way.ok_or_else(|| bad("a process ends plainly, by a trap, or serving"))?;
            if !steering.kill(pid, way) {
                let text = format!("there is no process {}", Pid(pid));
                return Err(Refused(StatusCode::NOT_FOUND, text));
            }
            Ok(json(&()))
        }
        (&Method::PUT, ["pools", name, "workers"]) => {
            let workers = body(request).await?;
            steering.scale(name, workers).await.map_err(failed)?;
            Ok(json(&()))
        }
        (&Method::POST, ["pools", name, "reload"]) => {
            steering.reload(name).await.map_err(failed)?;
            Ok(json(&()))
        }
        (&Method::POST, ["reload"]) => {
            let fixed = steering.reload_all().await.map_err(failed)?;
            Ok(json(&api::Reloaded {
                needs_a_new_start: fixed,
            }))
        }
        (&Method::POST, ["drain"]) => {
            steering.drain(None).await.map_err(failed)?;
            Ok(json(&()))
        }
        (&Method::POST, ["pools", name, "drain"]) => {
            steering.drain(Some(name)).await.map_err(failed)?;
            Ok(json(&()))
        }
        (&Method::PUT, ["log-level"]) => {
            let api::Level { level } = body(request).await?;
            let level =
                LogLevel::named(&level).ok_or_else(|| bad("this is no level of the log"))?;
            steering.set_level(level);
            Ok(json(&()))
        }
        (&Method::POST, ["stop"]) => {
            let api::Stopping { grace_ms } = body(request).await?;
            steering.stop(grace_ms.map(Duration::from_millis));
            Ok(json(&()))
        }
        _ => {
            let text = format!("there is no {method} {path}");
            Err(Refused(StatusCode::NOT_FOUND, text))
        }
    }
}

fn bad(problem: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, problem.to_owned())
}

fn not_found(error: anyhow::Error) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("{error:#}"))
}

/// The body of a request, as a value.
async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let limited = Limited::new(request.into_body(), MAX_BYTES);
    let whole = tokio::time::timeout(HEAD_TIME, limited.collect()).await;
    let Ok(Ok(whole)) = whole else {
        return Err(bad("the body is too large, too slow or broken off"));
    };
    serde_json::from_slice(&whole.to_bytes()).map_err(|error| bad(&format!("the body: {error}")))
}

/// A value as JSON. What goes over this socket has no part that JSON lacks.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
