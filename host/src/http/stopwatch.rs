//! Times the two steps of a request that only its connection sees: receiving it, and replying. Both
//! begin or end at the socket, in other hands than those that know what the bytes mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::steps::{Step, Steps};

/// One per connection, shared by its socket and its requests. Off, it is nothing.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    steps: Steps,
    connected: Instant,
    /// When the first bytes of the request under way came, in nanoseconds after `connected`, or
    /// [`NOT_SET`].
    arrived: AtomicU64,
    /// Until when the reply under way is accounted for, the same way.
    replied: AtomicU64,
}

const NOT_SET: u64 = u64::MAX;

impl Stopwatch {
    pub(super) fn new(steps: &Steps) -> Self {
        Self(steps.are_on().then(|| {
            Arc::new(Running {
                steps: steps.clone(),
                connected: Instant::now(),
                arrived: AtomicU64::new(NOT_SET),
                replied: AtomicU64::new(NOT_SET),
            })
        }))
    }

    /// A request's head is there: what is written from now on is no longer part of the reply before
    /// it.
    pub(super) fn began(&self) {
        if let Some(running) = &self.0 {
            running.replied.store(NOT_SET, Ordering::Relaxed);
        }
    }

    /// Bytes came in. Those that follow the first belong to the same request.
    pub(super) fn arrived(&self) {
        if let Some(running) = &self.0 {
            let now = running.now();
            let order = Ordering::Relaxed;
            // Fails where others came before it, which is as it should be.
            let _ = running.arrived.compare_exchange(NOT_SET, now, order, order);
        }
    }

    /// The request is there, whole.
    pub(super) fn received(&self) {
        if let Some(running) = &self.0 {
            let now = running.now();
            let arrived = running.arrived.swap(NOT_SET, Ordering::Relaxed);
            // A client who sends the next request before it has this answer: it came with the last
            // bytes.
            let since = if arrived == NOT_SET { now } else { arrived };
            running.steps.took(Step::Receive, between(since, now));
        }
    }

    /// The request under way is refused before it is whole. It was not received, and counts as
    /// nothing.
    pub(super) fn refused(&self) {
        if let Some(running) = &self.0 {
            running.arrived.store(NOT_SET, Ordering::Relaxed);
        }
    }

    /// The response is there.
    pub(super) fn answered(&self) {
        if let Some(running) = &self.0 {
            running.replied.store(running.now(), Ordering::Relaxed);
            running.steps.took(Step::Reply, Duration::ZERO);
        }
    }

    /// Bytes went out; nobody here knows whether they are the last.
    pub(super) fn written(&self) {
        if let Some(running) = &self.0 {
            let before = running.replied.load(Ordering::Relaxed);
            if before != NOT_SET {
                let now = running.now();
                running.replied.store(now, Ordering::Relaxed);
                running.steps.more(Step::Reply, between(before, now));
            }
        }
    }
}

impl Running {
    fn now(&self) -> u64 {
        u64::try_from(self.connected.elapsed().as_nanos()).unwrap_or(NOT_SET - 1)
    }
}

fn between(before: u64, now: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(before))
}
