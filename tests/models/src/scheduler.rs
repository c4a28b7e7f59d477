//! The scheduler's cores: every job runs, and the work of all cores ends with the scheduler.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shuttle::future::block_on;
use shuttle::thread;

use super::tested::{Cores, poll_work};
use crate::check::Model;

/// All models of the scheduler.
pub const MODELS: &[Model] = &[
    Model { name: "a job from outside is run", run: || outside(1, 1) },
    Model { name: "two jobs from outside are run by one core", run: || outside(1, 2) },
    Model { name: "a job from outside is run by one of two cores", run: || outside(2, 1) },
    Model { name: "a job from a job is run", run: from_a_job },
    Model { name: "jobs are shared at a tick", run: shared_at_a_tick },
    Model { name: "a job behind one that sees no ticks is run", run: held_up },
    Model { name: "cores end with their scheduler", run: || outside(2, 0) },
];

/// A job. It gets the number of the core that runs it, and returns whether it saw a tick.
type Job = Box<dyn FnOnce(usize) -> bool + Send>;

/// A scheduler that ends after its last job. Its own locks are not steps of the model.
struct World {
    cores: Mutex<Option<Arc<Cores<Job>>>>,
    jobs: AtomicUsize,
}

impl World {
    /// Runs `scene` beside these cores, until they have run this many jobs.
    fn run(cores: usize, jobs: usize, scene: impl FnOnce(&Arc<Self>)) {
        let all = Arc::new(Cores::new(cores));
        let threads: Vec<_> = (0..cores).map(|core| work(&all, core)).collect();
        let world = Arc::new(Self {
            cores: Mutex::new(Some(all)),
            jobs: AtomicUsize::new(jobs),
        });
        scene(&world);
        if jobs == 0 {
            world.end();
        }
        for thread in threads {
            thread.join().expect("a core's work ends");
        }
        assert_eq!(world.jobs.load(Ordering::Relaxed), 0, "jobs are left");
    }

    fn cores(&self) -> Arc<Cores<Job>> {
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cores.as_ref().expect("jobs are left"))
    }

    fn end(&self) {
        let last = self.cores.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(last); // outside the lock
    }

    /// A job that runs `does`, and then returns whether it saw a tick.
    fn job(self: &Arc<Self>, ticked: bool, does: impl FnOnce(usize) + Send + 'static) -> Job {
        let world = Arc::clone(self);
        Box::new(move |core| {
            does(core);
            if world.jobs.fetch_sub(1, Ordering::Relaxed) == 1 {
                world.end();
            }
            ticked
        })
    }

    fn idle_job(self: &Arc<Self>) -> Job {
        self.job(false, |_| {})
    }
}

fn work(cores: &Arc<Cores<Job>>, core: usize) -> thread::JoinHandle<()> {
    let cores: Weak<_> = Arc::downgrade(cores);
    let run = move |job: Job| job(core);
    thread::spawn(move || block_on(poll_fn(move |cx| poll_work(&cores, core, cx, run))))
}

fn outside(cores: usize, jobs: usize) {
    World::run(cores, jobs, |world| {
        for _ in 0..jobs {
            let (cores, job) = (world.cores(), world.idle_job());
            thread::spawn(move || cores.inject(job));
        }
    });
}

fn from_a_job() {
    World::run(1, 2, |world| {
        let (cores, job) = (world.cores(), world.idle_job());
        let first = world.job(false, move |core| cores.push(core, job));
        world.cores().inject(first);
    });
}

fn shared_at_a_tick() {
    World::run(2, 3, |world| {
        let (cores, jobs) = (world.cores(), [world.idle_job(), world.idle_job()]);
        let first = world.job(true, move |core| {
            for job in jobs {
                cores.push(core, job);
            }
        });
        world.cores().inject(first);
    });
}

/// The first job waits until the second job, which is queued behind it, has run.
fn held_up() {
    World::run(2, 2, |world| {
        let (cores, second) = (world.cores(), world.idle_job());
        let others = Arc::clone(world);
        let first = world.job(false, move |core| {
            cores.push(core, second);
            while others.jobs.load(Ordering::Relaxed) > 1 {
                cores.rebalance();
                thread::yield_now();
            }
        });
        world.cores().inject(first);
    });
}
