//! *Outbound* is what a process sends to other servers through `wasi:http`. It reaches only servers
//! that the user named, over a bounded number of connections, and no longer than its own request
//! may take. Redirects are answers like any other: the guest may follow them by a new request.

mod connection;
mod destination;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::rustls::ClientConfig;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::destination::{Obstacle, Target};
use super::rpc::Rpc;
use super::state::Common;
use super::wasi_http::CHUNK_BYTES;
use crate::deadline;
use crate::pid::Pid;
use crate::rate::Rate;
use crate::table::Row;
use crate::tally::Interface;
use crate::text;

/// Connections to other servers of all processes together. Each takes a file descriptor and at most
/// some 100 KiB of memory.
pub(crate) const MAX_OUTGOING: u32 = 256;

/// Connections of one process. Browsers have six to one server.
const CONNECTIONS: usize = 16;

/// Requests of one process that are under way or wait for a connection.
const REQUESTS: usize = 256;

/// The longest time for a request of a process that has none of its own to answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes of a guest's host name in the log.
const LOGGED_BYTES: usize = 256;

/// Connections to other servers of all processes of one module.
#[derive(Debug)]
pub(super) struct Outgoing {
    connections: Arc<Semaphore>,
    /// Created for the first request over TLS. Reading the root certificates takes a millisecond.
    tls: OnceLock<Arc<ClientConfig>>,
}

/// The requests of one process.
pub(super) struct Outbound {
    common: Arc<Common>,
    row: Arc<Row>,
    /// The end of the time for the request that the process serves, if there is one.
    deadline: Option<Instant>,
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// The right to one connection. Dropping it gives the right back.
struct Admitted {
    _request: OwnedSemaphorePermit,
    _of_process: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// The ends of the phases of one request.
#[derive(Clone, Copy)]
struct Times {
    /// The end of it all.
    end: Instant,
    connected: Instant,
    first_byte: Duration,
    between_bytes: Duration,
}

/// What is left to do after the response's head: moving both bodies. Dropping it closes the
/// connection.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(http::Response<WasiBody>, Rest), Error>;

impl Outbound {
    pub(super) fn new(common: Arc<Common>, row: Arc<Row>) -> Self {
        Self {
            common,
            row,
            deadline: None,
            requests: Arc::new(Semaphore::new(REQUESTS)),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    /// Sets the end of the time for the request that the process serves.
    pub(super) fn answer_by(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    fn send(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<impl Future<Output = Answer> + Send + use<>, Error> {
        let (common, row) = (Arc::clone(&self.common), Arc::clone(&self.row));
        let arguments = || format!("{} {}", request.method(), request.uri());
        let rpc = Rpc::begin(&common.tally, &row, Interface::Outbound, "send", arguments);
        let (target, waiting) = match self.admitted(&request) {
            Ok(admitted) => admitted,
            Err(error) => {
                rpc.returns(&row, 0, || format!("error {error:?}"));
                return Err(error);
            }
        };
        let times = Times::of(options, self.deadline);
        let connections = Arc::clone(&self.connections);
        Ok(async move {
            let answer = async {
                let admitted = admit(waiting, connections, &common.outgoing);
                let admitted = deadline::by(times.connected, admitted).await;
                let admitted = admitted.ok_or(Error::ConnectionLimitReached)??;
                let connecting = Box::pin(connection::open(&target, &common, row.pid, admitted));
                let connected = deadline::by(times.connected, connecting).await;
                let connection = connected.ok_or(Error::ConnectionTimeout)??;
                connection.send(request, times).await
            };
            let answer: Answer = answer.await;
            rpc.returns(&row, 0, || match &answer {
                Ok((response, _)) => response.status().to_string(),
                Err(error) => format!("error {error:?}"),
            });
            answer
        })
    }

    /// The server of a request that the process may send now.
    fn admitted(
        &self,
        request: &http::Request<WasiBody>,
    ) -> Result<(Target, OwnedSemaphorePermit), Error> {
        let target = Target::of(request.uri())?;
        if !target.is_named(&self.common.settings.environment.outbound) {
            self.log(&target, Obstacle::Unnamed);
            return Err(Error::HttpRequestDenied);
        }
        let waiting = Arc::clone(&self.requests).try_acquire_owned();
        let waiting = waiting.map_err(|_| Error::ConnectionLimitReached)?;
        Ok((target, waiting))
    }

    fn log(&self, target: &Target, obstacle: Obstacle) {
        log(self.row.pid, target, obstacle);
    }
}

/// Says why a server can't be reached. Guests choose how often this happens.
fn log(pid: Pid, target: &Target, obstacle: Obstacle) {
    static REFUSED: Rate = Rate::new();
    let Some(skipped) = REFUSED.admit() else {
        return;
    };
    let server = target.to_string();
    tracing::warn!(
        pid = pid.get(),
        server = text::cut_escaped(&server, LOGGED_BYTES),
        skipped = (skipped > 0).then_some(skipped),
        "{obstacle}"
    );
}

async fn admit(
    request: OwnedSemaphorePermit,
    of_process: Arc<Semaphore>,
    outgoing: &Outgoing,
) -> Result<Admitted, Error> {
    // A semaphore is never closed here.
    let closed = |_| Error::ConnectionLimitReached;
    // In this order, so that a process that waits for its own connections holds up no other.
    let of_process = of_process.acquire_owned().await.map_err(closed)?;
    let of_all = Arc::clone(&outgoing.connections).acquire_owned().await;
    Ok(Admitted {
        _request: request,
        _of_process: of_process,
        _of_all: of_all.map_err(closed)?,
    })
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_read: Rest,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        match self.send(request, options.unwrap_or_default()) {
            Ok(sending) => Box::new(sending),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

impl Times {
    fn of(options: RequestOptions, deadline: Option<Instant>) -> Self {
        let now = Instant::now();
        let end = deadline.unwrap_or_else(|| now + TIME_LIMIT);
        let left = end.saturating_duration_since(now);
        let clamped = |asked: Option<Duration>| asked.map_or(left, |asked| asked.min(left));
        Self {
            end,
            connected: now + clamped(options.connect_timeout),
            first_byte: clamped(options.first_byte_timeout),
            between_bytes: clamped(options.between_bytes_timeout),
        }
    }

    /// When a phase ends that begins now and takes at most this long.
    fn after(&self, longest: Duration) -> Instant {
        self.end.min(Instant::now() + longest)
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            connections: Arc::new(Semaphore::new(MAX_OUTGOING as usize)),
            tls: OnceLock::new(),
        }
    }
}
