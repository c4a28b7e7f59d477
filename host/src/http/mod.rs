//! The only floor that knows HTTP. A connection comes in, a [`Request`] goes down, a
//! [`Response`](crate::message::Response) comes up, and whatever went wrong on the way becomes a
//! status in one place: [`fault`].

mod body;
mod connection;
mod date;
mod fault;
mod heads;
mod patience;
mod refusals;
mod request;
mod response;
mod socket;
mod stopwatch;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{DATE, HeaderValue};
use tokio::sync::Semaphore;

use crate::exit::Exit;
use crate::guests::{Guests, Trace};
use crate::pid::Pid;
use crate::settings;
use crate::shutdown::Stopping;
use crate::steps::Steps;
use crate::text;
use body::ResponseBody;
pub(crate) use connection::listen;
use fault::Fault;
use heads::Flaw;
use refusals::Refusals;
use stopwatch::Stopwatch;

/// What a client may do, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How long reading the body of a request may take.
    request_time: Duration,
    /// How long a client may take to send a head, or to read any of a response; also how long a
    /// connection may be idle.
    header_time: Duration,
    /// The largest request body, in bytes.
    max_body: u64,
    /// Connections at one time, those of all listeners together.
    connections: usize,
    /// Whether responses say which process made them.
    expose_pid: bool,
}

impl Settings {
    pub(crate) fn new(settings: &settings::Settings, connections: usize) -> Self {
        let limits = &settings.limits;
        Self {
            request_time: limits.request_time,
            header_time: limits.header_time,
            max_body: limits.body,
            connections: connections.min(MAX_CONNECTIONS),
            expose_pid: settings.expose_pid,
        }
    }
}

/// More than any system has descriptors for, and as many as can be waited for at one time.
const MAX_CONNECTIONS: usize = 1 << 28;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    guests: Arc<Guests>,
    settings: Settings,
    steps: Steps,
    stopping: Stopping,
    refusals: Refusals,
    /// A permit for each connection that may be open.
    room: Arc<Semaphore>,
    next_id: AtomicU64,
}

/// A response that is ready to be sent.
type Sent = hyper::Response<ResponseBody>;

impl Service {
    /// Serves with these guests.
    #[must_use]
    pub(crate) fn new(
        guests: Arc<Guests>,
        settings: Settings,
        steps: Steps,
        stopping: Stopping,
    ) -> Self {
        Self {
            guests,
            room: Arc::new(Semaphore::new(settings.connections)),
            settings,
            steps,
            stopping,
            refusals: Refusals::default(),
            next_id: AtomicU64::new(1),
        }
    }

    /// One request, from its head to the head of its response, and its line in the log. One that
    /// has a flaw is answered for it, and may be a stand-in for what was sent.
    async fn respond(
        &self,
        request: hyper::Request<Incoming>,
        flaw: Option<Flaw>,
        client: &Arc<str>,
        stopwatch: &Stopwatch,
    ) -> Sent {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut record = Record::begin(id, &request, flaw, client);
        let served = match flaw {
            None => {
                let client = Arc::clone(client);
                self.serve(request, id, client, stopwatch, &mut record)
                    .await
            }
            Some(flaw) => {
                stopwatch.refused();
                Err(Fault::from(flaw))
            }
        };
        let mut sent = served.unwrap_or_else(|fault| {
            self.refusals.note_fault(&fault, client);
            fault.response(id)
        });
        let headers = sent.headers_mut();
        headers.entry(DATE).or_insert_with(date::now);
        if let (true, Some(pid)) = (self.settings.expose_pid, record.trace.pid) {
            headers.insert("x-wasm-pid", HeaderValue::from(pid.get()));
        }
        record.end(&sent);
        sent
    }

    async fn serve(
        &self,
        request: hyper::Request<Incoming>,
        id: u64,
        client: Arc<str>,
        stopwatch: &Stopwatch,
        record: &mut Record,
    ) -> Result<Sent, Fault> {
        let is_head = request.method() == hyper::Method::HEAD;
        let request = request::receive(request, id, client, &self.settings).await;
        let request = request.inspect_err(|_| stopwatch.refused())?;
        stopwatch.received();
        let judge = async |response| {
            stopwatch.answered();
            response::judge(response, is_head, &self.steps).await
        };
        let answered = self.guests.answer(request, &mut record.trace, judge).await;
        answered.map_err(Fault::from)
    }
}

/// One line of the log. It is written when the response's head is ready, or when the client leaves
/// first.
struct Record {
    line: Option<Line>,
    trace: Trace,
}

struct Line {
    id: u64,
    started: Instant,
    client: Arc<str>,
    /// Absent where another head stands in for what was sent.
    head: Option<(hyper::Method, hyper::Uri)>,
}

impl Record {
    fn begin(
        id: u64,
        request: &hyper::Request<Incoming>,
        flaw: Option<Flaw>,
        client: &Arc<str>,
    ) -> Self {
        let line = tracing::enabled!(tracing::Level::INFO).then(|| Line {
            id,
            started: Instant::now(),
            client: Arc::clone(client),
            head: flaw
                .is_none_or(|flaw| flaw == Flaw::Fragment)
                .then(|| (request.method().clone(), request.uri().clone())),
        });
        Self {
            line,
            trace: Trace::default(),
        }
    }

    fn end(mut self, sent: &Sent) {
        self.write(Some(sent));
    }

    /// Writes the line, once. Without a response, the client has left.
    fn write(&mut self, sent: Option<&Sent>) {
        use hyper::body::Body;
        let Some(line) = self.line.take() else {
            return;
        };
        let (method, uri) = line.head.unzip();
        let uri = uri.as_ref();
        tracing::info!(
            id = line.id,
            pid = self.trace.pid.map(Pid::get),
            client = &*line.client,
            method = method
                .as_ref()
                .map(|method| tracing::field::display(text::cut(
                    method.as_str(),
                    LOGGED_METHOD_BYTES
                ))),
            path = uri.map(|uri| text::cut(uri.path(), LOGGED_BYTES)),
            query = uri.and_then(|uri| Some(text::cut(uri.query()?, LOGGED_BYTES))),
            status = sent.map(|sent| sent.status().as_u16()),
            us = line.started.elapsed().as_micros() as u64,
            bytes = sent.and_then(|sent| sent.body().size_hint().exact()),
            exit = sent
                .map_or(Some(Exit::ClientLeft), |_| self.trace.exit)
                .map(Exit::name),
            "request"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.write(None);
    }
}

/// What the log has of a method, in bytes. Those that anybody knows have fewer.
const LOGGED_METHOD_BYTES: usize = 32;

/// What the log has of a path, and of a query: waiting lines must not fill the memory.
const LOGGED_BYTES: usize = 1 << 10;
