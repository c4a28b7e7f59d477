//! *Mail* goes between processes of two hosts: messages, calls and their replies, and the news of
//! ends. All that one host has for another is numbered and goes in order, so each piece comes at
//! most once, and one that is missing is missed.
//!
//! Two hosts have a *connection*, which begins with the first piece and is over when anything is
//! lost: a piece, an answer, or a host. Then nobody knows what was lost, so all who wait are told,
//! and all who monitor. The next piece begins the next connection. Its number, the *epoch*, is in
//! each frame, so that nothing of an earlier one counts.
//!
//! Only the loop that hears ends connections. So what one frame changes is whole before the next.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::frames::{Address, Frame, Mail, Post};
use super::members::MAX_HOSTS;
use super::pair::{Asked, Left, Pair, Received, not_watched};
use super::{Cluster, Inner};
use crate::call::Caller;
use crate::mailbox::{MailError, Mailbox};
use crate::peers::{Letter, NotWatched, Way};
use crate::pid::Pid;
use crate::table::Table;

/// What has come is told after so long, unless it is much.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(20);

/// How much greater the number of a connection may be than the last one that is known. No host
/// loses as many.
const MOST_LOST: u64 = 1 << 32;

/// The connections of this host.
pub(super) struct Remote {
    pairs: Mutex<HashMap<u32, Arc<Pair>>>,
    /// Above the numbers of all connections that this host has forgotten. Another host may remember
    /// one of them, and what has come by it.
    next_epoch: AtomicU64,
    /// The programs of this host.
    tables: Mutex<BTreeMap<String, Vec<Weak<Table>>>>,
    pub(super) runtime: Handle,
    /// Whether any other host is to be told what has come.
    owes: AtomicBool,
    /// Notified when a connection is broken.
    broken: Notify,
}

/// Withdraws what a process has asked for, once it waits no more.
struct Guard<'a> {
    inner: &'a Inner,
    pair: Arc<Pair>,
    id: u64,
}

impl Remote {
    pub(super) fn new() -> Self {
        Self {
            pairs: Mutex::default(),
            next_epoch: AtomicU64::new(0),
            tables: Mutex::default(),
            runtime: Handle::current(),
            owes: AtomicBool::new(false),
            broken: Notify::new(),
        }
    }

    /// Waits until a connection is broken.
    pub(super) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Whether all that processes have sent is on its way.
    pub(super) fn is_sent(&self) -> bool {
        self.known_pairs().iter().all(|pair| pair.is_written())
    }

    /// Whether another host is to be told what has come.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    pub(super) fn attach(&self, program: &str, table: Weak<Table>) {
        let mut tables = self.tables();
        tables.retain(|_, of_name| {
            of_name.retain(|table| table.strong_count() > 0);
            !of_name.is_empty()
        });
        // One that goes still has processes when the next one of its name comes.
        tables.entry(program.to_owned()).or_default().push(table);
    }

    /// The programs of this host, and their root processes.
    pub(super) fn roots(&self) -> Vec<(String, Pid)> {
        let programs: Vec<_> = self.tables().keys().cloned().collect();
        let root = |program: String| {
            let root = self.of_name(&program).iter().find_map(|it| it.root())?;
            Some((program, root))
        };
        programs.into_iter().filter_map(root).collect()
    }

    /// The programs with this name, the latest first: one that goes may still have processes.
    pub(super) fn of_name(&self, program: &str) -> Vec<Arc<Table>> {
        let tables = self.tables();
        let of_name = tables.get(program).into_iter().flatten();
        of_name.rev().filter_map(Weak::upgrade).collect()
    }

    fn all_tables(&self) -> Vec<Arc<Table>> {
        let tables = self.tables();
        let tables = tables.values().flatten();
        tables.filter_map(Weak::upgrade).collect()
    }

    pub(super) fn mailbox(&self, way: Way<'_>) -> Result<Arc<Mailbox>, MailError> {
        let mut found = Err(MailError::NoProcess);
        for table in self.of_name(way.program) {
            match table.mailbox(way.to) {
                Err(MailError::NoProcess) => {}
                mailbox => found = mailbox,
            }
        }
        found
    }

    fn known_pairs(&self) -> Vec<Arc<Pair>> {
        self.pairs().values().cloned().collect()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Weak<Table>>>> {
        // No step under this lock can panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<u32, Arc<Pair>>> {
        // No step under this lock can panic.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// # Errors
    /// As [`crate::peers::Peers::send`].
    pub(super) fn send_data(&self, way: Way<'_>, letter: &Letter) -> Result<(), MailError> {
        let pair = self.0.pair_for(way.to)?;
        let what = Post::Data {
            address: Address::of(way),
            tag: letter.tag,
        };
        pair.miss_of(way.to)?;
        self.0.post_within(&pair, &what, &letter.bytes, &mut None)
    }

    pub(super) async fn send_and_wait(
        &self,
        way: Way<'_>,
        letter: Letter,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        let start = Instant::now();
        let pair = self.0.pair_for(way.to)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let what = |time_limit| Post::Wait {
            id,
            address: Address::of(way),
            tag: letter.tag,
            time_ms: millis(time_limit),
        };
        let asked = (id, Asked::Wait(sender));
        let left = || time_limit.saturating_sub(start.elapsed());
        let posting = self
            .0
            .post_asking(&pair, || what(left()), &letter.bytes, asked);
        // What was not sent is not taken.
        let posted = timeout(time_limit, posting).await;
        posted.unwrap_or(Err(MailError::TimedOut))?;
        let answered = self.0.answered(pair, id, left(), answer).await;
        answered.unwrap_or(Err(MailError::Unreachable))
    }

    /// # Errors
    /// As [`crate::peers::Peers::call`].
    pub(super) fn send_call(
        &self,
        way: Way<'_>,
        caller: Caller,
        bytes: &[u8],
        time_limit: Duration,
    ) -> Result<(), MailError> {
        let pair = self.0.pair_for(way.to)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let what = Post::Call {
            id,
            address: Address::of(way),
            tag: caller.tag(),
            time_ms: millis(time_limit),
        };
        pair.miss_of(way.to)?;
        let asked = (id, Asked::Call(caller));
        self.0.post_within(&pair, &what, bytes, &mut Some(asked))
    }

    pub(super) async fn ask_to_watch(&self, way: Way<'_>) -> Result<(), NotWatched> {
        let pair = self.0.pair_for(way.to).map_err(not_watched)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let what = Post::Watch {
            id,
            address: Address::of(way),
        };
        let asked = (id, Asked::Watch(sender));
        let posting = self.0.post_asking(&pair, || what.clone(), b"", asked);
        let posted = timeout(self.0.patience(), posting).await;
        let posted = posted.unwrap_or(Err(MailError::Unreachable));
        posted.map_err(not_watched)?;
        let answered = self.0.answered(pair, id, Duration::ZERO, answer).await;
        answered.unwrap_or(Err(NotWatched::Unreachable))
    }

    /// Tells the host of `way.to` something for which nobody waits.
    pub(super) fn tell(&self, way: Way<'_>, what: &Post<'_>) {
        // Without a connection, that host takes this one as lost.
        if let Some(pair) = self.0.known_pair(way.to.host()) {
            self.0.post(&pair, what);
        }
    }
}

impl Inner {
    /// How long an answer may take beyond the time that it is given: until the other host would be
    /// lost.
    fn patience(&self) -> Duration {
        self.settings.lost_after * 2
    }

    /// Waits for what is answered. Withdraws what was asked if nobody waits any more.
    async fn answered<T>(
        &self,
        pair: Arc<Pair>,
        id: u64,
        time: Duration,
        answer: oneshot::Receiver<T>,
    ) -> Option<T> {
        let _guard = Guard {
            inner: self,
            pair,
            id,
        };
        let answered = timeout(time + self.patience(), answer).await;
        answered.ok()?.ok()
    }

    /// The connection to the host of this process.
    fn pair_for(self: &Arc<Self>, pid: Pid) -> Result<Arc<Pair>, MailError> {
        const NOBODY: u32 = 0; // the number of a host that is alone
        let host = pid.host();
        if host == NOBODY || self.members.has_left(host) {
            return Err(MailError::NoProcess);
        }
        if !self.members.is_there(host) || !self.link.is_connected() {
            return Err(MailError::Unreachable);
        }
        self.pair(host).ok_or(MailError::Unreachable)
    }

    fn known_pair(&self, host: u32) -> Option<Arc<Pair>> {
        self.remote.pairs().get(&host).cloned()
    }

    /// The connection to this host, which may be a new one.
    fn pair(self: &Arc<Self>, host: u32) -> Option<Arc<Pair>> {
        let mut pairs = self.remote.pairs();
        if let Some(pair) = pairs.get(&host) {
            return Some(Arc::clone(pair));
        }
        if pairs.len() >= MAX_HOSTS || host == self.link.number() {
            return None;
        }
        let epoch = self.remote.next_epoch.load(Ordering::Relaxed);
        let pair = Arc::new(Pair::new(host, epoch));
        pairs.insert(host, Arc::clone(&pair));
        let writing = write(Arc::downgrade(self), Arc::clone(&pair));
        self.remote.runtime.spawn(writing);
        Some(pair)
    }

    /// Sends a piece, if it is within the window. `asked` is what waits for its answer, and is
    /// taken then.
    fn post_within(
        &self,
        pair: &Pair,
        what: &Post<'_>,
        body: &[u8],
        asked: &mut Option<(u64, Asked)>,
    ) -> Result<(), MailError> {
        let mut state = pair.state();
        match asked {
            Some(_) => state.fits_asking(body.len())?,
            None => state.fits(body.len())?,
        }
        state.asked.extend(asked.take());
        state.push(self.link.number(), what, body);
        drop(state);
        pair.ready.notify_one();
        Ok(())
    }

    /// Sends a piece for whose answer its process waits, as soon as it is within the window.
    async fn post_asking<'a>(
        &self,
        pair: &Pair,
        what: impl Fn() -> Post<'a>,
        body: &[u8],
        asked: (u64, Asked),
    ) -> Result<(), MailError> {
        let mut asked = Some(asked);
        loop {
            let mut room = pin!(pair.room.notified());
            room.as_mut().enable(); // before the look
            if !self.members.is_there(pair.host) {
                return Err(MailError::Unreachable);
            }
            match self.post_within(pair, &what(), body, &mut asked) {
                Err(MailError::Full) => room.await,
                posted => return posted,
            }
        }
    }

    /// Sends a piece without bytes for which nobody waits: the news of an end, or what takes back.
    /// The pieces before it bound how many there are.
    fn post(&self, pair: &Pair, what: &Post<'_>) {
        pair.state().push(self.link.number(), what, b"");
        pair.ready.notify_one();
    }

    /// Sends the reply to a call of this connection, as soon as it is within the window.
    pub(super) async fn reply(&self, pair: &Pair, epoch: u64, id: u64, body: &[u8]) {
        loop {
            let mut room = pin!(pair.room.notified());
            room.as_mut().enable(); // before the look
            let is_over = {
                let mut state = pair.state();
                let is_over = state.epoch != epoch;
                if !is_over && state.fits(body.len()).is_ok() {
                    state.serving.remove(&id);
                    state.push(self.link.number(), &Post::Reply { id }, body);
                    drop(state);
                    return pair.ready.notify_one();
                }
                is_over
            };
            if is_over {
                return;
            }
            room.await;
        }
    }

    /// Answers a piece of this connection.
    pub(super) fn answer(&self, pair: &Pair, epoch: u64, what: &Post<'_>) {
        let mut state = pair.state();
        if state.epoch == epoch {
            state.push(self.link.number(), what, b"");
            drop(state);
            pair.ready.notify_one();
        }
    }

    /// Sends what is not numbered. It is said again if it is lost.
    fn say(&self, pair: &Pair, epoch: u64, mail: Mail<'_>) {
        if !self.link.is_connected() {
            return;
        }
        let frame = Frame::Mail {
            host: self.link.number(),
            epoch,
            mail,
        };
        pair.state().out.queue.push_back(frame.encode(b""));
        pair.ready.notify_one();
    }

    /// Takes in what another host has sent.
    pub(super) fn mail_came(self: &Arc<Self>, host: u32, epoch: u64, mail: Mail<'_>, body: Bytes) {
        let Some(pair) = self.pair(host) else {
            return self.drop_frame();
        };
        let own = pair.state().epoch;
        if epoch > own.saturating_add(MOST_LOST) {
            return self.drop_frame();
        }
        if epoch < own {
            return self.say(&pair, own, Mail::Lost);
        }
        if epoch > own {
            let left = pair.state().begin(epoch);
            self.connection_lost(&pair, left);
        }
        match mail {
            Mail::Lost => {}
            Mail::Taken { number, missed } => {
                for (to, missed) in &missed {
                    let missed = format!("{missed:?}");
                    tracing::debug!(host, pid = to, missed, "message did not reach its process");
                }
                let taken = pair.state().out.taken(number, &missed);
                match taken {
                    true => pair.room.notify_waiters(),
                    false => self.drop_frame(),
                }
            }
            Mail::Sent { number } => {
                let heard = pair.state().heard;
                match number > heard {
                    true => self.break_off(&pair, epoch),
                    false => self.tell_taken(&pair),
                }
            }
            Mail::Numbered { number, what } => {
                let is_part = matches!(what, Post::Part);
                let received = pair.state().receive(number, is_part, body);
                match received {
                    Received::Whole(body) => self.act(&pair, epoch, what, body),
                    Received::Part => {}
                    Received::Again => return self.drop_frame(),
                    Received::Gap => return self.break_off(&pair, epoch),
                }
                let owes_much = pair.state().owes_much();
                match owes_much {
                    true => self.tell_taken(&pair),
                    false => self.remote.owes.store(true, Ordering::Relaxed),
                }
            }
        }
    }

    /// Tells the other side what has come. Who was missed is told once.
    fn tell_taken(&self, pair: &Pair) {
        if !self.link.is_connected() {
            return; // the other side asks again
        }
        let (epoch, mail) = {
            let mut state = pair.state();
            state.owed = (0, 0);
            let mail = Mail::Taken {
                number: state.heard,
                missed: take(&mut state.missed),
            };
            (state.epoch, mail)
        };
        self.say(pair, epoch, mail);
    }

    /// Tells all what has come from them.
    pub(super) fn tell_all_taken(&self) {
        self.remote.owes.store(false, Ordering::Relaxed);
        for pair in self.remote.known_pairs() {
            if pair.state().owed.0 > 0 {
                self.tell_taken(&pair);
            }
        }
    }

    /// Asks all what has come there, and looks what has been on its way for too long.
    pub(super) fn look_for_mail(&self) {
        for pair in self.remote.known_pairs() {
            let left_for = self.members.left_for(pair.host);
            let has_left = left_for.is_some_and(|time| time > self.settings.beat());
            let given_up = pair.state().given_up();
            for id in given_up {
                self.post(&pair, &Post::Withdraw { id });
            }
            let (epoch, number, is_late, is_used) = {
                let state = pair.state();
                let is_late = state.out.is_late(self.settings.lost_after);
                (state.epoch, state.out.sent, is_late, state.is_used())
            };
            if is_late || has_left && is_used {
                self.break_off(&pair, epoch);
            } else if is_used {
                self.say(&pair, epoch, Mail::Sent { number });
            }
        }
        // Frames of hosts that nobody has heard of, and of those that are forgotten.
        for pair in self.remote.known_pairs() {
            if pair.is_old() && !self.members.is_known(pair.host) {
                let epoch = pair.state().epoch;
                self.break_off(&pair, epoch);
                let next = epoch.saturating_add(2);
                self.remote.next_epoch.fetch_max(next, Ordering::Relaxed);
                self.remote.pairs().remove(&pair.host);
                pair.ready.notify_one(); // its writer ends
            }
        }
    }

    /// Ends the connections that could not send.
    pub(super) fn look_for_broken(&self) {
        for pair in self.remote.known_pairs() {
            let (epoch, is_broken) = {
                let state = pair.state();
                (state.epoch, state.is_broken)
            };
            if is_broken {
                self.break_off(&pair, epoch);
            }
        }
    }

    /// The host is lost, and so is the connection to it.
    pub(super) fn lose_mail(&self, host: u32) {
        if let Some(pair) = self.known_pair(host) {
            let (epoch, is_used) = {
                let state = pair.state();
                (state.epoch, state.is_used())
            };
            if is_used {
                self.break_off(&pair, epoch);
            }
        }
    }

    /// Ends this connection, and tells the other side.
    fn break_off(&self, pair: &Pair, epoch: u64) {
        let left = {
            let mut state = pair.state();
            if state.epoch != epoch {
                return; // it is over
            }
            state.begin(epoch.saturating_add(1))
        };
        self.connection_lost(pair, left);
        self.say(pair, epoch.saturating_add(1), Mail::Lost);
    }

    fn connection_lost(&self, pair: &Pair, left: Left) {
        pair.room.notify_waiters();
        if !left.was_used {
            return;
        }
        tracing::debug!(host = pair.host, "messages to and from a host were lost");
        self.counters.lost_mail.fetch_add(1, Ordering::Relaxed);
        // Who has asked to monitor hears that the host is lost, and not that it can't be monitored.
        for table in self.remote.all_tables() {
            table.lost_host(pair.host);
        }
        for (_, asked) in left.asked {
            asked.lost();
        }
        for (_, serving) in left.serving {
            serving.abort();
        }
    }
}

/// Hands the frames for one host to the connection to NATS, one after the other.
async fn write(inner: Weak<Inner>, pair: Arc<Pair>) {
    loop {
        pair.ready.notified().await;
        loop {
            let next = {
                let mut state = pair.state();
                let frame = state.out.queue.pop_front();
                pair.is_writing.store(frame.is_some(), Ordering::Relaxed);
                frame.map(|frame| (frame, state.epoch))
            };
            let Some((frame, epoch)) = next else {
                break;
            };
            let Some(inner) = inner.upgrade() else {
                return;
            };
            if !inner.link.send(pair.host, frame).await {
                let mut state = pair.state();
                let is_same = state.epoch == epoch; // what is over is not broken again
                state.is_broken |= is_same && state.is_used();
                drop(state);
                inner.remote.broken.notify_one();
            }
        }
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let current = inner.known_pair(pair.host);
        if !current.is_some_and(|current| Arc::ptr_eq(&current, &pair)) {
            return; // the host is forgotten
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.pair.answered(self.id).is_some() {
            let withdraw = Post::Withdraw { id: self.id };
            self.inner.post(&self.pair, &withdraw);
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
