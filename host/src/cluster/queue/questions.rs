//! A *question* goes to the server of NATS, and its answer comes to this host's inbox. Each has a
//! number, so that an answer finds who has asked, and whoever asks no more leaves nothing behind. A
//! job comes under its own subject, so whoever asks for one has an inbox of its own.
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

use super::super::link::Link;

/// The pause before something is tried again that could not be done at once.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// A server is busy with itself, and will answer later.
pub(super) const BUSY: u64 = 10008;

/// The questions of this host that are not answered yet.
pub(super) struct Questions {
    link: Link,
    last: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// What to ask.
#[derive(Default)]
pub(super) struct Question<'a> {
    pub(super) subject: String,
    pub(super) payload: Bytes,
    /// Two with the same text are stored once.
    pub(super) once: Option<&'a str>,
}

pub(super) enum Answer {
    Bytes(Bytes),
    /// A number, as HTTP has them.
    Status(u16),
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
struct Forget<'a> {
    questions: &'a Questions,
    id: u64,
}

impl Questions {
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
    ) -> Result<Answer, Unanswered> {
        let Question {
            subject,
            payload,
            once,
        } = question;
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        let mut connections = self.link.connections();
        connections.mark_unchanged();
        self.open().insert(id, sender);
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
                payload: match request.is_null() {
                    true => Bytes::new(),
                    false => request.to_string().into(),
                },
                ..Question::default()
            };
            let answer = self.ask(question, until).await;
            match answer {
                Ok(Answer::Bytes(answer)) => match read(&answer) {
                    Err(Refused::Error(BUSY, _)) if Instant::now() < until => sleep(PAUSE).await,
                    answer => return answer,
                },
                // Nobody hears there: JetStream is not there, or not yet.
                Ok(Answer::Status(_)) | Err(Unanswered::Broken) if Instant::now() < until => {
                    sleep(PAUSE).await;
                }
                Ok(Answer::Status(_)) | Err(_) => return Err(Refused::Silence(subject)),
            }
        }
    }

    /// Brings an answer to who has asked.
    pub(super) fn answered(&self, id: u64, answer: Answer) {
        let asked = self.open().remove(&id);
        if let Some(asked) = asked {
            let _has_ended = asked.send(answer);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        // No step under this lock can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forget<'_> {
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
