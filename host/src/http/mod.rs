//! The only floor that knows HTTP. It accepts connections, passes each [`Request`] down, and sends
//! each [`Response`](crate::message::Response) to the client. Every error on the way becomes a
//! status in one place: [`fault`].

mod body;
mod connection;
mod date;
#[cfg_attr(not(feature = "cluster"), path = "alone.rs")]
mod elsewhere;
mod fault;
mod forwarded;
mod frames;
mod heads;
mod http1;
mod http2;
mod listener;
mod opening;
mod patience;
mod proxy;
mod refusals;
mod request;
mod response;
mod socket;
mod stopwatch;
mod target;
mod tls;
mod trace_context;
mod upload;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::header::{DATE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use tokio::sync::Semaphore;

use crate::exit::Exit;
use crate::guests::{Guests, Trace, Unanswered};
use crate::message::{Request, Response, Scheme};
use crate::pid::Pid;
use crate::routes::{Routed, Routes};
use crate::settings::{HostSettings, TrustedProxies};
use crate::shutdown::Stopping;
use crate::steps::Steps;
use crate::tally::{Counts, Tally};
use crate::text;
use body::ResponseBody;
use connection::Connection;
pub(crate) use elsewhere::Elsewhere;
use fault::Fault;
use heads::Flaw;
pub use listener::Listener;
use refusals::Refusals;
use request::Client;
use response::Asked;
pub use tls::{KeyPair, Tls, TlsError, TlsFile};
use trace_context::TraceId;

/// The settings that concern HTTP.
#[derive(Clone, Debug)]
struct Settings {
    /// The longest time for a client to send a head, or to read no byte of a response. Also the
    /// longest time that a connection may be idle.
    header_time: Duration,
    /// The most open connections, of all listeners together.
    connections: usize,
    /// Whether responses name the process that made them.
    expose_pid: bool,
    /// Who may say for which client it asks.
    trusted: TrustedProxies,
}

/// How a request is read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Whether the guest may read the body while the client sends it.
    takes_streams: bool,
    /// The longest time for the whole body, if it is read before the guest has the request.
    body_time: Duration,
    /// The longest time in which a client sends nothing of a body.
    patience: Duration,
    /// The largest body, in bytes.
    max_body: u64,
}

/// The pools of a host, and which requests each of them has. Another one may take its place:
/// whoever has a request holds the one that it was found in.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) pools: Box<[Served]>,
    pub(crate) routes: Routes,
}

/// The guests of one pool, as requests find them.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) guests: Arc<Guests>,
    /// Whether guests get paths without what the route itself names.
    pub(crate) strips_prefix: bool,
}

/// More than the descriptors of any system. Fits the `u32` of `Semaphore::acquire_many`, which
/// waits for all of them.
const MAX_CONNECTIONS: usize = 1 << 28;

/// More than there are ports.
const MAX_LISTENERS: u32 = 1 << 17;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    routing: ArcSwap<Routing>,
    settings: Settings,
    steps: Steps,
    stopping: Stopping,
    refusals: Refusals,
    /// Requests that no pool has.
    unrouted: Tally,
    /// The part in a cluster.
    elsewhere: Option<Elsewhere>,
    /// A permit for each listener that may accept.
    listening: Arc<Semaphore>,
    /// A permit for each connection that may be open.
    room: Arc<Semaphore>,
    /// A permit for each stream of HTTP/2: there are as many as connections, since each may cost as
    /// much as one.
    streams: Arc<Semaphore>,
    next_id: AtomicU64,
}

/// A response that is ready to be sent.
type Sent = hyper::Response<ResponseBody>;

impl Service {
    #[must_use]
    pub(crate) fn new(
        routing: Routing,
        settings: &HostSettings,
        connections: usize,
        steps: Steps,
        stopping: Stopping,
        unrouted: Tally,
        elsewhere: Option<Elsewhere>,
    ) -> Self {
        let settings = Settings {
            header_time: settings.header_time,
            connections: connections.min(MAX_CONNECTIONS),
            expose_pid: settings.expose_pid,
            trusted: settings.trusted_proxies.clone(),
        };
        Self {
            routing: ArcSwap::from_pointee(routing),
            listening: Arc::new(Semaphore::new(MAX_LISTENERS as usize)),
            room: Arc::new(Semaphore::new(settings.connections)),
            streams: Arc::new(Semaphore::new(settings.connections)),
            settings,
            steps,
            stopping,
            refusals: Refusals::default(),
            unrouted,
            elsewhere,
            next_id: AtomicU64::new(1),
        }
    }

    /// Answers a request and logs it, from its head to the head of the response. A request with a
    /// flaw gets the status for the flaw. Its head may be a stand-in for the bytes that the client
    /// sent.
    async fn respond(
        &self,
        request: hyper::Request<Incoming>,
        flaw: Option<Flaw>,
        connection: &Arc<Connection>,
    ) -> Sent {
        let client = &connection
            .ends
            .client(request.headers(), &self.settings.trusted);
        let is_stream = request.version() == hyper::Version::HTTP_2;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut record = Record::begin(id, &request, flaw, client);
        let routing = self.routing.load();
        let served = match flaw {
            None => {
                let asked = (request, client);
                let serving = self.serve(&routing, asked, id, connection, &mut record);
                serving.await
            }
            Some(flaw) => {
                connection.stopwatch.refused();
                Err(Fault::from(flaw))
            }
        };
        let mut sent = served.unwrap_or_else(|fault| {
            let pool = record.name.as_deref();
            self.refusals.note_fault(&fault, &client.address, pool);
            fault.response(id, is_stream)
        });
        let headers = sent.headers_mut();
        headers.entry(DATE).or_insert_with(date::now);
        if let (true, Some(pid)) = (self.settings.expose_pid, record.trace.pid) {
            headers.insert("x-wasm-pid", HeaderValue::from(pid.get()));
        }
        let tally = match record.pool {
            Some(pool) => routing.pools[pool].guests.table().tally(),
            None => &self.unrouted,
        };
        tally.responded(sent.status().as_u16(), record.started.elapsed());
        record.end(&sent);
        sent
    }

    async fn serve(
        &self,
        routing: &Routing,
        (request, client): (hyper::Request<Incoming>, &Client),
        id: u64,
        connection: &Arc<Connection>,
        record: &mut Record,
    ) -> Result<Sent, Fault> {
        let stopwatch = &connection.stopwatch;
        let asked = Asked {
            is_head: request.method() == hyper::Method::HEAD,
            is_http_10: request.version() < hyper::Version::HTTP_11,
            was_judged: false,
        };
        let framed = request::check_framing(request.headers());
        let room = match connection.is_crowded {
            true => Err(Fault::Crowded),
            false => Ok(()),
        };
        let framed = room.and(framed);
        framed.inspect_err(|_| stopwatch.refused())?;
        let is_front = self
            .elsewhere
            .as_ref()
            .filter(|elsewhere| elsewhere.is_front());
        let (own, reading) = match is_front {
            Some(elsewhere) => (None, elsewhere.reading(self.settings.header_time)),
            None => {
                let host = || named_host(&request);
                let Some(routed) = routing.routes.find(host, request.uri().path()) else {
                    stopwatch.refused();
                    return Err(Unanswered::NoRoute.into());
                };
                let served = &routing.pools[routed.pool];
                record.pool = Some(routed.pool);
                record.name.clone_from(&served.guests.name);
                (Some((served, routed.prefix)), self.reading(&served.guests))
            }
        };
        let ends = (client, &connection.ends.server);
        let request = request::receive(request, id, ends, reading, &mut record.trace_id).await;
        let (mut request, uploading) = request.inspect_err(|_| stopwatch.refused())?;
        stopwatch.received();
        let judge_as = async |response, asked| {
            stopwatch.answered();
            response::judge(response, asked, connection, &self.steps).await
        };
        let mut answered = None;
        if let Some(elsewhere) = &self.elsewhere
            && own.is_none_or(|(served, _)| served.guests.is_full())
        {
            let guests = own.map(|(served, _)| &*served.guests);
            let asking = elsewhere.ask(&mut request, guests, &mut record.trace);
            answered = match Box::pin(asking).await {
                Some(Ok(response)) => {
                    let asked = Asked {
                        was_judged: true,
                        ..asked
                    };
                    Some(judge_as(response, asked).await.map_err(Unanswered::from))
                }
                Some(Err(unanswered)) => Some(Err(unanswered)),
                None => None,
            };
        }
        let answered = match (answered, own) {
            (Some(answered), _) => answered,
            (None, None) => Err(Unanswered::NoHost),
            (None, Some((served, prefix))) => {
                if served.strips_prefix {
                    strip(&mut request.path, prefix);
                }
                let _here = self.elsewhere.as_ref().map(Elsewhere::count);
                let trace = &mut record.trace;
                let judge = async |response| judge_as(response, asked).await;
                served.guests.answer(request, trace, judge).await
            }
        };
        if let Some(uploading) = uploading {
            // Whatever the guest has made of it, the client has to know of its own fault.
            if let Some(fault) = uploading.fault() {
                return Err(fault);
            }
            connection.uploads(uploading);
        }
        answered.map_err(Fault::from)
    }

    /// The pools that requests find at present.
    pub(crate) fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    /// Has requests find other pools from now on.
    pub(crate) fn route(&self, routing: Routing) {
        self.routing.store(Arc::new(routing));
    }

    /// What has happened to requests that no pool has.
    pub(crate) fn unrouted(&self) -> Counts {
        self.unrouted.counts()
    }

    /// Has a guest answer a request that came over no connection.
    pub(crate) async fn handle(
        &self,
        mut request: Request,
        trace: &mut Trace,
    ) -> Result<Response, Unanswered> {
        let routing = self.routing.load();
        let routed = routing.routes.find(|| host_of(&request), &request.path);
        let Routed { pool, prefix } = routed.ok_or(Unanswered::NoRoute)?;
        let served = &routing.pools[pool];
        if served.strips_prefix {
            strip(&mut request.path, prefix);
        }
        let whole = async |response| Ok(response);
        served.guests.answer(request, trace, whole).await
    }

    fn reading(&self, guests: &Guests) -> Reading {
        let (kind, limits) = guests.kind_and_limits();
        Reading {
            takes_streams: kind.takes_streams(),
            body_time: limits.request_time,
            patience: self.settings.header_time,
            max_body: limits.body,
        }
    }
}

/// The host that a request names. One in the target overrides the field (RFC 9112, section 3.2.2).
fn named_host<B>(request: &hyper::Request<B>) -> &str {
    let in_field = || request.headers().get(HOST)?.to_str().ok();
    let in_target = request.uri().authority().map(Authority::as_str);
    in_target.or_else(in_field).unwrap_or_default()
}

/// The host that a field of a request names which came over no connection.
fn host_of(request: &Request) -> &str {
    let mut fields = request.headers.iter();
    let host = fields.find(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str()));
    let host = host.and_then(|(_, value)| std::str::from_utf8(value).ok());
    host.unwrap_or_default()
}

/// Removes so many bytes from the start of a path, which a guest always finds absolute.
fn strip(path: &mut String, prefix: usize) {
    path.drain(..prefix);
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
}

/// One line of the log. It is written when the head of the response is ready, or when the client
/// leaves before.
struct Record {
    line: Option<Line>,
    started: Instant,
    trace: Trace,
    /// The number of the pool, once a route has led there.
    pool: Option<usize>,
    /// The name of the pool, if the host has several.
    name: Option<Arc<str>>,
    trace_id: Option<TraceId>,
    /// The number of the host that has the client, if it is another one.
    front: Option<u32>,
}

struct Line {
    id: u64,
    client: Client,
    /// None if a stand-in replaces the head that the client sent.
    head: Option<(hyper::Method, hyper::Uri)>,
}

impl Record {
    fn begin(
        id: u64,
        request: &hyper::Request<Incoming>,
        flaw: Option<Flaw>,
        client: &Client,
    ) -> Self {
        let line = tracing::enabled!(tracing::Level::INFO).then(|| Line {
            id,
            client: client.clone(),
            head: flaw
                .is_none_or(|flaw| flaw == Flaw::Fragment)
                .then(|| (request.method().clone(), request.uri().clone())),
        });
        Self::new(line)
    }

    fn new(line: Option<Line>) -> Self {
        Self {
            line,
            started: Instant::now(),
            trace: Trace::default(),
            pool: None,
            name: None,
            trace_id: None,
            front: None,
        }
    }

    fn end(&mut self, sent: &Sent) {
        self.write(Some(sent));
    }

    /// Writes no line.
    #[cfg(feature = "cluster")]
    fn forget(&mut self) {
        self.line = None;
    }

    /// Writes the line, once. `None` means that the client has left.
    fn write(&mut self, sent: Option<&Sent>) {
        use hyper::body::Body;
        let Some(line) = self.line.take() else {
            return;
        };
        let (method, uri) = line.head.unzip();
        let uri = uri.as_ref();
        tracing::info!(
            id = line.id,
            front = self.front,
            host = self.trace.host,
            pool = self.name.as_deref(),
            pid = self.trace.pid.map(Pid::get),
            client = &*line.client.address,
            scheme = (line.client.scheme == Scheme::Https).then_some("https"),
            method = method
                .as_ref()
                .map(|method| tracing::field::display(text::cut(
                    method.as_str(),
                    LOGGED_METHOD_BYTES
                ))),
            path = uri.map(|uri| text::cut(uri.path(), LOGGED_BYTES)),
            query = uri.and_then(|uri| Some(text::cut(uri.query()?, LOGGED_BYTES))),
            status = sent.map(|sent| sent.status().as_u16()),
            us = self.started.elapsed().as_micros() as u64,
            bytes = sent.and_then(|sent| sent.body().size_hint().exact()),
            exit = sent
                .map_or(Some(Exit::ClientLeft), |_| self.trace.exit)
                .map(Exit::name),
            trace = self.trace_id.as_ref().map(TraceId::as_str),
            queue_us = Some(self.trace.waited.as_micros() as u64).filter(|us| *us > 0),
            cpu_ms = Some(self.trace.cpu_ms).filter(|ms| *ms > 0),
            memory = Some(self.trace.memory).filter(|bytes| *bytes > 0),
            "request"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.write(None);
    }
}

/// The most bytes of a method that the log shows. All registered methods are shorter.
const LOGGED_METHOD_BYTES: usize = 32;

/// The most bytes of a path, and of a query, that the log shows. This bounds the memory of lines
/// that wait to be written.
const LOGGED_BYTES: usize = 1 << 10;
