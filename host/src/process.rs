//! A *process* of a pool is one living guest: an instance that answers requests one by one, and a
//! row in the table from its birth to its end. It shares no memory with any other, and its end
//! touches no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::sandbox::{Handlers, Instance};
use crate::table::{Life, Row, Table};

/// One living guest.
#[derive(Debug)]
pub(crate) struct Process {
    // Dropped in this order: the end is told when the memory is the host's again.
    instance: Instance,
    life: Life,
    /// Memory and tables in use when the process had just started, in bytes.
    first_memory: u64,
}

impl Process {
    /// Creates a process and runs its start code, for at most `patience`.
    ///
    /// # Errors
    /// Where the start code fails: why, and what the log has of it.
    pub(crate) async fn start(
        handlers: &Handlers,
        table: &Table,
        pool: u32,
        patience: Duration,
    ) -> Result<Self, (Exit, String)> {
        let mut life = table.enter_handler(pool);
        match handlers.instantiate(life.row(), patience).await {
            Ok(instance) => {
                life.log_start();
                let first_memory = instance.memory();
                Ok(Self {
                    instance,
                    life,
                    first_memory,
                })
            }
            Err(crash) => {
                let failed = (crash.exit, crash.reason.clone());
                life.failed(crash);
                Err(failed)
            }
        }
    }

    /// The number of the process.
    #[must_use]
    pub(crate) fn pid(&self) -> Pid {
        self.life.pid()
    }

    /// What the table knows of the process.
    pub(crate) fn row(&self) -> &Arc<Row> {
        self.life.row()
    }

    /// Memory and tables in use, in bytes: now, and when the process had just started.
    #[must_use]
    pub(crate) fn memory(&self) -> (u64, u64) {
        (self.instance.memory(), self.first_memory)
    }

    /// Sends the process a request and receives its response. `now`: when the request is sent.
    ///
    /// # Errors
    /// A [`Crash`], with which the process must be [ended](Process::fail).
    pub(crate) async fn handle(
        &mut self,
        request: &Request,
        now: Instant,
        deadline: Instant,
    ) -> Result<Response, Crash> {
        self.life.row().begin(request.id, now);
        let response = self.instance.handle(request, deadline).await?;
        self.life.row().answered();
        Ok(response)
    }

    /// Says why the process will have ended, should it be dropped without a word: whatever runs in
    /// a request's task is dropped with that task.
    pub(crate) fn presume(&mut self, exit: Exit) {
        self.life.presume(exit);
    }

    /// Ends the process. Its memory and its open files go back to the host.
    pub(crate) fn end(mut self, exit: Exit) {
        self.life.presume(exit);
    }

    /// Ends the process, which has failed.
    pub(crate) fn fail(mut self, crash: Crash) {
        self.life.failed(crash);
    }

    /// Ends the process over a response that it should not have given.
    pub(crate) fn reject(mut self, reason: String) {
        let output = self.instance.last_lines();
        self.life.failed(Crash {
            exit: Exit::Response,
            reason,
            output,
        });
    }
}
