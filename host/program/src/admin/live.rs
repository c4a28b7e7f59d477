//! The live *page*: one file without anything from elsewhere, and the server-sent events that it
//! listens to. All that guests have chosen goes into it as text.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use wasm_pool_host::Watch;

use super::Watched;
use crate::cli::Pid;
use crate::control::Steering;
use crate::control::api::{Process, Rate, Status, rates};
use crate::control::events::{Ended, Event, Named, What};
use crate::side_door::{Answer, Left, Streams, Writer, response};

const PAGE: &str = include_str!("page.html");

/// The page loads nothing, sends nothing, and asks only the host that it came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// How often the page is told how everything is.
const PACE: Duration = Duration::from_millis(500);

/// Ends of processes that the page is told of at once: as many as it shows.
const ENDS: usize = 32;

/// How long the page waits before it tries again, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Processes that the page shows. With more of them, nobody would see one.
const SHOWN: usize = 1000;

/// Everything at one moment.
#[derive(Serialize)]
struct Now<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// One for each pool, in the same order.
    rates: Vec<Rate>,
    processes: &'a [Process],
    /// How many processes there are.
    alive: usize,
}

/// The end of a process.
#[derive(Serialize)]
struct End<'a> {
    at_ms: u64,
    pid: Option<u64>,
    /// The pid as the commands write it.
    process: Option<String>,
    pool: &'a str,
    #[serde(flatten)]
    ended: &'a Ended,
}

pub(super) fn page() -> Response<Answer> {
    let mut page = response(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    let fields: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fields {
        page.headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    page
}

/// Tells the page what happens, for as long as it listens.
pub(super) fn events(watched: &Watched, streams: &Streams) -> Response<Answer> {
    let Some(steering) = watched.0.get().cloned() else {
        return response(StatusCode::SERVICE_UNAVAILABLE, super::TEXT, "starting\n");
    };
    streams.stream("text/event-stream", |writer| async move {
        let mut events = Named::watch(steering.host(), Watch::default());
        let mut ends: VecDeque<Event> = events.before().into();
        let mut before = steering.status();
        writer.write(RETRY).await?;
        tell_ends(&writer, &mut ends).await?;
        tell_now(&writer, &steering, &mut before).await?;
        let mut pace = interval_at(Instant::now() + PACE, PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _now = pace.tick() => {
                    tell_ends(&writer, &mut ends).await?;
                    tell_now(&writer, &steering, &mut before).await?;
                }
                event = events.next() => match event {
                    // Between two looks at the page, nobody reads more.
                    Some(event) if is_of_interest(&event) => {
                        if ends.len() == ENDS {
                            ends.pop_front();
                        }
                        ends.push_back(event);
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    })
}

async fn tell_now(writer: &Writer, steering: &Steering, before: &mut Status) -> Result<(), Left> {
    let (status, mut processes) = (steering.status(), steering.processes());
    let alive = processes.len();
    processes.truncate(SHOWN);
    for process in &mut processes {
        process.pid = serial(process.pid);
        process.parent = process.parent.map(serial);
    }
    let now = Now {
        rates: rates(before, &status),
        processes: &processes,
        alive,
        status: &status,
    };
    writer.write(event("now", &now)).await?;
    *before = status;
    Ok(())
}

/// A pid without its host, which is the page's own. A browser's numbers have 53 bits: too few for
/// both.
fn serial(pid: u64) -> u64 {
    Pid(pid).serial()
}

/// Whether somebody may ask why this process ended.
fn is_of_interest(event: &Event) -> bool {
    match &event.what {
        What::Ended(ended) => ended.reason.is_some() || ended.exit == "killed",
        What::Started
        | What::Failed { .. }
        | What::Began { .. }
        | What::Answered { .. }
        | What::Called { .. }
        | What::Lost { .. } => false,
    }
}

async fn tell_ends(writer: &Writer, ends: &mut VecDeque<Event>) -> Result<(), Left> {
    for happened in ends.drain(..) {
        if let What::Ended(ended) = &happened.what {
            let end = End {
                at_ms: happened.at_us / 1_000,
                pid: happened.pid.map(serial),
                process: happened.pid.map(|pid| Pid(pid).to_string()),
                pool: &happened.pool,
                ended,
            };
            writer.write(event("exit", &end)).await?;
        }
    }
    Ok(())
}

/// A server-sent event (HTML Living Standard, section 9.2). JSON has no line breaks.
fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}
