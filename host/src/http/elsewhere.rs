//! Requests that other hosts answer for this one, and that this one answers for others. They meet
//! the same judgement as those of connections, where the process is that can still be ended for its
//! response.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use hyper::{Method, Uri};

use super::body::ResponseBody;
use super::connection::Connection;
use super::fault::Fault;
use super::patience::Activity;
use super::request::{Client, Ends};
use super::response::{self, Asked as Form};
use super::stopwatch::Stopwatch;
use super::{Line, Reading, Record, Routing, Sent, Served, Service, host_of, strip};
use crate::body::{Body, BodyError, Gathered, Piece, Stream};
use crate::cluster::{Asked, Cluster, Failure, Load, Local, Refusal, Responder, Role, Room, Told};
use crate::exit::Exit;
use crate::guests::{Guests, Trace, Unanswered};
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::routes::Routed;
use crate::steps::Steps;

/// This host's part in a cluster.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    cluster: Cluster,
    /// Requests that processes of this host have, or wait for.
    here: AtomicU32,
}

/// A request that this host answers. Dropping it says that it does no more.
pub(super) struct Here<'a>(&'a AtomicU32);

impl Elsewhere {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            here: AtomicU32::new(0),
        }
    }

    /// Whether this host has no pools.
    pub(super) fn is_front(&self) -> bool {
        self.cluster.settings().role == Role::Front
    }

    pub(super) fn count(&self) -> Here<'_> {
        self.here.fetch_add(1, Ordering::Relaxed);
        Here(&self.here)
    }

    /// How a front reads requests.
    pub(super) fn reading(&self, patience: Duration) -> Reading {
        let line = &self.cluster.settings().line;
        Reading {
            takes_streams: true,
            body_time: line.body_time,
            patience,
            max_body: line.body,
        }
    }

    /// Has another host answer a request. `guests` are those that would answer it here. `None` if
    /// they are to: the request is whole then.
    pub(super) async fn ask(
        &self,
        request: &mut Request,
        guests: Option<&Guests>,
        trace: &mut Trace,
    ) -> Option<Result<Response, Unanswered>> {
        let own = guests.map(|guests| Load {
            seats: guests.seats(),
            running: guests.seats(),
            waiting: u32::try_from(guests.in_line()).unwrap_or(u32::MAX),
        });
        let mut told = Told::default();
        let begun = Instant::now();
        let asked = self.cluster.ask(request, own, &mut told).await;
        trace.host = told.host;
        trace.pid = told.pid;
        let answer = match asked {
            Asked::Nowhere(_) if own.is_some() => {
                trace.host = None;
                return None;
            }
            Asked::Answered(response) => {
                trace.status = Some(response.status);
                Ok(response)
            }
            Asked::Failed(failure) => Err(unanswered(failure, trace)),
            Asked::Lost => Err(Unanswered::HostLost),
            Asked::Spent => Err(Unanswered::NoHost),
            Asked::Nowhere(why) => {
                trace.host = None;
                trace.waited = begun.elapsed();
                Err(match why {
                    Some(Refusal::Failing(pause)) => {
                        Unanswered::NotStarted(pause.map(Duration::from_millis))
                    }
                    Some(Refusal::NoRoute) => Unanswered::NoRoute,
                    Some(Refusal::Busy | Refusal::Draining | Refusal::Stale) | None => {
                        Unanswered::NoHost
                    }
                })
            }
        };
        Some(answer)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Local for Service {
    fn load(&self) -> Load {
        let routing = self.routing.load();
        let here = self.elsewhere.as_ref();
        let here = here.map_or(0, |elsewhere| elsewhere.here.load(Ordering::Relaxed));
        let mut load = Load::default();
        for pool in &routing.pools {
            // Nobody should ask where nothing is answered.
            if !pool.guests.is_failing() && !pool.guests.is_draining() {
                load.seats = load.seats.saturating_add(pool.guests.seats());
            }
            // A program doesn't say how many of its processes are busy.
            load.running += pool.guests.busy().unwrap_or(here);
            load.waiting += u32::try_from(pool.guests.in_line()).unwrap_or(u32::MAX);
        }
        load
    }

    fn module(&self) -> String {
        match &*self.routing.load().pools {
            [only] => only.guests.digest(),
            _ => String::new(),
        }
    }

    fn room(&self, host: &str, path: &str) -> Option<Room> {
        let routing = self.routing.load();
        let Routed { pool, .. } = routing.routes.find(|| host, path)?;
        let guests = &routing.pools[pool].guests;
        Some(Room {
            pool: guests.number(),
            seats: guests.seats(),
            waiting: guests.in_line(),
            takes_streams: guests.kind().takes_streams(),
        })
    }

    fn answer(
        self: Arc<Self>,
        request: Request,
        responder: Responder,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.answer_for(request, responder).await })
    }
}

impl Service {
    /// Answers a request of another host, and logs it.
    async fn answer_for(&self, mut request: Request, responder: Responder) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        request.id = id;
        let client = Client {
            address: Arc::clone(&request.client),
            scheme: request.scheme,
        };
        let form = Form {
            is_head: request.method == Method::HEAD.as_str(),
            is_http_10: false, // its front knows
            was_judged: false,
        };
        let ends = Ends {
            client: Arc::clone(&request.client),
            server: Arc::clone(&request.server),
            scheme: request.scheme,
            is_trusted: false,
        };
        let stopwatch = Stopwatch::new(&Steps::default());
        let connection = Connection::new(Arc::new(ends), Arc::new(Activity::new()), stopwatch);
        let connection = Arc::new(connection);
        let head = request.method.parse().ok().zip(target(&request));
        let line = tracing::enabled!(tracing::Level::INFO).then(|| Line { id, client, head });
        let mut record = Record::new(line);
        record.front = Some(responder.front());
        let routing = self.routing.load_full();
        let here = self.elsewhere.as_ref().map(Elsewhere::count);
        let answered = self
            .answer_routed(&routing, request, form, &connection, &mut record)
            .await;
        // The front is told how busy this host is: without this request.
        drop(here);
        let (tally, is_program) = match record.pool {
            Some(pool) => {
                let guests = &routing.pools[pool].guests;
                (&**guests.table().tally(), guests.kind() == Kind::Program)
            }
            None => (&self.unrouted, false),
        };
        let pid = record.trace.pid;
        match answered {
            Ok(sent) => {
                tally.responded(sent.status().as_u16(), record.started.elapsed());
                record.end(&sent);
                responder.is_served();
                send(sent, pid, responder).await;
            }
            Err(unanswered) => match failure(&unanswered, pid, is_program) {
                Ok(failure) => {
                    let sent = Fault::from(unanswered).response(id, true);
                    tally.responded(sent.status().as_u16(), record.started.elapsed());
                    record.end(&sent);
                    responder.failed(pid, failure).await;
                }
                // It is asked elsewhere, and logged there.
                Err(refusal) => {
                    record.forget();
                    responder.refused(refusal).await;
                }
            },
        }
    }

    async fn answer_routed(
        &self,
        routing: &Routing,
        mut request: Request,
        form: Form,
        connection: &Arc<Connection>,
        record: &mut Record,
    ) -> Result<Sent, Unanswered> {
        let routed = routing.routes.find(|| host_of(&request), &request.path);
        let Routed { pool, prefix } = routed.ok_or(Unanswered::NoRoute)?;
        let Served {
            guests,
            strips_prefix,
            ..
        } = &routing.pools[pool];
        record.pool = Some(pool);
        record.name.clone_from(&guests.name);
        let (_, limits) = guests.kind_and_limits();
        if request
            .body
            .length()
            .is_some_and(|length| length > limits.body)
        {
            return Err(Unanswered::BodyTooLarge);
        }
        if let Body::Stream(stream) = request.body {
            let left = limits.body;
            request.body = Body::Stream(Box::new(Bounded { stream, left }));
        }
        if *strips_prefix {
            strip(&mut request.path, prefix);
        }
        let judge = async |response| response::judge(response, form, connection, &self.steps).await;
        guests.answer(request, &mut record.trace, judge).await
    }
}

/// The body of a request whose front may take larger ones.
#[derive(Debug)]
struct Bounded {
    stream: Box<dyn Stream>,
    /// Bytes that may still come.
    left: u64,
}

impl Stream for Bounded {
    fn length(&self) -> Option<u64> {
        self.stream.length()
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let piece = ready!(self.stream.poll_piece(cx));
        if let Some(Ok(Piece::Bytes(bytes))) = &piece {
            match self.left.checked_sub(bytes.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
            }
        }
        Poll::Ready(piece)
    }
}

/// The target of a request, for the log.
fn target(request: &Request) -> Option<Uri> {
    match &request.query {
        None => request.path.parse().ok(),
        Some(query) => format!("{}?{query}", request.path).parse().ok(),
    }
}

/// Sends a response to the host that has its client. What is there already goes out with the head.
async fn send(sent: Sent, pid: Option<Pid>, responder: Responder) {
    let (head, body) = sent.into_parts();
    let fields = head.headers.iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let length = body.size_hint().exact();
    let status = head.status.as_u16();
    let mut body = Judged {
        ready: Bytes::new(),
        behind: None,
        body,
    };
    let is_whole = poll_fn(|cx| Poll::Ready(body.look(cx))).await;
    let whole = is_whole.then(|| std::mem::take(&mut body.ready));
    let sending = responder.answer(pid, status, fields, length, whole).await;
    if let Some(sending) = sending {
        let body = Box::new(Unshared(Mutex::new(body)));
        sending.send_all(Body::Stream(body)).await;
    }
}

/// The most bytes of a body that go out with the head: as many as one part has.
const WITH_HEAD_BYTES: usize = 64 << 10;

/// A body that was judged, on its way to another host.
struct Judged {
    /// Bytes that were taken out already.
    ready: Bytes,
    /// What was taken out behind them.
    behind: Option<Result<Piece, BodyError>>,
    body: ResponseBody,
}

impl Judged {
    /// Takes out what is there. Returns whether that is all. What has to be waited for must not
    /// hold back the head.
    fn look(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = Gathered::default();
        let is_whole = loop {
            match self.poll_frame(cx) {
                Poll::Ready(None) => break true,
                Poll::Ready(Some(Ok(Piece::Bytes(bytes)))) => ready.push(bytes),
                Poll::Ready(Some(behind)) => {
                    self.behind = Some(behind);
                    break false;
                }
                Poll::Pending => break false,
            }
            if ready.len() > WITH_HEAD_BYTES {
                break false;
            }
        };
        self.ready = ready.into_bytes();
        is_whole
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => Ok(Piece::Bytes(bytes)),
            Ok(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let fields = trailers.iter();
                let fields =
                    fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                Ok(Piece::Trailers(fields.collect()))
            }
            Err(error) => Err(BodyError::Broken(error.to_string())),
        }))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(Piece::Bytes(std::mem::take(&mut self.ready)))));
        }
        match self.behind.take() {
            Some(behind) => Poll::Ready(Some(behind)),
            None => self.poll_frame(cx),
        }
    }
}

/// The lock is there only because a body can't be shared. Nobody shares it.
struct Unshared(Mutex<Judged>);

impl Stream for Unshared {
    fn length(&self) -> Option<u64> {
        None // its front knows
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let judged = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        judged.poll_piece(cx)
    }
}

impl fmt::Debug for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}

/// What another host is told, whose request has no response here.
///
/// # Errors
/// That it was not begun.
fn failure(
    unanswered: &Unanswered,
    pid: Option<Pid>,
    is_program: bool,
) -> Result<Failure, Refusal> {
    let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    match unanswered {
        // A program may have had it.
        Unanswered::Stopping if pid.is_some() || is_program => Ok(Failure::Stopping),
        Unanswered::LineFull | Unanswered::WaitedTooLong | Unanswered::OutOfMemory => {
            Err(Refusal::Busy)
        }
        Unanswered::Stopping | Unanswered::Draining => Err(Refusal::Draining),
        Unanswered::NotStarted(pause) => Err(Refusal::Failing(pause.map(millis))),
        Unanswered::NoRoot(pause) => Err(Refusal::Failing(Some(millis(*pause)))),
        Unanswered::NoRoute => Err(Refusal::NoRoute),
        Unanswered::Late => Ok(Failure::Late),
        Unanswered::Ended(exit) => Ok(Failure::of_exit(*exit)),
        Unanswered::BadResponse => Ok(Failure::BadResponse),
        Unanswered::BadBody => Ok(Failure::BadBody),
        Unanswered::BodyTooLarge => Ok(Failure::BodyTooLarge),
        Unanswered::Disk => Ok(Failure::Disk),
        // Only a front says so.
        Unanswered::HostLost | Unanswered::NoHost => Err(Refusal::Busy),
    }
}

fn unanswered(failure: Failure, trace: &mut Trace) -> Unanswered {
    match failure {
        Failure::Stopping => {
            trace.exit = Some(Exit::Stopped);
            Unanswered::Stopping
        }
        Failure::Late => {
            trace.exit = Some(Exit::Deadline);
            Unanswered::Late
        }
        Failure::Ended(place) => {
            let exit = Failure::exit(place);
            trace.exit = Some(exit);
            Unanswered::Ended(exit)
        }
        Failure::BadResponse => {
            trace.exit = Some(Exit::Response);
            Unanswered::BadResponse
        }
        Failure::BadBody => Unanswered::BadBody,
        Failure::BodyTooLarge => Unanswered::BodyTooLarge,
        Failure::Disk => Unanswered::Disk,
    }
}
