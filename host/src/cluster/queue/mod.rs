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

mod held;
mod questions;
mod stream;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use held::{Held, Spoken, pace_ms, speak};
use questions::{Answer, BUSY, PAUSE, Question, Questions, Refused, Unanswered, read};
use stream::sweep;

use super::link::{Inbox, Link, Said};
use crate::queues::{Job, Queue, QueueError};

/// A job is handed out so many times. Then it is a dead letter.
const ATTEMPTS: u32 = 5;

/// A job whose host says nothing comes again after so many times the time after which a host is
/// lost.
const LOST_TIMES: u32 = 10;

/// The longest time until the server has answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time for which the server is asked for a job. Then it is asked again: a question may
/// have been lost.
const PULL: Duration = Duration::from_secs(5);

/// What the server may need beyond that to say that there is no job.
const GRACE: Duration = Duration::from_secs(1);

/// What is kept free of a message's bytes for NATS's own head.
const HEAD: usize = 1 << 10;

/// The same trouble is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Numbers of JetStream's errors.
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

/// Somebody waits for a job. Dropping this gives back what has come meanwhile; the server soon
/// notices that nobody hears.
struct Pulling<'a> {
    shared: &'a Arc<Shared>,
    inbox: Inbox,
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

    /// Whether jobs whose processes have ended are on their way back.
    pub(super) fn are_given_back(&self) -> bool {
        self.0.owed.load(Ordering::SeqCst) == 0
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
            let found = self.find_consumer(queue, &consumer, Instant::now() + PATIENCE);
            match found.await {
                Ok(()) => {}
                // The server has gone meanwhile. Whoever waits for a job also waits for it.
                Err(_) if !self.link.is_connected() && Instant::now() < until => continue,
                Err(error) => return Err(error),
            }
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
            Refused::Silence(_) if !self.link.is_connected() => return QueueError::Unreachable,
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

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        while let Some(said) = self.inbox.heard() {
            if let Said::Job { ack, bytes } = said {
                drop(self.shared.hold(ack, bytes));
            }
        }
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

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_apart() {
        let queue = |name, is_dead| consumer(Queue { name, is_dead });
        assert_eq!(queue("mails", false), "jobs-mails");
        assert_eq!(queue("mails", true), "dead-mails");
    }
}
