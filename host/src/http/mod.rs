//! The only floor that knows HTTP. A connection comes in, a [`Request`] goes down, a [`Response`](crate::message::Response) comes up,
//! and whatever went wrong on the way becomes a status in one place: [`fault`].

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

use crate::deadline;
use crate::message::{ExitStatus, Request};
use crate::pid::Pid;
use crate::pool::{Pool, Refusal};
use crate::process::Exit;
use crate::root::{RootKeeper, Unanswered};
use crate::sandbox::Failure;
use crate::shutdown::{Phase, Stopping};
use crate::steps::{Step, Steps};
use crate::text;
use body::ResponseBody;
pub use connection::listen;
use fault::Fault;
use heads::Flaw;
use refusals::Refusals;
use stopwatch::Stopwatch;

/// What a client may do, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From the moment a process has a request until it must have answered. Reading the request's body may
    /// take as long again.
    pub request_timeout: Duration,
    /// How long a client may take to send a head, or to read any of a response; also how long a
    /// connection may be idle.
    pub header_timeout: Duration,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Connections at one time.
    pub max_connections: usize,
    /// Whether responses say which process made them.
    pub expose_pid: bool,
}

/// Who answers.
#[derive(Clone, Debug)]
pub enum Guests {
    /// Processes that are handed one request at a time.
    Pool(Arc<Pool>),
    /// A program, whose root has each request in its mailbox.
    Program(Arc<RootKeeper>),
}

/// What all connections share.
#[derive(Debug)]
pub struct Service {
    guests: Guests,
    settings: Settings,
    steps: Steps,
    stopping: Stopping,
    refusals: Refusals,
    next_id: AtomicU64,
}

/// A response that is ready to be sent.
type Sent = hyper::Response<ResponseBody>;

impl Service {
    /// Serves with these guests.
    #[must_use]
    pub fn new(guests: Guests, settings: Settings, steps: Steps, stopping: Stopping) -> Self {
        Self {
            guests,
            settings,
            steps,
            stopping,
            refusals: Refusals::default(),
            next_id: AtomicU64::new(1),
        }
    }

    /// One request, from its head to the head of its response, and its line in the log. One that has a flaw is
    /// answered for it, and may be a stand-in for what was sent.
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
        if let (true, Some(pid)) = (self.settings.expose_pid, record.pid) {
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
        match &self.guests {
            Guests::Pool(pool) => self.call(pool, &request, is_head, stopwatch, record).await,
            Guests::Program(program) => self.ask(program, request, is_head, record).await,
        }
    }

    /// Has a process of the pool handle the request.
    async fn call(
        &self,
        pool: &Arc<Pool>,
        request: &Request,
        is_head: bool,
        stopwatch: &Stopwatch,
        record: &mut Record,
    ) -> Result<Sent, Fault> {
        let timing = self.steps.time(Step::HandOver);
        let taken = self.unless_ending(pool.take()).await;
        let mut lease = taken
            .unwrap_or(Err(Refusal::Closed))
            .map_err(Fault::Refused)?;
        drop(timing);
        record.pid = Some(lease.pid());
        let deadline = Instant::now() + self.settings.request_timeout;
        let answer = self.unless_ending(async {
            let response = lease.handle(request, deadline).await?;
            stopwatch.answered();
            let sent = response::send(response, is_head, &self.steps);
            let sent = deadline::by(deadline, sent).await;
            sent.unwrap_or(Err(Failure::Deadline))
        });
        match answer.await {
            Some(Ok(sent)) => {
                let _timing = self.steps.time(Step::HandOver).out_of(Step::Reply);
                lease.release();
                Ok(sent)
            }
            Some(Err(failure)) => {
                let fault = Fault::from(&failure);
                record.exit = Some(failure.name());
                lease.fail(failure);
                Err(fault)
            }
            None => {
                record.exit = Some(Exit::Stopped.name());
                lease.end();
                Err(Fault::Refused(Refusal::Closed))
            }
        }
    }

    /// Has a program answer the request.
    async fn ask(
        &self,
        program: &RootKeeper,
        request: Request,
        is_head: bool,
        record: &mut Record,
    ) -> Result<Sent, Fault> {
        let deadline = Instant::now() + self.settings.request_timeout;
        // Where the host stops, all processes end, and whoever waits for one of them is told.
        let answer = program.ask(request, deadline).await;
        let (pid, response) = answer.map_err(|unanswered| {
            match unanswered {
                Unanswered::Ended(pid, exit) => {
                    (record.pid, record.exit) = (Some(pid), Some(exit.name()));
                }
                Unanswered::Late(Some((pid, ends))) => {
                    let exit = ends.then_some(ExitStatus::Deadline.name());
                    (record.pid, record.exit) = (Some(pid), exit);
                }
                Unanswered::Late(None)
                | Unanswered::Full
                | Unanswered::NoRoot(_)
                | Unanswered::Closed => {}
            }
            Fault::from(unanswered)
        })?;
        record.pid = Some(pid);
        let sent = response::send(response, is_head, &self.steps);
        let sent = deadline::by(deadline, sent).await;
        let sent = sent.unwrap_or(Err(Failure::Deadline));
        sent.map_err(|failure| {
            tracing::warn!(pid = pid.get(), reason = failure.logged(), "bad response");
            Fault::from(&failure)
        })
    }

    /// What `call` gives, or nothing where the host can't wait for it any longer.
    async fn unless_ending<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let ending = || {
            let mut stopping = self.stopping.clone();
            async move { stopping.reached(Phase::Ending).await }
        };
        deadline::unless(call, ending).await
    }
}

/// One line of the log. It is written when the response's head is ready, or when the client leaves first.
struct Record {
    line: Option<Line>,
    pid: Option<Pid>,
    exit: Option<&'static str>,
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
            pid: None,
            exit: None,
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
            pid = self.pid.map(Pid::get),
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
            exit = sent.map_or(Some(Exit::ClientLeft.name()), |_| self.exit),
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
