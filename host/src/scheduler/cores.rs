//! The *cores* of a scheduler. Each core has its own queue of jobs, and sleeps while the queue is
//! empty. This file knows nothing of what a job is.
//!
//! A core falls asleep in three steps: it stores its waker, it enters the list of idle cores, and
//! it checks its queue again. Another thread adds a job in two steps: it pushes the job, then it
//! takes the core off the list and wakes it. In any interleaving, the later of the two sees the
//! other's step.

use std::collections::VecDeque;
use std::sync::{PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// A core that has more waiting jobs than this shares them with an idle core. Fewer jobs run in
/// less time than it takes to wake that core.
const SURPLUS: usize = 4;

/// The most jobs in one turn, after which the runtime runs other tasks. Most jobs take a
/// microsecond. A job that sees a tick also ends the turn.
const TURN: usize = 128;

/// All cores of one scheduler. Dropping them ends the work of each core.
#[derive(Debug)]
pub(super) struct Cores<T> {
    cores: Box<[Core<T>]>,
    /// Sleeping cores. Whoever takes a core off this list wakes it.
    idle: Mutex<Vec<usize>>,
    /// The length of `idle`, readable without the lock.
    idle_count: AtomicUsize,
    /// The core that gets the next job from outside if no core is idle.
    next: AtomicUsize,
}

#[derive(Debug)]
#[repr(align(128))] // two cache lines: queues of different cores share none
struct Core<T> {
    queue: Mutex<Queue<T>>,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct Queue<T> {
    jobs: VecDeque<T>,
    /// Whether the core has taken a job since the last [`Cores::rebalance`].
    moved: bool,
}

/// Polls the work of a core: runs one turn, or is ready if the cores were dropped. `run` runs a job
/// and returns whether the job saw a tick of the clock.
pub(super) fn poll_work<T>(
    cores: &Weak<Cores<T>>,
    core: usize,
    cx: &Context<'_>,
    run: impl Fn(T) -> bool,
) -> Poll<()> {
    match cores.upgrade() {
        Some(cores) => {
            cores.leave_idle(core);
            cores.turn(core, cx, run);
            Poll::Pending
        }
        None => Poll::Ready(()),
    }
}

impl<T> Cores<T> {
    pub(super) fn new(count: usize) -> Self {
        Self {
            cores: (0..count).map(|_| Core::new()).collect(),
            idle: Mutex::default(),
            idle_count: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// Adds a job that another job of this core made ready, on this core's thread.
    pub(super) fn push(&self, core: usize, job: T) {
        let waiting = {
            let mut queue = self.queue(core);
            queue.jobs.push_back(job);
            queue.jobs.len()
        };
        if waiting > SURPLUS {
            self.share(core, |waiting| waiting / 2);
        }
    }

    /// Adds a job that something else made ready: a timer, a client, a disk.
    pub(super) fn inject(&self, job: T) {
        let idle = self.idle().last().copied();
        let core =
            idle.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed) % self.cores.len());
        self.queue(core).jobs.push_back(job);
        // The push comes first: a core that is falling asleep checks its queue again.
        if self.leave_idle(core) {
            self.wake(core);
        }
    }

    /// Gives the jobs of cores that are held up to idle cores, at each tick of the clock. A core is
    /// held up if its current job sees no ticks: too few jobs wait behind it to be shared by
    /// [`Cores::push`].
    pub(super) fn rebalance(&self) {
        for core in 0..self.cores.len() {
            let is_held_up = {
                let mut queue = self.queue(core);
                let moved = std::mem::take(&mut queue.moved);
                !moved && !queue.jobs.is_empty()
            };
            if is_held_up {
                self.share(core, |waiting| waiting.div_ceil(2));
            }
        }
    }

    /// Gives a part of this core's waiting jobs to an idle core, if there is one.
    fn share(&self, core: usize, part: impl Fn(usize) -> usize) {
        if self.idle_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let other = {
            let mut idle = self.idle();
            let last = idle.len().checked_sub(1);
            last.map(|last| self.take_idle(&mut idle, last))
        };
        let Some(other) = other else { return };
        let shared: VecDeque<_> = {
            let mut queue = self.queue(core);
            let shared = part(queue.jobs.len());
            queue.jobs.drain(..shared).collect()
        };
        self.queue(other).jobs.extend(shared);
        self.wake(other);
    }

    fn turn(&self, core: usize, cx: &Context<'_>, run: impl Fn(T) -> bool) {
        for _ in 0..TURN {
            let Some(job) = self.pick(core) else {
                if self.sleep(core, cx) {
                    return;
                }
                continue;
            };
            let ticked = run(job);
            if ticked {
                if self.queue(core).jobs.len() > 1 {
                    self.share(core, |waiting| waiting / 2);
                }
                break;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The job that has waited longest for this core. If there is none, this core takes half of the
    /// jobs that wait for another core. A single job stays, because its core runs it next.
    fn pick(&self, core: usize) -> Option<T> {
        let next = self.queue(core).take();
        next.or_else(|| {
            let others = (1..self.cores.len()).map(|ahead| (core + ahead) % self.cores.len());
            let stolen = others
                .map(|other| {
                    let mut queue = self.queue(other);
                    let half = queue.jobs.len() / 2;
                    queue.jobs.drain(..half).collect::<VecDeque<_>>()
                })
                .find(|stolen| !stolen.is_empty())?;
            let mut queue = self.queue(core);
            queue.jobs.extend(stolen);
            queue.take()
        })
    }

    /// Falls asleep, unless a job has arrived. Returns whether this core sleeps.
    fn sleep(&self, core: usize, cx: &Context<'_>) -> bool {
        *self.cores[core].waker() = Some(cx.waker().clone());
        {
            let mut idle = self.idle();
            idle.push(core);
            self.idle_count.store(idle.len(), Ordering::Relaxed);
        }
        self.queue(core).jobs.is_empty() || !self.leave_idle(core)
    }

    /// Takes this core off the list of idle cores. Returns whether it was on the list.
    fn leave_idle(&self, core: usize) -> bool {
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

    fn queue(&self, core: usize) -> MutexGuard<'_, Queue<T>> {
        let queue = &self.cores[core].queue;
        queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<usize>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Cores<T> {
    fn drop(&mut self) {
        for core in 0..self.cores.len() {
            self.wake(core);
        }
    }
}

impl<T> Core<T> {
    fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                moved: false,
            }),
            waker: Mutex::default(),
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn take(&mut self) -> Option<T> {
        self.moved = true;
        self.jobs.pop_front()
    }
}
