//! A *lease* is a process on its *seat*: idle on a stack, or in the hands of one request. Both are
//! given back by letting go.

use std::sync::Arc;
use std::time::Instant;

use super::Pool;
use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::process::Process;

/// The right to have one process alive. Dropped, it goes to the next in line.
///
/// A seat keeps its pool, and the pool keeps the seats of idle processes: closing the pool undoes
/// that knot.
#[derive(Debug)]
pub(super) struct Seat(Arc<Pool>);

impl Seat {
    /// A seat that has been taken.
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Self(Arc::clone(pool))
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.vacate();
    }
}

/// A process on its seat. A lease that is dropped ends its process.
#[derive(Debug)]
pub(crate) struct Lease {
    // Dropped in this order: the process's memory is free before another may take its seat.
    process: Process,
    seat: Seat,
}

impl Lease {
    pub(super) fn new(process: Process, seat: Seat) -> Self {
        Self { process, seat }
    }

    /// The lease in the hands of a request. A request that drops it before it is answered has lost
    /// its client, and a half-run instance is never called again.
    pub(super) fn handed_out(mut self) -> Self {
        self.process.presume(Exit::ClientLeft);
        self
    }

    /// The lease in nobody's hands.
    pub(super) fn given_back(mut self) -> Self {
        self.process.presume(Exit::Stopped);
        self
    }

    pub(super) fn process(&self) -> &Process {
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

    /// Ends the process, which has failed.
    pub(crate) fn fail(self, crash: Crash) {
        self.process.fail(crash);
    }

    /// Ends the process, which answered with something that is not a response.
    pub(crate) fn reject(self, reason: String) {
        self.process.reject(reason);
    }

    /// Ends the process.
    pub(crate) fn end(self, exit: Exit) {
        self.vacate(exit);
    }

    /// Ends the process, and keeps its seat for another.
    pub(super) fn vacate(self, exit: Exit) -> Seat {
        self.process.end(exit);
        self.seat
    }
}
