//! An *exchange* is one request in the hands of a guest that may read and write bodies while it
//! runs. It owns the guest's call, and the lease of its process. Whoever reads the response's body
//! runs the call with it: no task and no thread stands between the guest and the client.
//!
//! The call counts for more than the body. A body that ends because its guest has failed looks
//! complete, so the guest is polled first, and its failure breaks the body off. If a body ends
//! while its guest still runs, it is complete, and the guest goes on in a task of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::sync::oneshot;
use tokio::task::unconstrained;

use super::behind::Behind;
use crate::body::{Body, BodyError, Piece, Stream};
use crate::exit::{Crash, Exit};
use crate::message::Response;
use crate::pool::{Lease, Pool};
use crate::table::Row;

/// The bytes of a body that are gathered before its head is sent. So a short response goes out in
/// one piece with its length, and a guest that fails early still gets an error status.
const GATHERED_BYTES: usize = 64 << 10;

/// The most bytes of a body that are gathered once its guest has returned. A guest can't have left
/// more behind: what goes beyond comes from elsewhere.
const DRAINED_BYTES: usize = 1 << 20;

/// The CPU time for which a guest that has to yield goes on writing before its head is sent, in
/// milliseconds. So it is the guest's work that decides what goes out in one piece, and not the
/// moment of a tick.
const GATHERING_MS: u64 = 10;

/// The log's reason for a guest that set no response.
const NO_RESPONSE: &str = "it has done with the request and set no response";

/// A guest's call, with the process that runs it.
pub(super) type Call = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// The end of a call.
pub(super) struct Ended {
    pub(super) lease: Lease,
    pub(super) outcome: Outcome,
}

/// How a call ended.
pub(super) enum Outcome {
    /// The guest has done with the request.
    Done,
    Failed(Crash),
    /// The response is not acceptable, for this reason.
    Rejected(String),
    /// The host has ended the call, because it stops.
    Stopped,
}

/// The guest's side of an exchange.
pub(super) struct Begun {
    pub(super) row: Arc<Row>,
    pub(super) call: Call,
    /// Ends the call, with the reason.
    pub(super) rejecting: oneshot::Sender<String>,
    pub(super) answer: oneshot::Receiver<Response>,
    /// Whether the guest may exit with code 0 once it has answered.
    pub(super) may_exit: bool,
    pub(super) behind: Behind,
}

/// One request in the hands of a guest.
struct Exchange {
    pool: Arc<Pool>,
    call: Option<Call>,
    rejecting: Option<oneshot::Sender<String>>,
    may_exit: bool,
    behind: Behind,
    /// The process of a call that is over, until its response is accepted.
    lease: Option<Lease>,
    /// The body as the guest writes it; None once it has ended.
    body: Option<Box<dyn Stream>>,
    /// Pieces that were taken out of `body` and not handed on yet.
    gathered: VecDeque<Piece>,
    /// Why the pieces behind the gathered ones are missing.
    broken: Option<BodyError>,
    /// The exit of the process, if it is why.
    exit: Option<Exit>,
    /// Whether nobody wants the body: the head is all of the response.
    is_unwanted: bool,
    /// Bytes still to be handed on, if known.
    left: Option<u64>,
}

/// Runs the guest until the head of its response is there.
///
/// # Errors
/// The exit of the process, if it ended before.
pub(super) async fn begin(pool: &Arc<Pool>, begun: Begun) -> Result<Response, Exit> {
    let Begun {
        row,
        call,
        rejecting,
        answer,
        may_exit,
        behind,
    } = begun;
    let mut exchange = Exchange {
        pool: Arc::clone(pool),
        call: Some(call),
        rejecting: Some(rejecting),
        may_exit,
        behind,
        lease: None,
        body: None,
        gathered: VecDeque::new(),
        broken: None,
        exit: None,
        is_unwanted: false,
        left: None,
    };
    let mut answer = Some(answer);
    let mut response = poll_fn(|cx| exchange.poll_head(cx, &mut answer)).await?;
    exchange.gather(&row).await?;
    response.body = Body::Stream(Box::new(Unshared(Mutex::new(exchange))));
    Ok(response)
}

impl Exchange {
    /// Runs the guest until the head is there.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        answer: &mut Option<oneshot::Receiver<Response>>,
    ) -> Poll<Result<Response, Exit>> {
        let called = self.poll_call(cx);
        if let Poll::Ready(Err(exit)) = called {
            return Poll::Ready(Err(exit));
        }
        let answered = answer.as_mut().map(|answer| Pin::new(answer).poll(cx));
        let response = match answered {
            Some(Poll::Ready(Ok(response))) => Some(response),
            Some(Poll::Ready(Err(_dropped))) => {
                *answer = None; // only the end of the call can follow
                None
            }
            Some(Poll::Pending) | None => None,
        };
        let Some(mut response) = response else {
            ready!(called)?;
            self.reject(NO_RESPONSE);
            return Poll::Ready(Err(Exit::Response));
        };
        self.left = response.body.length();
        match std::mem::replace(&mut response.body, Body::empty()) {
            Body::Stream(stream) => self.body = Some(stream),
            Body::Bytes(bytes) if bytes.is_empty() => self.let_run(),
            Body::Bytes(bytes) => {
                self.gathered.push_back(Piece::Bytes(bytes));
                self.let_run();
            }
            Body::File(_) => self.let_run(), // such guests have no files of ours
        }
        if called.is_ready() {
            self.drain(cx);
        }
        Poll::Ready(Ok(response))
    }

    /// Gathers the beginning of the body, until the guest waits for something.
    ///
    /// # Errors
    /// The exit of the process, if it ended meanwhile.
    async fn gather(&mut self, row: &Row) -> Result<(), Exit> {
        let began_ms = row.cpu_ms();
        poll_fn(|cx| {
            while self.body.is_some() && self.gathered_bytes() < GATHERED_BYTES {
                if self.poll_more(cx).is_ready() {
                    continue;
                }
                if row.is_yielding() && row.cpu_ms() - began_ms <= GATHERING_MS {
                    return Poll::Pending;
                }
                break;
            }
            Poll::Ready(())
        })
        .await;
        // Whether a body that breaks off is at fault depends on whether the client wants it.
        self.exit.map_or(Ok(()), Err)
    }

    /// Runs the guest and takes out a piece of the body, or notes its end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.call.is_some() {
            match self.poll_call(cx) {
                Poll::Ready(Ok(())) => {
                    self.drain(cx);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(exit)) => {
                    self.body = None;
                    let reason = format!("its process has ended ({exit})");
                    self.broken = Some(BodyError::Broken(reason));
                    self.exit = Some(exit);
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(());
        };
        match ready!(body.poll_piece(cx)) {
            Some(Ok(piece)) => self.gathered.push_back(piece),
            Some(Err(error)) => self.break_off(error),
            None => {
                self.body = None;
                self.let_run();
            }
        }
        Poll::Ready(())
    }

    /// Polls the call. Once it is over, its process has ended or is in `lease`.
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Exit>> {
        let Some(call) = &mut self.call else {
            return Poll::Ready(Ok(()));
        };
        let ended = ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(match settle(ended, self.may_exit) {
            Ok(lease) => {
                self.lease = lease;
                Ok(())
            }
            Err(exit) => Err(exit),
        })
    }

    /// Takes out what is left of the body after the call is over, so that a slow client keeps no
    /// process. It is little: the guest has waited for room before each piece.
    ///
    /// If there is more to come, either the guest has kept a handle of the body and will never end
    /// it, or it has handed on a body that comes from elsewhere: the request's, or that of another
    /// server. The end of its process ends the former. The latter needs no process, and goes on.
    /// So that nothing else looks like it, tokio must not have the task pause in between.
    fn drain(&mut self, cx: &mut Context<'_>) {
        let mut left_open = None;
        while self.gathered_bytes() < DRAINED_BYTES
            && let Some(body) = &mut self.body
        {
            let piece = poll_fn(|cx| body.poll_piece(cx));
            match pin!(unconstrained(piece)).poll(cx) {
                Poll::Ready(Some(Ok(piece))) => self.gathered.push_back(piece),
                Poll::Ready(Some(Err(error))) => self.break_off(error),
                Poll::Ready(None) => {
                    self.body = None;
                    if let Some(pid) = left_open {
                        tracing::warn!(pid, "the guest has returned without finishing its body");
                    }
                }
                Poll::Pending => match self.lease.take() {
                    Some(lease) => {
                        left_open = Some(lease.pid().get());
                        lease.end(Exit::Served);
                    }
                    None => return,
                },
            }
        }
    }

    /// Notes that the rest of the body is missing. The process ends for it when the client misses
    /// it: guests may state the length of a body that they don't write, if the request is a `HEAD`.
    fn break_off(&mut self, error: BodyError) {
        self.body = None;
        if self.is_unwanted {
            self.let_run();
        } else {
            self.broken = Some(error);
        }
    }

    /// Ends the process, because its response is not acceptable.
    fn reject(&mut self, reason: &str) {
        if let Some(lease) = self.lease.take() {
            lease.reject(reason.to_owned());
        }
        let Some(mut call) = self.call.take() else {
            return;
        };
        if let Some(rejecting) = self.rejecting.take() {
            let _over = rejecting.send(reason.to_owned());
        }
        // The call looks for a reason first, so this runs no guest.
        if let Poll::Ready(ended) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let _logged = settle(ended, self.may_exit);
        }
    }

    /// Lets the guest do what it has left to do, although its response is complete.
    fn let_run(&mut self) {
        let (Some(call), Ok(runtime)) = (self.call.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (pool, may_exit) = (Arc::clone(&self.pool), self.may_exit);
        let counted = self.behind.count();
        runtime.spawn(async move {
            let _counted = counted;
            if let Ok(Some(lease)) = settle(call.await, may_exit) {
                pool.release(lease);
            }
        });
    }

    /// Gives back the process of a call that is over, unless its body is broken off.
    fn accept(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if let Some(lease) = self.lease.take() {
            self.pool.release(lease);
        }
    }

    fn gathered_bytes(&self) -> usize {
        let bytes = self.gathered.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Trailers(_) => 0,
        });
        bytes.sum()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.accept();
        // Whoever knows the length doesn't ask for the end. Otherwise the client has left, and
        // dropping the call ends the process.
        if self.left == Some(0) {
            self.let_run();
        }
    }
}

/// Ends the process of an ended call, unless it can serve another request.
///
/// # Errors
/// The exit, if the guest has failed or was ended.
fn settle(ended: Ended, may_exit: bool) -> Result<Option<Lease>, Exit> {
    let Ended { lease, outcome } = ended;
    match outcome {
        Outcome::Done => Ok(Some(lease)),
        Outcome::Failed(crash) if may_exit && crash.exit == Exit::Code(0) => {
            lease.end(Exit::Normal);
            Ok(None)
        }
        Outcome::Failed(crash) => {
            let exit = crash.exit;
            lease.fail(crash);
            Err(exit)
        }
        Outcome::Rejected(reason) => {
            lease.reject(reason);
            Err(Exit::Response)
        }
        Outcome::Stopped => {
            lease.end(Exit::Stopped);
            Err(Exit::Stopped)
        }
    }
}

/// An exchange as the body of its response. The lock is there only because a call can't be shared.
/// Nobody shares it.
struct Unshared(Mutex<Exchange>);

impl Unshared {
    fn exchange(&mut self) -> &mut Exchange {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Unshared {
    fn length(&self) -> Option<u64> {
        let exchange = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_trailers = || {
            let last = exchange.gathered.back();
            last.is_some_and(|piece| matches!(piece, Piece::Trailers(_)))
        };
        match exchange.left {
            Some(left) => Some(left),
            // Only a body without a stated length has trailers.
            None if exchange.body.is_none() && exchange.broken.is_none() && !has_trailers() => {
                Some(exchange.gathered_bytes() as u64)
            }
            None => None,
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let exchange = self.exchange();
        exchange.accept();
        loop {
            if let Some(piece) = exchange.gathered.pop_front() {
                if let (Some(left), Piece::Bytes(bytes)) = (&mut exchange.left, &piece) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                return Poll::Ready(Some(Ok(piece)));
            }
            if let Some(error) = exchange.broken.take() {
                exchange.reject(&error.to_string());
                return Poll::Ready(Some(Err(error)));
            }
            if exchange.body.is_none() {
                return Poll::Ready(None);
            }
            ready!(exchange.poll_more(cx));
            exchange.accept();
        }
    }

    fn broken(&self) -> Option<String> {
        let exchange = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        exchange.broken.as_ref().map(BodyError::to_string)
    }

    fn reject(mut self: Box<Self>, reason: &str) {
        self.exchange().reject(reason);
    }

    fn discard(mut self: Box<Self>) {
        let exchange = self.exchange();
        exchange.broken = None;
        exchange.is_unwanted = true;
        exchange.accept();
        if exchange.body.is_none() {
            exchange.let_run();
            return;
        }
        let counted = exchange.behind.count();
        tokio::spawn(async move {
            let _counted = counted;
            while let Some(Ok(_)) = poll_fn(|cx| self.poll_piece(cx)).await {}
        });
    }
}

impl fmt::Debug for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}
