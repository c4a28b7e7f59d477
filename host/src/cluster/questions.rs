//! A *question* goes to the server of NATS, and its answer comes to this host's inbox: a job is
//! stored, there is none, here is one. Each has a number, so that an answer finds who has asked,
//! and whoever asks no more leaves nothing behind.
//!
//! Nobody answers what the server has not got, and what the user may not ask. So each question has
//! an end, and one that was asked before the connection broke is over with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::link::Link;

/// The pause before something is tried again that could not be done at once.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The questions of this host that are not answered yet. A job may be an answer.
pub(super) struct Questions<J> {
    link: Link,
    last: AtomicU64,
    open: Mutex<HashMap<u64, Open<J>>>,
}

struct Open<J> {
    /// The consumer that was asked for a job.
    consumer: Option<String>,
    answer: oneshot::Sender<Answer<J>>,
}

/// What to ask.
#[derive(Default)]
pub(super) struct Question<'a> {
    pub(super) subject: String,
    pub(super) payload: Bytes,
    /// Two with the same text are stored once.
    pub(super) once: Option<&'a str>,
    /// The consumer that is asked for a job.
    pub(super) consumer: Option<&'a str>,
}

pub(super) enum Answer<J> {
    Bytes(Bytes),
    /// A number, as HTTP has them.
    Status(u16),
    Job(J),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The question or its answer may be lost.
    Broken,
    /// The time is over.
    Silence,
}

/// Why JetStream has not done what it was asked to.
#[derive(Debug)]
pub(super) enum Refused {
    /// The number of the reason, and its text.
    Error(u64, String),
    /// Nobody has answered at this subject.
    Silence(String),
    /// The server can't be reached.
    Away,
}

/// Forgets a question that nobody waits for any more.
struct Forget<'a, J> {
    questions: &'a Questions<J>,
    id: u64,
}

impl<J> Questions<J> {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            last: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// Waits until there is a connection. Returns whether there is.
    pub(super) async fn connected(&self, until: Instant) -> bool {
        let mut connections = self.link.connections();
        while !self.link.is_connected() {
            let now = Instant::now();
            if now >= until {
                return false;
            }
            let _looks_again = timeout(PAUSE.min(until - now), connections.changed()).await;
        }
        true
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        until: Instant,
    ) -> Result<Answer<J>, Unanswered> {
        let Question {
            subject,
            payload,
            once,
            consumer,
        } = question;
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        let open = Open {
            consumer: consumer.map(str::to_owned),
            answer: sender,
        };
        let mut connections = self.link.connections();
        connections.mark_unchanged();
        self.open().insert(id, open);
        let _forget = Forget {
            questions: self,
            id,
        };
        if !self.link.question(subject, id, once, payload).await {
            return Err(Unanswered::Broken);
        }
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_closed| Unanswered::Broken),
            _ = connections.changed() => Err(Unanswered::Broken),
            () = sleep_until(until) => Err(Unanswered::Silence),
        }
    }

    /// Asks JetStream to do something, again if the connection breaks.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn api(
        &self,
        subject: String,
        request: &Value,
        until: Instant,
    ) -> Result<Value, Refused> {
        loop {
            if !self.connected(until).await {
                return Err(Refused::Away);
            }
            let question = Question {
                subject: subject.clone(),
                payload: match request {
                    Value::Null => Bytes::new(),
                    request => request.to_string().into(),
                },
                ..Question::default()
            };
            let answer = self.ask(question, until).await;
            match answer {
                Ok(Answer::Bytes(answer)) => return read(&answer),
                // Nobody hears there: JetStream is not there, or not yet.
                Ok(Answer::Status(_) | Answer::Job(_)) | Err(Unanswered::Broken)
                    if Instant::now() < until =>
                {
                    sleep(PAUSE).await;
                }
                Ok(Answer::Status(_) | Answer::Job(_)) | Err(_) => {
                    return Err(Refused::Silence(subject));
                }
            }
        }
    }

    /// Brings an answer to who has asked. A job of this consumer that nobody waits for any more goes
    /// to somebody else who waits for one. If there is nobody, it is dropped here.
    pub(super) fn answered(&self, id: u64, consumer: Option<&str>, answer: Answer<J>) {
        let mut answer = answer;
        loop {
            let asked = {
                let mut open = self.open();
                let is_asked = |open: &Open<J>| open.consumer.as_deref() == consumer;
                let id = match consumer {
                    None => Some(id),
                    Some(_) if open.get(&id).is_some_and(is_asked) => Some(id),
                    Some(_) => open
                        .iter()
                        .find(|(_, open)| is_asked(open))
                        .map(|(id, _)| *id),
                };
                id.and_then(|id| open.remove(&id))
            };
            let Some(asked) = asked else {
                return;
            };
            // Whoever has asked may have ended a moment ago.
            match (asked.answer.send(answer), consumer) {
                (Err(back), Some(_)) => answer = back,
                (Ok(()) | Err(_), _) => return,
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open<J>>> {
        // No step under this lock can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Drop for Forget<'_, J> {
    fn drop(&mut self) {
        self.questions.open().remove(&self.id);
    }
}

/// What JetStream has answered.
///
/// # Errors
/// [`Refused::Error`].
pub(super) fn read(answer: &[u8]) -> Result<Value, Refused> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| Refused::Error(0, format!("its answer can't be read: {error}")))?;
    let Some(error) = answer.get("error") else {
        return Ok(answer);
    };
    let code = error["err_code"].as_u64().unwrap_or_default();
    let why = error["description"].as_str().unwrap_or("no reason");
    Err(Refused::Error(code, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert!(read(br#"{"stream":"JOBS_wph-default", "seq":1}"#).is_ok());
        let error = br#"{"error":{"code":503,"err_code":10077,"description":"full"},"seq":0}"#;
        match read(error) {
            Err(Refused::Error(10077, why)) => assert_eq!(why, "full"),
            other => panic!("{other:?}"),
        }
        for bad in [&b""[..], b"{", b"\xff", br#"{"error":7}"#] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
