//! The *scheduler* says which process runs next, and on which core. Two processes that write to each other
//! take turns on one core: waking another takes longer than most of them run. A core shares what waits for
//! it only when that is more than a few, or has waited for a whole tick.
//!
//! Each core is a task of the runtime, so that processes and everything else take turns too.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;

/// A process that runs or waits. Dropping this ends it: before long its future is dropped.
pub type Task = async_task::Task<()>;

/// Processes that wait for a core before it shares them with an idle one: they run in less time than it
/// takes to wake that.
const SURPLUS: usize = 4;

/// Slices until a core lets the runtime have a turn. Most take a microsecond; one that sees a tick ends the
/// turn.
const TURN: usize = 128;

/// Runs processes on all cores.
#[derive(Debug)]
pub struct Scheduler {
    cores: Box<[Core]>,
    /// Cores that sleep. They are woken by whoever takes them off this list.
    idle: Mutex<Vec<usize>>,
    /// How many those are, for a quick look.
    idle_count: AtomicUsize,
    /// Where the next process from outside goes if all are busy.
    next: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: no core's queue shares one with another's
struct Core {
    queue: Mutex<VecDeque<Runnable>>,
    waker: Mutex<Option<Waker>>,
}

thread_local! {
    /// The core whose turn this thread runs.
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Here {
    /// The address of the scheduler: several may share the runtime.
    scheduler: usize,
    core: usize,
    /// The process that ran last saw a tick of the clock.
    ticked: bool,
}

/// The process that runs on this thread saw a tick of the clock: others have waited long enough.
pub fn tick() {
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
    pub fn start() -> Arc<Self> {
        let runtime = tokio::runtime::Handle::current();
        let cores = runtime.metrics().num_workers();
        let scheduler = Arc::new(Self {
            cores: (0..cores).map(|_| Core::default()).collect(),
            idle: Mutex::default(),
            idle_count: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        });
        for core in 0..cores {
            runtime.spawn(work(Arc::downgrade(&scheduler), core));
        }
        scheduler
    }

    /// Runs a process. It is next on the core that calls this.
    pub fn spawn(self: &Arc<Self>, process: impl Future<Output = ()> + Send + 'static) -> Task {
        let scheduler = Arc::clone(self);
        let schedule = move |runnable| scheduler.schedule(runnable);
        let (runnable, task) = async_task::spawn(process, schedule);
        runnable.schedule();
        task
    }

    fn schedule(&self, runnable: Runnable) {
        let here = HERE.get().filter(|here| here.scheduler == self.address());
        let Some(here) = here else {
            return self.inject(runnable);
        };
        let waiting = {
            let mut queue = self.queue(here.core);
            queue.push_back(runnable);
            queue.len()
        };
        if waiting > SURPLUS {
            self.share(here.core);
        }
    }

    /// From a thread that runs something else: a timer, a client, a disk.
    fn inject(&self, runnable: Runnable) {
        let idle = self.idle().last().copied();
        let core =
            idle.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed) % self.cores.len());
        self.queue(core).push_back(runnable);
        // Looked at once more behind the push, as a core that falls asleep looks at its queue once more.
        if self.rise(core) {
            self.wake(core);
        }
    }

    /// Gives half of what waits for this core to one that sleeps, if any.
    fn share(&self, core: usize) {
        if self.idle_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let other = {
            let mut idle = self.idle();
            let last = idle.len().checked_sub(1);
            last.map(|last| self.take_idle(&mut idle, last))
        };
        let Some(other) = other else { return };
        let half: VecDeque<_> = {
            let mut queue = self.queue(core);
            let half = queue.len() / 2;
            queue.drain(..half).collect()
        };
        self.queue(other).extend(half);
        self.wake(other);
    }

    /// One turn of a core.
    fn turn(&self, core: usize, cx: &Context<'_>) {
        let _here = Inside::enter(Here {
            scheduler: self.address(),
            core,
            ticked: false,
        });
        for _ in 0..TURN {
            let Some(runnable) = self.pick(core) else {
                if self.sleep(core, cx) {
                    return;
                }
                continue;
            };
            // What panics is one process's end, and not that of all that wait for this core.
            let _panicked = std::panic::catch_unwind(AssertUnwindSafe(|| runnable.run()));
            if HERE.get().is_some_and(|here| here.ticked) {
                if self.queue(core).len() > 1 {
                    self.share(core);
                }
                break;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The process that waits for this core longest; with none, half of those that wait for another.
    fn pick(&self, core: usize) -> Option<Runnable> {
        let next = self.queue(core).pop_front();
        next.or_else(|| {
            let others = (1..self.cores.len()).map(|ahead| (core + ahead) % self.cores.len());
            let stolen = others
                .map(|other| {
                    let mut queue = self.queue(other);
                    let half = queue.len() / 2;
                    queue.drain(..half).collect::<VecDeque<_>>()
                })
                .find(|stolen| !stolen.is_empty())?;
            let mut queue = self.queue(core);
            queue.extend(stolen);
            queue.pop_front()
        })
    }

    /// Goes to sleep, unless something has come for this core.
    fn sleep(&self, core: usize, cx: &Context<'_>) -> bool {
        *self.cores[core].waker() = Some(cx.waker().clone());
        {
            let mut idle = self.idle();
            idle.push(core);
            self.idle_count.store(idle.len(), Ordering::Relaxed);
        }
        self.queue(core).is_empty() || !self.rise(core)
    }

    /// Whether this core was asleep until now.
    fn rise(&self, core: usize) -> bool {
        let mut idle = self.idle();
        let at = idle.iter().position(|&sleeper| sleeper == core);
        at.map(|at| self.take_idle(&mut idle, at)).is_some()
    }

    fn take_idle(&self, idle: &mut Vec<usize>, at: usize) -> usize {
        let core = idle.swap_remove(at);
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        core
    }

    fn wake(&self, core: usize) {
        let waker = self.cores[core].waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn queue(&self, core: usize) -> MutexGuard<'_, VecDeque<Runnable>> {
        let queue = &self.cores[core].queue;
        queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<usize>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A core's work, until the scheduler is gone.
async fn work(scheduler: Weak<Scheduler>, core: usize) {
    poll_fn(|cx| match scheduler.upgrade() {
        Some(scheduler) => {
            scheduler.rise(core);
            scheduler.turn(core, cx);
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

impl Core {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        for core in &self.cores {
            if let Some(waker) = core.waker().take() {
                waker.wake();
            }
        }
    }
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
