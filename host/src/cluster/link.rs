//! The *link* to NATS: the only file that names it. It connects, takes the host's number, publishes
//! and hears. Everything that NATS may do to a message is said here; above, messages just don't
//! come.
//!
//! - What was written when a connection broke is lost without a word, and what was published
//!   meanwhile waits. So nothing is published while the link is down, and those who wait ask again
//!   (`probe`).
//! - A subscription whose reader is slow drops messages. Windows bound what may come, and what is
//!   dropped is missed like what was lost.
//! - `Client::request` keeps something for each request that is never answered; `drain` forgets
//!   what the server has sent meanwhile; queue groups choose without looking. None is used.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use percent_encoding::percent_decode_str;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use super::settings::{ClusterError, ClusterSettings};
use crate::peers::Unreachable;

/// The version of what hosts say to each other.
const VERSION: &str = "wph1";

/// How often the server is asked whether it is there. After two questions without an answer it is
/// not.
const PING: Duration = Duration::from_secs(1);

/// The longest time to connect, and to get an answer from the server at the start.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time until a message is handed to the connection.
const SENDING: Duration = Duration::from_secs(1);

/// The longest pause between two tries to connect again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Messages that may wait for the host to read them. Windows and bounds keep their number below.
const WAITING: usize = 16 << 10;

/// The least that a server must take in one message: a head and a part of a body.
const LEAST_PAYLOAD: usize = 256 << 10;

/// What a host says to learn whether it is heard. Nobody answers.
const HELLO: &[u8] = b"hello";

/// The key that counts hosts.
const NEXT_HOST: &str = "next-host";

/// Numbers of hosts are the upper bits of pids.
pub(super) const MAX_NUMBER: u32 = (1 << 20) - 1;

/// A connection without a number.
pub(super) struct Connection {
    client: Client,
    prefix: String,
    cluster: String,
    events: Arc<Events>,
}

/// What happens to the connection.
#[derive(Debug, Default)]
struct Events {
    /// Messages that a subscription dropped.
    dropped: AtomicU64,
}

/// The speaking side of the link. Clones speak over the same connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    client: Client,
    prefix: Arc<str>,
    number: u32,
    events: Arc<Events>,
}

/// The hearing side of the link.
pub(super) struct Ears {
    frames: Subscriber,
    gone: Subscriber,
    beats: Subscriber,
    who: Subscriber,
}

/// What is heard.
pub(super) enum Heard {
    Frame(Bytes),
    Beat(Bytes),
    /// Somebody wants a beat, at this subject.
    Who(String),
    /// Nobody hears at this host. The exchange that was to begin there, or 0 for a probe.
    Gone {
        host: u32,
        id: u64,
    },
}

impl Connection {
    /// # Errors
    /// [`ClusterError`].
    pub(super) async fn open(settings: &ClusterSettings) -> Result<Self, ClusterError> {
        let events = Arc::new(Events::default());
        let prefix = format!("{VERSION}.{}", settings.cluster);
        let counted = Arc::clone(&events);
        let mut options = ConnectOptions::new()
            .name(format!("wasm-pool-host {}", settings.name))
            .custom_inbox_prefix(format!("{prefix}.r"))
            .ping_interval(PING)
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .subscription_capacity(WAITING)
            .ignore_discovered_servers()
            .reconnect_delay_callback(|tries| {
                let tries = u32::try_from(tries).unwrap_or(u32::MAX);
                (Duration::from_millis(10) * tries).min(RECONNECT)
            })
            .event_callback(move |event| {
                counted.note(&event);
                std::future::ready(())
            });
        if let Some(path) = &settings.credentials {
            let file = |error| ClusterError::File(path.clone(), error);
            options = options.credentials_file(path).await.map_err(file)?;
        }
        if let Some(path) = &settings.ca {
            // It is read again for each connection. This says early that it can't be.
            let file = |error| ClusterError::File(path.clone(), error);
            std::fs::File::open(path).map_err(file)?;
            options = options.add_root_certificates(path.clone());
        }
        let mut servers = Vec::new();
        for url in &settings.servers {
            let server = url.parse::<ServerAddr>();
            let server =
                server.map_err(|error| ClusterError::Url(shown(url), error.to_string()))?;
            if !["nats", "tls"].contains(&server.scheme()) {
                let why = "it begins with nats:// or tls://".to_owned();
                return Err(ClusterError::Url(shown(url), why));
            }
            // The library reads no user from a URL. All servers of a cluster have the same users.
            if let Some(user) = server.username() {
                let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
                let password = server.password().map(plain).unwrap_or_default();
                options = options.user_and_password(plain(user), password);
            }
            servers.push(server);
        }
        let client = options.connect(servers).await.map_err(|error| {
            let said = error.to_string();
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    ClusterError::Refused(said)
                }
                ConnectErrorKind::ServerParse
                | ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => {
                    let servers: Vec<_> = settings.servers.iter().map(|url| shown(url)).collect();
                    ClusterError::Connect(format!("{}: {said}", servers.join(", ")))
                }
            }
        })?;
        let most = client.max_payload();
        if most < LEAST_PAYLOAD {
            return Err(ClusterError::SmallPayload(most));
        }
        Ok(Self {
            client,
            prefix,
            cluster: settings.cluster.clone(),
            events,
        })
    }

    /// A number that no host of this cluster has had.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`], [`ClusterError::NoNumber`], [`ClusterError::NumbersUsedUp`].
    pub(super) async fn number(&self) -> Result<u32, ClusterError> {
        let store = self.store().await?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            // Only a write that compares is believed, since a read may be old.
            let entry = store.entry(NEXT_HOST).await;
            let entry = entry.map_err(|error| ClusterError::NoNumber(error.to_string()))?;
            let last = match &entry {
                None => 0,
                Some(entry) => {
                    let text = std::str::from_utf8(&entry.value).ok();
                    let unreadable = || ClusterError::NoNumber(format!("{NEXT_HOST} is no number"));
                    text.and_then(|text| text.parse::<u32>().ok())
                        .ok_or_else(unreadable)?
                }
            };
            let number = last + 1;
            if number > MAX_NUMBER {
                return Err(ClusterError::NumbersUsedUp);
            }
            let value = Bytes::from(number.to_string());
            let written = match entry {
                None => store
                    .create(NEXT_HOST, value)
                    .await
                    .map_err(|error| error.to_string()),
                Some(entry) => store
                    .update(NEXT_HOST, value, entry.revision)
                    .await
                    .map_err(|error| error.to_string()),
            };
            match written {
                Ok(_) => return Ok(number),
                Err(why) if Instant::now() > give_up => return Err(ClusterError::NoNumber(why)),
                Err(_another_was_faster) => tokio::task::yield_now().await,
            }
        }
    }

    async fn store(&self) -> Result<kv::Store, ClusterError> {
        let bucket = format!("wph-{}", self.cluster);
        let store = bucket_of(&self.client, bucket, Duration::ZERO).await;
        store.map_err(ClusterError::NoJetStream)
    }

    /// Hears what concerns the host of this number. Returns once its messages come back.
    ///
    /// # Errors
    /// [`ClusterError::NoRight`].
    pub(super) async fn into_link(self, number: u32) -> Result<(Link, Ears), ClusterError> {
        let prefix = &self.prefix;
        let subscribe = async |subject: String| {
            let subscribed = self.client.subscribe(subject.clone()).await;
            subscribed.map_err(|_| ClusterError::NoRight(subject))
        };
        let own = format!("{prefix}.h.{number}");
        let mut ears = Ears {
            frames: subscribe(own.clone()).await?,
            gone: subscribe(format!("{prefix}.r.{number}.*.*")).await?,
            beats: subscribe(format!("{prefix}.beat")).await?,
            who: subscribe(format!("{prefix}.who")).await?,
        };
        let link = Link {
            client: self.client,
            prefix: prefix.as_str().into(),
            number,
            events: self.events,
        };
        // A subscription takes effect when the server has read it, and without a right never. What
        // comes back behind it proves both.
        let hello = Bytes::from_static(HELLO);
        let replies = format!("{prefix}.r.{number}.0.0");
        for (subject, heard) in [
            (own, &mut ears.frames),
            (replies, &mut ears.gone),
            (format!("{prefix}.beat"), &mut ears.beats),
            (format!("{prefix}.who"), &mut ears.who),
        ] {
            let comes_back = async {
                link.client
                    .publish(subject.clone(), hello.clone())
                    .await
                    .ok()?;
                loop {
                    if heard.next().await?.payload == hello {
                        return Some(());
                    }
                }
            };
            let came = timeout(PATIENCE, comes_back).await.ok().flatten();
            came.ok_or(ClusterError::NoRight(subject))?;
        }
        Ok((link, ears))
    }

    /// The beats of all hosts that answer. Ends when none has answered for a while.
    ///
    /// # Errors
    /// [`ClusterError::NoRight`].
    pub(super) async fn who(&self) -> Result<Vec<Bytes>, ClusterError> {
        /// Hosts answer at once, so silence says that all have.
        const SILENCE: Duration = Duration::from_millis(500);
        let subject = format!("{}.who", self.prefix);
        let refused = || ClusterError::NoRight(subject.clone());
        let inbox = self.client.new_inbox();
        let mut answers = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|_| refused())?;
        let asked = self
            .client
            .publish_with_reply(subject.clone(), inbox, Bytes::new());
        asked.await.map_err(|_| refused())?;
        let mut beats = Vec::new();
        while let Ok(Some(answer)) = timeout(SILENCE, answers.next()).await {
            if answer.status.is_some() {
                break; // nobody is there
            }
            beats.push(answer.payload);
        }
        Ok(beats)
    }
}

impl Events {
    fn note(&self, event: &Event) {
        if let Event::SlowConsumer(_) = event {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(%event, "NATS");
    }
}

impl Link {
    /// The number of this host.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Messages that came faster than they were read.
    pub(super) fn dropped(&self) -> u64 {
        self.events.dropped.load(Ordering::Relaxed)
    }

    /// The most bytes of one message.
    pub(super) fn most_bytes(&self) -> usize {
        self.client.max_payload()
    }

    /// Hands a frame for a host to the connection. Returns whether that was possible: not whether
    /// it comes.
    pub(super) async fn send(&self, host: u32, frame: Bytes) -> bool {
        if !self.is_connected() {
            return false;
        }
        let sending = self.client.publish(self.host(host), frame);
        matches!(timeout(SENDING, sending).await, Ok(Ok(())))
    }

    /// As [`Link::send`], and without waiting: for frames that others make up for.
    pub(super) fn post(&self, host: u32, frame: Bytes) -> bool {
        self.is_connected() && is_ready(self.client.publish(self.host(host), frame))
    }

    /// As [`Link::send`]. If nobody hears there, that is heard: [`Heard::Gone`] with this id.
    pub(super) async fn ask(&self, host: u32, id: u64, frame: Bytes) -> bool {
        if !self.is_connected() {
            return false;
        }
        let (subject, reply) = (self.host(host), self.reply(host, id));
        let sending = self.client.publish_with_reply(subject, reply, frame);
        matches!(timeout(SENDING, sending).await, Ok(Ok(())))
    }

    /// As [`Link::ask`], and without waiting.
    pub(super) fn probe(&self, host: u32, frame: Bytes) -> bool {
        let (subject, reply) = (self.host(host), self.reply(host, 0));
        self.is_connected() && is_ready(self.client.publish_with_reply(subject, reply, frame))
    }

    /// Tells all hosts.
    pub(super) fn beat(&self, beat: Bytes) -> bool {
        let subject = format!("{}.beat", self.prefix);
        self.is_connected() && is_ready(self.client.publish(subject, beat))
    }

    /// Tells whoever has asked.
    pub(super) fn tell(&self, whom: String, beat: Bytes) {
        let _asks_again = is_ready(self.client.publish(whom, beat));
    }

    /// The bucket of names. If this host makes it, entries expire after `lease`.
    ///
    /// # Errors
    /// What was said.
    pub(super) async fn names(&self, lease: Duration) -> Result<Book, String> {
        /// Below this, no host could renew in time.
        const LEAST: Duration = Duration::from_secs(1);
        let cluster = self.prefix.rsplit('.').next().unwrap_or_default();
        let bucket = format!("wph-{cluster}-names");
        let store = bucket_of(&self.client, bucket, lease).await?;
        let lease = store.stream.cached_info().config.max_age;
        if lease < LEAST {
            return Err(format!("entries of {} expire after {lease:?}", store.name));
        }
        Ok(Book { store, lease })
    }

    /// Waits until what was handed to the connection is written.
    pub(super) async fn flush(&self) {
        let _broken = timeout(SENDING, self.client.flush()).await;
    }

    fn host(&self, host: u32) -> String {
        format!("{}.h.{host}", self.prefix)
    }

    fn reply(&self, host: u32, id: u64) -> String {
        format!("{}.r.{}.{host}.{id}", self.prefix, self.number)
    }
}

/// The bucket with this name, which is made if it is not there. Its entries expire after `age`, or
/// never.
///
/// # Errors
/// What was said.
async fn bucket_of(client: &Client, bucket: String, age: Duration) -> Result<kv::Store, String> {
    let context = jetstream::new(client.clone());
    if let Ok(store) = context.get_key_value(&bucket).await {
        return Ok(store);
    }
    // A bucket is a stream of this form. The library's own way to make one reads an answer that
    // servers before 2.10 don't give.
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
    let store = context.get_key_value(&bucket).await;
    store.map_err(|missing| {
        let why = created.err().map(|error| error.to_string());
        why.unwrap_or_else(|| missing.to_string())
    })
}

/// The bucket of names, whose entries expire.
#[derive(Debug)]
pub(super) struct Book {
    store: kv::Store,
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
    /// The value of an entry and its revision. Both may be old.
    pub(super) async fn read(&self, key: &str) -> Result<Option<(Bytes, u64)>, Unreachable> {
        let entry = self.store.entry(key).await.map_err(|_| Unreachable)?;
        Ok(entry.map(|entry| (entry.value, entry.revision)))
    }

    /// Writes an entry that has this revision, or 0 if there is none. Returns the next revision.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, NotWritten> {
        let written = self.store.update(key, value, revision).await;
        written.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => NotWritten::Another,
            kv::UpdateErrorKind::InvalidKey
            | kv::UpdateErrorKind::TimedOut
            | kv::UpdateErrorKind::Other => NotWritten::Unknown,
        })
    }
}

/// A URL without the user and the password in it.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        (None, _) | (Some(_), None) => url.to_owned(),
    }
}

/// Whether the connection takes this at once.
fn is_ready<E>(publishing: impl Future<Output = Result<(), E>>) -> bool {
    matches!(unconstrained(publishing).now_or_never(), Some(Ok(())))
}

impl Ears {
    /// What comes next. `None` once the link is closed.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        loop {
            let heard = std::future::poll_fn(|cx| self.poll(cx)).await?;
            let is_hello = match &heard {
                Heard::Frame(payload) | Heard::Beat(payload) => payload == HELLO,
                Heard::Who(whom) => whom.is_empty(),
                Heard::Gone { host, .. } => *host == 0,
            };
            if !is_hello {
                return Some(heard);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        // Beats first: there are few, and whoever has much to do must not seem to be lost.
        if let Poll::Ready(message) = Pin::new(&mut self.beats).poll_next(cx) {
            return Poll::Ready(message.map(|message| Heard::Beat(message.payload)));
        }
        if let Poll::Ready(message) = Pin::new(&mut self.gone).poll_next(cx) {
            // Nobody but the server writes here, and only that nobody hears.
            let Some(message) = message else {
                return Poll::Ready(None);
            };
            let mut words = message.subject.rsplit('.');
            let id = words.next().and_then(|word| word.parse().ok());
            let host = words.next().and_then(|word| word.parse().ok());
            let (host, id) = (host.unwrap_or_default(), id.unwrap_or_default());
            return Poll::Ready(Some(Heard::Gone { host, id }));
        }
        if let Poll::Ready(message) = Pin::new(&mut self.frames).poll_next(cx) {
            return Poll::Ready(message.map(|message| Heard::Frame(message.payload)));
        }
        if let Poll::Ready(message) = Pin::new(&mut self.who).poll_next(cx) {
            return Poll::Ready(message.map(|message| {
                Heard::Who(
                    message
                        .reply
                        .map(|reply| reply.to_string())
                        .unwrap_or_default(),
                )
            }));
        }
        Poll::Pending
    }
}
