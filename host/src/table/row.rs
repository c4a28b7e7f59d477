//! A *row* holds what the host knows of one living process. The task that runs the process writes
//! the row; anybody may read it at any time. The two share no other memory, so that looking at
//! processes costs the requests nothing.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::kind::Kind;
use crate::pid::Pid;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::tally::{Calls, CallsByInterface, Interface};

/// The activity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The start code runs.
    Starting,
    /// The process waits in its pool for a request.
    Idle,
    /// The guest's code runs.
    Running,
    /// The guest waits for a message, a timer, a disk, or its next turn.
    Waiting,
    /// The process has been told to end.
    Ending,
}

/// Aligned to two cache lines, so that the rows of processes that run at the same time share none.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Row {
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    pub(crate) kind: Kind,
    /// The number of the process's pool or program in the host.
    pub(crate) pool: u32,
    born: Instant,
    state: AtomicU8,
    /// The start of the current state, in milliseconds after `born`.
    since_ms: AtomicU64,
    served: AtomicU64,
    /// The number of the current request; 0 for none.
    request: AtomicU64,
    /// The start of the current request, in milliseconds after `born`.
    request_since_ms: AtomicU64,
    memory: AtomicU64,
    cpu_ms: AtomicU64,
    is_yielding: AtomicBool,
    waits: AtomicU64,
    open_files: AtomicU32,
    calls: [Count; Interface::ALL.len()],
    is_killed: AtomicBool,
    /// Whether the guest is to trap at its next tick.
    is_trapped: AtomicBool,
    /// Until then the process is to end as soon as it has a request, in milliseconds after `born`.
    doomed_until_ms: AtomicU64,
    /// Wakes the task that runs the process, while it waits.
    killed: Mutex<Option<Waker>>,
}

/// Calls to one interface.
#[derive(Debug, Default)]
struct Count {
    calls: AtomicU64,
    bytes: AtomicU64,
}

/// The facts that are known before a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    pub(crate) kind: Kind,
    pub(crate) pool: u32,
}

/// The content of a row at one moment.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    /// The number of the process.
    pub pid: Pid,
    /// The parent process. `None` if the host itself started the process.
    pub parent: Option<Pid>,
    /// The kind of the process's module.
    pub kind: Kind,
    /// The number of its pool or program in this host.
    pub pool: u32,
    /// The activity of the process.
    pub state: State,
    /// How long this activity has lasted.
    pub state_for: Duration,
    /// The time since the birth of the process.
    pub age: Duration,
    /// The number of requests that the process has answered.
    pub served: u64,
    /// The number of the current request, and how long the process has worked on it.
    pub request: Option<(u64, Duration)>,
    /// Bytes in use: memories, tables, and copies of files that the host holds for the process.
    pub memory: u64,
    /// CPU time, measured by the clock's ticks. A process that never runs during a tick has none.
    pub cpu: Duration,
    /// The number of files that the process has open.
    pub open_files: u32,
    /// The number of messages in the mailbox. Only a program's processes have a mailbox.
    pub messages: Option<usize>,
    /// The names that the process has registered.
    pub names: Vec<Arc<str>>,
    /// The calls of its guest.
    pub calls: Vec<(Interface, Calls)>,
}

impl Row {
    pub(super) fn new(identity: Identity) -> Self {
        let Identity {
            pid,
            parent,
            kind,
            pool,
        } = identity;
        Self {
            pid,
            parent,
            kind,
            pool,
            born: Instant::now(),
            state: AtomicU8::new(State::Starting as u8),
            since_ms: AtomicU64::new(0),
            served: AtomicU64::new(0),
            request: AtomicU64::new(0),
            request_since_ms: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            cpu_ms: AtomicU64::new(0),
            is_yielding: AtomicBool::new(false),
            waits: AtomicU64::new(0),
            open_files: AtomicU32::new(0),
            calls: Default::default(),
            is_killed: AtomicBool::new(false),
            is_trapped: AtomicBool::new(false),
            doomed_until_ms: AtomicU64::new(0),
            killed: Mutex::new(None),
        }
    }

    /// The process is ready for a request.
    pub(crate) fn is_idle(&self, now: Instant) {
        self.enter(State::Idle, now);
    }

    /// The process starts on a request. Its first slice sets [`State::Running`].
    pub(crate) fn begin(&self, request: u64, now: Instant) {
        self.request.store(request, Ordering::Relaxed);
        self.request_since_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// The process has answered its request. One of the host's own doesn't count.
    pub(crate) fn answered(&self, is_own: bool) {
        // There is one writer, so a load and a store suffice and save a locked instruction.
        let served = self.served.load(Ordering::Relaxed) + u64::from(!is_own);
        self.served.store(served, Ordering::Relaxed);
        self.request.store(0, Ordering::Relaxed);
    }

    /// The guest begins a slice.
    pub(crate) fn runs(&self, now: Instant) {
        self.enter(State::Running, now);
    }

    /// The guest's slice ends with a wait. The wait keeps the slice's start time: slices are too
    /// short for a reader to see the difference.
    pub(crate) fn waits(&self) {
        self.state.store(State::Waiting as u8, Ordering::Relaxed);
        if !self.is_yielding() {
            self.waits.store(self.waited() + 1, Ordering::Relaxed);
        }
    }

    /// How often the guest has waited for something else than its next turn.
    pub(crate) fn waited(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// A tick makes the guest yield, or the guest goes on after that.
    pub(crate) fn yields(&self, is_yielding: bool) {
        self.is_yielding.store(is_yielding, Ordering::Relaxed);
    }

    /// Whether the guest waits for its next turn.
    pub(crate) fn is_yielding(&self) -> bool {
        self.is_yielding.load(Ordering::Relaxed)
    }

    /// A tick of the clock saw the guest running, this many milliseconds after its slice began.
    pub(crate) fn ran(&self, time_ms: u64) {
        self.cpu_ms
            .store(self.cpu_ms() + time_ms, Ordering::Relaxed);
    }

    /// The CPU time so far, in milliseconds. Each tick that sees the guest running adds to it.
    pub(crate) fn cpu_ms(&self) -> u64 {
        self.cpu_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn has_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn has_open_files(&self, files: u32) {
        self.open_files.store(files, Ordering::Relaxed);
    }

    /// The guest has called a function that copied this many bytes.
    pub(crate) fn called(&self, interface: Interface, bytes: u64) {
        let count = &self.calls[interface as usize];
        let add = |to: &AtomicU64, more| match interface {
            // Requests to other servers have tasks of their own.
            Interface::Outbound => {
                to.fetch_add(more, Ordering::Relaxed);
            }
            // There is one writer, so a load and a store suffice and save a locked instruction.
            Interface::Files | Interface::Mailbox | Interface::Process | Interface::Queue => {
                to.store(to.load(Ordering::Relaxed) + more, Ordering::Relaxed);
            }
        };
        add(&count.calls, 1);
        add(&count.bytes, bytes);
    }

    pub(super) fn calls(&self) -> CallsByInterface {
        let of = |count: &Count| Calls {
            count: count.calls.load(Ordering::Relaxed),
            bytes: count.bytes.load(Ordering::Relaxed),
        };
        self.calls.each_ref().map(of)
    }

    /// The number of the current request.
    pub(crate) fn request(&self) -> Option<u64> {
        Some(self.request.load(Ordering::Relaxed)).filter(|request| *request > 0)
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Tells the task that runs the process to end it.
    pub(crate) fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has the guest trap where it is. Returns whether it runs, and so will.
    pub(crate) fn trap(&self) -> bool {
        let state = State::of(self.state.load(Ordering::Relaxed));
        let runs = state == State::Running || self.is_yielding();
        self.is_trapped.store(runs, Ordering::Relaxed);
        runs
    }

    /// Has the process end as soon as it has a request, if it has one within this time.
    pub(crate) fn doom(&self, time: Duration) {
        let until = self.ms(Instant::now() + time);
        self.doomed_until_ms.store(until, Ordering::Relaxed);
    }

    /// Whether the process is to end now that it has a request.
    pub(crate) fn is_doomed(&self) -> bool {
        let until = self.doomed_until_ms.load(Ordering::Relaxed);
        until > 0 && self.ms(Instant::now()) < until
    }

    /// Whether the guest is to trap.
    pub(crate) fn is_trapped(&self) -> bool {
        self.is_trapped.load(Ordering::Relaxed)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }

    /// Waits until the process is killed.
    pub(crate) async fn killed(&self) {
        poll_fn(|cx| {
            if !self.is_killed() {
                *self.waker() = Some(cx.waker().clone());
            }
            // A kill between the two checks finds no waker, and is seen here.
            if self.is_killed() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await
    }

    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    fn enter(&self, state: State, now: Instant) {
        self.since_ms.store(self.ms(now), Ordering::Relaxed);
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn ms(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.born).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples the row. Its values are read one after the other, so they may belong to slightly
    /// different moments.
    pub(crate) fn sample(&self) -> ProcessInfo {
        let now = Instant::now();
        let age = now.saturating_duration_since(self.born);
        let since =
            |ms: &AtomicU64| age.saturating_sub(Duration::from_millis(ms.load(Ordering::Relaxed)));
        let request = self.request.load(Ordering::Relaxed);
        ProcessInfo {
            pid: self.pid,
            parent: self.parent,
            kind: self.kind,
            pool: self.pool,
            state: match self.is_killed() {
                true => State::Ending,
                false => State::of(self.state.load(Ordering::Relaxed)),
            },
            state_for: since(&self.since_ms),
            age,
            served: self.served(),
            request: (request > 0).then(|| (request, since(&self.request_since_ms))),
            memory: self.memory(),
            cpu: Duration::from_millis(self.cpu_ms()),
            open_files: self.open_files.load(Ordering::Relaxed),
            messages: None,
            names: Vec::new(),
            calls: Interface::ALL.into_iter().zip(self.calls()).collect(),
        }
    }
}

impl State {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Idle,
            2 => Self::Running,
            3 => Self::Waiting,
            _ => Self::Ending,
        }
    }

    /// The state in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ending => "ending",
        }
    }
}
