//! The *scheduler* says which process runs next, and on which core. Two processes that write to
//! each other take turns on one core: waking another core takes longer than most processes run. A
//! core shares the processes that wait for it only where they are more than a few, or have waited
//! for a whole tick.
//!
//! Each core is a task of the runtime, so that processes and everything else take turns too.

mod cores;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use async_task::Runnable;

use cores::Cores;

/// A process that runs or waits. Dropping this ends the process: before long its future is dropped.
pub(crate) type Task = async_task::Task<()>;

/// Runs processes on all cores, until the last of its clones and of its processes is gone.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler(Arc<Cores<Runnable>>);

/// A scheduler, as the clock knows it: it is told of ticks, and not kept alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticked(Weak<Cores<Runnable>>);

thread_local! {
    /// The core whose turn this thread runs.
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Here {
    /// The address of the scheduler's cores: several schedulers may share the runtime.
    scheduler: usize,
    core: usize,
    /// The process that ran last saw a tick of the clock.
    ticked: bool,
}

/// The process that runs on this thread saw a tick of the clock: others have waited long enough.
pub(crate) fn tick() {
    if let Some(here) = HERE.get() {
        HERE.set(Some(Here {
            ticked: true,
            ..here
        }));
    }
}

impl Scheduler {
    /// A scheduler with as many cores as this runtime has threads.
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

    /// Runs a process. It is next on the core that calls this.
    pub(crate) fn spawn(&self, process: impl Future<Output = ()> + Send + 'static) -> Task {
        let cores = Arc::clone(&self.0);
        let schedule = move |runnable| schedule(&cores, runnable);
        let (runnable, task) = async_task::spawn(process, schedule);
        runnable.schedule();
        task
    }

    /// The scheduler, as the clock knows it.
    #[must_use]
    pub(crate) fn ticked(&self) -> Ticked {
        Ticked(Arc::downgrade(&self.0))
    }
}

impl Ticked {
    /// A tick has passed. Processes that waited for all of it behind a process that sees no ticks
    /// go to an idle core.
    pub(crate) fn tick(&self) {
        if let Some(cores) = self.0.upgrade() {
            cores.relieve();
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

/// A core's work, until the scheduler is gone.
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

/// Runs a process until it waits. Whether it saw a tick.
fn run(runnable: Runnable) -> bool {
    // A panic is one process's end, and not the end of all that wait for this core.
    let _panicked = std::panic::catch_unwind(AssertUnwindSafe(|| runnable.run()));
    HERE.get().is_some_and(|here| here.ticked)
}

/// While this lives, the thread runs a core's turn.
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
