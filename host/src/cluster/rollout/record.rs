//! The *record* of a pool's modules, which all hosts of a cluster and whoever pushes share: what is
//! written in NATS, and how it may change. Nothing here speaks to NATS but [`change`].

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::super::settings::ClusterError;
use super::super::store::{Kept, Store, TRANSFER};
use super::{BEHIND, SOON};
use crate::sandbox::MAX_MODULE_BYTES;
use crate::text::cut;

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

/// What is known of the modules of one pool. It is JSON, so that people can read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The module with which hosts start.
    pub(super) current: Option<Pushed>,
    /// What was pushed last.
    pub(super) next: Option<Rollout>,
    /// The hosts that swap at present, whatever they swap to.
    pub(super) swapping: Vec<u32>,
    /// Modules that nobody needs, or that are being stored.
    pub(super) left: Vec<Left>,
}

/// A module that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pushed {
    /// The SHA-256 of the file, in hexadecimal digits.
    pub(super) digest: String,
    /// The size of the file.
    pub(super) size: u64,
    /// The name in the object store.
    pub(super) object: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rollout {
    pub(super) module: Pushed,
    /// The most hosts that swap at one time, once one has.
    pub(super) at_once: u32,
    /// The hosts that have swapped.
    pub(super) serving: Vec<u32>,
    /// The hosts that were lost while they swapped.
    pub(super) lost: Vec<u32>,
    /// Why nobody else swaps, if so.
    pub(super) failed: Option<Failed>,
}

/// Where a module has failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) host: u32,
    pub(super) name: String,
    pub(super) why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) object: String,
    /// When that was, in seconds since 1970. Clocks may differ by minutes.
    pub(super) since: u64,
}

/// This host's turn to swap. The place is taken until the host says what has become of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub(super) module: Pushed,
}

/// A host that looks into the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking<'a> {
    pub(super) host: u32,
    /// The digest of the module that its pool has.
    pub(super) has: &'a str,
    /// That module, if its trial was cut short: whether it can be used is not known.
    pub(super) untried: Option<&'a Pushed>,
    /// Hosts that were not there for long.
    pub(super) lost: &'a [u32],
}

/// What a record says to a host.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Look {
    /// There is nothing to do.
    Nothing,
    /// Others swap at present.
    Others,
    /// It is this host's turn.
    Mine(Turn),
}

impl Record {
    pub(super) fn decode(kept: &Kept) -> Result<Self, ClusterError> {
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
        // The name of an object becomes part of a subject that is purged.
        let are_plain = record.left.iter().all(|left| is_object(&left.object));
        match are_plain && modules.all(Pushed::is_plain) {
            true => Ok(record),
            false => Err(unreadable("a module in it can't be".to_owned())),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // Fails only for types that these are not.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Begins to roll out a module, whatever was rolled out before.
    pub(super) fn begin(&mut self, module: Pushed, at_once: u32) {
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
    pub(super) fn adopt(&mut self, module: &Pushed) {
        if self.current.as_ref() == Some(module) {
            return;
        }
        if let Some(before) = self.current.replace(module.clone()) {
            self.leave(before);
        }
    }

    /// A host may fetch it just now, so it is removed later.
    fn leave(&mut self, module: Pushed) {
        self.note(module.object);
    }

    /// Notes an object that is being stored, or that nobody needs.
    pub(super) fn note(&mut self, object: String) {
        let since = now();
        self.left.push(Left { object, since });
    }

    /// The objects that nobody stores or fetches any more.
    pub(super) fn old(&self) -> Vec<String> {
        let now = now();
        let old = self.left.iter();
        let old = old.filter(|left| now.saturating_sub(left.since) > TRANSFER.as_secs());
        old.map(|left| left.object.clone()).collect()
    }

    /// Frees the place of a host, which says nothing of the module.
    pub(super) fn skipped(&mut self, host: u32) {
        self.swapping.retain(|other| *other != host);
    }

    /// What a host is to do. Takes a place if there is one.
    pub(super) fn look(&mut self, looking: Looking<'_>) -> Look {
        let Looking {
            host,
            has,
            untried,
            lost,
        } = looking;
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
        if untried == Some(&module) {
            swapping.retain(|other| *other != host);
            return Look::Nothing; // others try it, or its next push does
        }
        if has == module.digest && untried.is_none() {
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
        Look::Mine(Turn { module })
    }

    /// The trial of the module is over at this host, or the host could not use it.
    pub(super) fn swapped(
        &mut self,
        host: u32,
        name: &str,
        module: &Pushed,
        outcome: &Result<(), String>,
    ) {
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
        self.digest.len() == 64
            && self.digest.bytes().all(is_digest)
            && self.size <= MAX_MODULE_BYTES
            && is_object(&self.object)
    }
}

/// Whether an object of this cluster may have this name.
fn is_object(name: &str) -> bool {
    (1..=2 * MAX_POOL).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Whether this byte may be part of a subject's word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Changes a record, until nobody is faster. Returns the revision that was written.
pub(super) async fn change(
    store: &Store,
    key: &str,
    mut with: impl FnMut(&mut Record),
) -> Result<u64, ClusterError> {
    let give_up = Instant::now() + BEHIND;
    loop {
        let kept = store.read(key).await?;
        let mut record = match &kept {
            Some(kept) => Record::decode(kept)?,
            None => Record::default(),
        };
        with(&mut record);
        let revision = kept.map(|kept| kept.revision);
        if let Some(written) = store.write(key, record.encode(), revision).await? {
            return Ok(written);
        }
        if Instant::now() > give_up {
            return Err(ClusterError::Store(format!("{key}: others are faster")));
        }
        sleep(SOON).await;
    }
}

/// The key of a pool's record.
pub(super) fn key(pool: &str) -> Result<String, ClusterError> {
    if (1..=MAX_POOL).contains(&pool.len()) && pool.bytes().all(is_plain) {
        return Ok(format!("module.{pool}"));
    }
    Err(ClusterError::Pool(pool.to_owned()))
}

/// The digits of a digest that are shown.
pub(super) fn shown(digest: &str) -> &str {
    cut(digest, SHOWN)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
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

    fn mine() -> Look {
        Look::Mine(Turn {
            module: pushed('b'),
        })
    }

    /// What a host is to do whose pool has the module `a`.
    fn look(record: &mut Record, host: u32, lost: &[u32]) -> Look {
        record.look(Looking {
            host,
            has: &pushed('a').digest,
            untried: None,
            lost,
        })
    }

    #[test]
    fn the_first_host_is_alone_and_then_as_many_as_may() {
        let mut record = record(2);
        assert_eq!(look(&mut record, 1, &[]), mine());
        assert_eq!(look(&mut record, 1, &[]), mine(), "it has the place");
        assert_eq!(look(&mut record, 2, &[]), Look::Others);
        record.swapped(1, "one", &pushed('b'), &Ok(()));
        assert_eq!(record.current, Some(pushed('b')), "hosts start with it");
        assert_eq!(look(&mut record, 2, &[]), mine());
        assert_eq!(look(&mut record, 3, &[]), mine());
        assert_eq!(look(&mut record, 4, &[]), Look::Others);
        record.swapped(3, "three", &pushed('b'), &Ok(()));
        assert_eq!(look(&mut record, 4, &[]), mine());
    }

    #[test]
    fn what_fails_stops() {
        let mut record = record(8);
        assert_eq!(look(&mut record, 1, &[]), mine());
        record.swapped(1, "one", &pushed('b'), &Err("no".to_owned()));
        assert_eq!(look(&mut record, 2, &[]), Look::Nothing);
        assert_eq!(record.current, Some(pushed('a')));
        assert!(record.swapping.is_empty());
    }

    #[test]
    fn who_is_lost_frees_a_place_once() {
        let mut record = record(1);
        assert_eq!(look(&mut record, 1, &[]), mine());
        assert_eq!(look(&mut record, 2, &[1]), mine());
        assert_eq!(look(&mut record, 3, &[2]), Look::Nothing);
        let failed = record.next.and_then(|next| next.failed);
        assert_eq!(failed.map(|failed| failed.host), Some(2));
    }

    /// Its trial was cut short, so it neither tries the module again nor vouches for it.
    #[test]
    fn who_was_skipped_proves_nothing() {
        let mut record = record(1);
        assert_eq!(look(&mut record, 1, &[]), mine());
        record.skipped(1);
        let (module, other) = (pushed('b'), pushed('c'));
        let untried = Looking {
            host: 1,
            has: &module.digest,
            untried: Some(&module),
            lost: &[],
        };
        assert_eq!(record.look(untried), Look::Nothing);
        assert_eq!(record.current, Some(pushed('a')));
        assert_eq!(look(&mut record, 2, &[]), mine(), "the next is the first");
        record.swapped(2, "two", &module, &Ok(()));
        assert_eq!(record.current, Some(module.clone()));
        record.begin(other.clone(), 1);
        assert_eq!(record.look(untried), Look::Mine(Turn { module: other }));
    }

    #[test]
    fn another_push_takes_the_place_of_the_first() {
        let mut record = record(1);
        assert_eq!(look(&mut record, 1, &[]), mine());
        record.begin(pushed('c'), 1);
        assert_eq!(look(&mut record, 2, &[]), Look::Others, "1 swaps still");
        record.swapped(1, "one", &pushed('b'), &Ok(()));
        assert_eq!(record.current, Some(pushed('a')));
        assert!(matches!(look(&mut record, 2, &[]), Look::Mine(_)));
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
        let mut greedy = good.clone();
        greedy.note(">".to_owned());
        let greedy = String::from_utf8(greedy.encode().to_vec()).expect("JSON");
        for text in [
            bad,
            greedy,
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
