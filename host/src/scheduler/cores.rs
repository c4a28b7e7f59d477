//! The *cores* of a scheduler. Each has a queue of its own, and sleeps while that queue is empty.
//! Nothing here knows what a job is or who runs it.
//!
//! A core falls asleep in three steps: it leaves its waker, it enters the list of idle cores, and
//! it looks at its queue once more. Another thread adds a job in two: it pushes the job, and then
//! it takes the core off the list and wakes it. Whichever comes last sees the other.

use std::collections::VecDeque;
use std::sync::{PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// Jobs that wait for a core before it shares them with an idle core. So few run in less time than
/// waking that core takes.
const SURPLUS: usize = 4;

/// Jobs until a core lets the runtime have a turn. Most jobs take a microsecond. A job that sees a
/// tick ends the turn.
const TURN: usize = 128;

/// All cores of one scheduler. When they are dropped, the work of each core ends.
#[derive(Debug)]
pub(super) struct Cores<T> {
    cores: Box<[Core<T>]>,
    /// Cores that sleep. Whoever takes a core off this list wakes it.
    idle: Mutex<Vec<usize>>,
    /// The length of `idle`, for a quick look without the lock.
    idle_count: AtomicUsize,
    /// The core that gets the next job from outside, if no core is idle.
    next: AtomicUsize,
}

#[derive(Debug)]
#[repr(align(128))] // two cache lines: no core's queue shares one with another's
struct Core<T> {
    queue: Mutex<Queue<T>>,
    waker: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct Queue<T> {
    jobs: VecDeque<T>,
    /// The core has taken a job since the last [`Cores::relieve`].
    moved: bool,
}

/// Polls the work of a core: one turn, or the end if the cores were dropped. `run` runs a job, and
/// says whether the job saw a tick of the clock.
pub(super) fn poll_work<T>(
    cores: &Weak<Cores<T>>,
    core: usize,
    cx: &Context<'_>,
    run: impl Fn(T) -> bool,
) -> Poll<()> {
    match cores.upgrade() {
        Some(cores) => {
            cores.rise(core);
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

    /// Adds a job that was made ready by a job of this core, on this core's thread.
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

    /// Adds a job that was made ready by anything else: a timer, a client, a disk.
    pub(super) fn inject(&self, job: T) {
        let idle = self.idle().last().copied();
        let core =
            idle.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed) % self.cores.len());
        self.queue(core).jobs.push_back(job);
        // Not before the push: a core that falls asleep looks at its queue once more.
        if self.rise(core) {
            self.wake(core);
        }
    }

    /// Called at each tick of the clock. A core whose job sees no ticks leaves the jobs behind it
    /// waiting, and has too few of them to have shared any: they go to idle cores.
    pub(super) fn relieve(&self) {
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

    /// Gives an idle core, if there is one, so many of the jobs that wait for this core.
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
    /// jobs that wait for another. A single job stays: its core runs it next.
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

    /// Falls asleep, unless a job has come for this core.
    fn sleep(&self, core: usize, cx: &Context<'_>) -> bool {
        *self.cores[core].waker() = Some(cx.waker().clone());
        {
            let mut idle = self.idle();
            idle.push(core);
            self.idle_count.store(idle.len(), Ordering::Relaxed);
        }
        self.queue(core).jobs.is_empty() || !self.rise(core)
    }

    /// Takes this core off the list of idle cores. Whether it was there.
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
