//! A *process* of a pool is one living guest: an instance that answers requests one by one, and a
//! row in the table from its birth to its end. Processes share no memory, and the end of one leaves
//! the others alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::sandbox::{Instance, Prepared};
use crate::table::{Life, Row};

#[derive(Debug)]
pub(crate) struct Process {
    // Dropped in this order: the end is announced after the host has the memory back.
    instance: Instance,
    life: Life,
    /// Bytes of memories and tables in use just after the start.
    first_memory: u64,
}

/// The start code of a process failed: the exit, and the reason for the log.
#[derive(Debug)]
pub(crate) struct NotStarted(pub(crate) Exit, pub(crate) String);

impl Process {
    /// Creates a process with this life and runs its start code, for at most `time_limit`.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub(crate) async fn start(
        module: &Prepared,
        mut life: Life,
        time_limit: Duration,
    ) -> Result<Self, NotStarted> {
        match module.instantiate(life.row(), time_limit).await {
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
                let failed = NotStarted(crash.exit, crash.reason.clone());
                life.set_crash(crash);
                Err(failed)
            }
        }
    }

    #[must_use]
    pub(crate) fn pid(&self) -> Pid {
        self.life.pid()
    }

    pub(crate) fn row(&self) -> &Arc<Row> {
        self.life.row()
    }

    /// Bytes of memories and tables in use: now, and just after the start.
    #[must_use]
    pub(crate) fn memory(&self) -> (u64, u64) {
        (self.instance.memory(), self.first_memory)
    }

    /// Whether the process keeps so much of the host's that it should serve no more.
    pub(crate) fn is_worn(&self) -> bool {
        self.instance.is_worn()
    }

    /// Sends the process a request and receives its response. `now` is the start of the request.
    ///
    /// # Errors
    /// A [`Crash`], to be passed to [`Process::fail`].
    pub(crate) async fn handle(
        &mut self,
        request: &Request,
        now: Instant,
        deadline: Instant,
    ) -> Result<Response, Crash> {
        self.life.row().begin(request.id, now);
        let response = match &mut self.instance {
            Instance::Handler(handler) => handler.handle(request, deadline).await?,
            Instance::Foreign(_) => return Err(Crash::of_the_host()),
        };
        self.life.row().answered(request.is_own());
        Ok(response)
    }

    /// Gives the process a request, and runs it until it has done with it. The response goes
    /// through `answer`, and may have a body that is still being written.
    ///
    /// # Errors
    /// A [`Crash`], to be passed to [`Process::fail`].
    pub(crate) async fn exchange(
        &mut self,
        request: Request,
        now: Instant,
        deadline: Instant,
        answer: oneshot::Sender<Response>,
    ) -> Result<(), Crash> {
        let is_own = request.is_own();
        self.life.row().begin(request.id, now);
        match &mut self.instance {
            Instance::Foreign(foreign) => foreign.exchange(request, deadline, answer).await?,
            Instance::Handler(_) => return Err(Crash::of_the_host()),
        }
        self.life.row().answered(is_own);
        Ok(())
    }

    /// Runs the process by itself, without a request, and returns its exit.
    pub(crate) async fn run(mut self) -> Exit {
        let ended = match &mut self.instance {
            Instance::Foreign(foreign) => foreign.run().await,
            Instance::Handler(_) => Err(Crash::of_the_host()),
        };
        match ended {
            Ok(()) => self.life.set_exit(Exit::Normal),
            // A code is what the user asked for. It goes to the user and not into the log.
            Err(Crash {
                exit: exit @ Exit::Code(_),
                ..
            }) => self.life.set_exit(exit),
            Err(crash) => self.life.set_crash(crash),
        }
        self.life.exit()
    }

    /// Sets the exit that counts if the process is dropped. A process that runs in a request's task
    /// is dropped with that task.
    pub(crate) fn set_exit(&mut self, exit: Exit) {
        self.life.set_exit(exit);
    }

    /// Ends the process. The host gets the memory and open files back.
    pub(crate) fn end(mut self, exit: Exit) {
        self.life.set_exit(exit);
    }

    /// Ends a failed process.
    pub(crate) fn fail(mut self, crash: Crash) {
        self.life.set_crash(crash);
    }

    /// Ends the process because its response is invalid.
    pub(crate) fn reject(mut self, reason: String) {
        let output = self.instance.last_lines();
        self.life.set_crash(Crash {
            exit: Exit::Response,
            reason,
            output,
        });
    }
}
