use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::Scheduler;
use super::cores::{Cores, poll_work};

/// Longer than any test here takes.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Cores whose turns the test runs itself. Jobs are numbers.
struct ByHand {
    cores: Arc<Cores<u32>>,
    wakings: Vec<Arc<Wakings>>,
}

#[derive(Default)]
struct Wakings(AtomicUsize);

impl Wake for Wakings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl ByHand {
    fn new(count: usize) -> Self {
        Self {
            cores: Arc::new(Cores::new(count)),
            wakings: (0..count).map(|_| Arc::default()).collect(),
        }
    }

    /// The jobs that this core runs in a turn. `ticked` says whether they see ticks.
    fn turn(&self, core: usize, ticked: bool) -> Vec<u32> {
        let ran = RefCell::new(Vec::new());
        let run = |job| {
            ran.borrow_mut().push(job);
            ticked
        };
        let waker = Waker::from(Arc::clone(&self.wakings[core]));
        let cores = Arc::downgrade(&self.cores);
        let polled = poll_work(&cores, core, &Context::from_waker(&waker), run);
        assert_eq!(polled, Poll::Pending);
        ran.into_inner()
    }

    fn wakings(&self) -> Vec<usize> {
        let each = self.wakings.iter();
        each.map(|wakings| wakings.0.swap(0, Ordering::Relaxed))
            .collect()
    }
}

#[test]
fn a_job_from_outside_wakes_the_core_that_fell_asleep_last() {
    let cores = ByHand::new(2);
    assert!(cores.turn(0, false).is_empty());
    assert!(cores.turn(1, false).is_empty());
    cores.cores.inject(7);
    assert_eq!(cores.wakings(), [0, 1]);
    assert!(
        cores.turn(0, false).is_empty(),
        "a single job is not taken away"
    );
    assert_eq!(cores.turn(1, false), [7]);
}

#[test]
fn a_core_runs_its_jobs_in_turn_and_shares_more_than_a_few() {
    let cores = ByHand::new(2);
    assert!(cores.turn(1, false).is_empty());
    for job in 1..=4 {
        cores.cores.push(0, job);
    }
    assert_eq!(cores.wakings(), [0, 0], "a few are not shared");
    cores.cores.push(0, 5);
    assert_eq!(cores.wakings(), [0, 1]);
    assert_eq!(cores.turn(1, true), [1], "the two oldest went");
    assert_eq!(cores.turn(0, true), [3]);
    assert_eq!(cores.turn(1, true), [2]);
}

#[test]
fn a_core_without_jobs_takes_half_of_anothers() {
    let cores = ByHand::new(2);
    for job in 1..=4 {
        cores.cores.push(0, job);
    }
    assert_eq!(
        cores.turn(1, true),
        [1],
        "a job that sees a tick ends the turn"
    );
    assert_eq!(cores.turn(0, false), [3, 4]);
    assert_eq!(cores.turn(1, false), [2]);
}

#[test]
fn jobs_that_waited_for_a_tick_are_shared() {
    let cores = ByHand::new(2);
    assert!(cores.turn(1, false).is_empty());
    for job in 1..=3 {
        cores.cores.push(0, job);
    }
    assert_eq!(cores.turn(0, true), [1]);
    assert_eq!(cores.wakings(), [1, 1]);
    assert_eq!(cores.turn(1, false), [2]);
    assert_eq!(cores.turn(0, false), [3]);
}

#[test]
fn a_job_whose_core_did_not_move_for_a_tick_goes_to_an_idle_core() {
    let cores = ByHand::new(2);
    assert!(cores.turn(1, false).is_empty());
    cores.cores.push(0, 1);
    assert_eq!(cores.turn(0, true), [1]);
    cores.cores.push(0, 2);
    cores.wakings();
    cores.cores.rebalance();
    assert_eq!(
        cores.wakings(),
        [0, 0],
        "the core has moved since the last tick"
    );
    cores.cores.rebalance();
    assert_eq!(cores.wakings(), [0, 1]);
    assert_eq!(cores.turn(1, false), [2]);
}

#[test]
fn cores_that_sleep_are_told_when_their_scheduler_is_gone() {
    let ByHand { cores, wakings } = ByHand::new(1);
    let waker = Waker::from(Arc::clone(&wakings[0]));
    let cx = Context::from_waker(&waker);
    let weak = Arc::downgrade(&cores);
    assert_eq!(poll_work(&weak, 0, &cx, |_| false), Poll::Pending);
    drop(cores);
    assert_eq!(wakings[0].0.load(Ordering::Relaxed), 1);
    assert_eq!(poll_work(&weak, 0, &cx, |_| false), Poll::Ready(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_panics_ends_alone() {
    let scheduler = Scheduler::start();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let _panics = scheduler.spawn(async { panic!("one process's end") });
    let _goes_on = scheduler.spawn(async { sender.send(7).expect("the test waits") });
    assert_eq!(receiver.await, Ok(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_behind_one_that_sees_no_ticks_is_run() {
    let scheduler = Scheduler::start();
    let ticked = scheduler.downgrade();
    let (done, is_done) = tokio::sync::oneshot::channel();
    let others = scheduler.clone();
    let _holds_its_core = scheduler.spawn(async move {
        let (ran, has_run) = mpsc::channel();
        let _waits_behind = others.spawn(async move { ran.send(()).expect("it is awaited") });
        done.send(has_run.recv_timeout(TIME_LIMIT))
            .expect("the test waits");
    });
    let clock = async {
        loop {
            ticked.tick();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = is_done => assert_eq!(done, Ok(Ok(()))),
        () = clock => unreachable!("the clock ticks on"),
    }
}
