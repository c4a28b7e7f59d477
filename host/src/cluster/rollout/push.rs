//! Whoever *pushes* stores a module, begins its roll-out, and watches until all hosts that follow
//! serve it. The hosts go on without the watcher.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::super::Cluster;
use super::super::frames::{Beat, Follows};
use super::super::link::Connection;
use super::super::settings::{ClusterError, ClusterSettings};
use super::super::store::Store;
use super::record::{Failed, Pushed, Record, change, key, shown};
use super::{BEHIND, SOON};
use crate::sandbox::MAX_MODULE_BYTES;

/// The most older modules that can't be removed before nothing more is stored: each is part of the
/// record.
const MAX_LEFT: usize = 100;

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
    /// Older modules could not be removed, for this reason. The next push tries again.
    NotRemoved(String),
    /// This host swaps: it fetches the module, compiles it, starts its processes, and tries it.
    Swapping(u32, String),
    /// This host serves the module.
    Serving(u32, String),
    /// This host has followed and does no more: it stops, was drained, or is lost.
    Gone(u32, String),
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
    /// Hosts have followed, and none of them does any more.
    Deserted {
        /// Whether hosts start with the module: a first host had tried it before.
        is_tried: bool,
    },
    /// Another module was pushed meanwhile.
    Superseded,
}

impl Cluster {
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
        if let Some(why) = tidy(&store, &key, &pushed).await? {
            tell(PushEvent::NotRemoved(why));
        }
        store.put(&pushed.object, &module).await?;
        tell(PushEvent::Stored(shown(&pushed.digest).to_owned()));
        // Before the first of them can try the module, and be lost by that.
        let mut followers = Followers::new(pool, pushed.object.clone(), settings.lost_after);
        followers.hear(&connection.who().await?);
        let written = change(&store, &key, |record| {
            record.begin(pushed.clone(), at_once.get());
        })
        .await?;
        let watch = Watch {
            connection,
            store,
            key,
            pushed,
            written,
        };
        watch.until_served(followers, tell).await
    }
}

/// Removes what earlier pushes have left, and notes the object of this push: if this push is
/// killed, a later one removes it. Returns why not all could be removed, if so. A later push tries
/// again.
///
/// # Errors
/// If too much could not be removed.
async fn tidy(store: &Store, key: &str, pushed: &Pushed) -> Result<Option<String>, ClusterError> {
    let mut old = Vec::new();
    change(store, key, |record| {
        old = record.old();
        record.note(pushed.object.clone());
    })
    .await?;
    let (mut removed, mut failed) = (Vec::new(), None);
    for object in &old {
        match store.remove(object).await {
            Ok(()) => removed.push(object),
            Err(error) => {
                failed = Some(error);
                break; // it may have taken a time-out to know
            }
        }
    }
    let is_too_much = old.len() - removed.len() > MAX_LEFT;
    if !removed.is_empty() || is_too_much {
        change(store, key, |record| {
            record.left.retain(|left| {
                let is_given_up = is_too_much && left.object == pushed.object;
                !is_given_up && !removed.contains(&&left.object)
            });
        })
        .await?;
    }
    match failed {
        Some(error) if is_too_much => Err(error),
        failed => Ok(failed.map(|error| error.to_string())),
    }
}

/// The hosts that follow, as far as whoever pushes has heard.
struct Followers {
    pool: String,
    /// The object of the module.
    object: String,
    /// By number.
    hosts: BTreeMap<u32, Follower>,
    /// The names of all hosts that were heard.
    names: HashMap<u32, String>,
    /// Whether a host has followed and does no more.
    any_gone: bool,
    lost_after: Duration,
}

struct Follower {
    /// The first digits of the digest of what it serves.
    serves: String,
    heard: Instant,
}

impl Followers {
    fn new(pool: String, object: String, lost_after: Duration) -> Self {
        Self {
            pool,
            object,
            hosts: BTreeMap::new(),
            names: HashMap::new(),
            any_gone: false,
            lost_after,
        }
    }

    /// Takes in the beats of all hosts that have answered. Returns the hosts that follow no more.
    ///
    /// An answer may be lost, so a host that is silent follows until it is lost.
    fn hear(&mut self, beats: &[Bytes]) -> Vec<u32> {
        let now = Instant::now();
        let mut gone = Vec::new();
        for beat in beats.iter().filter_map(|beat| Beat::decode(beat)) {
            let host = beat.number;
            let follows = beat.follows.get(&self.pool);
            let serves = match follows.filter(|_| !beat.is_draining && !beat.has_left) {
                None => None,
                Some(Follows::Serves(digits)) => Some(digits.clone()),
                Some(Follows::Waits(object)) if *object == self.object => None,
                Some(Follows::Waits(_)) => Some(String::new()),
            };
            match serves {
                Some(serves) => {
                    self.hosts.insert(host, Follower { serves, heard: now });
                }
                None => gone.extend(self.hosts.remove(&host).map(|_| host)),
            }
            self.names.insert(host, beat.name);
        }
        let is_lost = |follower: &Follower| now - follower.heard > self.lost_after;
        let lost = self.hosts.iter().filter(|(_, follower)| is_lost(follower));
        gone.extend(lost.map(|(host, _)| *host));
        self.hosts.retain(|host, _| !gone.contains(host));
        self.any_gone |= !gone.is_empty();
        gone
    }

    /// Whether all of them serve this module.
    fn all_serve(&self, pushed: &Pushed) -> bool {
        let mut hosts = self.hosts.values();
        hosts.all(|follower| follower.serves == shown(&pushed.digest))
    }

    fn name(&self, host: u32) -> String {
        self.names.get(&host).cloned().unwrap_or_default()
    }
}

/// A roll-out that was begun, as whoever pushed sees it.
struct Watch {
    connection: Connection,
    store: Store,
    key: String,
    pushed: Pushed,
    /// The revision of the record with which the roll-out began.
    written: u64,
}

impl Watch {
    /// Waits until all hosts that follow serve the module.
    async fn until_served(
        &self,
        mut followers: Followers,
        mut tell: impl FnMut(PushEvent),
    ) -> Result<PushEnd, ClusterError> {
        let mut told: HashMap<u32, PushEvent> = HashMap::new();
        loop {
            // This takes its time: hosts that are there answer, and then there is silence.
            let gone = followers.hear(&self.connection.who().await?);
            let record = self.record().await?;
            let is_tried = record.current.as_ref() == Some(&self.pushed);
            let Some(rollout) = record.next.filter(|next| next.module == self.pushed) else {
                return Ok(PushEnd::Superseded);
            };
            let swapping = record.swapping.iter();
            let swapping = swapping.map(|host| (*host, PushEvent::Swapping as fn(_, _) -> _));
            let serving = rollout.serving.iter();
            let serving = serving.map(|host| (*host, PushEvent::Serving as fn(_, _) -> _));
            let gone = gone.into_iter();
            let gone = gone.map(|host| (host, PushEvent::Gone as fn(_, _) -> _));
            for (host, event) in swapping.chain(serving).chain(gone) {
                let event = event(host, followers.name(host));
                let before = told.get(&host);
                // The record names a host for a while after it is gone.
                let is_gone = matches!(before, Some(PushEvent::Gone(..)))
                    && !followers.hosts.contains_key(&host);
                if !is_gone && before != Some(&event) {
                    told.insert(host, event.clone());
                    tell(event);
                }
            }
            if let Some(Failed { host, name, why }) = rollout.failed {
                let name = match name.is_empty() {
                    true => followers.name(host), // those that are lost have not told it
                    false => name,
                };
                let serving = rollout.serving.len();
                return Ok(PushEnd::Stopped {
                    host,
                    name,
                    why,
                    serving,
                });
            }
            if !followers.all_serve(&self.pushed) {
                continue;
            }
            match followers.hosts.len() {
                0 if followers.any_gone => return Ok(PushEnd::Deserted { is_tried }),
                // Nobody is there who could try it: the next host that starts is the first.
                0 => self.adopt().await?,
                _ => {}
            }
            return Ok(PushEnd::Done(followers.hosts.len()));
        }
    }

    /// The record, which is no older than the roll-out.
    async fn record(&self) -> Result<Record, ClusterError> {
        let give_up = Instant::now() + BEHIND;
        loop {
            let kept = self.store.read(&self.key).await?;
            if let Some(kept) = kept.filter(|kept| kept.revision >= self.written) {
                return Record::decode(&kept);
            }
            // It was read from a copy that is behind.
            if Instant::now() > give_up {
                let why = format!("{}: the record of this roll-out is gone", self.key);
                return Err(ClusterError::Store(why));
            }
            sleep(SOON).await;
        }
    }

    /// Has hosts start with the module, though none has tried it.
    async fn adopt(&self) -> Result<(), ClusterError> {
        change(&self.store, &self.key, |record| {
            let next = record.next.as_ref();
            if next.is_some_and(|next| next.module == self.pushed && next.failed.is_none()) {
                record.adopt(&self.pushed);
            }
        })
        .await?;
        Ok(())
    }
}

/// A number that no other push has.
fn random() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}
