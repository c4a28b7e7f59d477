//! A job that a process of this host has. While it does, this host says so; if it does no more, the
//! job goes back, unless it is done.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::questions::{Answer, PAUSE, Question, Refused, Unanswered};
use super::{NOBODY, PATIENCE, Shared, nanoseconds};
use crate::peers::Asking;
use crate::queues::{QueueError, Taken};

/// A host says so often that it still has a job, while the server waits for that.
const WORDS: u32 = 3;

/// The most jobs that are given back before words are said about others.
const AT_ONCE: usize = 256;

/// A job that the server has handed out to this host. Dropping it gives it back.
pub(super) struct Held {
    shared: Arc<Shared>,
    id: u64,
    /// Where to speak of it.
    ack: String,
    /// Its number in the stream.
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) bytes: Bytes,
    /// Whether a process has it.
    pub(super) is_taken: bool,
    is_done: AtomicBool,
    /// Nobody gets it before this is over.
    pub(super) delay: Duration,
}

/// What this host says of a job that a process has.
#[derive(Clone)]
pub(super) struct Spoken {
    /// Where.
    ack: String,
    /// When the server has last heard of the job.
    heard: Instant,
}

/// What the subject says at which a job is spoken of.
#[derive(Debug, PartialEq, Eq)]
struct Delivery {
    attempt: u32,
    sequence: u64,
}

impl Shared {
    /// A job has come.
    pub(super) fn hold(self: &Arc<Self>, ack: String, bytes: Bytes) -> Option<Held> {
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
}

/// Gives jobs back, and says that others are still worked on.
pub(super) async fn speak(shared: Arc<Shared>) {
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

impl Held {
    /// Has the server remove the job, and waits until it has.
    pub(super) async fn acknowledge(&self) -> Result<(), QueueError> {
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

pub(super) fn pace_ms(wait: Duration) -> u64 {
    let pace = u64::try_from((wait / WORDS).as_millis()).unwrap_or(u64::MAX);
    pace.max(10)
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
}
