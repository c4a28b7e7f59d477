//! *Mail* goes between processes of two hosts: messages, calls and their replies, and the news of
//! ends. All that one host has for another is numbered and goes in order, so each piece comes at
//! most once, and one that is missing is missed.
//!
//! Two hosts have a *connection*, which begins with the first piece and is over when anything is
//! lost: a piece, an answer, or a host. Then nobody knows what was lost, so all who wait are told,
//! and all who monitor. The next piece begins the next connection. Its number, the *epoch*, is in
//! each frame, so that nothing of an earlier one counts.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::frames::{Address, Done, Frame, Mail, Missed, Post};
use super::members::MAX_HOSTS;
use super::{Cluster, Inner};
use crate::call::{Caller, Calls, NoReply};
use crate::exit::Exit;
use crate::mailbox::{MailError, Mailbox};
use crate::message::{Content, Message};
use crate::peers::{Letter, NotWatched, Way};
use crate::pid::Pid;
use crate::table::{ProcessError, Table};

/// The most pieces that are on their way to one host. What answers a piece of that host is beyond
/// this bound, and within the other host's.
const WINDOW: usize = 4096;

/// The most bytes of pieces that are on their way to one host. So one message has at most as many.
const WINDOW_BYTES: usize = 4 << 20;

/// What the other side may have sent before it is told what has come: a part of the window, so that
/// it can go on meanwhile.
const BATCH: usize = WINDOW / 4;
const BATCH_BYTES: usize = WINDOW_BYTES / 4;

/// A smaller batch is told after so long.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(20);

/// The most bytes of a body in one frame. NATS takes more, with the head.
const PIECE_BYTES: usize = 128 << 10;

/// How long a full mailbox of another host counts as full.
const FULL_FOR: Duration = Duration::from_millis(100);

/// The processes that are known to have ended, or to have a full mailbox, of one host. Beyond this,
/// the oldest is forgotten, and the next message to it tells it again.
const KNOWN_MISSES: usize = 4096;

/// The connections of this host.
pub(super) struct Remote {
    pairs: Mutex<HashMap<u32, Arc<Pair>>>,
    /// The programs of this host.
    tables: Mutex<HashMap<String, Vec<Weak<Table>>>>,
    runtime: Handle,
    /// Whether any other host is to be told what has come.
    owes: AtomicBool,
    /// Notified when a connection is broken.
    broken: Notify,
}

/// The connection to one host.
struct Pair {
    host: u32,
    state: Mutex<State>,
    /// Notified when a frame is to be sent.
    ready: Notify,
}

#[derive(Default)]
struct State {
    epoch: u64,
    /// Whether a frame could not be sent.
    is_broken: bool,
    out: Out,
    /// The last number that has come.
    heard: u64,
    /// The body of the next message, as far as it has come.
    partial: Vec<u8>,
    /// What has come since the other side was told: pieces and bytes.
    owed: (usize, usize),
    /// Messages that have come and did not reach their receivers.
    missed: Vec<(u64, Missed)>,
    /// What this host does for processes of the other one, by the number that is to be answered.
    serving: HashMap<u64, AbortHandle>,
    /// What processes of this host wait for.
    asked: HashMap<u64, Asked>,
}

/// The sending half.
#[derive(Default)]
struct Out {
    /// The last number.
    sent: u64,
    /// Frames that the connection to NATS has not taken yet.
    queue: VecDeque<Bytes>,
    /// The bytes of each piece that the other side has not told of, and when it was sent.
    on_way: VecDeque<(usize, Instant)>,
    bytes: usize,
    /// Receivers that earlier messages did not reach, and since when.
    misses: HashMap<Pid, (Missed, Instant)>,
    /// The same, the oldest first.
    order: VecDeque<Pid>,
}

/// What a process of this host waits for.
enum Asked {
    Wait(oneshot::Sender<Result<(), MailError>>),
    Watch(oneshot::Sender<Result<(), NotWatched>>),
    Call(Caller),
}

/// What a connection leaves when it is over.
struct Left {
    asked: HashMap<u64, Asked>,
    serving: HashMap<u64, AbortHandle>,
}

/// Withdraws what a process has asked for, once it waits no more.
struct Guard<'a> {
    inner: &'a Inner,
    pair: Arc<Pair>,
    id: u64,
}

/// The calling side of a process of another host. Dropped, it waits no more.
struct OnBehalf(Calls);

impl Remote {
    pub(super) fn new() -> Self {
        Self {
            pairs: Mutex::default(),
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

    /// Whether another host is to be told what has come.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    pub(super) fn attach(&self, program: &str, table: Weak<Table>) {
        let mut tables = self.tables();
        let of_name = tables.entry(program.to_owned()).or_default();
        // One that goes still has processes when the next one of its name comes.
        of_name.retain(|table| table.strong_count() > 0);
        of_name.push(table);
    }

    /// The programs of this host, and their root processes.
    pub(super) fn roots(&self) -> Vec<(String, Pid)> {
        let tables = self.all_tables();
        let roots = tables
            .iter()
            .filter_map(|table| Some((table.program().to_owned(), table.root()?)));
        roots.collect()
    }

    /// The latest program with this name.
    fn table(&self, program: &str) -> Option<Arc<Table>> {
        let tables = self.tables();
        let of_name = tables.get(program)?;
        of_name.iter().rev().find_map(Weak::upgrade)
    }

    fn all_tables(&self) -> Vec<Arc<Table>> {
        let tables = self.tables();
        let tables = tables.values().flatten();
        tables.filter_map(Weak::upgrade).collect()
    }

    fn mailbox(&self, way: Way<'_>) -> Result<(Arc<Table>, Arc<Mailbox>), MailError> {
        let table = self.table(way.program).ok_or(MailError::NoProcess)?;
        let mailbox = table.mailbox(way.to)?;
        Ok((table, mailbox))
    }

    fn known_pairs(&self) -> Vec<Arc<Pair>> {
        self.pairs().values().cloned().collect()
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<String, Vec<Weak<Table>>>> {
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
        self.0.post_within(&pair, &what, &letter.bytes, || None)
    }

    pub(super) async fn send_and_wait(
        &self,
        way: Way<'_>,
        letter: Letter,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        let pair = self.0.pair_for(way.to)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let what = Post::Wait {
            id,
            address: Address::of(way),
            tag: letter.tag,
            time_ms: millis(time_limit),
        };
        let asked = || Some((id, Asked::Wait(sender)));
        self.0.post_within(&pair, &what, &letter.bytes, asked)?;
        let _guard = Guard {
            inner: &self.0,
            pair,
            id,
        };
        let answered = timeout(time_limit + self.0.patience(), answer).await;
        let answered = answered.ok().and_then(Result::ok);
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
        let asked = || Some((id, Asked::Call(caller)));
        self.0.post_within(&pair, &what, bytes, asked)
    }

    pub(super) async fn ask_to_watch(&self, way: Way<'_>) -> Result<(), NotWatched> {
        let pair = self.0.pair_for(way.to).map_err(not_watched)?;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let what = Post::Watch {
            id,
            address: Address::of(way),
        };
        let asked = || Some((id, Asked::Watch(sender)));
        let posted = self.0.post_within(&pair, &what, b"", asked);
        posted.map_err(not_watched)?;
        let _guard = Guard {
            inner: &self.0,
            pair,
            id,
        };
        let answered = timeout(self.0.patience(), answer).await;
        let answered = answered.ok().and_then(Result::ok);
        answered.unwrap_or(Err(NotWatched::Unreachable))
    }

    /// Tells the host of `way.to` something for which nobody waits.
    pub(super) fn tell(&self, way: Way<'_>, what: &Post<'_>) {
        // Without a connection, that host takes this one as lost.
        if let Some(pair) = self.0.known_pair(way.to.host()) {
            self.0.post(&pair, what, b"");
        }
    }

    /// Waits until all that processes have sent is on its way.
    pub(super) async fn mail_sent(&self) {
        const PAUSE: Duration = Duration::from_millis(5);
        let is_sent = || {
            let pairs = self.0.remote.known_pairs();
            pairs.iter().all(|pair| pair.state().out.queue.is_empty())
        };
        while !is_sent() && self.0.link.is_connected() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Inner {
    /// How long an answer may take beyond the time that it is given: until the other host would be
    /// lost.
    fn patience(&self) -> Duration {
        self.settings.lost_after * 2
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
        let pair = Arc::new(Pair {
            host,
            state: Mutex::default(),
            ready: Notify::new(),
        });
        pairs.insert(host, Arc::clone(&pair));
        let writing = write(Arc::downgrade(self), Arc::clone(&pair));
        self.remote.runtime.spawn(writing);
        Some(pair)
    }

    /// Sends a piece, if it is within the window. `asked` is what waits for its answer.
    fn post_within(
        &self,
        pair: &Pair,
        what: &Post<'_>,
        body: &[u8],
        asked: impl FnOnce() -> Option<(u64, Asked)>,
    ) -> Result<(), MailError> {
        if body.len() > WINDOW_BYTES {
            return Err(MailError::TooLarge);
        }
        let mut state = pair.state();
        let Out { on_way, bytes, .. } = &state.out;
        let pieces = 1 + body.len() / PIECE_BYTES;
        if on_way.len() + pieces > WINDOW || bytes + body.len() > WINDOW_BYTES {
            return Err(MailError::Full);
        }
        state.asked.extend(asked());
        state.push(self.link.number(), what, body);
        drop(state);
        pair.ready.notify_one();
        Ok(())
    }

    /// Sends a piece that answers another one, or the news of an end.
    fn post(&self, pair: &Pair, what: &Post<'_>, body: &[u8]) {
        pair.state().push(self.link.number(), what, body);
        pair.ready.notify_one();
    }

    /// Answers a piece of this connection.
    fn answer(&self, pair: &Pair, epoch: u64, what: &Post<'_>, body: &[u8]) {
        let mut state = pair.state();
        if state.epoch == epoch {
            state.push(self.link.number(), what, body);
            drop(state);
            pair.ready.notify_one();
        }
    }

    /// Sends what is not numbered. All of it is said again if it is lost.
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
                if !pair.state().out.taken(number, &missed) {
                    self.drop_frame();
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
                let body = {
                    let mut state = pair.state();
                    if number <= state.heard {
                        return self.drop_frame(); // it comes again
                    }
                    let is_next = number == state.heard + 1;
                    let length = state.partial.len() + body.len();
                    if !is_next || length > WINDOW_BYTES {
                        drop(state);
                        return self.break_off(&pair, epoch);
                    }
                    state.heard = number;
                    state.owed.0 += 1;
                    state.owed.1 += body.len();
                    if let Post::Piece = what {
                        state.partial.extend_from_slice(&body);
                        None
                    } else if state.partial.is_empty() {
                        Some(body)
                    } else {
                        let mut whole = take(&mut state.partial);
                        whole.extend_from_slice(&body);
                        Some(whole.into())
                    }
                };
                if let Some(body) = body {
                    self.act(&pair, epoch, what, body);
                }
                let (pieces, bytes) = pair.state().owed;
                match pieces >= BATCH || bytes >= BATCH_BYTES {
                    true => self.tell_taken(&pair),
                    false => self.remote.owes.store(true, Ordering::Relaxed),
                }
            }
        }
    }

    fn act(self: &Arc<Self>, pair: &Arc<Pair>, epoch: u64, what: Post<'_>, body: Bytes) {
        let answer = |id, done| self.answer(pair, epoch, &Post::Done { id, done }, b"");
        match what {
            Post::Piece => {}
            Post::Data { address, tag } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let content = Content::Data {
                    tag,
                    bytes: body.into(),
                };
                if let Err(error) = self.deliver(way, content) {
                    let missed = match error {
                        MailError::Full => Missed::Full,
                        MailError::NoProcess
                        | MailError::NotYours
                        | MailError::TooLarge
                        | MailError::TimedOut
                        | MailError::Unreachable => Missed::NoProcess,
                    };
                    pair.state().missed.push((way.to.get(), missed));
                }
            }
            Post::Wait {
                id,
                address,
                tag,
                time_ms,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let message = Message {
                    sender: way.from,
                    content: Content::Data {
                        tag,
                        bytes: body.into(),
                    },
                };
                let posted = self.remote.mailbox(way);
                let posted = posted.and_then(|(_, mailbox)| mailbox.post(message));
                let posted = match posted {
                    Ok((wake, posted)) => {
                        wake.wake();
                        posted
                    }
                    Err(error) => return answer(id, Done::of(Err(error))),
                };
                self.serve(pair, epoch, id, async move {
                    let taken = posted.taken(Duration::from_millis(time_ms.into())).await;
                    (
                        Post::Done {
                            id,
                            done: Done::of(taken),
                        },
                        Vec::new(),
                    )
                });
            }
            Post::Call {
                id,
                address,
                tag,
                time_ms,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let mut calls = OnBehalf(Calls::on_behalf(tag));
                let content = Content::Call {
                    caller: calls.0.begin(),
                    bytes: body.into(),
                };
                if let Err(error) = self.deliver(way, content) {
                    return answer(id, Done::of(Err(error)));
                }
                let deadline = Instant::now() + Duration::from_millis(time_ms.into());
                self.serve(pair, epoch, id, async move {
                    let reply = poll_fn(|cx| calls.0.poll(cx, deadline)).await;
                    match reply {
                        Ok(bytes) => (Post::Reply { id }, bytes),
                        Err(why) => (
                            Post::Done {
                                id,
                                done: why.into(),
                            },
                            Vec::new(),
                        ),
                    }
                });
            }
            Post::Withdraw { id } => {
                let serving = pair.state().serving.remove(&id);
                if let Some(serving) = serving {
                    serving.abort();
                }
            }
            Post::Watch { id, address } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let table = self.remote.table(way.program);
                let table = table.ok_or(ProcessError::NoProcess);
                let watched = table.and_then(|table| table.watched_from_afar(way.from, way.to));
                let watched = watched.map_err(|_| MailError::NoProcess);
                answer(id, Done::of(watched));
            }
            Post::Forget { address } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                if let Some(table) = self.remote.table(way.program) {
                    table.forgotten_from_afar(way.from, way.to);
                }
            }
            Post::Ended {
                address,
                exit,
                code,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let exit = match Exit::ALL.get(usize::from(exit)) {
                    Some(Exit::Code(_)) => Exit::Code(code),
                    Some(exit) => *exit,
                    None => Exit::Killed,
                };
                if let Some(table) = self.remote.table(way.program) {
                    table.ended_afar(way.from, way.to, exit);
                }
            }
            Post::Done { id, done } => {
                let asked = pair.state().asked.remove(&id);
                if let Some(asked) = asked {
                    asked.done(done);
                }
            }
            Post::Reply { id } => {
                let asked = pair.state().asked.remove(&id);
                if let Some(Asked::Call(caller)) = asked {
                    let _was_waiting = caller.reply(body.into());
                }
            }
        }
    }

    fn deliver(&self, way: Way<'_>, content: Content) -> Result<(), MailError> {
        let (_table, mailbox) = self.remote.mailbox(way)?;
        let message = Message {
            sender: way.from,
            content,
        };
        mailbox.send(message)?.wake();
        Ok(())
    }

    /// Does something for a process of another host, and answers when it is done.
    fn serve(
        self: &Arc<Self>,
        pair: &Arc<Pair>,
        epoch: u64,
        id: u64,
        work: impl Future<Output = (Post<'static>, Vec<u8>)> + Send + 'static,
    ) {
        let (inner, serving) = (Arc::clone(self), Arc::clone(pair));
        // Entered under the lock, so that the task finds itself there.
        let mut state = pair.state();
        let task = self.remote.runtime.spawn(async move {
            let (answer, body) = work.await;
            serving.state().serving.remove(&id);
            inner.answer(&serving, epoch, &answer, &body);
        });
        state.serving.insert(id, task.abort_handle());
    }

    /// Tells the other side what has come.
    fn tell_taken(&self, pair: &Pair) {
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
        let mut pairs = self.remote.pairs();
        pairs.retain(|host, pair| {
            let is_kept = self.members.is_known(*host) || pair.state().is_used();
            if !is_kept {
                pair.ready.notify_one(); // its writer ends
            }
            is_kept
        });
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
            state.begin(epoch + 1)
        };
        self.connection_lost(pair, left);
        self.say(pair, epoch + 1, Mail::Lost);
    }

    fn connection_lost(&self, pair: &Pair, left: Left) {
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
            let next = pair.state().out.queue.pop_front();
            let Some(frame) = next else {
                break;
            };
            let Some(inner) = inner.upgrade() else {
                return;
            };
            if !inner.link.send(pair.host, frame).await {
                let mut state = pair.state();
                state.is_broken = state.is_used();
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

impl Pair {
    /// # Errors
    /// What is known of the receiver.
    fn miss_of(&self, to: Pid) -> Result<(), MailError> {
        let mut state = self.state();
        match state.out.misses.get(&to) {
            None => Ok(()),
            Some((Missed::NoProcess, _)) => Err(MailError::NoProcess),
            Some((Missed::Full, since)) if since.elapsed() < FULL_FOR => Err(MailError::Full),
            Some((Missed::Full, _)) => {
                state.out.misses.remove(&to);
                Ok(())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anything can be lost.
    fn is_used(&self) -> bool {
        self.out.sent > 0 || self.heard > 0
    }

    /// Begins the next connection.
    fn begin(&mut self, epoch: u64) -> Left {
        let ended = take(self);
        self.epoch = epoch;
        Left {
            asked: ended.asked,
            serving: ended.serving,
        }
    }

    /// Appends a message, in as many pieces as it needs.
    fn push(&mut self, host: u32, what: &Post<'_>, body: &[u8]) {
        let mut pieces = body.chunks(PIECE_BYTES).peekable();
        let epoch = self.epoch;
        loop {
            let piece = pieces.next().unwrap_or_default();
            let is_last = pieces.peek().is_none();
            self.out.sent += 1;
            let frame = Frame::Mail {
                host,
                epoch,
                mail: Mail::Numbered {
                    number: self.out.sent,
                    what: if is_last { what.clone() } else { Post::Piece },
                },
            };
            self.out.queue.push_back(frame.encode(piece));
            self.out.on_way.push_back((piece.len(), Instant::now()));
            self.out.bytes += piece.len();
            if is_last {
                return;
            }
        }
    }
}

impl Out {
    /// Whether a piece has been on its way for longer than this.
    fn is_late(&self, time: Duration) -> bool {
        let oldest = self.on_way.front();
        oldest.is_some_and(|(_, since)| since.elapsed() > time)
    }

    /// The other side has got so many pieces, and has missed these receivers. Returns whether so
    /// many were sent.
    fn taken(&mut self, number: u64, missed: &[(u64, Missed)]) -> bool {
        let before = self.sent - self.on_way.len() as u64;
        if number > self.sent {
            return false;
        }
        for _ in before..number {
            let taken = self.on_way.pop_front();
            self.bytes -= taken.map_or(0, |(bytes, _)| bytes);
        }
        let now = Instant::now();
        for (to, missed) in missed {
            let Some(to) = Pid::new(*to) else {
                continue;
            };
            if self.misses.insert(to, (*missed, now)).is_none() {
                self.order.push_back(to);
            }
            if self.order.len() > KNOWN_MISSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.misses.remove(&oldest);
            }
        }
        true
    }
}

impl Asked {
    fn done(self, done: Done) {
        match self {
            Self::Wait(sender) => {
                let _gone = sender.send(done.into());
            }
            Self::Watch(sender) => {
                let done: Result<(), MailError> = done.into();
                let _gone = sender.send(done.map_err(not_watched));
            }
            Self::Call(caller) => match done {
                Done::Full => caller.fail(NoReply::Full),
                Done::TimedOut => caller.fail(NoReply::TimedOut),
                Done::Unreachable => caller.fail(NoReply::Unreachable),
                Done::Taken | Done::NoProcess | Done::NotYours => caller.fail(NoReply::Ended),
            },
        }
    }

    fn lost(self) {
        self.done(Done::Unreachable);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let was_open = self.pair.state().asked.remove(&self.id).is_some();
        if was_open {
            let withdraw = Post::Withdraw { id: self.id };
            self.inner.post(&self.pair, &withdraw, b"");
        }
    }
}

impl Drop for OnBehalf {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

fn not_watched(error: MailError) -> NotWatched {
    match error {
        MailError::NoProcess | MailError::NotYours => NotWatched::NoProcess,
        MailError::Full | MailError::TooLarge | MailError::TimedOut | MailError::Unreachable => {
            NotWatched::Unreachable
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
