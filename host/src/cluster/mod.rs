//! A *cluster* is hosts that answer each other's requests, over NATS. A host that is full asks
//! another one, which accepts or refuses at once. So a request waits where its client is, and is
//! done where there is room.
//!
//! One request is an *exchange* of two hosts: its *front* has the client, its *worker* the process
//! ([`front`], [`worker`]). Its bodies are a [`flow`]. Who is there is known by beats
//! ([`members`]). What they say is in [`frames`], and the [`link`] brings it.
//!
//! A module that is pushed to all of them is a [`rollout`]. What it needs is kept in the [`store`].
//! Processes of programs send each other messages over hosts ([`remote`]), and have names that hold
//! on all of them ([`names`]). The floors of processes know this as [`Peers`]. Jobs that outlive
//! all of them are in a [`queue`].
//!
//! A message may be lost or late, and nobody is told. So each side asks: a front *probes* what is
//! older than a second, and a worker refuses what was on its way for too long.

mod deliver;
mod flow;
mod frames;
mod front;
mod leases;
mod link;
mod members;
mod names;
mod pair;
mod queue;
mod remote;
mod rollout;
mod settings;
mod store;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustix::time::ClockId;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use flow::Windows;
use frames::{Address, Beat, Follows, Frame, MAX_PROGRAM, MAX_ROOTS, Post};
pub(crate) use frames::{Failure, Load, Refusal};
pub(crate) use front::{Asked, Told};
use front::{Exchanges, PROBED_AFTER};
use link::{Connection, Ears, Heard, Link};
use members::{Change, Members};
use names::Names;
use queue::Jobs;
use remote::{BATCH_TIME, Remote};
pub use rollout::{Following, Push, PushEnd, PushEvent, Turn};
pub use settings::{ClusterError, ClusterSettings, Line, Role};
use worker::Serving;
pub(crate) use worker::{Local, Responder, Room};

use crate::call::Caller;
use crate::exit::Exit;
use crate::mailbox::MailError;
use crate::peers::{
    Asking, Letter, Lost, NotClaimed, NotWatched, PeerInfo, Peers, Unreachable, Way,
};
use crate::pid::Pid;
use crate::queues::{Job, Queue, QueueError, Queues};
use crate::table::Table;

/// After a host has said that it takes no more requests, others may have sent it some for so long.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often a host that leaves looks whether all is said.
const GLANCE: Duration = Duration::from_millis(5);

/// A host's part in a cluster. Clones are handles of the same part.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    settings: ClusterSettings,
    link: Link,
    members: Arc<Members>,
    exchanges: Exchanges,
    serving: Serving,
    windows: Windows,
    remote: Remote,
    names: Names,
    jobs: Jobs,
    /// What this host does for others, once it can.
    local: OnceLock<Weak<dyn Local>>,
    /// Places in the line of a front.
    line: Semaphore,
    /// Held by the first in that line.
    turn: tokio::sync::Mutex<()>,
    counters: Counters,
    next_id: AtomicU64,
    /// When this host joined, by [`clock_ms`].
    joined: u64,
    /// Beats that this host has sent.
    beats: AtomicU64,
    /// The first URL at which clients reach this host.
    address: OnceLock<String>,
    /// The pools that serve what is pushed.
    follows: Mutex<BTreeMap<String, Follows>>,
    is_draining: AtomicBool,
    is_leaving: AtomicBool,
    /// Whether the next beat is the last one.
    has_left: AtomicBool,
    /// Notified when this host has heard what it has said last.
    farewell: Notify,
    /// Notified when the host has left.
    leaving: Notify,
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    retried: AtomicU64,
    served: AtomicU64,
    dropped_frames: AtomicU64,
    lost_mail: AtomicU64,
    waiting: AtomicU64,
}

/// What a host has had to do with others since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterCounts {
    /// Requests that others were asked, each try counted.
    pub asked: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Requests that were lost and asked elsewhere.
    pub retried: u64,
    /// Requests of others that this host has accepted.
    pub served: u64,
    /// Frames that could not be read, and messages that came faster than they were read.
    pub dropped_frames: u64,
    /// How often messages between processes of this host and of another one were lost.
    pub lost_mail: u64,
    /// Jobs that guests of this host have put into queues.
    pub jobs_put: u64,
    /// Jobs that guests have taken.
    pub jobs_taken: u64,
    /// Those of them that are done.
    pub jobs_done: u64,
    /// Those of them that came back from here.
    pub jobs_given_back: u64,
    /// Jobs that this host has moved to the dead letters.
    pub jobs_dead: u64,
    /// Requests that wait for another host at present.
    pub waiting: u64,
    /// Whether this host is connected, and hears its own beats.
    pub is_connected: bool,
}

/// A host of a cluster, as another one knows it.
#[derive(Clone, Debug)]
pub struct HostInfo {
    /// The number, which no other host of the cluster has or had.
    pub number: u32,
    /// The name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The version of its program.
    pub version: String,
    /// The most processes that its pools may have.
    pub seats: u32,
    /// Requests that processes have.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Whether it takes no new requests.
    pub is_draining: bool,
    /// The digest of its module, in 12 hexadecimal digits, if it has one of its own.
    pub module: String,
    /// The first URL at which clients reach it, if any.
    pub address: String,
    /// The pools that serve what is pushed, and the first digits of the digests of what they serve.
    /// No digits if the trial of a module was cut short.
    pub follows: BTreeMap<String, String>,
    /// How long ago it was heard.
    pub heard: Duration,
    /// Whether this is the host that was asked.
    pub is_this: bool,
}

impl Cluster {
    /// Joins: takes a number, and hears what others say. They hear of this host once it serves.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn join(settings: ClusterSettings) -> Result<Self, ClusterError> {
        settings.check()?;
        let connection = Connection::open(&settings).await?;
        let number = connection.number().await?;
        let (link, ears) = connection.into_link(number).await?;
        let inner = Arc::new(Inner {
            members: Arc::new(Members::new(number, settings.lost_after)),
            exchanges: Exchanges::default(),
            serving: Serving::default(),
            windows: Windows::new(),
            remote: Remote::new(),
            names: Names::new(),
            jobs: Jobs::new(link.clone(), settings.lost_after),
            local: OnceLock::new(),
            line: Semaphore::new(settings.line.queue.min(Semaphore::MAX_PERMITS)),
            turn: tokio::sync::Mutex::new(()),
            counters: Counters::default(),
            next_id: AtomicU64::new(1),
            joined: clock_ms(),
            beats: AtomicU64::new(0),
            address: OnceLock::new(),
            follows: Mutex::default(),
            is_draining: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            farewell: Notify::new(),
            leaving: Notify::new(),
            settings,
            link,
        });
        let ClusterSettings { cluster, role, .. } = &inner.settings;
        tracing::info!(
            cluster,
            host = number,
            role = role.name(),
            "joined the cluster"
        );
        tokio::spawn(run(Arc::clone(&inner), ears));
        Ok(Self(inner))
    }

    /// Asks who is in the cluster, without joining it.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn ask_hosts(settings: &ClusterSettings) -> Result<Vec<HostInfo>, ClusterError> {
        settings.check()?;
        let connection = Connection::open(settings).await?;
        let beats = connection.who().await?;
        let beats = beats.iter().filter_map(|beat| Beat::decode(beat));
        let mut hosts: Vec<_> = beats.map(|beat| HostInfo::of(&beat, beat.load)).collect();
        hosts.sort_by_key(|host| host.number);
        Ok(hosts)
    }

    /// The number of this host.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.link.number()
    }

    /// The settings of this host.
    #[must_use]
    pub fn settings(&self) -> &ClusterSettings {
        &self.0.settings
    }

    /// The hosts that are there: this one first, then by number.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostInfo> {
        self.0.members.list()
    }

    /// What this host has had to do with others.
    #[must_use]
    pub fn counts(&self) -> ClusterCounts {
        let Counters {
            asked,
            refused,
            lost,
            retried,
            served,
            dropped_frames,
            lost_mail,
            waiting,
        } = &self.0.counters;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let jobs = self.0.jobs.counters();
        ClusterCounts {
            asked: of(asked),
            refused: of(refused),
            lost: of(lost),
            retried: of(retried),
            served: of(served),
            dropped_frames: of(dropped_frames) + self.0.link.dropped(),
            lost_mail: of(lost_mail),
            jobs_put: of(&jobs.put),
            jobs_taken: of(&jobs.taken),
            jobs_done: of(&jobs.done),
            jobs_given_back: of(&jobs.given_back),
            jobs_dead: of(&jobs.dead),
            waiting: of(waiting),
            is_connected: self.0.link.is_connected() && self.0.members.hears_itself(),
        }
    }

    /// Tells others, for people, at which URL clients reach this host.
    pub fn announce(&self, address: String) {
        if self.0.address.set(address).is_ok() {
            self.0.beat_if_there();
        }
    }

    /// Announces this host, which answers requests of others from now on if it has pools.
    pub(crate) fn serve(&self, local: Weak<dyn Local>) {
        if self.0.local.set(local).is_ok() {
            self.0.beat();
            self.0.link.ask_who();
        }
    }

    /// Has others send no more requests. Returns when this host has none of theirs left, and late
    /// ones were refused.
    pub(crate) async fn drain(&self) {
        let farewell = Instant::now() + FAREWELL;
        self.0.is_draining.store(true, Ordering::SeqCst);
        self.0.beat_surely().await;
        self.0.served_all().await;
        let is_alone = self.hosts().len() < 2;
        if !is_alone {
            sleep_until(farewell).await;
            self.0.served_all().await;
        }
    }

    /// Leaves the cluster.
    pub(crate) async fn leave(&self) {
        self.0.is_draining.store(true, Ordering::SeqCst);
        if self.0.is_leaving.swap(true, Ordering::SeqCst) {
            return;
        }
        // What processes have sent until their ends, and the names and the jobs that they had.
        let is_said = || {
            let Inner {
                remote,
                names,
                jobs,
                ..
            } = &*self.0;
            remote.is_sent() && names.are_given_back() && jobs.are_given_back()
        };
        let last = async {
            while !is_said() && self.0.link.is_connected() {
                sleep(GLANCE).await;
            }
        };
        let _cut_off = timeout(FAREWELL, last).await;
        self.0.has_left.store(true, Ordering::SeqCst);
        self.0.beat_surely().await;
        // What others have sent before comes before this, and is refused.
        if self.0.link.hello().await {
            let _silent = timeout(FAREWELL, self.0.farewell.notified()).await;
        }
        self.0.link.flush().await;
        self.0.jobs.close();
        self.0.leaving.notify_one();
    }
}

/// Hears, and does what is due, until the host has left.
async fn run(inner: Arc<Inner>, mut ears: Ears) {
    let every = |period| {
        let mut interval = interval(period);
        // What is late is done once.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    };
    let mut beat = every(inner.settings.beat());
    let mut probe = every(PROBED_AFTER);
    let mut batch = every(BATCH_TIME);
    let mut was_connected = true;
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = inner.leaving.notified() => return,
            _ = beat.tick() => if inner.local.get().is_some() {
                inner.beat();
                // Whoever was frozen has not heard yet what lies in its sockets.
                let was_frozen = looked.elapsed() > 2 * inner.settings.beat();
                looked = Instant::now();
                if !was_frozen {
                    inner.look(&mut was_connected);
                    inner.look_for_mail();
                }
            },
            () = inner.remote.broken() => inner.look_for_broken(),
            _ = batch.tick(), if inner.remote.owes() => inner.tell_all_taken(),
            _ = probe.tick() => {
                inner.probe();
                inner.forget_unwanted();
            }
            heard = ears.hear() => match heard {
                Some(heard) => inner.hear(heard),
                None => return, // the link is closed
            }
        }
    }
}

impl Inner {
    fn hear(self: &Arc<Self>, heard: Heard) {
        match heard {
            Heard::Frame(payload) => self.read(&payload),
            Heard::Beat(payload) => match Beat::decode(&payload) {
                Some(beat) => self.beat_came(beat),
                None => self.drop_frame(),
            },
            // Nobody counts on a host that has yet to start.
            Heard::Who(_) if self.local.get().is_none() => {}
            Heard::Who(whom) => self.link.tell(whom, self.own_beat().encode()),
            Heard::Hello => self.farewell.notify_one(),
            Heard::Gone { host, id } => self.nobody_hears(host, id),
        }
    }

    fn read(self: &Arc<Self>, payload: &Bytes) {
        let Some((frame, body)) = Frame::decode(payload) else {
            return self.drop_frame();
        };
        match frame {
            Frame::ToWorker { front, id, what } => self.told_by_front(front, id, what, body),
            Frame::ToFront { worker, id, what } => self.told_by_worker(worker, id, what, body),
            Frame::Probe { front, exchanges } => self.probed(front, &exchanges),
            Frame::Known {
                worker,
                asked,
                exchanges,
            } => self.known(worker, &asked, &exchanges),
            Frame::Mail { host, epoch, mail } => self.mail_came(host, epoch, mail, body),
        }
    }

    fn drop_frame(&self) {
        self.counters.dropped_frames.fetch_add(1, Ordering::Relaxed);
    }

    fn beat_came(&self, beat: Beat) {
        let (number, name) = (beat.number, beat.name.clone());
        match self.members.heard(beat) {
            Change::None => {}
            Change::Came | Change::Left if number == self.link.number() => {}
            Change::Came => tracing::info!(host = number, name, "host is there"),
            Change::Left => {
                tracing::info!(host = number, name, "host has left");
                self.lose(number);
                self.lose_front(number);
            }
        }
    }

    /// The host is not there any more.
    fn gone(&self, host: u32) {
        let has_left = self.members.has_left(host);
        let lost = self.members.lose(host);
        // One that has left has said all that it had to say, and some of it may not be heard yet.
        if !has_left {
            self.lose_mail(host);
        }
        if let Some(name) = lost {
            tracing::warn!(host, name, "host is lost");
            self.lose_front(host);
        }
    }

    /// Looks who is silent.
    fn look(&self, was_connected: &mut bool) {
        let hears_itself = self.members.hears_itself();
        let is_connected = self.link.is_connected() && hears_itself;
        // The first beat needs a moment to come back.
        if self.beats.load(Ordering::Relaxed) > 3 && is_connected != *was_connected {
            *was_connected = is_connected;
            match is_connected {
                true => tracing::info!("the cluster is back"),
                false => tracing::warn!("cut off from the cluster"),
            }
        }
        for (host, name) in self.members.lose_silent() {
            tracing::warn!(host, name, "host is lost");
            self.lose(host);
            self.lose_front(host);
        }
    }

    /// Milliseconds since this host has joined.
    fn now(&self) -> u64 {
        clock_ms().saturating_sub(self.joined)
    }

    fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        let _next_one_follows = self.link.beat(self.own_beat().encode());
    }

    /// As [`Inner::beat`], and waits until it is on its way.
    async fn beat_surely(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.link.beat_surely(self.own_beat().encode()).await;
    }

    /// Says what has changed, unless nobody has heard of this host yet.
    fn beat_if_there(&self) {
        if self.local.get().is_some() {
            self.beat();
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    fn follows(&self) -> MutexGuard<'_, BTreeMap<String, Follows>> {
        // No step under this lock can panic.
        self.follows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_beat(&self) -> Beat {
        let ClusterSettings { name, role, .. } = &self.settings;
        let local = self.local.get().and_then(Weak::upgrade);
        let roots = self.remote.roots().into_iter();
        let roots = roots.filter(|(program, _)| program.len() <= MAX_PROGRAM);
        let roots = roots.map(|(program, pid)| (program, pid.get()));
        let roots = roots.take(MAX_ROOTS).collect();
        Beat {
            number: self.link.number(),
            count: self.beats.load(Ordering::Relaxed),
            at: self.now(),
            name: name.clone(),
            role: *role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            module: local.map(|local| local.module()).unwrap_or_default(),
            address: self.address.get().cloned().unwrap_or_default(),
            follows: self.follows().clone(),
            load: self.load(),
            is_draining: self.is_draining.load(Ordering::SeqCst),
            has_left: self.has_left.load(Ordering::SeqCst),
            roots,
        }
    }
}

/// Milliseconds by a clock that goes on while the machine is suspended.
fn clock_ms() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanos / 1_000_000
}

impl HostInfo {
    fn of(beat: &Beat, load: Load) -> Self {
        Self {
            number: beat.number,
            name: beat.name.clone(),
            role: beat.role,
            version: beat.version.clone(),
            seats: load.seats,
            running: load.running,
            waiting: load.waiting,
            is_draining: beat.is_draining,
            module: beat.module.clone(),
            address: beat.address.clone(),
            follows: beat
                .follows
                .iter()
                .map(|(pool, follows)| {
                    let digits = match follows {
                        Follows::Serves(digits) => digits.clone(),
                        Follows::Waits(_) => String::new(),
                    };
                    (pool.clone(), digits)
                })
                .collect(),
            heard: Duration::ZERO,
            is_this: false,
        }
    }
}

impl Peers for Cluster {
    fn here(&self) -> u32 {
        self.number()
    }

    fn attach(&self, program: &str, table: Weak<Table>) {
        self.0.remote.attach(program, table);
    }

    fn hosts(&self, program: &str) -> Vec<PeerInfo> {
        let this = PeerInfo {
            number: self.number(),
            name: self.0.settings.name.clone(),
            root: None,
        };
        let others = self.0.members.peers(program);
        [this].into_iter().chain(others).collect()
    }

    fn send(&self, way: Way<'_>, letter: Letter) -> Result<(), MailError> {
        self.send_data(way, &letter)
    }

    fn send_wait<'a>(
        &'a self,
        way: Way<'a>,
        letter: Letter,
        time_limit: Duration,
    ) -> Asking<'a, Result<(), MailError>> {
        Box::pin(self.send_and_wait(way, letter, time_limit))
    }

    fn call(
        &self,
        way: Way<'_>,
        caller: Caller,
        bytes: Vec<u8>,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        self.send_call(way, caller, &bytes, time_limit)
    }

    fn watch<'a>(&'a self, way: Way<'a>) -> Asking<'a, Result<(), NotWatched>> {
        Box::pin(self.ask_to_watch(way))
    }

    fn forget(&self, way: Way<'_>) {
        let address = Address::of(way);
        self.tell(way, &Post::Forget { address });
    }

    fn tell_end(&self, way: Way<'_>, exit: Exit) {
        let code = if let Exit::Code(code) = exit { code } else { 0 };
        let ended = Post::Ended {
            address: Address::of(way),
            exit: u8::try_from(exit.index()).unwrap_or_default(),
            code,
        };
        self.tell(way, &ended);
    }

    fn claim<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
        holder: Pid,
        lost: Lost,
    ) -> Asking<'a, Result<(), NotClaimed>> {
        Box::pin(self.0.claim_name(program, name, holder, lost))
    }

    fn release<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
        holder: Pid,
    ) -> Asking<'a, Result<(), Unreachable>> {
        Box::pin(self.0.release_name(program, name, holder))
    }

    fn let_go(&self, program: &str, name: &str, holder: Pid) {
        self.0.let_name_go(program, name, holder);
    }

    fn whereis<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
    ) -> Asking<'a, Result<Option<Pid>, Unreachable>> {
        Box::pin(self.0.find_name(program, name))
    }
}

impl Queues for Cluster {
    fn most_bytes(&self) -> usize {
        self.0.jobs.most_bytes()
    }

    fn put<'a>(&'a self, queue: Queue<'a>, bytes: Vec<u8>) -> Asking<'a, Result<(), QueueError>> {
        Box::pin(self.0.jobs.put(queue, bytes))
    }

    fn take<'a>(
        &'a self,
        queue: Queue<'a>,
        time_limit: Duration,
    ) -> Asking<'a, Result<Option<Job>, QueueError>> {
        Box::pin(self.0.jobs.take(queue, time_limit))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("number", &self.number())
            .field("asked", &self.0.asked_now())
            .field("serving", &self.0.serving_now())
            .finish_non_exhaustive()
    }
}
