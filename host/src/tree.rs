//! A *tree* is a running program: a root process and its descendants, each a task with a mailbox.
//! The end of a process is announced here, exactly once, after all of it has stopped running.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::exit::{Crash, Exit};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::sandbox::{NewProcess, PreparedProgram, Spawn};
use crate::scheduler::Scheduler;
use crate::shutdown;
use crate::table::{self, Origin, ProcessError, Table};

/// All processes of one program.
#[derive(Debug)]
pub(crate) struct Tree {
    program: PreparedProgram,
    table: Arc<Table>,
    scheduler: Scheduler,
    time_limit: Duration,
    /// Processes whose end has not been logged.
    alive: AtomicUsize,
    /// Notified when no process is alive.
    all_ended: Notify,
}

/// The process that the host itself started.
#[derive(Debug)]
pub(crate) struct RootProcess {
    pub pid: Pid,
    mailbox: Arc<Mailbox>,
    ended: oneshot::Receiver<Exit>,
}

impl RootProcess {
    /// Waits until the root process has ended.
    pub(crate) async fn ended(&mut self) -> Exit {
        // A guard sends the exit, so only the end of the runtime loses it.
        (&mut self.ended).await.unwrap_or(Exit::Killed)
    }

    /// Whether the root process has looked for a message, or called a process.
    pub(crate) fn has_asked(&self) -> bool {
        self.mailbox.visits() > 0
    }

    /// Whether the root process has ever taken a client's request.
    #[must_use]
    pub(crate) fn has_taken_request(&self) -> bool {
        self.mailbox.has_taken_request()
    }
}

/// Dropping this ends all processes.
#[derive(Debug)]
pub(crate) struct Closing(Arc<Tree>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.table.close();
    }
}

impl Tree {
    /// Creates a tree without a root process. `time_limit` is the longest time for start code.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub(crate) fn new(
        program: PreparedProgram,
        table: Arc<Table>,
        time_limit: Duration,
    ) -> Arc<Self> {
        let scheduler = Scheduler::start();
        program.set_scheduler(&scheduler);
        Arc::new(Self {
            program,
            table,
            scheduler,
            time_limit,
            alive: AtomicUsize::new(0),
            all_ended: Notify::new(),
        })
    }

    #[must_use]
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// A guard that ends all processes when it is dropped.
    #[must_use]
    pub(crate) fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    /// Ends all processes, and waits for their end. They end at their next tick, unless the machine
    /// has no time for them.
    pub(crate) async fn end_all(&self) {
        self.table.close();
        let none_is_left = || self.alive.load(Ordering::Acquire) == 0;
        shutdown::processes_ended(&self.all_ended, none_is_left).await;
    }

    /// Starts the root process.
    ///
    /// # Errors
    /// If the last root's descendants still use up a limit, or the host is stopping.
    pub(crate) fn start_root(
        self: &Arc<Self>,
        args: Vec<String>,
    ) -> Result<RootProcess, ProcessError> {
        self.start_by_host(Origin::Host, args)
    }

    /// Starts the root process, while the root process of another tree still gets the requests.
    ///
    /// # Errors
    /// As [`Tree::start_root`].
    pub(crate) fn start_successor(
        self: &Arc<Self>,
        args: Vec<String>,
    ) -> Result<RootProcess, ProcessError> {
        self.start_by_host(Origin::Successor, args)
    }

    fn start_by_host(
        self: &Arc<Self>,
        origin: Origin,
        args: Vec<String>,
    ) -> Result<RootProcess, ProcessError> {
        let (exit_sender, ended) = oneshot::channel();
        let (pid, mailbox) = self.start(origin, args, Some(exit_sender))?;
        Ok(RootProcess {
            pid,
            mailbox,
            ended,
        })
    }

    fn start(
        self: &Arc<Self>,
        origin: Origin,
        args: Vec<String>,
        exit_sender: Option<oneshot::Sender<Exit>>,
    ) -> Result<(Pid, Arc<Mailbox>), ProcessError> {
        let entry = self.table.enter(origin)?;
        let (pid, parent, mailbox, life) = (entry.pid, entry.parent, entry.mailbox, entry.life);
        self.alive.fetch_add(1, Ordering::Relaxed);
        life.log_start();
        let new = Box::new(NewProcess {
            row: Arc::clone(life.row()),
            parent,
            mailbox: Arc::clone(&mailbox),
            args,
            table: Arc::clone(&self.table),
            spawner: Arc::clone(self) as Arc<dyn Spawn>,
            time_limit: self.time_limit,
        });
        let life = Life {
            tree: Arc::clone(self),
            life,
            outcome: None,
            exit_sender,
        };
        let task = self.scheduler.spawn(async move {
            // A task that is killed is dropped: first the instance, then `life`.
            let outcome = life.tree.program.run(new).await;
            life.set_outcome(outcome);
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

/// One process's time in the tree. Dropping this announces the end, then logs it.
struct Life {
    tree: Arc<Tree>,
    life: table::Life,
    /// The outcome, if the process ended by itself.
    outcome: Option<Result<(), Crash>>,
    exit_sender: Option<oneshot::Sender<Exit>>,
}

impl Life {
    /// Sets the outcome of a process that ended by itself.
    fn set_outcome(mut self, outcome: Result<(), Crash>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let own = self.outcome.take().map(|outcome| match outcome {
            Ok(()) => Exit::Normal,
            Err(crash) => {
                let exit = crash.exit;
                self.life.set_crash(crash);
                exit
            }
        });
        let exit = self.tree.table.end(self.life.pid(), own);
        self.life.set_exit(exit);
        self.life.end();
        if let Some(exit_sender) = self.exit_sender.take() {
            let _nobody = exit_sender.send(exit);
        }
        if self.tree.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tree.all_ended.notify_waiters();
        }
    }
}
