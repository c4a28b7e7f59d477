//! A *lease* is a process in the hands of one request, with its seat. Both are given back by
//! letting go.

use std::sync::Arc;
use std::time::Instant;

use super::{Pool, Reuse};
use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::process::Process;

/// The right to have one process alive. Dropped, it goes to the next in line.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    pool: &'a Arc<Pool>,
}

impl<'a> Seat<'a> {
    /// A seat that has been taken.
    pub(super) fn of(pool: &'a Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Puts an idle process on the seat, for whoever comes next.
    pub(super) fn fill(self, process: Process) {
        self.leave_to_process().put_back(process);
    }

    /// The seat goes with its process from now on.
    fn leave_to_process(self) -> &'a Arc<Pool> {
        let pool = self.pool;
        std::mem::forget(self);
        pool
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.pool.vacate();
    }
}

/// A process in the hands of one request. Dropped before the request is answered, the process ends:
/// the client left, and a half-run instance is never called again.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    // Dropped in this order: the process's memory is free before another may take its seat.
    process: Process,
    seat: Seat<'a>,
}

impl<'a> Lease<'a> {
    pub(super) fn new(mut process: Process, seat: Seat<'a>) -> Self {
        process.presume(Exit::ClientLeft);
        Self { process, seat }
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

    /// The request is answered: the process is free for the next, or has served its share.
    pub(crate) fn release(self) {
        let Self { process, seat } = self;
        let pool = seat.pool;
        if pool.settings.reuse == Reuse::OneRequest {
            process.end(Exit::Served);
            return seat.leave_to_process().prepare_next();
        }
        match pool.retirement(&process) {
            None => seat.fill(process),
            Some(exit) => seat.leave_to_process().replace(process, exit),
        }
    }

    /// The process failed; it ends, and its seat goes to a new one.
    pub(crate) fn fail(self, crash: Crash) {
        self.process.fail(crash);
    }

    /// The process answered with something that is not a response; it ends.
    pub(crate) fn reject(self, reason: String) {
        self.process.reject(reason);
    }

    /// The host is stopping and waits for the process no longer.
    pub(crate) fn end(self) {
        self.process.end(Exit::Stopped);
    }
}
