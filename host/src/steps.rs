//! The *steps* of a request, and the time that each takes: a server's work per request, from a
//! packet in to a packet out. Each step is timed by the file that does it. The times are summed up,
//! so that dividing by the number of requests gives a request's share.
//!
//! [`Steps`] are off by default. Then they read no clock, and timing costs a branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A server's work for one request, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From reading the first bytes of a request until the whole request is a message.
    Receive,
    /// Creating a process or thread to answer, or finding an idle one and handing the request over.
    /// Afterwards, ending it or putting it back.
    HandOver,
    /// The run of the process or thread that answers, without its file operations.
    Run,
    /// Opening, examining and reading files.
    Files,
    /// From the response until its last byte is written.
    Reply,
}

/// A handle on the sums. Each file that does a step has a clone.
#[derive(Clone, Debug, Default)]
pub struct Steps(Option<Arc<Sums>>);

#[derive(Debug, Default)]
struct Sums([Sum; 5]);

/// Aligned to cache lines of its own: one thread's step must not slow down another thread's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sum {
    count: AtomicU64,
    /// Signed: the time that is [taken out](Timing::out_of) of a step may be subtracted before the
    /// step itself is added.
    nanoseconds: AtomicI64,
}

/// A step under way. Dropping this ends the step, on every path.
#[derive(Debug)]
#[must_use = "a step ends when this is dropped"]
pub struct Timing(Option<Running>);

#[derive(Debug)]
struct Running {
    sums: Arc<Sums>,
    step: Step,
    out_of: Option<Step>,
    since: Instant,
}

/// All sums at one moment. `--steps` prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // named after the variants of `Step`
pub struct Totals {
    pub receive: Total,
    pub hand_over: Total,
    pub run: Total,
    pub files: Total,
    pub reply: Total,
}

/// The sum of one step over all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// How often the step was timed. Taking a process and giving it back are two, and so are two
    /// reads.
    pub count: u64,
    /// The time of all of them together.
    pub nanoseconds: u64,
}

impl Steps {
    /// Steps that are on if `is_wanted`.
    #[must_use]
    pub fn on_if(is_wanted: bool) -> Self {
        Self(is_wanted.then(Arc::default))
    }

    /// Begins a step.
    pub fn time(&self, step: Step) -> Timing {
        Timing(self.0.as_ref().map(|sums| Running {
            sums: Arc::clone(sums),
            step,
            out_of: None,
            since: Instant::now(),
        }))
    }

    /// Whether the steps are timed.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds time to a step that goes on, without counting the step again.
    pub fn more(&self, step: Step, time: Duration) {
        if let Some(sums) = &self.0 {
            sums.of(step).add(nanoseconds(time));
        }
    }

    /// Counts a step, and adds its time so far.
    pub fn took(&self, step: Step, time: Duration) {
        if let Some(sums) = &self.0 {
            sums.of(step).count.fetch_add(1, Ordering::Relaxed);
            sums.of(step).add(nanoseconds(time));
        }
    }

    /// The sums so far; `None` if the steps are off.
    #[must_use]
    pub fn totals(&self) -> Option<Totals> {
        let sums = self.0.as_ref()?;
        Some(Totals {
            receive: sums.of(Step::Receive).total(),
            hand_over: sums.of(Step::HandOver).total(),
            run: sums.of(Step::Run).total(),
            files: sums.of(Step::Files).total(),
            reply: sums.of(Step::Reply).total(),
        })
    }
}

impl Timing {
    /// Subtracts the time of this step from that of the enclosing `step`.
    pub fn out_of(mut self, step: Step) -> Self {
        if let Some(running) = &mut self.0 {
            running.out_of = Some(step);
        }
        self
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        let Some(running) = &self.0 else {
            return;
        };
        let time = nanoseconds(running.since.elapsed());
        let sum = running.sums.of(running.step);
        sum.count.fetch_add(1, Ordering::Relaxed);
        sum.add(time);
        if let Some(step) = running.out_of {
            running.sums.of(step).add(-time);
        }
    }
}

impl Sums {
    fn of(&self, step: Step) -> &Sum {
        &self.0[step as usize]
    }
}

impl Sum {
    fn add(&self, nanoseconds: i64) {
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn total(&self) -> Total {
        let nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
        Total {
            count: self.count.load(Ordering::Relaxed),
            nanoseconds: u64::try_from(nanoseconds).unwrap_or(0),
        }
    }
}

/// The duration in nanoseconds. A sum of these overflows after three hundred years of work.
fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
