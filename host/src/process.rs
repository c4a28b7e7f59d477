//! A *process* is one living guest: an instance with a pid, a count of what it served, and an end with a
//! reason. It shares no memory with any other, and what ends one touches no other.

use std::time::{Duration, Instant};

use crate::message::{Request, Response};
use crate::pid::{Pid, Pids};
use crate::sandbox::{Crash, Failure, Handlers, Instance};

/// Why a process ended.
#[derive(Debug)]
pub enum Exit {
    /// The guest's own doing, while it started or ran.
    Failed(Failure),
    /// Its client left while it ran: a half-run instance is never called again.
    ClientLeft,
    /// It served its share of requests.
    Served,
    /// Its memory grew past the high-water mark.
    Grown,
    /// It had nothing to do for the idle timeout.
    Idle,
    /// The host is stopping.
    Stopped,
}

/// One living guest.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    instance: Instance,
    started: Instant,
    served: u64,
    /// Why it ended, said by whoever ends it or presumed before; read when it is dropped.
    exit: Exit,
    /// Memory and tables in use when it had just started, in bytes.
    first_memory: u64,
}

impl Process {
    /// Creates a process and runs its start code, for at most `patience`.
    ///
    /// # Errors
    /// Where the start code fails. The end of that process is logged.
    pub async fn start(handlers: &Handlers, pids: &Pids, patience: Duration) -> Result<Self, Exit> {
        let pid = pids.next();
        let started = Instant::now();
        match handlers.instantiate(pid, patience).await {
            Ok(instance) => {
                tracing::debug!(pid = pid.get(), "process started");
                let first_memory = instance.memory();
                Ok(Self {
                    pid,
                    instance,
                    started,
                    served: 0,
                    exit: Exit::Stopped,
                    first_memory,
                })
            }
            Err(Crash { failure, output }) => {
                let exit = Exit::Failed(failure);
                log_end(pid, &exit, started, 0, output.as_deref());
                Err(exit)
            }
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Memory and tables in use, in bytes: now, and when it had just started.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        (self.instance.memory(), self.first_memory)
    }

    /// Sends it a request and receives its response.
    ///
    /// # Errors
    /// A [`Failure`], after which the process must be [ended](Process::end).
    pub async fn handle(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let response = self.instance.handle(request, deadline).await?;
        self.served += 1;
        Ok(response)
    }

    /// Says why it will have ended, should it be dropped without a word: what runs in a request's task is
    /// dropped with that task.
    pub fn presume(&mut self, exit: Exit) {
        self.exit = exit;
    }

    /// Ends it, and logs why. Its memory and its open files go back to the host.
    pub fn end(mut self, exit: Exit) {
        self.exit = exit;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let output = match self.exit.is_normal() {
            true => None,
            false => self.instance.last_lines(),
        };
        log_end(
            self.pid,
            &self.exit,
            self.started,
            self.served,
            output.as_deref(),
        );
    }
}

fn log_end(pid: Pid, exit: &Exit, started: Instant, served: u64, output: Option<&str>) {
    let (pid, age) = (pid.get(), started.elapsed().as_millis() as u64);
    if exit.is_normal() {
        tracing::debug!(pid, %exit, served, age_ms = age, "process ended");
    } else {
        let reason = exit.reason();
        tracing::warn!(pid, %exit, served, age_ms = age, reason, output, "process ended");
    }
}

impl Exit {
    /// Whether nothing went wrong in the process.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Failed(_) => false,
            Self::ClientLeft | Self::Served | Self::Grown | Self::Idle | Self::Stopped => true,
        }
    }

    /// One word, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.name(),
            Self::ClientLeft => "client-left",
            Self::Served => "served",
            Self::Grown => "grown",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
        }
    }

    /// What is known beyond the name: a backtrace, an exit code.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Failed(failure) => failure.logged(),
            Self::ClientLeft | Self::Served | Self::Grown | Self::Idle | Self::Stopped => {
                String::new()
            }
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
