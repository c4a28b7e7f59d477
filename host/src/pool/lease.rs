//! A *lease* is a process on its *seat*, idle on a stack or in use by one request. Dropping a lease
//! ends the process and frees the seat.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Pool;
use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::process::Process;

/// The right to have one process alive. Dropping it passes it to the next request in line.
///
/// A seat holds a reference to its pool, and the pool holds the seats of idle processes. Closing
/// the pool breaks this cycle.
#[derive(Debug)]
pub(super) struct Seat(Arc<Pool>);

impl Seat {
    /// Wraps a seat that has been taken.
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Self(Arc::clone(pool))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.free_seat();
    }
}

/// A process on its seat. Dropping this ends the process.
#[derive(Debug)]
pub(crate) struct Lease {
    // Dropped in this order: the process's memory is free before another may take the seat.
    process: Process,
    seat: Seat,
}

impl Lease {
    pub(super) fn new(process: Process, seat: Seat) -> Self {
        Self { process, seat }
    }

    /// Marks the lease as used by a request. If the request drops it before the answer, the client
    /// has left, and a half-run instance is never called again.
    pub(super) fn handed_out(mut self) -> Self {
        self.process.set_exit(Exit::ClientLeft);
        self
    }

    /// Marks the lease as used by no request.
    pub(super) fn given_back(mut self) -> Self {
        self.process.set_exit(Exit::Stopped);
        self
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Sends the process a request and receives its response.
    ///
    /// # Errors
    /// A [`Crash`], to be passed to [`Lease::fail`].
    pub(crate) async fn handle(
        &mut self,
        request: &Request,
        now: Instant,
        deadline: Instant,
    ) -> Result<Response, Crash> {
        self.process.handle(request, now, deadline).await
    }

    /// Gives the process a request, and runs it until it has done with it.
    ///
    /// # Errors
    /// A [`Crash`], to be passed to [`Lease::fail`].
    pub(crate) async fn exchange(
        &mut self,
        request: Request,
        now: Instant,
        deadline: Instant,
        answer: oneshot::Sender<Response>,
    ) -> Result<(), Crash> {
        self.process.exchange(request, now, deadline, answer).await
    }

    /// Ends the failed process.
    pub(crate) fn fail(self, crash: Crash) {
        self.process.fail(crash);
    }

    /// Ends the process because its response is invalid.
    pub(crate) fn reject(self, reason: String) {
        self.process.reject(reason);
    }

    /// Ends the process.
    pub(crate) fn end(self, exit: Exit) {
        self.free_seat(exit);
    }

    /// Ends the process, and returns its seat.
    pub(super) fn free_seat(self, exit: Exit) -> Seat {
        self.process.end(exit);
        self.seat
    }
}
