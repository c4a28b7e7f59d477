//! A *feed* tells those who watch what happens in a host: processes that start and end, requests
//! that fail, and, if somebody asks for it, every call of a guest's. While nobody watches, telling
//! costs one load of a value that does not change.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::pid::Pid;

/// Events that wait for a slow watcher. It loses further ones, and is told how many.
const CAPACITY: usize = 1024;

/// Ends of processes that are kept for whoever watches later.
const RECENT: usize = 32;

/// What somebody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Only what happens in the pool of this number.
    pub pool: Option<u32>,
    /// Only what happens to this process.
    pub pid: Option<Pid>,
    /// Also each request of a process, and each call of its guest's.
    pub calls: bool,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// The number of the pool.
    pub pool: u32,
    /// The process, if one is concerned.
    pub pid: Option<Pid>,
    /// What it was.
    pub what: What,
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A process has started.
    Started,
    /// A process has ended.
    Ended(Ended),
    /// A request got no answer from a guest.
    Failed {
        /// The number of the request.
        request: u64,
        /// The exit of the process, if the request ended it.
        exit: Option<Exit>,
        /// What the client was told.
        reason: &'static str,
    },
    /// A process has begun to work on a request.
    Began {
        /// The number of the request.
        request: u64,
        /// Method and path.
        asked: String,
    },
    /// A process has answered a request, as far as the head of the response.
    Answered {
        /// The number of the request.
        request: u64,
        /// The status of the response.
        status: u16,
        /// The time since it began.
        time: Duration,
    },
    /// A guest's call has returned.
    Called {
        /// The number of the request that the process works on; 0 for none.
        request: u64,
        /// The name of the function.
        function: &'static str,
        /// The arguments, for a person.
        arguments: String,
        /// The result, for a person. `None` if the process ended before there was one.
        result: Option<String>,
        /// Bytes that were copied into or out of the process, beside names and numbers.
        bytes: u64,
        /// How long it took.
        time: Duration,
    },
    /// So many events were lost, because they were not taken in time.
    Lost(u64),
}

/// The end of a process.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why it ended.
    pub exit: Exit,
    /// The number of the request that it worked on.
    pub request: Option<u64>,
    /// Requests that it had answered.
    pub served: u64,
    /// How long it had lived.
    pub age: Duration,
    /// The cause and a backtrace, if it failed.
    pub reason: Option<String>,
    /// The last lines that its guest printed to standard error.
    pub output: Option<String>,
}

/// All who watch one host.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// Whether anybody watches, and whether anybody traces.
    is_watched: AtomicBool,
    is_traced: AtomicBool,
    /// What those want who trace.
    traces: ArcSwap<Vec<Watch>>,
    watchers: Mutex<Vec<Watcher>>,
    recent: Mutex<VecDeque<Event>>,
}

#[derive(Debug)]
struct Watcher {
    watch: Watch,
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

/// The events that one watcher asked for, until it drops this.
#[derive(Debug)]
pub struct Events {
    // Dropped before the feed removes those that nobody receives from.
    events: mpsc::Receiver<Event>,
    lost: Arc<AtomicU64>,
    feed: Weak<Feed>,
}

impl Feed {
    /// What happens from now on.
    pub(crate) fn watch(self: &Arc<Self>, watch: Watch) -> Events {
        let (sender, events) = mpsc::channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let mut watchers = self.watchers();
        watchers.push(Watcher {
            watch,
            events: sender,
            lost: Arc::clone(&lost),
        });
        self.update(&watchers);
        let feed = Arc::downgrade(self);
        Events { events, lost, feed }
    }

    /// The last processes that ended by a failure or were killed, the oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        self.ends().iter().cloned().collect()
    }

    /// Keeps the end of a process for whoever watches later.
    pub(crate) fn remember(&self, event: Event) {
        let mut recent = self.ends();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(event);
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Whether anybody wants to know of the calls of this process.
    pub(crate) fn wants_calls(&self, pool: u32, pid: Pid) -> bool {
        let is_traced = self.is_traced.load(Ordering::Relaxed);
        is_traced && {
            let traces = self.traces.load();
            traces.iter().any(|watch| watch.concerns(pool, Some(pid)))
        }
    }

    /// Tells all who want to know.
    pub(crate) fn tell(&self, event: &Event) {
        let mut watchers = self.watchers();
        let before = watchers.len();
        watchers.retain(|watcher| watcher.tell(event));
        if watchers.len() < before {
            self.update(&watchers);
        }
    }

    fn update(&self, watchers: &[Watcher]) {
        let watches = watchers.iter().map(|watcher| watcher.watch);
        let traces: Vec<_> = watches.filter(|watch| watch.calls).collect();
        self.is_traced.store(!traces.is_empty(), Ordering::Relaxed);
        self.traces.store(Arc::new(traces));
        self.is_watched
            .store(!watchers.is_empty(), Ordering::Relaxed);
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn concerns(&self, pool: u32, pid: Option<Pid>) -> bool {
        self.pool.is_none_or(|wanted| wanted == pool)
            && self.pid.is_none_or(|wanted| pid == Some(wanted))
    }
}

impl Watcher {
    /// Returns whether anybody still receives.
    fn tell(&self, event: &Event) -> bool {
        let is_call = match event.what {
            What::Began { .. } | What::Answered { .. } | What::Called { .. } => true,
            What::Started | What::Ended(_) | What::Failed { .. } | What::Lost(_) => false,
        };
        if (is_call && !self.watch.calls) || !self.watch.concerns(event.pool, event.pid) {
            return !self.events.is_closed();
        }
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

impl Event {
    /// Something that happens now.
    pub(crate) fn now(pool: u32, pid: Option<Pid>, what: What) -> Self {
        let at = SystemTime::now();
        Self {
            at,
            pool,
            pid,
            what,
        }
    }
}

impl Events {
    /// The next event. `None` if the host is gone.
    pub async fn next(&mut self) -> Option<Event> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return Some(Event::now(0, None, What::Lost(lost)));
        }
        self.events.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.events.close();
        if let Some(feed) = self.feed.upgrade() {
            let mut watchers = feed.watchers();
            watchers.retain(|watcher| !watcher.events.is_closed());
            feed.update(&watchers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(pool: u32) -> Event {
        Event::now(pool, Pid::new(7), What::Started)
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_what_it_lost() {
        let feed = Arc::new(Feed::default());
        assert!(!feed.is_watched());
        let mut events = feed.watch(Watch::default());
        assert!(feed.is_watched());
        for _ in 0..CAPACITY + 3 {
            feed.tell(&ended(0));
        }
        let first = events.next().await.expect("an event");
        assert!(matches!(first.what, What::Lost(3)), "{first:?}");
        let second = events.next().await.expect("an event");
        assert!(matches!(second.what, What::Started), "{second:?}");
        drop(events);
        assert!(!feed.is_watched());
    }

    #[tokio::test]
    async fn a_watcher_is_told_what_it_asked_for() {
        let feed = Arc::new(Feed::default());
        let (seven, eight) = (Pid::new(7), Pid::new(8));
        let watch = Watch {
            pool: Some(1),
            pid: seven,
            calls: true,
        };
        let mut events = feed.watch(watch);
        let wants = |pool, pid: Option<Pid>| pid.is_some_and(|pid| feed.wants_calls(pool, pid));
        assert!(wants(1, seven) && !wants(1, eight) && !wants(0, seven));
        feed.tell(&ended(0));
        feed.tell(&ended(1));
        assert_eq!(events.next().await.map(|event| event.pool), Some(1));
        drop(feed);
        assert!(events.next().await.is_none(), "the host is gone");
    }
}
