//! The *link* to NATS. But for the [`store`](super::store), this is the only file that names it. It
//! connects, takes the host's number, publishes and hears. Everything that NATS may do to a message
//! is said here; above, messages just don't come.
//!
//! - What was written when a connection broke is lost without a word, and what was published
//!   meanwhile waits. So nothing is published while the link is down, and those who wait ask again
//!   (`probe`).
//! - A subscription whose reader is slow drops messages. Windows bound what may come, and what is
//!   dropped is missed like what was lost.
//! - `Client::request` keeps something for each request that is never answered; `drain` forgets
//!   what the server has sent meanwhile; queue groups choose without looking. None is used.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, ServerAddr, ServerError, Subscriber,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use super::frames::Beat;
use super::settings::{ClusterError, ClusterSettings};
use super::store::{Book, Store};

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

/// The most missing rights that are logged. Guests choose parts of subjects.
const MAX_TOLD: usize = 16;

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
    /// How often the link was up.
    connections: watch::Sender<u64>,
    /// Missing rights that the log knows.
    told: Mutex<BTreeSet<String>>,
}

/// The speaking side of the link. Clones speak over the same connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    client: Client,
    prefix: Arc<str>,
    cluster: Arc<str>,
    number: u32,
    events: Arc<Events>,
}

/// The hearing side of the link.
pub(super) struct Ears {
    frames: Subscriber,
    /// Beats that this host has asked for, and from the server that nobody hears.
    replies: Subscriber,
    beats: Subscriber,
    who: Subscriber,
    /// What waits until the frames before it are heard, and how many of them may still come first.
    held: Option<(Heard, usize)>,
}

/// Hears what the server says to questions of this host.
pub(super) struct Inbox(Subscriber);

/// What the server says to a question.
pub(super) enum Said {
    Bytes(Bytes),
    /// A number, as HTTP has them, and no bytes.
    Status(u16),
    /// A job. What becomes of it is told to this subject.
    Job {
        ack: String,
        bytes: Bytes,
    },
}

/// What is heard.
pub(super) enum Heard {
    Frame(Bytes),
    Beat(Bytes),
    /// Somebody wants a beat, at this subject.
    Who(String),
    /// What this host has said to itself.
    Hello,
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
        let mut behind = 0;
        loop {
            // Only a write that compares is believed, since a read may be old.
            let entry = store.read(NEXT_HOST).await;
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
            let number = last.max(behind) + 1;
            if number > MAX_NUMBER {
                return Err(ClusterError::NumbersUsedUp);
            }
            let value = Bytes::from(number.to_string());
            let last = entry.map(|entry| entry.revision);
            match store.write(NEXT_HOST, value, last).await {
                Ok(Some(_)) if self.is_taken(number).await => {
                    let beats = self.who().await?;
                    let numbers = beats.iter().filter_map(|beat| Beat::decode(beat));
                    let most = numbers.map(|beat| beat.number).max();
                    let Some(most) = most.filter(|most| *most >= number) else {
                        return Ok(number); // nobody answers: it may be that nobody may ask
                    };
                    // The counter was lost, and began anew. It goes on behind all who are there.
                    tracing::error!(number, most, "the counter of hosts was lost");
                    behind = most;
                }
                Ok(Some(_)) => return Ok(number),
                Ok(None) if Instant::now() > give_up => {
                    let why = "other hosts are faster".to_owned();
                    return Err(ClusterError::NoNumber(why));
                }
                Err(error) if Instant::now() > give_up => {
                    return Err(ClusterError::NoNumber(error.to_string()));
                }
                Ok(None) | Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Whether somebody hears at this number.
    async fn is_taken(&self, number: u32) -> bool {
        const SILENCE: Duration = Duration::from_secs(1);
        let inbox = self.client.new_inbox();
        let Ok(mut answers) = self.client.subscribe(inbox.clone()).await else {
            return false;
        };
        let subject = format!("{}.h.{number}", self.prefix);
        let asked = self
            .client
            .publish_with_reply(subject, inbox, Bytes::from_static(HELLO));
        // The server answers at once if nobody hears.
        asked.await.is_ok() && timeout(SILENCE, answers.next()).await.is_err()
    }

    /// What the cluster keeps.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`].
    pub(super) async fn store(&self) -> Result<Store, ClusterError> {
        Store::open(self.client.clone(), &self.cluster).await
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
            replies: subscribe(format!("{prefix}.r.{number}.*.*")).await?,
            beats: subscribe(format!("{prefix}.beat")).await?,
            who: subscribe(format!("{prefix}.who")).await?,
            held: None,
        };
        let link = Link {
            client: self.client,
            prefix: prefix.as_str().into(),
            cluster: self.cluster.into(),
            number,
            events: self.events,
        };
        // A subscription takes effect when the server has read it, and without a right never. What
        // comes back behind it proves both.
        let hello = Bytes::from_static(HELLO);
        let replies = format!("{prefix}.r.{number}.0.0");
        for (subject, heard) in [
            (own, &mut ears.frames),
            (replies, &mut ears.replies),
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
        let give_up = Instant::now() + PATIENCE;
        while beats.len() < MAX_NUMBER as usize
            && Instant::now() < give_up
            && let Ok(Some(answer)) = timeout(SILENCE, answers.next()).await
        {
            if answer.status.is_some() {
                break; // nobody is there
            }
            beats.push(answer.payload);
        }
        // Nobody is there, or nobody may hear.
        if beats.is_empty() && !self.hears_itself().await {
            return Err(refused());
        }
        Ok(beats)
    }
}

impl Connection {
    /// Whether what is said below the cluster's subjects comes back.
    async fn hears_itself(&self) -> bool {
        let inbox = self.client.new_inbox();
        let Ok(mut heard) = self.client.subscribe(inbox.clone()).await else {
            return false;
        };
        let said = self.client.publish(inbox, Bytes::from_static(HELLO)).await;
        let comes_back = timeout(PATIENCE, heard.next()).await;
        said.is_ok() && matches!(comes_back, Ok(Some(_)))
    }
}

impl Events {
    fn note(&self, event: &Event) {
        if let Event::SlowConsumer(_) = event {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Event::ServerError(ServerError::Other(why)) = event
            && why.to_ascii_lowercase().contains("permissions violation")
        {
            self.refused(why);
        }
        if let Event::Connected = event {
            self.connections.send_modify(|count| *count += 1);
        }
        tracing::debug!(%event, "NATS");
    }

    /// Logs a right that is missing, once. Whoever has asked just gets no answer.
    fn refused(&self, why: &str) {
        // No step under this lock can panic.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MAX_TOLD && told.insert(why.to_owned()) {
            tracing::warn!(why, "the user of this host lacks a right in NATS");
        }
    }
}

impl Link {
    /// What the cluster keeps.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`].
    pub(super) async fn store(&self) -> Result<Store, ClusterError> {
        Store::open(self.client.clone(), &self.cluster).await
    }

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

    /// Has all hosts send this one a beat.
    pub(super) fn ask_who(&self) {
        let subject = format!("{}.who", self.prefix);
        let asking = self
            .client
            .publish_with_reply(subject, self.reply(0, 0), Bytes::new());
        let _their_next_beats_come = is_ready(asking);
    }

    /// Tells whoever has asked.
    pub(super) fn tell(&self, whom: String, beat: Bytes) {
        let _asks_again = is_ready(self.client.publish(whom, beat));
    }

    /// As [`Link::beat`], and waits until it is handed to the connection.
    pub(super) async fn beat_surely(&self, beat: Bytes) {
        let sending = self.client.publish(format!("{}.beat", self.prefix), beat);
        let _nobody_is_there = timeout(SENDING, sending).await;
    }

    /// Says something to itself, which comes behind all that others have sent before.
    pub(super) async fn hello(&self) -> bool {
        self.send(self.number, Bytes::from_static(HELLO)).await
    }

    /// Hears what the server says to questions of this host.
    pub(super) async fn inbox(&self) -> Option<Inbox> {
        let subject = format!("{}.q.{}.*", self.prefix, self.number);
        let subscribing = timeout(SENDING, self.client.subscribe(subject)).await;
        subscribing.ok()?.ok().map(Inbox)
    }

    /// Asks the server for a job. The answer comes to an inbox of its own.
    pub(super) async fn pull(&self, subject: String, id: u64, payload: Bytes) -> Option<Inbox> {
        if !self.is_connected() {
            return None;
        }
        let reply = format!("{}.q.{}.pull.{id}", self.prefix, self.number);
        let asking = async {
            let inbox = Inbox(self.client.subscribe(reply.clone()).await.ok()?);
            let asking = self.client.publish_with_reply(subject, reply, payload);
            asking.await.ok()?;
            Some(inbox)
        };
        timeout(SENDING, asking).await.ok().flatten()
    }

    /// Hands a question for the server to the connection. The answer comes to the [`Inbox`], with
    /// this id. A stream stores what says `once` a single time, however often it comes.
    pub(super) async fn question(
        &self,
        subject: String,
        id: u64,
        once: Option<&str>,
        payload: Bytes,
    ) -> bool {
        if !self.is_connected() {
            return false;
        }
        let reply = format!("{}.q.{}.{id}", self.prefix, self.number);
        let sending = async {
            let Some(once) = once else {
                let sending = self.client.publish_with_reply(subject, reply, payload);
                return sending.await;
            };
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", once);
            let publishing = self
                .client
                .publish_with_reply_and_headers(subject, reply, headers, payload);
            publishing.await
        };
        matches!(timeout(SENDING, sending).await, Ok(Ok(())))
    }

    /// Tells the server something that needs no answer.
    pub(super) async fn tell_server(&self, subject: &str, what: Bytes) -> bool {
        if !self.is_connected() {
            return false;
        }
        let sending = self.client.publish(subject.to_owned(), what);
        matches!(timeout(SENDING, sending).await, Ok(Ok(())))
    }

    /// Changes whenever the link is up again.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.events.connections.subscribe()
    }

    /// The name of the cluster.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The bucket of names. If this host makes it, entries expire after `lease`.
    ///
    /// # Errors
    /// [`ClusterError::NoJetStream`], [`ClusterError::Store`].
    pub(super) async fn names(&self, lease: Duration) -> Result<Book, ClusterError> {
        Book::open(self.client.clone(), &self.cluster, lease).await
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

impl Inbox {
    /// The id of a question, and what the server says. `None` once the link is closed.
    pub(super) async fn hear(&mut self) -> Option<(u64, Said)> {
        self.0.next().await.map(Self::read)
    }

    /// What the server has said already.
    pub(super) fn heard(&mut self) -> Option<Said> {
        let heard = unconstrained(self.0.next()).now_or_never()?;
        heard.map(|message| Self::read(message).1)
    }

    fn read(message: async_nats::Message) -> (u64, Said) {
        let id = message.subject.rsplit('.').next();
        let id = id.and_then(|id| id.parse().ok()).unwrap_or_default();
        let said = match (message.status, message.reply) {
            (Some(status), _) => Said::Status(status.as_u16()),
            (None, Some(ack)) => Said::Job {
                ack: ack.to_string(),
                bytes: message.payload,
            },
            (None, None) => Said::Bytes(message.payload),
        };
        (id, said)
    }
}

impl Ears {
    /// What comes next. `None` once the link is closed.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        loop {
            let heard = std::future::poll_fn(|cx| self.poll(cx)).await?;
            match &heard {
                Heard::Frame(payload) if payload == HELLO => return Some(Heard::Hello),
                Heard::Beat(payload) if payload == HELLO => {}
                Heard::Who(whom) if whom.is_empty() => {}
                Heard::Frame(_)
                | Heard::Beat(_)
                | Heard::Who(_)
                | Heard::Hello
                | Heard::Gone { .. } => return Some(heard),
            }
        }
    }

    /// Frames that came before a beat, or before the news that nobody hears, are heard before it:
    /// a host that leaves has answered what it had.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        if self.held.is_none() {
            let Poll::Ready(held) = self.poll_news(cx) else {
                return self.poll_frames(cx);
            };
            let Some(held) = held else {
                return Poll::Ready(None);
            };
            self.held = Some((held, WAITING));
        }
        // More than so many came later, and whoever has much to do must not seem to be lost.
        if let Some((_, left)) = &mut self.held
            && *left > 0
        {
            *left -= 1;
            // Tokio must not have the task pause here: it would look as if no frame had come.
            let mut next = unconstrained(self.frames.next());
            if let Poll::Ready(message) = Pin::new(&mut next).poll(cx) {
                return Poll::Ready(message.map(|message| Heard::Frame(message.payload)));
            }
        }
        Poll::Ready(self.held.take().map(|(held, _)| held))
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        let frame = Pin::new(&mut self.frames).poll_next(cx);
        frame.map(|message| message.map(|message| Heard::Frame(message.payload)))
    }

    /// All but frames.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        if let Poll::Ready(message) = Pin::new(&mut self.beats).poll_next(cx) {
            return Poll::Ready(message.map(|message| Heard::Beat(message.payload)));
        }
        if let Poll::Ready(message) = Pin::new(&mut self.replies).poll_next(cx) {
            let Some(message) = message else {
                return Poll::Ready(None);
            };
            if message.status.is_none() {
                // This host has asked who is there.
                return Poll::Ready(Some(Heard::Beat(message.payload)));
            }
            let mut words = message.subject.rsplit('.');
            let id = words.next().and_then(|word| word.parse().ok());
            let host = words.next().and_then(|word| word.parse().ok());
            let (host, id) = (host.unwrap_or_default(), id.unwrap_or_default());
            return Poll::Ready(Some(Heard::Gone { host, id }));
        }
        let message = ready!(Pin::new(&mut self.who).poll_next(cx));
        Poll::Ready(message.map(|message| {
            let whom = message.reply.map(|reply| reply.to_string());
            Heard::Who(whom.unwrap_or_default())
        }))
    }
}
