//! *Lives* are the rows of all living processes of one host, in shards. A process is entered in the
//! shard of the thread that starts it, so that threads that start processes at the same time don't
//! contend.
//!
//! A [`Life`] is the guard of one row. It logs the beginning and the end of the process, counts the
//! exit in its pool's tally, and gives the memory back that was reserved for the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::row::{Identity, ProcessInfo, Row};
use crate::exit::{Crash, Exit};
use crate::feed::{Ended, Feed, What};
use crate::kind::Kind;
use crate::peers::Peers;
use crate::pid::{Pid, Pids};
use crate::queues::Queues;
use crate::tally::Tally;
use crate::threads;

/// Most machines have fewer cores. With more threads than shards, threads share.
const SHARDS: usize = 32;

/// The rows of all living processes.
#[derive(Debug)]
pub(crate) struct Lives {
    pids: Pids,
    /// The other hosts.
    peers: Arc<dyn Peers>,
    feed: Arc<Feed>,
    shards: [Arc<Shard>; SHARDS],
    /// `None` if processes may have any memory together.
    budget: Option<Arc<Budget>>,
}

/// Memory of all processes together.
#[derive(Debug)]
struct Budget {
    bytes: u64,
    reserved: AtomicU64,
}

/// The part of the budget that one process has. Dropping it gives the part back.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Option<Arc<Budget>>,
    bytes: u64,
}

/// All processes together have as much memory as they may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfMemory;

#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Shard {
    rows: Mutex<Rows>,
    /// Requests answered by processes that have ended.
    served: AtomicU64,
}

#[derive(Debug, Default)]
struct Rows {
    /// A row keeps its place until it is removed.
    places: Vec<Option<Arc<Row>>>,
    free: Vec<usize>,
    /// Processes that have ended, by [`Exit::index`].
    exits: [u64; Exit::ALL.len()],
}

/// One process's time in the table. Dropping it removes the row and logs the end.
#[derive(Debug)]
pub(crate) struct Life {
    row: Arc<Row>,
    shard: Arc<Shard>,
    place: usize,
    exit: Exit,
    reason: Option<String>,
    output: Option<String>,
    /// The name of the process's pool, if the host has several.
    pool: Option<Arc<str>>,
    is_over: bool,
    tally: Arc<Tally>,
    _memory: Reservation,
}

impl Lives {
    /// No processes. `memory` is what all of them may have together, in bytes.
    pub(crate) fn new(memory: Option<u64>, peers: Arc<dyn Peers>) -> Self {
        let budget = |bytes| {
            Arc::new(Budget {
                bytes,
                reserved: AtomicU64::new(0),
            })
        };
        Self {
            pids: Pids::new(peers.here()),
            peers,
            feed: Arc::default(),
            shards: std::array::from_fn(|_| Arc::default()),
            budget: memory.map(budget),
        }
    }

    /// The other hosts.
    pub(super) fn peers(&self) -> &dyn Peers {
        &*self.peers
    }

    /// The queues of the cluster.
    pub(super) fn queues(&self) -> Arc<dyn Queues> {
        Arc::<dyn Peers>::clone(&self.peers)
    }

    /// Those who watch.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// A number that no process and no client has had.
    pub(crate) fn next_pid(&self) -> Pid {
        self.pids.next()
    }

    /// Reserves memory for one process, in bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reservation, OutOfMemory> {
        if let Some(budget) = &self.budget {
            let room = |reserved: u64| {
                let reserved = reserved.checked_add(bytes);
                reserved.filter(|reserved| *reserved <= budget.bytes)
            };
            let order = Ordering::Relaxed;
            let reserved = budget.reserved.fetch_update(order, order, room);
            reserved.map_err(|_| OutOfMemory)?;
        }
        Ok(Reservation {
            budget: self.budget.clone(),
            bytes,
        })
    }

    /// Enters a process. Its exit is [`Exit::Stopped`] unless another is set before the end. `pool`
    /// is the name for the log.
    pub(super) fn enter(
        &self,
        identity: Identity,
        memory: Reservation,
        pool: Option<Arc<str>>,
        tally: Arc<Tally>,
    ) -> Life {
        let row = Arc::new(Row::new(identity));
        let shard = Arc::clone(&self.shards[threads::slot(SHARDS)]);
        let place = shard.rows().add(Arc::clone(&row));
        Life {
            row,
            shard,
            place,
            exit: Exit::Stopped,
            reason: None,
            output: None,
            pool,
            is_over: false,
            tally,
            _memory: memory,
        }
    }

    /// The row of this process, if it lives.
    pub(crate) fn find(&self, pid: Pid) -> Option<Arc<Row>> {
        let of = |shard: &Arc<Shard>| {
            let rows = shard.rows();
            let mut places = rows.places.iter().flatten();
            places.find(|row| row.pid == pid).cloned()
        };
        self.shards.iter().find_map(of)
    }

    /// A sample of every row, sorted by pid.
    pub(crate) fn sample(&self) -> Vec<ProcessInfo> {
        let mut rows: Vec<Arc<Row>> = Vec::new();
        for shard in &self.shards {
            rows.extend(shard.rows().places.iter().flatten().cloned());
        }
        let mut sampled: Vec<ProcessInfo> = rows.iter().map(|row| row.sample()).collect();
        sampled.sort_by_key(|process| process.pid);
        sampled
    }

    /// Processes that have ended, by exit. All codes count as one.
    pub(crate) fn exits(&self) -> Vec<(Exit, u64)> {
        let count = |at: usize| self.shards.iter().map(|shard| shard.rows().exits[at]).sum();
        Exit::ALL
            .into_iter()
            .enumerate()
            .map(|(at, exit)| (exit, count(at)))
            .collect()
    }

    /// Requests that all processes have answered, including living ones.
    pub(crate) fn served(&self) -> u64 {
        let of = |shard: &Arc<Shard>| {
            let rows = shard.rows();
            let living: u64 = rows.places.iter().flatten().map(|row| row.served()).sum();
            living + shard.served.load(Ordering::Relaxed)
        };
        self.shards.iter().map(of).sum()
    }
}

impl Life {
    pub(crate) fn row(&self) -> &Arc<Row> {
        &self.row
    }

    pub(crate) fn pid(&self) -> Pid {
        self.row.pid
    }

    /// Logs the start. Called once the process is sure to run.
    pub(crate) fn log_start(&self) {
        let parent = self.row.parent.map(Pid::get);
        let pool = self.pool.as_deref();
        tracing::debug!(pid = self.row.pid.get(), pool, parent, "process started");
        self.tally.tell(Some(self.row.pid), || What::Started);
    }

    /// Sets the exit that counts if this is dropped without a further word. A process that runs in
    /// a request's task is dropped with that task.
    pub(crate) fn set_exit(&mut self, exit: Exit) {
        self.exit = exit;
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Sets the exit of a failed process, and the details for the log.
    pub(crate) fn set_crash(&mut self, crash: Crash) {
        self.exit = crash.exit;
        self.reason = Some(crash.reason);
        self.output = crash.output;
    }

    /// Ends the life: the table forgets the process.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Shard { served, .. } = &*self.shard;
        let (cpu_ms, calls) = (self.row.cpu_ms(), self.row.calls());
        self.tally.ended(self.exit, cpu_ms, calls);
        {
            let mut rows = self.shard.rows();
            // Under the lock, so that a sum of requests counts these exactly once.
            served.fetch_add(self.row.served(), Ordering::Relaxed);
            rows.remove(self.place);
            rows.exits[self.exit.index()] += 1;
        }
        self.log_end();
        self.tell_end();
    }

    fn is_failure(&self) -> bool {
        match (self.exit, self.row.kind) {
            (exit, Kind::Program) => exit.is_failure(),
            // Whoever serves must not exit: its request would have no answer. Only a command that
            // runs by itself may, and then there is no reason to log.
            (Exit::Code(_), _) => self.reason.is_some(),
            (exit, _) => exit.is_failure(),
        }
    }

    /// Tells those who watch. Failures and kills are kept for those who watch later.
    fn tell_end(&mut self) {
        let is_kept = self.is_failure() || self.exit == Exit::Killed;
        if !is_kept && !self.tally.feed().is_watched() {
            return;
        }
        let ended = What::Ended(Ended {
            exit: self.exit,
            request: self.row.request(),
            served: self.row.served(),
            age: self.row.age(),
            reason: self.reason.take(),
            output: self.output.take(),
        });
        match is_kept {
            true => self.tally.tell_and_remember(self.row.pid, ended),
            false => self.tally.tell(Some(self.row.pid), || ended),
        }
    }

    fn log_end(&self) {
        let pid = self.row.pid.get();
        let age_ms = self.row.age().as_millis() as u64;
        let (exit, pool) = (self.exit, self.pool.as_deref());
        let served = self.row.kind.is_pooled().then(|| self.row.served());
        if self.is_failure() {
            let (reason, output) = (self.reason.as_deref(), self.output.as_deref());
            tracing::warn!(pid, pool, %exit, served, age_ms, reason, output, "process ended");
        } else {
            tracing::debug!(pid, pool, %exit, served, age_ms, "process ended");
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Shard {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn add(&mut self, row: Arc<Row>) -> usize {
        if let Some(place) = self.free.pop() {
            self.places[place] = Some(row);
            return place;
        }
        self.places.push(Some(row));
        self.places.len() - 1
    }

    fn remove(&mut self, place: usize) {
        self.places[place] = None;
        self.free.push(place);
    }
}
