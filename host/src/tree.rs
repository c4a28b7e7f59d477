//! A *tree* is a program that runs: a root process and its descendants, each a task of its own,
//! each with a mailbox. Whatever ends a process, its end is told here, once, when nothing of it
//! runs any longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::exit::{Crash, Exit};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::sandbox::{Birth, Programs, Spawn};
use crate::scheduler::Scheduler;
use crate::table::{self, Origin, ProcessError, Table};

/// All processes of one program.
#[derive(Debug)]
pub(crate) struct Tree {
    programs: Programs,
    table: Arc<Table>,
    scheduler: Scheduler,
    patience: Duration,
    /// Processes whose end has not been logged yet.
    alive: AtomicUsize,
    /// Told when there are none.
    all_ended: Notify,
}

/// The process that the host started itself.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its number.
    pub pid: Pid,
    mailbox: Arc<Mailbox>,
    ended: oneshot::Receiver<Exit>,
}

impl Root {
    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> Exit {
        // It is told by a guard: only with the whole runtime would it not be.
        (&mut self.ended).await.unwrap_or(Exit::Killed)
    }

    /// Whether it has taken a client's request, now or before its end.
    #[must_use]
    pub(crate) fn was_asked(&self) -> bool {
        self.mailbox.was_asked()
    }
}

/// Ends all processes where it is dropped.
#[derive(Debug)]
pub(crate) struct Closing(Arc<Tree>);

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
    pub(crate) fn new(programs: Programs, table: Arc<Table>, patience: Duration) -> Arc<Self> {
        let scheduler = Scheduler::start();
        programs.tell(&scheduler);
        Arc::new(Self {
            programs,
            table,
            scheduler,
            patience,
            alive: AtomicUsize::new(0),
            all_ended: Notify::new(),
        })
    }

    /// Who is alive.
    #[must_use]
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Has all processes end with whatever keeps this.
    #[must_use]
    pub(crate) fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    /// Ends all processes, and waits until they have: they do at their next tick, unless the
    /// machine has no time for them at all.
    pub(crate) async fn end_all(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.table.close();
        let all_ended = async {
            loop {
                let all_ended = self.all_ended.notified();
                if self.alive.load(Ordering::Acquire) == 0 {
                    return;
                }
                all_ended.await;
            }
        };
        let _elapsed = tokio::time::timeout(PATIENCE, all_ended).await;
    }

    /// Starts the root.
    ///
    /// # Errors
    /// Where the last root's descendants have not left enough room yet, or the host is stopping.
    pub(crate) fn start_root(self: &Arc<Self>, args: Vec<String>) -> Result<Root, ProcessError> {
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
        told: Option<oneshot::Sender<Exit>>,
    ) -> Result<(Pid, Arc<Mailbox>), ProcessError> {
        let entry = self.table.enter(origin)?;
        let (pid, parent, mailbox, life) = (entry.pid, entry.parent, entry.mailbox, entry.life);
        self.alive.fetch_add(1, Ordering::Relaxed);
        life.log_start();
        let birth = Box::new(Birth {
            row: Arc::clone(life.row()),
            parent,
            mailbox: Arc::clone(&mailbox),
            args,
            table: Arc::clone(&self.table),
            spawner: Arc::clone(self) as Arc<dyn Spawn>,
            patience: self.patience,
        });
        let life = Life {
            tree: Arc::clone(self),
            life,
            outcome: None,
            told,
        };
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

/// One process's time in the tree. Dropping it tells whomever the end concerns, then has it logged.
struct Life {
    tree: Arc<Tree>,
    life: table::Life,
    /// How the process ended, where it ended by itself.
    outcome: Option<Result<(), Crash>>,
    told: Option<oneshot::Sender<Exit>>,
}

impl Life {
    /// The process ended by itself.
    fn over(mut self, outcome: Result<(), Crash>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let own = self.outcome.take().map(|outcome| match outcome {
            Ok(()) => Exit::Normal,
            Err(crash) => {
                let exit = crash.exit;
                self.life.failed(crash);
                exit
            }
        });
        let exit = self.tree.table.end(self.life.pid(), own);
        self.life.presume(exit);
        self.life.over();
        if let Some(told) = self.told.take() {
            let _nobody = told.send(exit);
        }
        if self.tree.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tree.all_ended.notify_waiters();
        }
    }
}
