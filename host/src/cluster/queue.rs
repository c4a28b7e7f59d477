//! *Queues* keep jobs in one stream of NATS, on its disks. A job stays there until it is done. The
//! server hands each to one host at a time, and again if it hears nothing of it; so this host says
//! all the while that its processes are still busy, and gives a job back as soon as its process has
//! ended.
//!
//! - A host asks for one job for each process that waits, and hears the answer at a subject of its
//!   own. Whoever waits no more hears no more, and the server forgets what nobody hears.
//! - The server counts how often it has handed a job out. It does not act on that: it would drop
//!   the job. Who gets one for the sixth time stores it with the dead letters, and only then says
//!   that it is done.
//! - A server that is killed may forget that it has removed a job, and remember that the job is
//!   done. Nobody would get such a job, and it would stay for ever. So jobs are swept some time
//!   after each connection.
//! - Servers before 2.10 answer some questions in a form that the library can't read. So requests
//!   and answers are plain JSON here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::link::{Inbox, Link, Said};
use super::questions::{Answer, BUSY, PAUSE, Question, Questions, Refused, Unanswered, read};
use crate::peers::Asking;
use crate::queues::{Job, Queue, QueueError, Taken};

/// A job is handed out so many times. Then it is a dead letter.
const ATTEMPTS: u32 = 5;

/// A job whose host says nothing comes again after so many times the time after which a host is
/// lost.
const LOST_TIMES: u32 = 10;

/// A host says so often that it still has a job, while the server waits for that.
const WORDS: u32 = 3;

/// The longest time until the server has answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time for which the server is asked for a job. Then it is asked again: a question may
/// have been lost.
const PULL: Duration = Duration::from_secs(5);

/// What the server may need beyond that to say that there is no job.
const GRACE: Duration = Duration::from_secs(1);

/// What is kept free of a message's bytes for NATS's own head.
const HEAD: usize = 1 << 10;

/// The most jobs in all queues of a cluster, and their most bytes, if NATS has so much room. The
/// rest of its room is for what hosts themselves need.
const MAX_JOBS: u64 = 1_000_000;
const MAX_BYTES: i64 = 256 << 20;

/// The most queues that are taken from. Each may have dead letters, which are one more.
const MAX_QUEUES: u64 = 1000;

/// The most jobs of one queue that processes have, or have given back for later.
const MAX_TAKEN: u64 = 100_000;

/// A queue from which nobody has taken for so long is no longer counted.
const UNUSED: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The most jobs that are given back before words are said about others.
const AT_ONCE: usize = 256;

/// The most processes that wait for jobs of one queue.
const MAX_TAKERS: u64 = 10_000;

/// Names of queues that are known to be there. Beyond that, all are looked for anew.
const MAX_KNOWN: usize = 4096;

/// The same trouble is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Numbers of JetStream's errors.
const NO_STREAM: u64 = 10059;
const NO_CONSUMER: u64 = 10014;
const OTHER_STREAM: u64 = 10058;
const LARGE_MESSAGE: u64 = 10054;
/// Limits of the account, of the server or of the stream.
const NO_ROOM: [u64; 7] = [10002, 10023, 10026, 10027, 10028, 10047, 10077];

/// What queues answer where nobody hears.
const NOBODY: u16 = 503;
/// There is no job, or none came.
const NONE: [u16; 2] = [404, 408];

/// The queues of a cluster, as this host reaches them.
pub(super) struct Jobs(Arc<Shared>);

struct Shared {
    link: Link,
    questions: Questions,
    runtime: Handle,
    /// The name of the stream.
    stream: String,
    /// After so long without a word, a job comes again. Whoever made a queue has chosen it.
    wait: Duration,
    /// Tells jobs of this start of the host from those of all others.
    start: String,
    /// The number of the last job that was put.
    put: AtomicU64,
    /// Those who hear, speak and sweep, from the first call on.
    tasks: OnceCell<[AbortHandle; 3]>,
    has_stream: AtomicBool,
    /// The consumers that are there.
    consumers: Mutex<HashSet<String>>,
    /// What is said of the jobs that processes have.
    held: Mutex<HashMap<u64, Spoken>>,
    last_held: AtomicU64,
    /// The number of the last question for a job.
    last_pull: AtomicU64,
    /// Jobs that go back: where to say so, and what.
    returned: Mutex<VecDeque<(String, Bytes)>>,
    /// The number of those, and of the one that is on its way.
    owed: AtomicUsize,
    /// Notified if there is something to return, or to say earlier.
    work: Notify,
    /// The pause between two words about a job, in milliseconds.
    pace_ms: AtomicU64,
    /// When a trouble was last logged.
    told: Mutex<BTreeMap<&'static str, Instant>>,
    counters: Counters,
}

/// What this host has had to do with jobs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) put: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) dead: AtomicU64,
}

/// A job that the server has handed out to this host. Dropping it gives it back.
struct Held {
    shared: Arc<Shared>,
    id: u64,
    /// Where to speak of it.
    ack: String,
    /// Its number in the stream.
    sequence: u64,
    attempt: u32,
    bytes: Bytes,
    /// Whether a process has it.
    is_taken: bool,
    is_done: AtomicBool,
    /// Nobody gets it before this is over.
    delay: Duration,
}

/// What this host says of a job that a process has.
#[derive(Clone)]
struct Spoken {
    /// Where.
    ack: String,
    /// When the server has last heard of the job.
    heard: Instant,
}

/// Somebody waits for a job. Dropping this gives back what has come meanwhile; the server soon
/// notices that nobody hears.
struct Pulling<'a> {
    shared: &'a Arc<Shared>,
    inbox: Inbox,
}

/// What the subject says at which a job is spoken of.
#[derive(Debug, PartialEq, Eq)]
struct Delivery {
    attempt: u32,
    sequence: u64,
}

impl Jobs {
    pub(super) fn new(link: Link, lost_after: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_nanos());
        let wait = lost_after * LOST_TIMES;
        Self(Arc::new(Shared {
            stream: format!("JOBS_wph-{}", link.cluster()),
            questions: Questions::new(link.clone()),
            runtime: Handle::current(),
            wait,
            start: format!("{}-{now:x}", link.number()),
            link,
            put: AtomicU64::new(0),
            tasks: OnceCell::new(),
            has_stream: AtomicBool::new(false),
            consumers: Mutex::default(),
            held: Mutex::default(),
            last_held: AtomicU64::new(0),
            last_pull: AtomicU64::new(0),
            returned: Mutex::default(),
            owed: AtomicUsize::new(0),
            work: Notify::new(),
            pace_ms: AtomicU64::new(pace_ms(wait)),
            told: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The most bytes of a job.
    pub(super) fn most_bytes(&self) -> usize {
        self.0.link.most_bytes().saturating_sub(HEAD)
    }

    /// Stores a job.
    ///
    /// # Errors
    /// [`QueueError`].
    pub(super) async fn put(&self, queue: Queue<'_>, bytes: Vec<u8>) -> Result<(), QueueError> {
        let shared = &self.0;
        let number = shared.put.fetch_add(1, Ordering::Relaxed);
        let once = format!("{}-{number}", shared.start);
        shared.store(queue, &once, bytes.into()).await?;
        shared.counters.put.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a job, or waits for one.
    ///
    /// # Errors
    /// [`QueueError`].
    pub(super) async fn take(
        &self,
        queue: Queue<'_>,
        time_limit: Duration,
    ) -> Result<Option<Job>, QueueError> {
        let shared = &self.0;
        let until = Instant::now() + time_limit;
        loop {
            let Some(mut held) = shared.pull(queue, until).await? else {
                return Ok(None);
            };
            if held.attempt > ATTEMPTS && !queue.is_dead {
                if shared.bury(queue, &held).await.is_err() {
                    held.delay = shared.wait;
                }
                if Instant::now() >= until {
                    return Ok(None);
                }
                continue;
            }
            held.is_taken = true;
            shared.counters.taken.fetch_add(1, Ordering::Relaxed);
            let bytes = std::mem::take(&mut held.bytes);
            return Ok(Some(Job {
                attempt: held.attempt,
                bytes: bytes.into(),
                taken: Box::new(held),
            }));
        }
    }

    /// Waits until jobs whose processes have ended are on their way back.
    pub(super) async fn returned(&self) {
        const PAUSE: Duration = Duration::from_millis(5);
        while self.0.owed.load(Ordering::SeqCst) > 0 && self.0.link.is_connected() {
            sleep(PAUSE).await;
        }
    }

    /// The host has left.
    pub(super) fn close(&self) {
        for task in self.0.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}

impl Shared {
    /// Stores what says `once` a single time, although it may be sent several times.
    async fn store(
        self: &Arc<Self>,
        queue: Queue<'_>,
        once: &str,
        bytes: Bytes,
    ) -> Result<(), QueueError> {
        const WHAT: &str = "storing a job";
        let until = Instant::now() + PATIENCE;
        loop {
            self.begun(until).await?;
            self.find_stream(until).await?;
            let question = Question {
                subject: self.subject(queue),
                payload: bytes.clone(),
                once: Some(once),
            };
            let subject = question.subject.clone();
            let answer = self.questions.ask(question, until).await;
            match answer {
                Ok(Answer::Bytes(answer)) => match read(&answer) {
                    Ok(_) => return Ok(()),
                    Err(Refused::Error(BUSY, _)) if Instant::now() < until => {}
                    Err(why) => return Err(self.failed(WHAT, why)),
                },
                Err(Unanswered::Silence) => {
                    return Err(self.failed(WHAT, Refused::Silence(subject)));
                }
                // No stream hears there: it is gone, or its server begins.
                Ok(Answer::Status(_)) => self.has_stream.store(false, Ordering::Relaxed),
                Err(Unanswered::Broken) => {}
            }
            if Instant::now() >= until {
                return Err(self.failed(WHAT, Refused::Silence(subject)));
            }
            sleep(PAUSE).await;
        }
    }

    /// The next job, if one comes in time.
    async fn pull(
        self: &Arc<Self>,
        queue: Queue<'_>,
        until: Instant,
    ) -> Result<Option<Held>, QueueError> {
        const WHAT: &str = "taking a job";
        let consumer = consumer(queue);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.stream);
        loop {
            let patience = Instant::now() + PATIENCE;
            // Whoever waits for a job also waits for the server.
            self.begun(until.max(patience)).await?;
            self.find_consumer(queue, &consumer, Instant::now() + PATIENCE)
                .await?;
            let now = Instant::now();
            let time = until.saturating_duration_since(now).min(PULL);
            let request = match time.is_zero() {
                true => json!({ "batch": 1, "no_wait": true }),
                false => json!({ "batch": 1, "expires": nanoseconds(time) }),
            };
            let payload = request.to_string().into();
            let answer = self.ask_for_job(subject.clone(), payload, now + time + GRACE);
            let answer = answer.await;
            let is_over = Instant::now() >= until;
            match answer {
                Ok(Said::Job { ack, bytes }) => {
                    // What is no job is nobody's.
                    if let Some(held) = self.hold(ack, bytes) {
                        return Ok(Some(held));
                    }
                }
                Ok(Said::Status(status)) if NONE.contains(&status) => {
                    if is_over {
                        return Ok(None);
                    }
                    continue;
                }
                // Too many wait, or the consumer is gone or moves.
                Ok(Said::Status(_) | Said::Bytes(_)) => {
                    self.consumers().remove(&consumer);
                }
                Err(Unanswered::Silence) => {
                    // The server says nothing about a consumer that is gone.
                    self.consumers().remove(&consumer);
                    if is_over {
                        return Err(self.failed(WHAT, Refused::Silence(subject)));
                    }
                }
                Err(Unanswered::Broken) => {}
            }
            if is_over {
                return Err(QueueError::Unreachable);
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks for a job, and waits until one comes or the server says that none does.
    async fn ask_for_job(
        self: &Arc<Self>,
        subject: String,
        payload: Bytes,
        until: Instant,
    ) -> Result<Said, Unanswered> {
        let id = self.last_pull.fetch_add(1, Ordering::Relaxed);
        let mut connections = self.link.connections();
        connections.mark_unchanged();
        let inbox = self.link.pull(subject, id, payload).await;
        let mut pulling = Pulling {
            shared: self,
            inbox: inbox.ok_or(Unanswered::Broken)?,
        };
        tokio::select! {
            biased;
            heard = pulling.inbox.hear() => heard.map(|(_, said)| said).ok_or(Unanswered::Broken),
            _ = connections.changed() => Err(Unanswered::Broken),
            () = sleep_until(until) => Err(Unanswered::Silence),
        }
    }

    /// Moves a job to the dead letters.
    async fn bury(self: &Arc<Self>, queue: Queue<'_>, held: &Held) -> Result<(), QueueError> {
        let once = format!("dead-{}", held.sequence);
        let dead = Queue {
            is_dead: true,
            ..queue
        };
        self.store(dead, &once, held.bytes.clone()).await?;
        held.acknowledge().await?;
        self.counters.dead.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            queue = queue.name,
            attempts = ATTEMPTS,
            "a job was tried in vain, and is with the dead letters now"
        );
        Ok(())
    }

    /// Waits for the connection, and has this host hear what the server says.
    async fn begun(self: &Arc<Self>, until: Instant) -> Result<(), QueueError> {
        if !self.questions.connected(until).await {
            return Err(QueueError::Unreachable);
        }
        let begin = || async {
            let inbox = self.link.inbox().await.ok_or(QueueError::Unreachable)?;
            let hearing = self.runtime.spawn(hear(Arc::clone(self), inbox));
            let speaking = self.runtime.spawn(speak(Arc::clone(self)));
            let sweeping = self.runtime.spawn(sweep(Arc::clone(self)));
            let tasks = [hearing, speaking, sweeping];
            Ok(tasks.map(|task| task.abort_handle()))
        };
        self.tasks.get_or_try_init(begin).await.map(drop)
    }

    /// Finds the stream, or makes it.
    async fn find_stream(&self, until: Instant) -> Result<(), QueueError> {
        const WHAT: &str = "finding the stream of jobs";
        const MAKING: &str = "making the stream of jobs";
        if self.has_stream.load(Ordering::Relaxed) {
            return Ok(());
        }
        let subject = format!("$JS.API.STREAM.INFO.{}", self.stream);
        let found = self.questions.api(subject.clone(), &Value::Null, until);
        let found = match found.await {
            Ok(found) => found,
            Err(Refused::Error(NO_STREAM, _)) => {
                let create = format!("$JS.API.STREAM.CREATE.{}", self.stream);
                let config = self.config(MAX_BYTES);
                let mut made = self.questions.api(create.clone(), &config, until).await;
                if let Err(Refused::Error(code, _)) = &made
                    && NO_ROOM.contains(code)
                {
                    made = self.questions.api(create, &self.config(-1), until).await;
                }
                match made {
                    Ok(made) => made,
                    // Another host was faster, with other settings.
                    Err(Refused::Error(OTHER_STREAM, _)) => {
                        let found = self.questions.api(subject, &Value::Null, until).await;
                        found.map_err(|why| self.failed(WHAT, why))?
                    }
                    Err(why) => return Err(self.failed(MAKING, why)),
                }
            }
            Err(why) => return Err(self.failed(WHAT, why)),
        };
        let config = &found["config"];
        let wrong = [
            ("retention", "workqueue", "its jobs would stay"),
            ("discard", "new", "jobs would be removed where others come"),
        ];
        for (key, wanted, why) in wrong {
            if config[key] != wanted {
                let why = format!("the {key} of {} is not {wanted:?}: {why}", self.stream);
                return Err(self.failed(WHAT, Refused::Error(0, why)));
            }
        }
        if config["max_age"].as_u64().unwrap_or(0) != 0 {
            let why = format!("jobs of {} expire (max_age)", self.stream);
            return Err(self.failed(WHAT, Refused::Error(0, why)));
        }
        self.has_stream.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Finds the consumer of a queue, or makes it.
    async fn find_consumer(
        &self,
        queue: Queue<'_>,
        consumer: &str,
        until: Instant,
    ) -> Result<(), QueueError> {
        const WHAT: &str = "finding the consumer of a queue";
        const MAKING: &str = "making the consumer of a queue";
        if self.consumers().contains(consumer) {
            return Ok(());
        }
        self.find_stream(until).await?;
        let stream = &self.stream;
        let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
        let found = self.questions.api(subject, &Value::Null, until).await;
        let found = match found {
            Ok(found) => found,
            Err(Refused::Error(code @ (NO_STREAM | NO_CONSUMER), _)) => {
                if code == NO_STREAM {
                    self.has_stream.store(false, Ordering::Relaxed);
                    self.find_stream(until).await?;
                }
                let filter = self.subject(queue);
                let create = format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{filter}");
                let request = json!({
                    "stream_name": stream,
                    "config": {
                        "name": consumer,
                        "durable_name": consumer,
                        "filter_subject": filter,
                        "deliver_policy": "all",
                        "replay_policy": "instant",
                        "ack_policy": "explicit",
                        "ack_wait": nanoseconds(self.wait),
                        "max_deliver": -1,
                        "max_ack_pending": MAX_TAKEN,
                        "max_waiting": MAX_TAKERS,
                        "inactive_threshold": nanoseconds(UNUSED),
                    },
                });
                let made = self.questions.api(create, &request, until).await;
                made.map_err(|why| self.failed(MAKING, why))?
            }
            Err(why) => return Err(self.failed(WHAT, why)),
        };
        let config = &found["config"];
        let is_ours = config["filter_subject"] == self.subject(queue)
            && config["ack_policy"] == "explicit"
            && config["max_deliver"].as_i64().unwrap_or(-1) == -1;
        if !is_ours {
            let why = format!(
                "the consumer {consumer} of {stream} has another filter_subject, ack_policy or \
                 max_deliver: jobs could be lost"
            );
            return Err(self.failed(WHAT, Refused::Error(0, why)));
        }
        let wait = config["ack_wait"].as_u64();
        let wait = wait.map_or(self.wait, Duration::from_nanos);
        self.pace_ms.fetch_min(pace_ms(wait), Ordering::Relaxed);
        self.work.notify_one();
        let mut known = self.consumers();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(consumer.to_owned());
        Ok(())
    }

    /// Removes the jobs of one queue that are done and were not removed.
    async fn sweep_queue(&self, consumer: &str) {
        const WHAT: &str = "removing jobs that are done";
        let stream = &self.stream;
        let swept = async {
            let until = Instant::now() + PATIENCE;
            let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
            let found = self.questions.api(subject, &Value::Null, until).await?;
            let done = found["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
            let Some(filter) = found["config"]["filter_subject"].as_str() else {
                return Ok(()); // not a consumer of ours
            };
            let subject = format!("$JS.API.STREAM.INFO.{stream}");
            let found = self.questions.api(subject, &Value::Null, until).await?;
            if found["state"]["last_seq"]
                .as_u64()
                .is_none_or(|last| done > last)
            {
                let why = format!("{stream} has lost its end, and {consumer} counts on it");
                return Err(Refused::Error(0, why));
            }
            let subject = format!("$JS.API.STREAM.PURGE.{stream}");
            let request = json!({ "filter": filter, "seq": done.saturating_add(1) });
            self.questions.api(subject, &request, until).await?;
            Ok(())
        };
        match swept.await {
            // It is gone, and its jobs with it, or it has none.
            Ok(()) | Err(Refused::Error(NO_STREAM | NO_CONSUMER, _)) => {}
            Err(why) => {
                let _logged = self.failed(WHAT, why);
            }
        }
    }

    /// The settings of the stream. Its bytes are reserved; with -1, none are, and there is no bound
    /// but those of the account and the server.
    fn config(&self, max_bytes: i64) -> Value {
        let cluster = self.link.cluster();
        json!({
            "name": self.stream,
            "subjects": [format!("wph-{cluster}.jobs.*"), format!("wph-{cluster}.dead.*")],
            "retention": "workqueue",
            "storage": "file",
            "discard": "new",
            "max_msgs": MAX_JOBS,
            "max_bytes": max_bytes,
            "max_age": 0,
            "max_msg_size": -1,
            "max_consumers": 2 * MAX_QUEUES,
            // So that people can look at jobs with NATS's own tools.
            "allow_direct": true,
            "num_replicas": 1,
            "duplicate_window": nanoseconds(Duration::from_secs(120)),
        })
    }

    fn subject(&self, queue: Queue<'_>) -> String {
        let kind = kind(queue);
        format!("wph-{}.{kind}.{}", self.link.cluster(), queue.name)
    }

    /// Logs why something can't be done, and says what a guest is told.
    fn failed(&self, what: &'static str, why: Refused) -> QueueError {
        let (error, why) = match why {
            Refused::Away => return QueueError::Unreachable,
            Refused::Error(LARGE_MESSAGE, _) => return QueueError::TooLarge,
            Refused::Error(code, why) if NO_ROOM.contains(&code) => (QueueError::NoRoom, why),
            Refused::Error(_, why) => (QueueError::Unreachable, why),
            Refused::Silence(subject) => {
                let why = format!(
                    "nobody answers at {subject}: the user needs the rights that docs/cluster.md \
                     lists, and JetStream must run"
                );
                (QueueError::Unreachable, why)
            }
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.get(what).is_none_or(|told| told.elapsed() > QUIET);
        if is_news {
            told.insert(what, Instant::now());
            drop(told);
            tracing::warn!(what, why, "queues of the cluster can't be used");
        }
        error
    }

    /// A job has come.
    fn hold(self: &Arc<Self>, ack: String, bytes: Bytes) -> Option<Held> {
        let Delivery { attempt, sequence } = Delivery::read(&ack)?;
        let id = self.last_held.fetch_add(1, Ordering::Relaxed);
        let spoken = Spoken {
            ack: ack.clone(),
            heard: Instant::now(),
        };
        self.held().insert(id, spoken);
        Some(Held {
            shared: Arc::clone(self),
            id,
            ack,
            sequence,
            attempt,
            bytes,
            is_taken: false,
            is_done: AtomicBool::new(false),
            delay: Duration::ZERO,
        })
    }

    /// Whether the server may have handed out again what it has not heard of since then.
    fn is_lost(&self, heard: Instant) -> bool {
        heard.elapsed() > self.pace() * WORDS
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms.load(Ordering::Relaxed))
    }

    fn consumers(&self) -> MutexGuard<'_, HashSet<String>> {
        // No step under these locks can panic.
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Spoken>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returns(&self) -> MutexGuard<'_, VecDeque<(String, Bytes)>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what the server says, until the link is closed.
async fn hear(shared: Arc<Shared>, mut inbox: Inbox) {
    while let Some((id, said)) = inbox.hear().await {
        match said {
            Said::Bytes(bytes) => shared.questions.answered(id, Answer::Bytes(bytes)),
            Said::Status(status) => shared.questions.answered(id, Answer::Status(status)),
            Said::Job { .. } => {} // jobs come elsewhere
        }
    }
}

/// Gives jobs back, and says that others are still worked on.
async fn speak(shared: Arc<Shared>) {
    let mut next = Instant::now() + shared.pace();
    loop {
        next = next.min(Instant::now() + shared.pace());
        tokio::select! {
            () = shared.work.notified() => {}
            () = sleep_until(next) => {
                let spoken: Vec<_> = shared.held().iter().map(|(id, it)| (*id, it.clone())).collect();
                for (id, Spoken { ack, heard }) in spoken {
                    let said = Bytes::from_static(b"+WPI");
                    // Who has it now says so.
                    if shared.is_lost(heard) || !shared.link.tell_server(&ack, said).await {
                        continue;
                    }
                    if let Some(spoken) = shared.held().get_mut(&id) {
                        spoken.heard = Instant::now();
                    }
                }
                next = Instant::now() + shared.pace();
            }
        }
        for _ in 0..AT_ONCE {
            let Some((ack, what)) = shared.returns().pop_front() else {
                break;
            };
            while !shared.link.tell_server(&ack, what.clone()).await {
                sleep(PAUSE).await;
            }
            shared.owed.fetch_sub(1, Ordering::SeqCst);
        }
        if !shared.returns().is_empty() {
            shared.work.notify_one();
        }
    }
}

/// Removes jobs that are done and were not removed.
async fn sweep(shared: Arc<Shared>) {
    let mut connections = shared.link.connections();
    loop {
        // What was taken before the connection broke has come again by then, and the server counts
        // as done what is before the first job that is not.
        sleep(shared.wait + shared.wait / 2).await;
        let consumers: Vec<String> = shared.consumers().iter().cloned().collect();
        for consumer in consumers {
            shared.sweep_queue(&consumer).await;
        }
        if connections.changed().await.is_err() {
            return; // the link is closed
        }
    }
}

impl Held {
    /// Has the server remove the job, and waits until it has.
    async fn acknowledge(&self) -> Result<(), QueueError> {
        const WHAT: &str = "saying that a job is done";
        let shared = &self.shared;
        let until = Instant::now() + PATIENCE;
        loop {
            if !shared.questions.connected(until).await {
                return Err(QueueError::Unreachable);
            }
            let question = Question {
                subject: self.ack.clone(),
                payload: Bytes::from_static(b"+ACK"),
                ..Question::default()
            };
            let answer = shared.questions.ask(question, until).await;
            match answer {
                Ok(Answer::Bytes(_)) => {
                    self.is_done.store(true, Ordering::Relaxed);
                    shared.held().remove(&self.id);
                    return Ok(());
                }
                // The consumer is not there: its server begins, or it was removed.
                Ok(Answer::Status(NOBODY)) | Err(Unanswered::Broken) if Instant::now() < until => {
                    sleep(PAUSE).await;
                }
                Ok(Answer::Status(_)) | Err(_) => {
                    let subject = format!("$JS.ACK.{}.>", shared.stream);
                    return Err(shared.failed(WHAT, Refused::Silence(subject)));
                }
            }
        }
    }
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        while let Some(said) = self.inbox.heard() {
            if let Said::Job { ack, bytes } = said {
                drop(self.shared.hold(ack, bytes));
            }
        }
    }
}

impl Taken for Held {
    fn done(&self) -> Asking<'_, Result<(), QueueError>> {
        Box::pin(async {
            self.acknowledge().await?;
            let counters = &self.shared.counters;
            counters.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn give_back(mut self: Box<Self>, delay: Duration) {
        self.delay = delay;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_done.load(Ordering::Relaxed) {
            return;
        }
        let shared = &self.shared;
        if self.is_taken {
            shared.counters.given_back.fetch_add(1, Ordering::Relaxed);
        }
        let spoken = shared.held().remove(&self.id);
        if spoken.is_some_and(|spoken| shared.is_lost(spoken.heard)) {
            return; // somebody else has it
        }
        let what = match self.delay.is_zero() {
            true => Bytes::from_static(b"-NAK"),
            false => format!("-NAK {{\"delay\": {}}}", nanoseconds(self.delay)).into(),
        };
        shared.owed.fetch_add(1, Ordering::SeqCst);
        let ack = std::mem::take(&mut self.ack);
        shared.returns().push_back((ack, what));
        shared.work.notify_one();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("ack", &self.ack)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Reads `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.…`. Newer servers may have two words more
    /// before the stream.
    fn read(subject: &str) -> Option<Self> {
        let words: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
        let words = match words.len() {
            7 => &words[..],
            9.. => &words[2..],
            _ => return None,
        };
        let [_stream, _consumer, delivered, sequence, ..] = words else {
            return None;
        };
        let delivered: u64 = delivered.parse().ok()?;
        Some(Self {
            attempt: u32::try_from(delivered).unwrap_or(u32::MAX),
            sequence: sequence.parse().ok()?,
        })
    }
}

/// The name of the consumer of a queue.
fn consumer(queue: Queue<'_>) -> String {
    format!("{}-{}", kind(queue), queue.name)
}

fn kind(queue: Queue<'_>) -> &'static str {
    match queue.is_dead {
        true => "dead",
        false => "jobs",
    }
}

fn pace_ms(wait: Duration) -> u64 {
    let pace = u64::try_from((wait / WORDS).as_millis()).unwrap_or(u64::MAX);
    pace.max(10)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_of_jobs_are_read() {
        let delivery = |attempt, sequence| Some(Delivery { attempt, sequence });
        #[rustfmt::skip] // one line per case
        let cases = [
            ("$JS.ACK.JOBS_wph-a.jobs-x.2.7.9.1795822948682777040.4", delivery(2, 7)),
            ("$JS.ACK.d.h4sh.JOBS_wph-a.jobs-x.2.7.9.17.4", delivery(2, 7)),
            ("$JS.ACK._.h4sh.JOBS_wph-a.jobs-x.2.7.9.17.4.token", delivery(2, 7)),
            ("$JS.ACK.JOBS_wph-a.jobs-x.99999999999.7.9.17.4", delivery(u32::MAX, 7)),
            ("$JS.ACK.JOBS_wph-a.jobs-x.two.7.9.17.4", None),
            ("$JS.ACK.JOBS_wph-a.jobs-x.2", None),
            ("$JS.ACK.", None),
            ("wph1.a.r.1.2", None),
            ("", None),
        ];
        for (subject, expected) in cases {
            assert_eq!(Delivery::read(subject), expected, "{subject}");
        }
    }

    #[test]
    fn consumers_are_apart() {
        let queue = |name, is_dead| consumer(Queue { name, is_dead });
        assert_eq!(queue("mails", false), "jobs-mails");
        assert_eq!(queue("mails", true), "dead-mails");
    }
}
