//! The *store*: what a cluster keeps in NATS. Records are small, and change by compare-and-set.
//! Modules are large and never change; they stand in NATS's object store, in its own form.
//!
//! - Only a write that compares is believed: a read may be old.
//! - Servers before 2.10 answer some questions in a form that the library can't read. So buckets
//!   are made as the streams that they are.
//! - The library reads an object with a consumer, which needs further rights and must be removed.
//!   Here each chunk is asked for.

use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, UpdateErrorKind};
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use super::settings::ClusterError;
use crate::peers::Unreachable;

/// The bytes of one chunk of a module: those of NATS's own tools. Servers take twice as much in one
/// message.
const CHUNK: usize = 128 << 10;

/// How often a chunk is asked for. A server that has a copy may be a moment behind.
const TRIES: usize = 5;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest time to store or to fetch a module. What is older and belongs to no roll-out is
/// nobody's, and is removed.
pub(super) const TRANSFER: Duration = Duration::from_secs(10 * 60);

/// What a cluster keeps in NATS.
pub(super) struct Store {
    context: jetstream::Context,
    records: kv::Store,
    /// The name of both buckets.
    bucket: String,
}

/// A record, and the revision that a write of it must name.
pub(super) struct Kept {
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

impl Store {
    /// Finds the bucket of records, or makes it.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`].
    pub(super) async fn open(client: Client, cluster: &str) -> Result<Self, ClusterError> {
        let bucket = format!("wph-{cluster}");
        let context = jetstream::new(client);
        let records = bucket_of(&context, &bucket, Duration::ZERO).await?;
        Ok(Self {
            context,
            records,
            bucket,
        })
    }

    /// The record of this key, if there is one.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub(super) async fn read(&self, key: &str) -> Result<Option<Kept>, ClusterError> {
        let entry = entry(&self.records, key).await;
        entry.map_err(|error| ClusterError::Store(format!("{key}: {error}")))
    }

    /// Writes the record, if nobody has since `last` was read. Returns the new revision, or `None`
    /// if somebody has.
    ///
    /// # Errors
    /// [`ClusterError::Store`]. The record may have been written then.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Bytes,
        last: Option<u64>,
    ) -> Result<Option<u64>, ClusterError> {
        let failed =
            |error: String| ClusterError::Store(format!("{key} can't be written: {error}"));
        match last {
            None => match self.records.create(key, value).await {
                Ok(written) => Ok(Some(written)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(failed(error.to_string())),
            },
            Some(last) => match self.records.update(key, value, last).await {
                Ok(written) => Ok(Some(written)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(failed(error.to_string())),
            },
        }
    }

    /// Stores a module under this name, which no other one has or had.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub(super) async fn put(&self, name: &str, module: &Bytes) -> Result<(), ClusterError> {
        let failed = |why: String| ClusterError::Store(format!("the module: {why}"));
        self.object_store().await?;
        let storing = async {
            let chunks = self.chunks(name);
            for chunk in module.chunks(CHUNK) {
                let sent = self
                    .context
                    .publish(chunks.clone(), module.slice_ref(chunk));
                let stored = sent.await.map_err(|error| failed(error.to_string()))?;
                stored.await.map_err(|error| failed(error.to_string()))?;
            }
            let about = json!({
                "name": name,
                "bucket": self.bucket,
                "nuid": name,
                "size": module.len(),
                "chunks": module.len().div_ceil(CHUNK),
                "digest": format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(module))),
                "options": { "max_chunk_size": CHUNK },
            });
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Rollup", "sub");
            let about = Bytes::from(about.to_string());
            let sent = self
                .context
                .publish_with_headers(self.about(name), headers, about);
            let stored = sent.await.map_err(|error| failed(error.to_string()))?;
            stored.await.map_err(|error| failed(error.to_string()))?;
            Ok(())
        };
        let stored = timeout(TRANSFER, storing).await;
        stored.unwrap_or_else(|_| Err(failed("it took too long".to_owned())))
    }

    /// The module of this name and size. Whether it is the one that was meant, its digest says.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub(super) async fn get(&self, name: &str, size: usize) -> Result<Bytes, ClusterError> {
        let failed = |why: String| ClusterError::Store(format!("the module: {why}"));
        let stream = format!("OBJ_{}", self.bucket);
        let stream = self.context.get_stream_no_info(&stream).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let fetching = async {
            let (chunks, mut module, mut next) = (self.chunks(name), BytesMut::new(), 1);
            while module.len() < size {
                let mut tries = 0;
                let chunk = loop {
                    tries += 1;
                    let chunk = stream.direct_get_next_for_subject(&*chunks, Some(next));
                    match chunk.await {
                        Ok(chunk) => break chunk,
                        Err(error) if tries == TRIES => {
                            let is_missing = error.kind() == DirectGetErrorKind::NotFound;
                            return Err(failed(match is_missing {
                                true => format!("only {} of {size} bytes are there", module.len()),
                                false => error.to_string(),
                            }));
                        }
                        Err(_perhaps_later) => sleep(PAUSE).await,
                    }
                };
                next = chunk.sequence + 1;
                module.extend_from_slice(&chunk.payload);
            }
            Ok(module.freeze())
        };
        let fetched = timeout(TRANSFER, fetching).await;
        fetched.unwrap_or_else(|_| Err(failed("it took too long".to_owned())))
    }

    /// Removes what is there of a module.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub(super) async fn remove(&self, name: &str) -> Result<(), ClusterError> {
        let failed = |why: String| ClusterError::Store(format!("an older module: {why}"));
        let stream = format!("OBJ_{}", self.bucket);
        let stream = self.context.get_stream_no_info(&stream).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        for subject in [self.about(name), self.chunks(name)] {
            let removed = stream.purge().filter(subject).await;
            removed.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    /// Makes the bucket of modules, if it is not there. The limits of the server and of the account
    /// bound it.
    async fn object_store(&self) -> Result<(), ClusterError> {
        let name = format!("OBJ_{}", self.bucket);
        if self.context.get_stream(&name).await.is_ok() {
            return Ok(());
        }
        let config = stream::Config {
            subjects: vec![
                format!("$O.{}.C.>", self.bucket),
                format!("$O.{}.M.>", self.bucket),
            ],
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            num_replicas: 1,
            name: name.clone(),
            ..stream::Config::default()
        };
        let created = self.context.create_stream(config).await;
        // Somebody else may have been faster.
        match (created, self.context.get_stream(&name).await) {
            (Ok(_), _) | (_, Ok(_)) => Ok(()),
            (Err(error), Err(_)) => Err(ClusterError::Store(format!("{name}: {error}"))),
        }
    }

    fn chunks(&self, name: &str) -> String {
        format!("$O.{}.C.{name}", self.bucket)
    }

    fn about(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.bucket, URL_SAFE.encode(name))
    }
}

/// The bucket of names, whose entries expire.
#[derive(Debug)]
pub(super) struct Book {
    entries: kv::Store,
    /// After so long. Whoever made the bucket has chosen it.
    pub(super) lease: Duration,
}

/// Why an entry was not written.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotWritten {
    /// The entry has another revision.
    Another,
    /// No answer came, so it may have been written.
    Unknown,
}

impl Book {
    /// Finds the bucket of names, or makes it with entries that expire after `lease`.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`], [`ClusterError::Store`].
    pub(super) async fn open(
        client: Client,
        cluster: &str,
        lease: Duration,
    ) -> Result<Self, ClusterError> {
        /// Below this, no host could renew in time.
        const LEAST: Duration = Duration::from_secs(1);
        let bucket = format!("wph-{cluster}-names");
        let entries = bucket_of(&jetstream::new(client), &bucket, lease).await?;
        let lease = entries.stream.cached_info().config.max_age;
        if lease < LEAST {
            let why = format!("entries of {bucket} expire after {lease:?}, and 1 s is the least");
            return Err(ClusterError::Store(why));
        }
        Ok(Self { entries, lease })
    }

    /// The value of an entry and its revision. Both may be old.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(super) async fn read(&self, key: &str) -> Result<Option<Kept>, Unreachable> {
        let entry = entry(&self.entries, key).await;
        entry.map_err(|_| Unreachable)
    }

    /// Writes an entry that has this revision, or 0 if there is none. Returns the next revision.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub(super) async fn write(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, NotWritten> {
        let written = self.entries.update(key, value, revision).await;
        written.map_err(|error| match error.kind() {
            UpdateErrorKind::WrongLastRevision => NotWritten::Another,
            UpdateErrorKind::InvalidKey | UpdateErrorKind::TimedOut | UpdateErrorKind::Other => {
                NotWritten::Unknown
            }
        })
    }
}

/// The entry of this key. A server that has yet to finish a new bucket does not answer at all. So
/// it is asked several times, each time with more patience: for 3.75 s in all.
///
/// # Errors
/// Why the last question was not answered.
async fn entry(records: &kv::Store, key: &str) -> Result<Option<Kept>, String> {
    const FIRST: Duration = Duration::from_millis(250);
    const MOST: Duration = Duration::from_secs(2);
    let mut patience = FIRST;
    loop {
        let entry = timeout(patience, records.entry(key)).await;
        let why = match entry {
            Ok(Ok(entry)) => {
                return Ok(entry.map(|entry| Kept {
                    value: entry.value,
                    revision: entry.revision,
                }));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "timed out".to_owned(),
        };
        if patience >= MOST {
            return Err(why);
        }
        patience *= 2;
    }
}

/// The bucket of this name, which is made if it is not there. Its entries expire after `age`, or
/// never.
///
/// # Errors
/// [`ClusterError::NoJetStream`].
async fn bucket_of(
    context: &jetstream::Context,
    bucket: &str,
    age: Duration,
) -> Result<kv::Store, ClusterError> {
    if let Ok(store) = context.get_key_value(bucket).await {
        return Ok(store);
    }
    let config = stream::Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        max_age: age,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        ..stream::Config::default()
    };
    let created = context.create_stream(config).await;
    // Another host may have been faster.
    context.get_key_value(bucket).await.map_err(|missing| {
        let why = created.err().map(|error| error.to_string());
        ClusterError::NoJetStream(why.unwrap_or_else(|| missing.to_string()))
    })
}
