//! The stream of jobs, and its consumers: one for each queue. Whoever first needs one makes it.
//! What others have made is used if no job can be lost by it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::held::pace_ms;
use super::questions::Refused;
use super::{NO_ROOM, PATIENCE, Shared, nanoseconds};
use crate::queues::{Queue, QueueError};

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

/// The most processes that wait for jobs of one queue.
const MAX_TAKERS: u64 = 10_000;

/// Names of queues that are known to be there. Beyond that, all are looked for anew.
const MAX_KNOWN: usize = 4096;

/// Numbers of JetStream's errors.
const NO_STREAM: u64 = 10059;
const NO_CONSUMER: u64 = 10014;
const OTHER_STREAM: u64 = 10058;

impl Shared {
    /// Finds the stream, or makes it.
    pub(super) async fn find_stream(&self, until: Instant) -> Result<(), QueueError> {
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
    pub(super) async fn find_consumer(
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
}

/// Removes jobs that are done and were not removed.
pub(super) async fn sweep(shared: Arc<Shared>) {
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
