//! A *tree* is a program that runs: a root process and its descendants, each a task of its own, each with a
//! mailbox. Whatever ends a process, its end is told here, once, when nothing of it runs any longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::mailbox::Mailbox;
use crate::message::ExitStatus;
use crate::pid::Pid;
use crate::sandbox::{Birth, Crash, Failure, Programs, Spawn};
use crate::scheduler::Scheduler;
use crate::table::{Origin, ProcessError, Table};

/// All processes of one program.
#[derive(Debug)]
pub struct Tree {
    programs: Programs,
    table: Arc<Table>,
    scheduler: Scheduler,
    patience: Duration,
    /// Processes whose end has not been logged yet.
    alive: AtomicUsize,
    /// Told when there are none.
    felled: Notify,
}

/// The process that the host started itself.
#[derive(Debug)]
pub struct Root {
    /// Its number.
    pub pid: Pid,
    mailbox: Arc<Mailbox>,
    ended: oneshot::Receiver<ExitStatus>,
}

impl Root {
    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        // It is told by a guard: only with the whole runtime would it not be.
        (&mut self.ended).await.unwrap_or(ExitStatus::Killed)
    }

    /// Whether it has taken a client's request, now or before its end.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.mailbox.was_asked()
    }
}

/// Ends all processes where it is dropped.
#[derive(Debug)]
pub struct Closing(Arc<Tree>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.table.close();
    }
}

impl Tree {
    /// A tree without a root. Start code may take as long as `patience`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(programs: Programs, table: Table, patience: Duration) -> Arc<Self> {
        let scheduler = Scheduler::start();
        programs.tell(&scheduler);
        Arc::new(Self {
            programs,
            table: Arc::new(table),
            scheduler,
            patience,
            alive: AtomicUsize::new(0),
            felled: Notify::new(),
        })
    }

    /// Who is alive.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Has all processes end with whatever keeps this.
    #[must_use]
    pub fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    /// Ends all processes, and waits until they have: they do at their next tick, unless the machine has no
    /// time for them at all.
    pub async fn fell(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.table.close();
        let felled = async {
            loop {
                let felled = self.felled.notified();
                if self.alive.load(Ordering::Acquire) == 0 {
                    return;
                }
                felled.await;
            }
        };
        let _elapsed = tokio::time::timeout(PATIENCE, felled).await;
    }

    /// Starts the root.
    ///
    /// # Errors
    /// Where the last root's descendants have not left enough room yet, or the host is stopping.
    pub fn plant(self: &Arc<Self>, args: Vec<String>) -> Result<Root, ProcessError> {
        let (told, ended) = oneshot::channel();
        let (pid, mailbox) = self.start(Origin::Host, args, Some(told))?;
        Ok(Root {
            pid,
            mailbox,
            ended,
        })
    }

    fn start(
        self: &Arc<Self>,
        origin: Origin,
        args: Vec<String>,
        told: Option<oneshot::Sender<ExitStatus>>,
    ) -> Result<(Pid, Arc<Mailbox>), ProcessError> {
        let entry = self.table.enter(origin)?;
        let (pid, parent, mailbox) = (entry.pid, entry.parent, Arc::clone(&entry.mailbox));
        self.alive.fetch_add(1, Ordering::Relaxed);
        let life = Life {
            tree: Arc::clone(self),
            pid,
            started: Instant::now(),
            outcome: None,
            told,
        };
        let birth = Box::new(Birth {
            entry,
            args,
            table: Arc::clone(&self.table),
            nursery: Arc::clone(self) as Arc<dyn Spawn>,
            patience: self.patience,
        });
        tracing::debug!(
            pid = pid.get(),
            parent = parent.map(Pid::get),
            "process started"
        );
        let task = self.scheduler.spawn(async move {
            // Dropped with this task, on its way or before: `life` last, when the instance is gone.
            let outcome = life.tree.programs.run(birth).await;
            life.over(outcome);
        });
        self.table.attach(pid, task);
        Ok((pid, mailbox))
    }
}

impl Spawn for Tree {
    fn spawn(self: Arc<Self>, origin: Origin, args: Vec<String>) -> Result<Pid, ProcessError> {
        let (pid, _mailbox) = self.start(origin, args, None)?;
        Ok(pid)
    }
}

/// One process's time, from its entry in the table to its removal.
struct Life {
    tree: Arc<Tree>,
    pid: Pid,
    started: Instant,
    /// How it ended, where it ended by itself.
    outcome: Option<Result<(), Crash>>,
    told: Option<oneshot::Sender<ExitStatus>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let own = self.outcome.as_ref().map(status);
        let status = self.tree.table.end(self.pid, own);
        self.log(status);
        if let Some(told) = self.told.take() {
            let _nobody = told.send(status);
        }
        if self.tree.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tree.felled.notify_waiters();
        }
    }
}

impl Life {
    /// It ended by itself.
    fn over(mut self, outcome: Result<(), Crash>) {
        self.outcome = Some(outcome);
    }

    fn log(&self, exit: ExitStatus) {
        let (pid, age_ms) = (self.pid.get(), self.started.elapsed().as_millis() as u64);
        match exit {
            ExitStatus::Normal | ExitStatus::Code(_) | ExitStatus::Killed => {
                tracing::debug!(pid, %exit, age_ms, "process ended");
            }
            ExitStatus::Trap | ExitStatus::Memory | ExitStatus::Deadline => {
                let crash = self.outcome.as_ref().and_then(|ran| ran.as_ref().err());
                let reason = crash.map(|crash| crash.failure.logged());
                let output = crash.and_then(|crash| crash.output.as_deref());
                tracing::warn!(pid, %exit, age_ms, reason, output, "process ended");
            }
        }
    }
}

fn status(outcome: &Result<(), Crash>) -> ExitStatus {
    let Err(Crash { failure, .. }) = outcome else {
        return ExitStatus::Normal;
    };
    match failure {
        Failure::Exit(0) => ExitStatus::Normal,
        Failure::Exit(code) => ExitStatus::Code(code.cast_unsigned()),
        // What reached the host was not of the contract's form: as if it had trapped on it.
        Failure::Trap(_) | Failure::Stack(_) | Failure::Response(_) => ExitStatus::Trap,
        Failure::Memory(_) => ExitStatus::Memory,
        Failure::Deadline => ExitStatus::Deadline,
    }
}
