//! Times the two steps of a request that only its connection sees: receiving and replying. Both
//! begin or end at the socket, which doesn't know the meaning of the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::steps::{Step, Steps};

/// One per connection, shared by its socket and its requests. Empty if the steps are off.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    steps: Steps,
    connected: Instant,
    /// The arrival of the first bytes of the current request, in nanoseconds after `connected`, or
    /// [`NOT_SET`].
    arrived: AtomicU64,
    /// The time until which the current reply is accounted for, in the same unit.
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

    /// A request's head has arrived. Bytes written from now on no longer belong to the reply before
    /// it.
    pub(super) fn began(&self) {
        if let Some(running) = &self.0 {
            running.replied.store(NOT_SET, Ordering::Relaxed);
        }
    }

    /// Bytes came in. Bytes behind the first ones belong to the same request.
    pub(super) fn arrived(&self) {
        if let Some(running) = &self.0 {
            let now = running.now();
            let order = Ordering::Relaxed;
            // Fails if earlier bytes have set it, as intended.
            let _ = running.arrived.compare_exchange(NOT_SET, now, order, order);
        }
    }

    /// The whole request has arrived.
    pub(super) fn received(&self) {
        if let Some(running) = &self.0 {
            let now = running.now();
            let arrived = running.arrived.swap(NOT_SET, Ordering::Relaxed);
            // The client sent the next request before this answer, together with the last bytes.
            let since = if arrived == NOT_SET { now } else { arrived };
            running.steps.took(Step::Receive, between(since, now));
        }
    }

    /// The current request is refused before it is whole. It counts as not received.
    pub(super) fn refused(&self) {
        if let Some(running) = &self.0 {
            running.arrived.store(NOT_SET, Ordering::Relaxed);
        }
    }

    /// The response is ready.
    pub(super) fn answered(&self) {
        if let Some(running) = &self.0 {
            running.replied.store(running.now(), Ordering::Relaxed);
            running.steps.took(Step::Reply, Duration::ZERO);
        }
    }

    /// Bytes went out. This file can't know whether they are the last.
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
