//! A *tally* counts what happens in one pool: responses, times, exits. Each thread counts on cache
//! lines of its own, so that counting costs a request some nanoseconds. A reader adds them up.
//! Whoever counts can also tell the host's [`Feed`] of it.

use std::sync::Arc;
use std::time::Duration;

use crate::exit::Exit;
use crate::feed::{Event, Feed, What};
use crate::pid::Pid;
use crate::sync::{AtomicU64, Ordering};
use crate::threads;

/// Most machines have fewer cores. With more threads than shards, threads share.
const SHARDS: usize = 32;

/// Status codes by their first digit, from 1 to 5.
const CLASSES: usize = 5;

/// The upper bounds of a histogram's buckets, in microseconds: from what a call takes to the
/// default time limit of a request. One more bucket has what is longer.
const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// What one pool has counted.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The number of the pool.
    pool: u32,
    feed: Arc<Feed>,
    shards: [Shard; SHARDS],
}

/// What guests call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Files below the root folder.
    Files,
    /// Messages.
    Mailbox,
    /// Other processes.
    Process,
    /// Requests to other servers.
    Outbound,
    /// Jobs.
    Queue,
}

/// Calls of guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many there were.
    pub count: u64,
    /// Bytes that they copied into or out of processes, beside names and numbers.
    pub bytes: u64,
}

/// Calls by interface, in the order of [`Interface::ALL`].
pub(crate) type CallsByInterface = [Calls; Interface::ALL.len()];

#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Shard {
    responses: [AtomicU64; CLASSES],
    refused: AtomicU64,
    requests: Buckets,
    waits: Buckets,
    starts: Buckets,
    exits: [AtomicU64; Exit::ALL.len()],
    cpu_ms: AtomicU64,
    calls: [AtomicU64; Interface::ALL.len()],
    call_bytes: [AtomicU64; Interface::ALL.len()],
}

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What one pool has counted since the host was started.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Responses by the first digit of their status, from 1 to 5.
    pub responses: [u64; CLASSES],
    /// Requests that no process could take.
    pub refused: u64,
    /// Times from a request's head to the head of its response.
    pub requests: Histogram,
    /// Times that requests waited for a process.
    pub waits: Histogram,
    /// Times that processes took to start.
    pub starts: Histogram,
    /// Processes that have ended, by exit. All codes count as one.
    pub exits: Vec<(Exit, u64)>,
    /// CPU time of the processes that have ended.
    pub cpu: Duration,
    /// Calls of the processes that have ended.
    pub calls: Vec<(Interface, Calls)>,
}

/// How often times of which length were counted.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// How many were at most as long as each of [`Histogram::bounds`], and longer than the one
    /// before. The last are those that were longer than all.
    pub counts: Vec<u64>,
    /// The sum of all.
    pub sum: Duration,
}

impl Counts {
    /// Processes that were replaced because they failed or were killed.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        let is_restart = |exit: &Exit| {
            exit.is_failure() || matches!(exit, Exit::Code(_)) || *exit == Exit::Killed
        };
        let exits = self.exits.iter().filter(|(exit, _)| is_restart(exit));
        exits.map(|(_, count)| count).sum()
    }
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Files,
        Self::Mailbox,
        Self::Process,
        Self::Outbound,
        Self::Queue,
    ];

    /// The interface in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Mailbox => "mailbox",
            Self::Process => "process",
            Self::Outbound => "outbound",
            Self::Queue => "queue",
        }
    }
}

impl Histogram {
    /// The longest time that counts in each bucket but the last.
    pub fn bounds() -> impl Iterator<Item = Duration> {
        BOUNDS_US.into_iter().map(Duration::from_micros)
    }
}

impl Tally {
    /// A tally of the pool of this number.
    pub(crate) fn new(pool: u32, feed: Arc<Feed>) -> Self {
        Self {
            pool,
            feed,
            shards: std::array::from_fn(|_| Shard::default()),
        }
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Whether anybody wants to know of the calls of this process.
    pub(crate) fn wants_calls(&self, pid: Pid) -> bool {
        self.feed.wants_calls(self.pool, pid)
    }

    /// Tells those who watch. `what` is not made if nobody does.
    pub(crate) fn tell(&self, pid: Option<Pid>, what: impl FnOnce() -> What) {
        if self.feed.is_watched() {
            self.feed.tell(&Event::now(self.pool, pid, what()));
        }
    }

    /// Tells those who watch, and those who will, of an end that somebody may ask about.
    pub(crate) fn tell_and_remember(&self, pid: Pid, what: What) {
        let event = Event::now(self.pool, Some(pid), what);
        if self.feed.is_watched() {
            self.feed.tell(&event);
        }
        self.feed.remember(event);
    }

    /// A response with this status, so long after its request.
    pub(crate) fn responded(&self, status: u16, time: Duration) {
        let shard = self.here();
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        shard.responses[class].fetch_add(1, Ordering::Relaxed);
        shard.requests.add(time);
    }

    /// A request got a process after this time.
    pub(crate) fn waited(&self, time: Duration) {
        self.here().waits.add(time);
    }

    /// A request got no process.
    pub(crate) fn refused(&self) {
        self.here().refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A process was started in this time.
    pub(crate) fn started(&self, time: Duration) {
        self.here().starts.add(time);
    }

    /// A process has ended.
    pub(crate) fn ended(&self, exit: Exit, cpu_ms: u64, calls: CallsByInterface) {
        let shard = self.here();
        shard.exits[exit.index()].fetch_add(1, Ordering::Relaxed);
        shard.cpu_ms.fetch_add(cpu_ms, Ordering::Relaxed);
        for (at, Calls { count, bytes }) in calls.into_iter().enumerate() {
            if count > 0 {
                shard.calls[at].fetch_add(count, Ordering::Relaxed);
                shard.call_bytes[at].fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// The sums over all threads, each at a slightly different moment.
    pub(crate) fn counts(&self) -> Counts {
        let sum = |of: &dyn Fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards
                .iter()
                .map(|shard| of(shard).load(Ordering::Relaxed))
                .sum()
        };
        let histogram = |of: fn(&Shard) -> &Buckets| Histogram {
            counts: (0..=BOUNDS_US.len())
                .map(|at| sum(&|shard| &of(shard).counts[at]))
                .collect(),
            sum: Duration::from_micros(sum(&|shard| &of(shard).sum_us)),
        };
        let exits = Exit::ALL.into_iter();
        Counts {
            responses: std::array::from_fn(|class| sum(&|shard| &shard.responses[class])),
            refused: sum(&|shard| &shard.refused),
            requests: histogram(|shard| &shard.requests),
            waits: histogram(|shard| &shard.waits),
            starts: histogram(|shard| &shard.starts),
            exits: exits
                .map(|exit| (exit, sum(&|shard| &shard.exits[exit.index()])))
                .collect(),
            cpu: Duration::from_millis(sum(&|shard| &shard.cpu_ms)),
            calls: (0..)
                .zip(Interface::ALL)
                .map(|(at, interface): (usize, _)| {
                    let count = sum(&|shard| &shard.calls[at]);
                    let bytes = sum(&|shard| &shard.call_bytes[at]);
                    (interface, Calls { count, bytes })
                })
                .collect(),
        }
    }

    fn here(&self) -> &Shard {
        &self.shards[threads::slot(SHARDS)]
    }
}

impl Buckets {
    fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        if us > 0 {
            self.sum_us.fetch_add(us, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_is_long_enough() {
        let tally = Tally::new(0, Arc::default());
        for us in [0, 100, 101, 250, 30_000_000, 30_000_001] {
            tally.waited(Duration::from_micros(us));
        }
        tally.responded(599, Duration::ZERO);
        let calls = [7, 0, 0, 0, 0].map(|count| Calls { count, bytes: 8 });
        tally.ended(Exit::Trap, 3, calls);
        let counts = tally.counts();
        let waits = counts.waits;
        assert_eq!(
            (
                waits.counts[0],
                waits.counts[1],
                waits.counts[16],
                waits.counts[17]
            ),
            (2, 2, 1, 1)
        );
        assert_eq!(waits.sum, Duration::from_micros(60_000_452));
        assert_eq!(
            (counts.responses, counts.requests.counts[0]),
            ([0, 0, 0, 0, 1], 1)
        );
        assert!(counts.exits.contains(&(Exit::Trap, 1)) && counts.cpu == Duration::from_millis(3));
        assert_eq!(counts.calls[0], (Interface::Files, calls[0]));
    }
}
