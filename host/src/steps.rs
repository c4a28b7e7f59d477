//! The *steps* of a request, and what each costs: the work per request of a server, from a packet
//! that came in to a packet that went out. Whoever does a step times it here; what is counted are
//! sums, so that a request's share is a division away.
//!
//! [`Steps`] that are off, which is the default, read no clock: timing costs a branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a server does for one request, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From the first bytes of a request, when they are read, to the whole of it as a message.
    Receive,
    /// Creating who answers it, or finding one and handing it over; and afterwards ending or
    /// putting back.
    HandOver,
    /// Whoever answers, at work; without the files that are read meanwhile.
    Run,
    /// Opening, asking about and reading files.
    Files,
    /// From the response to its last byte's write.
    Reply,
}

/// A handle on the sums, for everybody who does a step.
#[derive(Clone, Debug, Default)]
pub struct Steps(Option<Arc<Sums>>);

#[derive(Debug, Default)]
struct Sums([Sum; 5]);

/// On cache lines of its own: a step of one thread must not slow down another step of another.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sum {
    count: AtomicU64,
    /// Signed: what is [taken out](Timing::out_of) of a step may be noted before the step itself
    /// is.
    nanoseconds: AtomicI64,
}

/// A step under way. It ends when this is dropped, however the step ends.
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

/// All sums, at one time. What `--steps` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `Step`
pub struct Totals {
    pub receive: Total,
    pub hand_over: Total,
    pub run: Total,
    pub files: Total,
    pub reply: Total,
}

/// One step, all requests together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// How often it was timed: taking a process and giving it back are two, and so are two reads.
    pub count: u64,
    /// How long it took, in sum.
    pub nanoseconds: u64,
}

impl Steps {
    /// Steps that are timed, if `is_wanted`.
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

    /// Whether anybody wants to know.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds to a step without counting it once more: it goes on.
    pub fn more(&self, step: Step, time: Duration) {
        if let Some(sums) = &self.0 {
            sums.of(step).add(nanoseconds(time));
        }
    }

    /// Counts a step, and adds what it took so far.
    pub fn took(&self, step: Step, time: Duration) {
        if let Some(sums) = &self.0 {
            sums.of(step).count.fetch_add(1, Ordering::Relaxed);
            sums.of(step).add(nanoseconds(time));
        }
    }

    /// The sums so far; nothing if they are off.
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
    /// The time of this step is none of that one's, which is under way.
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

/// A sum of them overflows after three hundred years of work.
fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
