//! The *scheduler* decides which process runs next, and on which core. Two processes that message
//! each other take turns on one core, because waking another core takes longer than most processes
//! run. A core shares its waiting processes only if they are more than a few or have waited for a
//! whole tick.
//!
//! Each core is a task of the runtime, so that processes also take turns with everything else.

mod cores;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use async_task::Runnable;

use cores::Cores;

/// A process that runs or waits. Dropping this ends the process: its future is dropped soon after.
pub(crate) type Task = async_task::Task<()>;

/// Runs processes on all cores, until all clones of this and all processes are gone.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler(Arc<Cores<Runnable>>);

/// A scheduler as seen by the clock, which passes ticks to it and doesn't keep it alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeakScheduler(Weak<Cores<Runnable>>);

thread_local! {
    /// The core that this thread is running a turn of.
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Here {
    /// The address of the scheduler's cores. Several schedulers may share the runtime.
    scheduler: usize,
    core: usize,
    /// Whether the last process saw a tick of the clock.
    ticked: bool,
}

/// Notes that the process on this thread saw a tick of the clock, so that other processes get their
/// turn.
pub(crate) fn tick() {
    if let Some(here) = HERE.get() {
        HERE.set(Some(Here {
            ticked: true,
            ..here
        }));
    }
}

impl Scheduler {
    /// Starts a scheduler with as many cores as this runtime has threads.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Handle::current();
        let count = runtime.metrics().num_workers();
        let cores = Arc::new(Cores::new(count));
        for core in 0..count {
            runtime.spawn(work(Arc::downgrade(&cores), core));
        }
        Self(cores)
    }

    /// Runs a process. If a process of this scheduler calls this, the new process joins the queue
    /// of its core.
    pub(crate) fn spawn(&self, process: impl Future<Output = ()> + Send + 'static) -> Task {
        let cores = Arc::clone(&self.0);
        let schedule = move |runnable| schedule(&cores, runnable);
        let (runnable, task) = async_task::spawn(process, schedule);
        runnable.schedule();
        task
    }

    /// The scheduler, as seen by the clock.
    #[must_use]
    pub(crate) fn downgrade(&self) -> WeakScheduler {
        WeakScheduler(Arc::downgrade(&self.0))
    }
}

impl WeakScheduler {
    /// Passes a tick. Processes that waited for a whole tick behind a process that sees no ticks
    /// move to an idle core.
    pub(crate) fn tick(&self) {
        if let Some(cores) = self.0.upgrade() {
            cores.rebalance();
        }
    }
}

fn schedule(cores: &Arc<Cores<Runnable>>, runnable: Runnable) {
    let address = Arc::as_ptr(cores).addr();
    match HERE.get() {
        Some(here) if here.scheduler == address => cores.push(here.core, runnable),
        Some(_) | None => cores.inject(runnable),
    }
}

/// The work of one core, until the scheduler is dropped.
async fn work(cores: Weak<Cores<Runnable>>, core: usize) {
    let here = Here {
        scheduler: cores.as_ptr().addr(),
        core,
        ticked: false,
    };
    poll_fn(|cx| {
        let _here = Inside::enter(here);
        cores::poll_work(&cores, core, cx, run)
    })
    .await;
}

/// Runs a process until it waits. Returns whether it saw a tick.
fn run(runnable: Runnable) -> bool {
    // A panic ends this process, and not the other processes that wait for this core.
    let _panicked = std::panic::catch_unwind(AssertUnwindSafe(|| runnable.run()));
    HERE.get().is_some_and(|here| here.ticked)
}

/// Marks the thread as running a core's turn while this lives.
struct Inside(Option<Here>);

impl Inside {
    fn enter(here: Here) -> Self {
        Self(HERE.replace(Some(here)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}
