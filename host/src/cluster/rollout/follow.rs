//! A host that *follows* takes up what is pushed for one of its pools. It looks into the record
//! once a beat, and takes a place there if it may. The one who loads modules asks for the
//! [`Turn`], and says what has become of it.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::super::frames::{Follows, MAX_FOLLOWED};
use super::super::settings::ClusterError;
use super::super::store::Store;
use super::super::{Cluster, Inner};
use super::record::{Look, Looking, Pushed, Record, Turn, change, key, shown};
use super::{BEHIND, SOON};
use crate::settings::{Module, ModuleBytes};

/// A pool of this host that serves what is pushed.
pub struct Following {
    inner: Arc<Inner>,
    pool: String,
    store: Option<Store>,
    /// The digest of the module that the pool has.
    has: String,
    /// That module, if its trial was cut short: the pool waits until another one is pushed, or
    /// another host has tried this one.
    untried: Option<Pushed>,
    /// Whether the log says already that the record can't be had.
    is_warned: bool,
    /// Hosts that swap and are not there, and since when.
    absent: HashMap<u32, Instant>,
}

impl Cluster {
    /// Follows the cluster with this pool: serves what is pushed for it.
    #[must_use]
    pub fn follow(&self, pool: &str) -> Following {
        Following {
            inner: Arc::clone(&self.0),
            pool: pool.to_owned(),
            store: None,
            has: String::new(),
            untried: None,
            is_warned: false,
            absent: HashMap::new(),
        }
    }
}

impl Following {
    /// The module with which this pool starts. Tries all rights that a host needs to follow.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn first(&mut self) -> Result<Module, ClusterError> {
        let key = key(&self.pool)?;
        if self.inner.follows().len() >= MAX_FOLLOWED {
            return Err(ClusterError::Follows(MAX_FOLLOWED));
        }
        let give_up = Instant::now() + BEHIND;
        let current = loop {
            let kept = self.store().await?.read(&key).await?;
            let Some(kept) = kept else {
                return Err(self.nothing_pushed());
            };
            let current = Record::decode(&kept)?.current;
            // Without the right to write, this is found out here, and not when a module is pushed.
            // What can't be written over was old, or somebody was faster.
            let (value, revision) = (kept.value, kept.revision);
            let store = self.store().await?;
            if store.write(&key, value, Some(revision)).await?.is_some() {
                break current;
            }
            if Instant::now() > give_up {
                let why = format!("{key}: its copies are behind");
                return Err(ClusterError::Store(why));
            }
            sleep(SOON).await;
        };
        let current = current.ok_or_else(|| self.nothing_pushed())?;
        let module = self.fetched(&current).await?;
        self.serves(&current.digest);
        Ok(module)
    }

    /// Waits until there is another module, and this host may swap to it. `None` if `stopping` has
    /// come: then the host has no place.
    pub async fn turn(&mut self, stopping: impl Future<Output = ()>) -> Option<Turn> {
        let beat = self.inner.settings.beat();
        let mut pause = beat;
        let mut stopping = pin!(stopping);
        loop {
            // Not while the record is written: that would leave a place taken.
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut stopping => return None,
            }
            if self.inner.is_stopping() {
                pause = beat;
                continue;
            }
            pause = match self.look().await {
                Ok(look) => {
                    self.is_warned = false;
                    match look {
                        Look::Mine(turn) => return Some(turn),
                        Look::Others => SOON,
                        Look::Nothing => beat,
                    }
                }
                Err(error) => {
                    self.warn(&error);
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
    /// A module that serves has had its trial.
    pub async fn swapped(&mut self, turn: &Turn, outcome: Result<(), String>) {
        let (host, name) = (self.inner.link.number(), self.inner.settings.name.clone());
        let module = turn.module.clone();
        self.write(|record| record.swapped(host, &name, &module, &outcome))
            .await;
        if outcome.is_ok() {
            self.serves(&turn.module.digest);
        }
    }

    /// Frees the place, and says nothing of the module: the pool has the one before. Returns once
    /// that is written.
    pub async fn skipped(&mut self) {
        let host = self.inner.link.number();
        self.write(|record| record.skipped(host)).await;
    }

    /// As [`Following::skipped`], where the pool has the module of this turn, and its trial was cut
    /// short. Another host is the first to try it then. This pool takes up what is pushed next.
    pub async fn cut_short(&mut self, turn: &Turn) {
        turn.module.digest.clone_into(&mut self.has);
        self.untried = Some(turn.module.clone());
        // Whoever pushes does not wait for it, nor take it for one that serves the module.
        self.tells(Follows::Waits(turn.module.object.clone()));
        self.skipped().await;
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The pool has the module of this digest, and follows.
    fn serves(&mut self, digest: &str) {
        digest.clone_into(&mut self.has);
        self.untried = None;
        self.tells(Follows::Serves(shown(digest).to_owned()));
    }

    fn tells(&self, follows: Follows) {
        self.inner.follows().insert(self.pool.clone(), follows);
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
                Ok(_) => {
                    self.is_warned = false;
                    return;
                }
                Err(error) => self.warn(&error),
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
        if let Some(untried) = self
            .untried
            .clone()
            .filter(|untried| record.current.as_ref() == Some(untried))
        {
            self.serves(&untried.digest); // another host has tried it
        }
        let lost = self.lost(&record.swapping);
        let look = record.look(Looking {
            host,
            has: &self.has,
            untried: self.untried.as_ref(),
            lost: &lost,
        });
        let value = record.encode();
        // What was read may be old. So a turn is believed once it is written.
        let is_settled = value == kept.value && !matches!(look, Look::Mine(_));
        if is_settled {
            return Ok(look);
        }
        let store = self.store().await?;
        let written = store.write(&key, value, Some(kept.revision)).await?;
        // If another host was faster, this one looks again.
        Ok(match written {
            Some(_) => look,
            None => Look::Others,
        })
    }

    /// Says once that the record can't be had. That NATS is away, the link says.
    fn warn(&mut self, error: &ClusterError) {
        if self.is_warned || !self.inner.link.is_connected() {
            tracing::debug!(pool = self.pool, %error, "the record of a roll-out can't be had");
            return;
        }
        self.is_warned = true;
        tracing::warn!(
            pool = self.pool,
            reason = %error,
            "the record of what is pushed can't be read or written"
        );
    }

    fn nothing_pushed(&self) -> ClusterError {
        let cluster = self.inner.settings.cluster.clone();
        ClusterError::NothingPushed(self.pool.clone(), cluster)
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
            .field("has", &self.has)
            .finish_non_exhaustive()
    }
}
