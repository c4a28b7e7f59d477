//! A *generation* is the guests of one loading of a module. Another generation may take its place
//! while requests run. Whoever has a request holds the generation that answers it. So a generation
//! ends by itself: its last request drops it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{Plan, StartError, Unanswered, tree};
use crate::body::{Body, BodyError};
use crate::deadline;
use crate::exit::Exit;
use crate::files::RootFolder;
use crate::kind::Kind;
use crate::pid::Pid;
use crate::pool::Pool;
use crate::root::{NotSucceeding, RootSupervisor};
use crate::sandbox::Compiled;
use crate::settings::{Limits, Settings, Workers};
use crate::supervisor::{self, Supervisor};
use crate::table::Table;
use crate::tree::Tree;

/// The guests of one loading.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) kind: Kind,
    pub(super) workers: Workers,
    pub(super) answering: Answering,
    pub(super) limits: Limits,
    /// The number of the loading: 1 for the first.
    pub(super) number: u64,
    /// What it was made of, to make another one.
    pub(super) compiled: Arc<Compiled>,
    pub(super) settings: Settings,
    has_succeeded: AtomicBool,
    failures: AtomicU64,
}

#[derive(Debug)]
pub(super) enum Answering {
    /// Each process gets one request at a time.
    Pool(Arc<Pool>),
    /// The root process gets every request in its mailbox.
    Program(RootSupervisor),
}

/// Whether there are guests already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    /// The new guests must be ready before they take the place of others. The number of their
    /// loading.
    Later(u64),
}

/// The processes of a generation whose place was taken, as long as there are any.
#[derive(Debug)]
pub(super) enum Old {
    Pool(Weak<Pool>),
    Program(Weak<Tree>),
}

impl Generation {
    /// Reserves the resources of the plan, and starts the processes that are kept alive.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn start(
        compiled: Arc<Compiled>,
        plan: Plan,
        root_folder: RootFolder,
        settings: &Settings,
        table: &Arc<Table>,
        turn: Turn,
    ) -> Result<Self, StartError> {
        let time_limit = settings.limits.request_time;
        let kind = compiled.kind();
        let table = Arc::clone(table);
        let answering = if kind.is_pooled() {
            let prepared = compiled.reserve_pooled(plan.sandbox, root_folder, &table);
            let prepared = prepared.map_err(StartError::Load)?;
            let memory = settings.limits.memory;
            let supervisor = Supervisor::new(prepared, kind, table, memory, time_limit);
            Answering::Pool(Arc::new(Pool::new(supervisor, plan.pool)))
        } else {
            let tree = tree(&compiled, plan.sandbox, root_folder, table, time_limit);
            let tree = tree.map_err(StartError::Load)?;
            let args = settings.environment.args.clone();
            let root = match turn {
                Turn::First => RootSupervisor::new(tree, args).map_err(StartError::ProgramRoot)?,
                Turn::Later(_) => RootSupervisor::succeeding(tree, args, time_limit)
                    .await
                    .map_err(|error| match error {
                        NotSucceeding::NotStarted(error) => StartError::ProgramRoot(error),
                        NotSucceeding::Ended(exit) => StartError::ProgramEnded(exit),
                    })?,
            };
            Answering::Program(root)
        };
        let generation = Self {
            kind,
            workers: plan.workers,
            answering,
            limits: settings.limits,
            number: match turn {
                Turn::First => 1,
                Turn::Later(number) => number,
            },
            compiled,
            settings: settings.clone(),
            has_succeeded: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        };
        // Whole by now: whoever gives up on it ends the processes by dropping it.
        if let Answering::Pool(pool) = &generation.answering {
            let warmed = pool.warm().await;
            warmed.map_err(|error| not_started(error, settings.limits.memory))?;
        }
        Ok(generation)
    }

    /// A request got an answer that is no failure.
    pub(super) fn succeeded(&self) {
        // All requests read this, so it is written only once.
        if !self.has_succeeded() {
            self.has_succeeded.store(true, Ordering::Relaxed);
        }
    }

    /// A request failed, and its client is not at fault.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.has_succeeded.load(Ordering::Relaxed)
    }

    /// How many requests have failed, if any have.
    pub(super) fn failures(&self) -> Option<u64> {
        Some(self.failures.load(Ordering::Relaxed)).filter(|failures| *failures > 0)
    }

    /// Collects the whole body, for the kinds of module that take no other.
    pub(super) async fn collect(&self, body: Body) -> Result<Body, Unanswered> {
        let deadline = Instant::now() + self.limits.request_time;
        match deadline::by(deadline, body.collect(self.limits.body)).await {
            Some(Ok(bytes)) => Ok(bytes.into()),
            Some(Err(BodyError::TooLarge)) => Err(Unanswered::BodyTooLarge),
            Some(Err(BodyError::TooSlow | BodyError::File(_) | BodyError::Broken(_))) | None => {
                Err(Unanswered::BadBody)
            }
        }
    }

    /// Keeps the wanted number of processes alive, until the guests are closed or retired.
    pub(super) async fn maintain(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.maintain().await,
            Answering::Program(root) => root.maintain().await,
        }
    }

    /// Restarts no root process from now on, so that requests go to that of another generation.
    pub(super) fn yield_requests(&self) {
        match &self.answering {
            Answering::Pool(_) => {}
            Answering::Program(root) => root.retire(),
        }
    }

    /// Has the root process of a program get the requests.
    pub(super) fn begin(&self) {
        match &self.answering {
            Answering::Pool(_) => {}
            Answering::Program(root) => root.begin(),
        }
    }

    /// Keeps no idle processes from now on. Requests that have this generation are served.
    pub(super) fn retire(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.retire(),
            Answering::Program(root) => root.retire(),
        }
    }

    /// Keeps processes, and gets requests, as it did before [`Generation::retire`].
    pub(super) fn revive(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.revive(),
            Answering::Program(root) => root.revive(),
        }
    }

    /// Ends all processes of a retired generation that has no requests. It may be revived.
    pub(super) fn rest(&self) {
        match &self.answering {
            Answering::Pool(_) => {} // it keeps none
            Answering::Program(root) => root.rest(),
        }
    }

    /// Waits until a retired generation has answered all its requests.
    pub(super) async fn finished(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.emptied().await,
            Answering::Program(root) => root.finished().await,
        }
    }

    /// A view of the processes that does not keep them.
    pub(super) fn old(&self) -> Old {
        match &self.answering {
            Answering::Pool(pool) => Old::Pool(Arc::downgrade(pool)),
            Answering::Program(root) => Old::Program(Arc::downgrade(root.tree())),
        }
    }

    /// Whether the processes that answer can't be started at present.
    pub(super) fn is_failing(&self) -> bool {
        match &self.answering {
            Answering::Pool(pool) => pool.is_backing_off(),
            Answering::Program(root) => root.is_failing(),
        }
    }

    pub(super) fn in_line(&self) -> usize {
        match &self.answering {
            Answering::Pool(pool) => pool.in_line(),
            Answering::Program(_) => 0,
        }
    }

    /// Ends this idle process, if it is one of a pool here.
    pub(super) fn kill_idle(&self, pid: Pid) {
        match &self.answering {
            Answering::Pool(pool) => pool.kill_idle(pid),
            Answering::Program(_) => {}
        }
    }

    /// Refuses new requests. In a pool, idle processes end at once; in a program, all processes do.
    pub(super) fn close(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.close(),
            Answering::Program(root) => root.close(),
        }
    }

    /// Ends all processes, and waits until they have ended.
    pub(super) async fn end(&self) {
        match &self.answering {
            Answering::Pool(pool) => pool.end().await,
            Answering::Program(root) => root.end().await,
        }
    }
}

impl Drop for Generation {
    /// Idle processes keep their pool, and so only this ends them.
    fn drop(&mut self) {
        match &self.answering {
            Answering::Pool(pool) => pool.close(),
            Answering::Program(_) => {} // it ends its root process by itself
        }
    }
}

impl Old {
    /// Whether these are the processes of this generation.
    pub(super) fn is_of(&self, generation: &Generation) -> bool {
        match (self, &generation.answering) {
            (Self::Pool(pool), Answering::Pool(other)) => pool.as_ptr() == Arc::as_ptr(other),
            (Self::Program(tree), Answering::Program(root)) => {
                tree.as_ptr() == Arc::as_ptr(root.tree())
            }
            (Self::Pool(_), Answering::Program(_)) | (Self::Program(_), Answering::Pool(_)) => {
                false
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Pool(pool) => pool.strong_count() == 0,
            Self::Program(tree) => tree.strong_count() == 0,
        }
    }

    pub(super) fn in_line(&self) -> usize {
        match self {
            Self::Pool(pool) => pool.upgrade().map_or(0, |pool| pool.in_line()),
            Self::Program(_) => 0,
        }
    }

    pub(super) fn close(&self) {
        match self {
            Self::Pool(pool) => pool.upgrade().iter().for_each(Pool::close),
            Self::Program(_) => {} // the table is closed for all trees
        }
    }

    pub(super) async fn end(&self) {
        match self {
            Self::Pool(pool) => {
                if let Some(pool) = pool.upgrade() {
                    pool.end().await;
                }
            }
            Self::Program(tree) => {
                if let Some(tree) = tree.upgrade() {
                    tree.end_all().await;
                }
            }
        }
    }
}

/// A process without the memory to start is the limit's fault, and not that of the module.
fn not_started(error: supervisor::StartError, memory: u64) -> StartError {
    match error {
        supervisor::StartError::Failed(Exit::Memory, reason) => {
            StartError::Memory { memory, reason }
        }
        supervisor::StartError::Failed(..)
        | supervisor::StartError::BackingOff(_)
        | supervisor::StartError::OutOfMemory => StartError::Process(error),
    }
}
