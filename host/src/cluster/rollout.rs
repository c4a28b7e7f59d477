//! A *roll-out* brings a module that was pushed to the hosts that follow the cluster, one after the
//! other. There is no leader: a record in NATS says what is rolled out, who swaps at present, who
//! serves it, and why it was stopped. Each host changes the record by compare-and-set.
//!
//! The first host is alone, whatever `at_once` says: a module that fails there reaches nobody else.
//! Once it serves the first, it is the one with which hosts start. A host that is lost while it
//! swaps frees its place, but the second one that is lost stops the roll-out.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::frames::{Beat, MAX_FOLLOWED};
use super::link::Connection;
use super::settings::{ClusterError, ClusterSettings};
use super::store::{Kept, Store, TRANSFER};
use super::{Cluster, Inner};
use crate::sandbox::MAX_MODULE_BYTES;
use crate::settings::{Module, ModuleBytes};
use crate::text::cut;

/// How often a host reads the record while a roll-out is under way. Otherwise once a beat.
const SOON: Duration = Duration::from_millis(200);

/// The longest record, in bytes: thousands of hosts fit.
const MAX_RECORD: usize = 128 << 10;

/// The longest reason that is kept, in bytes.
const MAX_WHY: usize = 1000;

/// The longest name of a pool.
const MAX_POOL: usize = 64;

/// The digits of a digest that are shown.
const SHOWN: usize = 12;

/// The most hosts that are lost while they swap before nobody else does.
const MAX_LOST: usize = 1;

/// How often a write is tried that others are faster than.
const MOST_WRITES: usize = 1000;

/// What is known of the modules of one pool. It is JSON, so that people can read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// The module with which hosts start.
    current: Option<Pushed>,
    /// What was pushed last.
    next: Option<Rollout>,
    /// The hosts that swap at present, whatever they swap to.
    swapping: Vec<u32>,
    /// Modules that nobody needs, or that are being stored.
    left: Vec<Left>,
}

/// A module that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pushed {
    /// The SHA-256 of the file, in hexadecimal digits.
    digest: String,
    /// The size of the file.
    size: u64,
    /// The name in the object store.
    object: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rollout {
    module: Pushed,
    /// The most hosts that swap at one time, once one has.
    at_once: u32,
    /// The hosts that have swapped.
    serving: Vec<u32>,
    /// The hosts that were lost while they swapped.
    lost: Vec<u32>,
    /// Why nobody else swaps, if so.
    failed: Option<Failed>,
}

/// Where a module has failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    host: u32,
    name: String,
    why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    object: String,
    /// When that was, in seconds since 1970. Clocks may differ by minutes.
    since: u64,
}

/// What is pushed.
#[derive(Clone, Debug)]
pub struct Push {
    /// The pool: letters, digits, `-` and `_`, at most 64 of them.
    pub pool: String,
    /// The module: what its file holds.
    pub module: Bytes,
    /// How many hosts may swap at one time. The first is always alone.
    pub at_once: NonZeroU32,
}

/// What happens while a module is rolled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushEvent {
    /// The module is in the store. The first digits of its digest.
    Stored(String),
    /// This host swaps: it fetches the module, compiles it and starts its processes.
    Swapping(u32, String),
    /// This host serves the module.
    Serving(u32, String),
}

/// How a roll-out has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushEnd {
    /// Each of so many hosts that follow serves the module. Hosts that start do.
    Done(usize),
    /// This host could not use the module, and no further one tries.
    Stopped {
        /// The number of the host.
        host: u32,
        /// Its name.
        name: String,
        /// Why.
        why: String,
        /// How many hosts serve the module nevertheless.
        serving: usize,
    },
    /// Another module was pushed meanwhile.
    Superseded,
}

/// A pool of this host that serves what is pushed.
pub struct Following {
    inner: Arc<Inner>,
    pool: String,
    store: Option<Store>,
    /// The digest of what it serves.
    serving: String,
    /// Hosts that swap and are not there, and since when.
    absent: HashMap<u32, Instant>,
}

/// This host's turn to swap. The place is taken until [`Following::swapped`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    module: Pushed,
    /// Whether no other host serves the module yet.
    pub is_first: bool,
}

impl Cluster {
    /// Follows the cluster with this pool: serves what is pushed for it.
    #[must_use]
    pub fn follow(&self, pool: &str) -> Following {
        Following {
            inner: Arc::clone(&self.0),
            pool: pool.to_owned(),
            store: None,
            serving: String::new(),
            absent: HashMap::new(),
        }
    }

    /// Stores a module, and waits until all hosts that follow serve it. The hosts go on without
    /// whoever waits. `tell` hears what happens.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn push(
        settings: &ClusterSettings,
        push: Push,
        mut tell: impl FnMut(PushEvent),
    ) -> Result<PushEnd, ClusterError> {
        settings.check()?;
        let Push {
            pool,
            module,
            at_once,
        } = push;
        let key = key(&pool)?;
        let size = module.len() as u64;
        if size > MAX_MODULE_BYTES {
            return Err(ClusterError::LargeModule(size));
        }
        let connection = Connection::open(settings).await?;
        let store = connection.store().await?;
        let digest = format!("{:x}", Sha256::digest(&module));
        let object = format!("{pool}-{}-{:016x}", shown(&digest), random());
        let pushed = Pushed {
            digest,
            size,
            object,
        };
        tidy(&store, &key, &pushed).await?;
        store.put(&pushed.object, &module).await?;
        tell(PushEvent::Stored(shown(&pushed.digest).to_owned()));
        change(&store, &key, |record| {
            record.begin(pushed.clone(), at_once.get());
        })
        .await?;
        watch(&connection, &store, (&pool, &key), &pushed, tell).await
    }
}

/// Removes what earlier pushes have left, and notes this object: if this push is killed, a later
/// one removes it.
async fn tidy(store: &Store, key: &str, pushed: &Pushed) -> Result<(), ClusterError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut old = Vec::new();
    change(store, key, |record| {
        let is_old = |left: &Left| now.saturating_sub(left.since) > TRANSFER.as_secs();
        old = record.left.extract_if(.., |left| is_old(left)).collect();
        record.left.push(Left {
            object: pushed.object.clone(),
            since: now,
        });
    })
    .await?;
    for left in old {
        store.remove(&left.object).await?;
    }
    Ok(())
}

/// Waits until all hosts that follow serve the module.
async fn watch(
    connection: &Connection,
    store: &Store,
    (pool, key): (&str, &str),
    pushed: &Pushed,
    mut tell: impl FnMut(PushEvent),
) -> Result<PushEnd, ClusterError> {
    /// An answer may be lost, so that a host seems to be gone.
    const LOOKS: usize = 2;
    let mut told: HashMap<u32, PushEvent> = HashMap::new();
    let (mut names, mut looks) = (BTreeMap::new(), 0);
    loop {
        // This takes its time: hosts that are there answer, and then there is silence.
        let beats = connection.who().await?;
        let beats: Vec<_> = beats.iter().filter_map(|beat| Beat::decode(beat)).collect();
        let following = beats.iter().filter(|beat| !beat.is_draining);
        let following: Vec<(u32, &str)> = following
            .filter_map(|beat| Some((beat.number, &**beat.follows.get(pool)?)))
            .collect();
        names.extend(beats.iter().map(|beat| (beat.number, beat.name.clone())));
        let record = match store.read(key).await? {
            Some(kept) => Record::decode(&kept)?,
            None => Record::default(),
        };
        let Some(rollout) = record.next.filter(|next| next.module == *pushed) else {
            return Ok(PushEnd::Superseded);
        };
        let name = |host: u32| names.get(&host).cloned().unwrap_or_default();
        let swapping = record.swapping.iter();
        let swapping = swapping.map(|host| PushEvent::Swapping(*host, name(*host)));
        let serving = rollout.serving.iter();
        let serving = serving.map(|host| PushEvent::Serving(*host, name(*host)));
        for event in swapping.chain(serving) {
            let (PushEvent::Swapping(host, _) | PushEvent::Serving(host, _)) = event else {
                continue;
            };
            if told.insert(host, event.clone()).as_ref() != Some(&event) {
                tell(event);
            }
        }
        if let Some(Failed { host, name, why }) = rollout.failed {
            let serving = rollout.serving.len();
            return Ok(PushEnd::Stopped {
                host,
                name,
                why,
                serving,
            });
        }
        let is_served = |(_, digest): &(u32, &str)| *digest == shown(&pushed.digest);
        looks = match following.iter().all(is_served) {
            true => looks + 1,
            false => 0,
        };
        if looks < LOOKS {
            continue;
        }
        if following.is_empty() {
            // Nobody is there who could try it: the next host that starts is the first.
            change(store, key, |record| {
                let next = record.next.as_ref();
                if next.is_some_and(|next| next.module == *pushed && next.failed.is_none()) {
                    record.adopt(pushed);
                }
            })
            .await?;
        }
        return Ok(PushEnd::Done(following.len()));
    }
}

impl Following {
    /// The module with which this pool starts.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn first(&mut self) -> Result<Module, ClusterError> {
        let key = key(&self.pool)?;
        if self.inner.follows().len() >= MAX_FOLLOWED {
            return Err(ClusterError::Follows(MAX_FOLLOWED));
        }
        let kept = self.store().await?.read(&key).await?;
        let record = kept.as_ref().map(Record::decode).transpose()?;
        let Some(current) = record.and_then(|record| record.current) else {
            let cluster = self.inner.settings.cluster.clone();
            return Err(ClusterError::NothingPushed(self.pool.clone(), cluster));
        };
        let module = self.fetched(&current).await?;
        self.serves(&current.digest);
        Ok(module)
    }

    /// Waits until there is another module, and this host may swap to it.
    pub async fn turn(&mut self) -> Turn {
        let beat = self.inner.settings.beat();
        let mut pause = beat;
        loop {
            sleep(pause).await;
            if self.inner.is_stopping() {
                pause = beat;
                continue;
            }
            pause = match self.look().await {
                Ok(Look::Mine(turn)) => return turn,
                Ok(Look::Others) => SOON,
                Ok(Look::Nothing) => beat,
                Err(error) => {
                    tracing::debug!(%error, "what was pushed is not known");
                    self.absent.clear(); // nobody is heard at present
                    beat
                }
            };
        }
    }

    /// The module whose turn it is, with its digest checked.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn fetch(&mut self, turn: &Turn) -> Result<Module, ClusterError> {
        self.fetched(&turn.module).await
    }

    /// Frees the place, and says what has become of the module here. Returns once that is written.
    pub async fn swapped(&mut self, turn: &Turn, outcome: Result<(), String>) {
        if outcome.is_ok() {
            self.serves(&turn.module.digest);
        }
        let (host, name) = (self.inner.link.number(), self.inner.settings.name.clone());
        let module = turn.module.clone();
        self.write(|record| record.swapped(host, &name, &module, &outcome))
            .await;
    }

    /// The module of this turn was served, and the one before has come back.
    pub async fn came_back(&mut self, turn: &Turn, before: &str, why: String) {
        self.serves(before);
        let (host, name) = (self.inner.link.number(), self.inner.settings.name.clone());
        let module = turn.module.clone();
        let outcome = Err(why);
        self.write(|record| record.swapped(host, &name, &module, &outcome))
            .await;
    }

    /// Frees the place: the pool follows no more.
    pub async fn skipped(&mut self, turn: &Turn) {
        tracing::debug!(
            pool = self.pool,
            digest = turn.module.digest,
            "not followed"
        );
        let host = self.inner.link.number();
        self.write(|record| record.swapping.retain(|other| *other != host))
            .await;
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The digest of what this pool serves.
    #[must_use]
    pub fn serving(&self) -> &str {
        &self.serving
    }

    fn serves(&mut self, digest: &str) {
        digest.clone_into(&mut self.serving);
        let (pool, shown) = (self.pool.clone(), shown(digest).to_owned());
        self.inner.follows().insert(pool, shown);
        self.inner.beat_if_there();
    }

    /// Changes the record, however long NATS is away.
    async fn write(&mut self, mut with: impl FnMut(&mut Record)) {
        loop {
            let written = async {
                let key = key(&self.pool)?;
                change(self.store().await?, &key, &mut with).await
            };
            match written.await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the roll-out does not know of this host"),
            }
            sleep(self.inner.settings.beat()).await;
        }
    }

    /// Reads the record, and takes a place if there is one.
    async fn look(&mut self) -> Result<Look, ClusterError> {
        let key = key(&self.pool)?;
        let host = self.inner.link.number();
        let kept = self.store().await?.read(&key).await?;
        let Some(kept) = kept else {
            return Ok(Look::Nothing);
        };
        let mut record = Record::decode(&kept)?;
        let lost = self.lost(&record.swapping);
        let look = record.look(host, &self.serving, &lost);
        let value = record.encode();
        let is_written = value == kept.value
            || self
                .store()
                .await?
                .write(&key, value, Some(kept.revision))
                .await?;
        // If another host was faster, this one looks again.
        Ok(match is_written {
            true => look,
            false => Look::Others,
        })
    }

    /// Of these hosts, those that have not been there for long.
    fn lost(&mut self, swapping: &[u32]) -> Vec<u32> {
        let there = self.inner.members.list();
        let (own, now) = (self.inner.link.number(), Instant::now());
        let is_absent =
            |host: &u32| *host != own && !there.iter().any(|member| member.number == *host);
        self.absent
            .retain(|host, _| swapping.contains(host) && is_absent(host));
        for host in swapping.iter().filter(|host| is_absent(host)) {
            self.absent.entry(*host).or_insert(now);
        }
        let lost = self.absent.iter();
        let lost_after = self.inner.settings.lost_after;
        lost.filter(|(_, since)| since.elapsed() > lost_after)
            .map(|(host, _)| *host)
            .collect()
    }

    async fn fetched(&mut self, pushed: &Pushed) -> Result<Module, ClusterError> {
        let size = usize::try_from(pushed.size).unwrap_or(usize::MAX);
        let bytes = self.store().await?.get(&pushed.object, size).await?;
        let digest = format!("{:x}", Sha256::digest(&bytes));
        if bytes.len() != size || digest != pushed.digest {
            return Err(ClusterError::OtherModule {
                pushed: pushed.digest.clone(),
                found: digest,
            });
        }
        let name = format!("cluster:{}", shown(&digest));
        Ok(Module::Bytes(ModuleBytes { name, bytes }))
    }

    async fn store(&mut self) -> Result<&Store, ClusterError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => self.inner.link.store().await?,
        };
        Ok(self.store.insert(store))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.inner.follows().remove(&self.pool);
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("pool", &self.pool)
            .field("serving", &self.serving)
            .finish_non_exhaustive()
    }
}

/// What a record says to a host.
#[derive(Clone, Debug, PartialEq)]
enum Look {
    /// There is nothing to do.
    Nothing,
    /// Others swap at present.
    Others,
    /// It is this host's turn.
    Mine(Turn),
}

impl Record {
    fn decode(kept: &Kept) -> Result<Self, ClusterError> {
        let unreadable =
            |why: String| ClusterError::Store(format!("the record of a roll-out: {why}"));
        if kept.value.is_empty() {
            return Ok(Self::default()); // it was deleted
        }
        if kept.value.len() > MAX_RECORD {
            return Err(unreadable("it is too long".to_owned()));
        }
        let record: Self =
            serde_json::from_slice(&kept.value).map_err(|error| unreadable(error.to_string()))?;
        let modules = record.current.iter();
        let mut modules = modules.chain(record.next.iter().map(|next| &next.module));
        match modules.all(Pushed::is_plain) {
            true => Ok(record),
            false => Err(unreadable("a module in it can't be".to_owned())),
        }
    }

    fn encode(&self) -> Bytes {
        // Fails only for types that these are not.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Begins to roll out a module, whatever was rolled out before.
    fn begin(&mut self, module: Pushed, at_once: u32) {
        self.left.retain(|left| left.object != module.object);
        let before = self.next.replace(Rollout {
            module,
            at_once,
            serving: Vec::new(),
            lost: Vec::new(),
            failed: None,
        });
        if let Some(before) = before
            && Some(&before.module) != self.current.as_ref()
        {
            self.leave(before.module);
        }
    }

    /// Has hosts start with this module.
    fn adopt(&mut self, module: &Pushed) {
        if self.current.as_ref() == Some(module) {
            return;
        }
        if let Some(before) = self.current.replace(module.clone()) {
            self.leave(before);
        }
    }

    /// A host may fetch it just now, so it is removed later.
    fn leave(&mut self, module: Pushed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.left.push(Left {
            object: module.object,
            since: now.map_or(0, |since| since.as_secs()),
        });
    }

    /// What a host is to do that serves this digest. Takes a place if there is one.
    fn look(&mut self, host: u32, serving: &str, lost: &[u32]) -> Look {
        let Self { next, swapping, .. } = self;
        let Some(next) = next.as_mut() else {
            return Look::Nothing;
        };
        let frees = |host: &u32| lost.contains(host);
        // Also behind a failure: else these places would count against the next module.
        next.lost
            .extend(swapping.extract_if(.., |host| frees(host)));
        if next.failed.is_some() {
            return Look::Nothing;
        }
        if next.lost.len() > MAX_LOST {
            next.failed = next.lost.last().map(|host| Failed {
                host: *host,
                name: String::new(),
                why: "the second host was lost while it swapped".to_owned(),
            });
            return Look::Nothing;
        }
        let module = next.module.clone();
        let is_first = next.serving.is_empty();
        let most = if is_first { 1 } else { next.at_once.max(1) };
        let others = swapping.iter().filter(|other| **other != host).count();
        if serving == module.digest {
            // It has started with this module, or had it before. Only the first of these is noted:
            // each start of a host has another number.
            swapping.retain(|other| *other != host);
            if is_first {
                next.serving.push(host);
                self.adopt(&module);
            }
            return Look::Nothing;
        }
        if others >= most as usize {
            return Look::Others;
        }
        if !swapping.contains(&host) {
            swapping.push(host);
        }
        Look::Mine(Turn { module, is_first })
    }

    /// This host has swapped, or could not.
    fn swapped(&mut self, host: u32, name: &str, module: &Pushed, outcome: &Result<(), String>) {
        self.swapping.retain(|other| *other != host);
        let Some(next) = self.next.as_mut().filter(|next| next.module == *module) else {
            return; // another one was pushed
        };
        next.serving.retain(|other| *other != host);
        match outcome {
            Ok(()) => {
                next.serving.push(host);
                if next.failed.is_none() {
                    self.adopt(module);
                }
            }
            Err(_) if next.failed.is_some() => {}
            Err(why) => {
                next.failed = Some(Failed {
                    host,
                    name: name.to_owned(),
                    why: cut(why, MAX_WHY).to_owned(),
                });
            }
        }
    }
}

impl Pushed {
    /// Whether a module of this cluster may look so.
    fn is_plain(&self) -> bool {
        let is_digest = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        self.digest.len() == 64
            && self.digest.bytes().all(is_digest)
            && self.size <= MAX_MODULE_BYTES
            && (1..=2 * MAX_POOL).contains(&self.object.len())
            && self.object.bytes().all(is_name)
    }
}

/// Changes a record, until nobody is faster.
async fn change(
    store: &Store,
    key: &str,
    mut with: impl FnMut(&mut Record),
) -> Result<(), ClusterError> {
    for _ in 0..MOST_WRITES {
        let kept = store.read(key).await?;
        let mut record = match &kept {
            Some(kept) => Record::decode(kept)?,
            None => Record::default(),
        };
        with(&mut record);
        let revision = kept.map(|kept| kept.revision);
        if store.write(key, record.encode(), revision).await? {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err(ClusterError::Store(format!("{key}: others are faster")))
}

/// The key of a pool's record.
fn key(pool: &str) -> Result<String, ClusterError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=MAX_POOL).contains(&pool.len()) && pool.bytes().all(fits) {
        return Ok(format!("module.{pool}"));
    }
    Err(ClusterError::Pool(pool.to_owned()))
}

/// The digits of a digest that are shown.
fn shown(digest: &str) -> &str {
    cut(digest, SHOWN)
}

/// A number that no other push has.
fn random() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(digit: char) -> Pushed {
        Pushed {
            digest: digit.to_string().repeat(64),
            size: 1,
            object: format!("main-{digit}"),
        }
    }

    /// A record that rolls out `b` where hosts serve `a`.
    fn record(at_once: u32) -> Record {
        let mut record = Record {
            current: Some(pushed('a')),
            ..Record::default()
        };
        record.begin(pushed('b'), at_once);
        record
    }

    fn mine(is_first: bool) -> Look {
        Look::Mine(Turn {
            module: pushed('b'),
            is_first,
        })
    }

    #[test]
    fn the_first_host_is_alone_and_then_as_many_as_may() {
        let (mut record, old) = (record(2), pushed('a').digest);
        assert_eq!(record.look(1, &old, &[]), mine(true));
        assert_eq!(record.look(1, &old, &[]), mine(true), "it has the place");
        assert_eq!(record.look(2, &old, &[]), Look::Others);
        record.swapped(1, "one", &pushed('b'), &Ok(()));
        assert_eq!(record.current, Some(pushed('b')), "hosts start with it");
        assert_eq!(record.look(2, &old, &[]), mine(false));
        assert_eq!(record.look(3, &old, &[]), mine(false));
        assert_eq!(record.look(4, &old, &[]), Look::Others);
        record.swapped(3, "three", &pushed('b'), &Ok(()));
        assert_eq!(record.look(4, &old, &[]), mine(false));
    }

    #[test]
    fn what_fails_stops() {
        let (mut record, old) = (record(8), pushed('a').digest);
        assert_eq!(record.look(1, &old, &[]), mine(true));
        record.swapped(1, "one", &pushed('b'), &Err("no".to_owned()));
        assert_eq!(record.look(2, &old, &[]), Look::Nothing);
        assert_eq!(record.current, Some(pushed('a')));
        assert!(record.swapping.is_empty());
    }

    #[test]
    fn who_is_lost_frees_a_place_once() {
        let (mut record, old) = (record(1), pushed('a').digest);
        assert_eq!(record.look(1, &old, &[]), mine(true));
        assert_eq!(record.look(2, &old, &[1]), mine(true));
        assert_eq!(record.look(3, &old, &[2]), Look::Nothing);
        let failed = record.next.and_then(|next| next.failed);
        assert_eq!(failed.map(|failed| failed.host), Some(2));
    }

    #[test]
    fn another_push_takes_the_place_of_the_first() {
        let (mut record, old) = (record(1), pushed('a').digest);
        assert_eq!(record.look(1, &old, &[]), mine(true));
        record.begin(pushed('c'), 1);
        assert_eq!(record.look(2, &old, &[]), Look::Others, "1 swaps still");
        record.swapped(1, "one", &pushed('b'), &Ok(()));
        assert_eq!(record.current, Some(pushed('a')));
        assert!(matches!(record.look(2, &old, &[]), Look::Mine(turn) if turn.is_first));
        let left: Vec<_> = record.left.iter().map(|left| &*left.object).collect();
        assert_eq!(left, ["main-b"]);
    }

    #[test]
    fn what_is_read_is_bounded() {
        let kept = |value: String| Kept {
            value: value.into(),
            revision: 1,
        };
        let good = record(1);
        let read = Record::decode(&kept(
            String::from_utf8(good.encode().to_vec()).expect("JSON"),
        ));
        assert_eq!(read.expect("a record"), good);
        let mut bad = good.clone();
        bad.current = Some(Pushed {
            size: u64::MAX,
            ..pushed('a')
        });
        let bad = String::from_utf8(bad.encode().to_vec()).expect("JSON");
        for text in [
            bad,
            "{}".to_owned(),
            "garbage".to_owned(),
            " ".repeat(MAX_RECORD + 1),
        ] {
            assert!(Record::decode(&kept(text)).is_err());
        }
        for pool in ["", "a.b", "*", ">", "a b"] {
            assert!(key(pool).is_err(), "{pool:?}");
        }
    }
}
