//! Accepts connections up to a limit, ends those whose clients make no progress, and drains them
//! when the host stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use super::Service;
use super::heads::MAX_HEAD_BYTES;
use super::patience::{Activity, Alarm, Ended};
use super::refusals::Reason;
use super::request::{DISCARD_BYTES, DISCARD_TIME, Ends};
use super::socket::{Hints, Socket};
use super::stopwatch::Stopwatch;
use super::upload::Uploading;
use crate::shutdown::Phase;

/// The time after the grace time in which clients may read their 503.
const LINGER: Duration = Duration::from_millis(500);

/// The pause after the host has run out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The answer to a connection beyond `--max-connections`, which is then closed.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 54\r\n\r\n\
    503 Service Unavailable: too many connections at once\n";

/// Accepts connections until the host stops; returns when all connections of the host are closed.
pub(crate) async fn listen(listener: TcpListener, service: Arc<Service>) {
    let mut stopping = service.stopping.clone();
    tokio::select! {
        () = stopping.reached(Phase::Draining) => {}
        () = accept_all(&listener, &service) => {}
    }
    drop(listener);
    service.closed().await;
}

async fn accept_all(listener: &TcpListener, service: &Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => match Arc::clone(&service.room).try_acquire_owned() {
                Ok(permit) => {
                    tokio::spawn(serve(stream, client, Arc::clone(service), permit));
                }
                Err(_full) => {
                    let reason = Reason::TooManyConnections;
                    service.refusals.note(reason, &client, None);
                    turn_away(&stream);
                }
            },
            Err(error) if is_of_one_client(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Service {
    /// Waits until all connections are closed. Only for a host that accepts none any more.
    pub(crate) async fn closed(&self) {
        let all = u32::try_from(self.settings.connections).unwrap_or(u32::MAX);
        let _all_closed = self.room.acquire_many(all).await;
    }
}

/// Whether accepting failed for one connection only. Linux passes on an error of that connection
/// (accept(2), Error handling). The next connection is unaffected.
fn is_of_one_client(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [
            Errno::CONNABORTED,
            Errno::PERM,
            Errno::INTR,
            Errno::NETDOWN,
            Errno::PROTO,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::OPNOTSUPP,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::CONNRESET,
        ]
        .contains(&errno)
    })
}

fn turn_away(stream: &TcpStream) {
    // Bytes that have arrived are read, because closing with unread bytes would reset the
    // connection before the client reads the answer. A fresh socket takes an answer of this size at
    // once, or the client is gone.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(TURNED_AWAY);
}

/// What the requests of one connection share with it. They outlive its task's stack in hyper's
/// eyes, and so does this.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: Ends,
    pub(super) activity: Activity,
    pub(super) stopwatch: Stopwatch,
    /// Whether a body was cut off that can only be ended by closing the connection.
    is_cut: AtomicBool,
    /// The upload of the last request, if there was one.
    uploading: Mutex<Option<Uploading>>,
}

impl Connection {
    fn new(client: SocketAddr, stream: &TcpStream, stopwatch: Stopwatch) -> Arc<Self> {
        let server = stream.local_addr().map(|server| server.to_string());
        Arc::new(Self {
            ends: Ends {
                client: client.to_string().into(),
                server: server.unwrap_or_default().into(),
            },
            activity: Activity::new(),
            stopwatch,
            is_cut: AtomicBool::new(false),
            uploading: Mutex::default(),
        })
    }

    /// Notes that a response has broken off in the middle of its body.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Notes the upload of the current request.
    pub(super) fn uploads(&self, uploading: Uploading) {
        *self
            .uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(uploading);
    }

    fn has_unread_upload(&self) -> bool {
        let uploading = self
            .uploading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uploading.as_ref().is_some_and(Uploading::is_unread)
    }
}

async fn serve(
    mut stream: TcpStream,
    client: SocketAddr,
    service: Arc<Service>,
    _permit: OwnedSemaphorePermit,
) {
    // Responses are written whole, so waiting for more bytes would only delay them.
    let _ = stream.set_nodelay(true);
    // hyper reads through one half. The rest of the host writes to and watches the whole socket.
    let (read, stream) = stream.split();
    let stream: &TcpStream = stream.as_ref();
    let shared = Connection::new(client, stream, Stopwatch::new(&service.steps));
    let (activity, hints) = (&shared.activity, Hints::new());
    let socket = Socket::new(read, stream, activity, &hints, shared.stopwatch.clone());
    let mut stopping = service.stopping.clone();
    let respond = service_fn(|request: hyper::Request<Incoming>| {
        activity.pause();
        shared.stopwatch.began();
        hints.tell_body(request.body().size_hint().exact());
        let flaw = hints.flaw();
        let (service, shared) = (&service, &shared);
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
    let mut reset = pin!(async {
        let _error = stream.ready(Interest::ERROR).await;
    });
    let mut alarm = Alarm::new(activity, service.settings.header_time);
    let mut result = tokio::select! {
        biased;
        result = alarm.watch(connection.as_mut(), reset.as_mut()) => Some(result),
        () = stopping.reached(Phase::Draining) => None,
    };
    if result.is_none() {
        connection.as_mut().graceful_shutdown();
        // Requests that have begun may finish.
        result = tokio::select! {
            biased;
            result = alarm.watch(connection.as_mut(), reset.as_mut()) => Some(result),
            () = stopping.reached(Phase::Ending) => {
                tokio::time::timeout(LINGER, connection).await.ok().map(|result| result.map_err(Ended::from))
            }
        };
    }
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
        service.refusals.note(*reason, &client, detail.as_deref());
    }
    if shared.is_cut.load(Ordering::Relaxed) {
        // HTTP/1.0 has no other way to say that a body without a length is incomplete.
        let _unsupported = set_socket_linger(stream, Some(Duration::ZERO));
    } else if refused.is_some() || hints.flaw().is_some() || shared.has_unread_upload() {
        discard(stream).await;
    }
}

/// Discards the bytes that a refused client still sends, so that the client can read the answer.
/// Closing the connection with unread bytes would reset it (RFC 9112, section 9.6).
async fn discard(stream: &TcpStream) {
    const SCRATCH_BYTES: usize = 16 << 10;
    let all = async {
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut discarded = 0;
        while discarded < DISCARD_BYTES && stream.readable().await.is_ok() {
            match stream.try_read(&mut scratch) {
                Ok(0) => break,
                Ok(count) => discarded += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => break,
            }
        }
    };
    let _elapsed = tokio::time::timeout(DISCARD_TIME, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exhausted_host_pauses() {
        let is_of_one_client = |errno: Errno| is_of_one_client(&errno.into());
        assert!(is_of_one_client(Errno::CONNABORTED));
        assert!(is_of_one_client(Errno::PERM));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_one_client(errno), "{errno}");
        }
    }
}
