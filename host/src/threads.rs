//! Threads for work that waits for the disk or occupies a core. They are started on demand. If the
//! system grants no thread, the work fails with the reason; the runtime's own blocking threads
//! would panic. Also a slot per thread, for data that each thread keeps for itself.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// The most threads at one time, and so the most slow disk reads that can be waited for at once.
/// The number is tokio's default.
const MAX_THREADS: usize = 512;

/// A thread ends after it was idle for this long.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// The threads of this process.
static THREADS: Threads = Threads::new(|threads| {
    let builder = std::thread::Builder::new().name("blocking".into());
    let _detached = builder.spawn(|| threads.work())?;
    Ok(())
});

type Job = Box<dyn FnOnce() + Send>;

struct Threads {
    queue: Mutex<Queue>,
    more: Condvar,
    /// Starts a thread.
    make: fn(&'static Self) -> io::Result<()>,
}

struct Queue {
    /// Work that waits for a thread. A task awaits each job, so the queue is no longer than the
    /// number of tasks.
    jobs: VecDeque<Job>,
    idle: usize,
    count: usize,
}

/// Runs `work` on a thread. If the caller is dropped before the work begins, the work is skipped.
///
/// # Errors
/// If there is no thread and none can be started, or if the work panics.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = oneshot::channel();
    THREADS.submit(Box::new(move || {
        if !answer.is_closed() {
            let _gone = answer.send(work());
        }
    }))?;
    let answered = answered.await;
    answered.map_err(|_| io::Error::other("a thread panicked over it"))
}

/// The number of this thread, modulo `slots`. Threads use it to find data of their own. With more
/// threads than slots, threads share.
pub(crate) fn slot(slots: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THIS: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    THIS.with(|this| *this) % slots
}

impl Threads {
    const fn new(make: fn(&'static Self) -> io::Result<()>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                idle: 0,
                count: 0,
            }),
            more: Condvar::new(),
            make,
        }
    }

    fn submit(&'static self, job: Job) -> io::Result<()> {
        let mut queue = self.lock();
        if queue.idle <= queue.jobs.len() && queue.count < MAX_THREADS {
            match (self.make)(self) {
                Ok(()) => queue.count += 1,
                // The threads that exist will get to the job.
                Err(_) if queue.count > 0 => {}
                Err(error) => return Err(error),
            }
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.more.notify_one();
        Ok(())
    }

    /// The main loop of each thread.
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // The job's sender is dropped, so that the waiting task sees the panic.
                let _panicked = catch_unwind(AssertUnwindSafe(job));
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.more.wait_timeout(queue, IDLE_TIME);
            let (again, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = again;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.count -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No job runs under this lock, and each step leaves the queue and the counts consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_panics_stay_where_they_are() {
        let together: Vec<_> = (0..100)
            .map(|number| tokio::spawn(run(move || number)))
            .collect();
        for (number, task) in together.into_iter().enumerate() {
            let done = task.await.expect("no panic").expect("a thread");
            assert_eq!(done, number);
        }
        assert!(run(|| panic!("on purpose")).await.is_err());
        assert_eq!(run(|| 1).await.expect("a thread"), 1);
    }

    #[test]
    fn without_threads_work_is_refused_and_not_kept() {
        static NONE: Threads = Threads::new(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert!(NONE.submit(Box::new(|| ())).is_err());
        assert!(NONE.lock().jobs.is_empty());
        // With one thread, the job waits for it.
        NONE.lock().count = 1;
        assert!(NONE.submit(Box::new(|| ())).is_ok());
        assert_eq!(NONE.lock().jobs.len(), 1);
    }
}
