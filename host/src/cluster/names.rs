//! *Names* of the cluster are leases in a bucket whose entries expire. A host renews those of its
//! processes, and ends a process whose name it could not renew ([`leases`](super::leases)), some
//! time before the entry expires. It counts from before it had sent the renewal, so nobody else can
//! have the name by then.
//!
//! Only writes that compare are believed. What is read may be old, and costs a further try then.
//! Nothing is ever deleted: a name that is given back has no value.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::leases::{Lease, Leases, Release};
use super::store::{Book, Kept, NotWritten};
use super::{Inner, clock_ms};
use crate::peers::{Lost, NotClaimed, Unreachable};
use crate::pid::Pid;

/// A lease is longer by so much than the time after which a host is lost.
const BEYOND_LOST: Duration = Duration::from_secs(2);

/// A lease is renewed so many times while it lasts. The last of these times is the margin: its
/// process has ended by then. So clocks may differ by a fifth.
const PARTS: u32 = 5;

/// How often one renewal is tried. The next one comes soon.
const TRIES: u32 = 2;

/// That names can't be used is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// The names that this host has.
pub(super) struct Names {
    book: OnceCell<Book>,
    /// When the bucket could last not be had, and when the log has last said so.
    missing: Mutex<[Option<Instant>; 2]>,
    leases: Arc<Leases>,
    /// Tasks that keep or give back names.
    keepers: AtomicUsize,
    runtime: Handle,
}

/// Renews one lease.
struct Keeper {
    inner: Arc<Inner>,
    key: String,
    holder: Pid,
    revision: u64,
    released: oneshot::Receiver<Release>,
}

/// What has become of a write to an entry.
enum Written {
    Yes,
    /// Another one has the name, or nobody.
    Gone,
    Unknown,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            book: OnceCell::new(),
            missing: Mutex::default(),
            leases: Arc::default(),
            keepers: AtomicUsize::new(0),
            runtime: Handle::current(),
        }
    }

    /// Whether the names of processes that have ended are given back.
    pub(super) fn are_given_back(&self) -> bool {
        self.keepers.load(Ordering::SeqCst) == 0
    }

    fn missing(&self) -> MutexGuard<'_, [Option<Instant>; 2]> {
        // No step under this lock can panic.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    async fn book(&self) -> Result<&Book, Unreachable> {
        if !self.link.is_connected() {
            return Err(Unreachable);
        }
        let lease = self.settings.lost_after + BEYOND_LOST;
        let open = || async {
            let beat = self.settings.beat();
            let [missed, _] = *self.names.missing();
            if missed.is_some_and(|missed| missed.elapsed() < beat) {
                return Err(Unreachable); // those who have waited for this try, too
            }
            let opened = self.link.names(lease).await;
            opened.map_err(|why| {
                let now = Instant::now();
                let [missed, told] = &mut *self.names.missing();
                *missed = Some(now);
                if told.is_none_or(|told| now - told > QUIET) {
                    *told = Some(now);
                    tracing::warn!(%why, "names of the cluster can't be used");
                }
                Unreachable
            })
        };
        self.names.book.get_or_try_init(open).await
    }

    /// Gives a process a name.
    ///
    /// # Errors
    /// [`NotClaimed`].
    pub(super) async fn claim_name(
        self: &Arc<Self>,
        program: &str,
        name: &str,
        holder: Pid,
        lost: Lost,
    ) -> Result<(), NotClaimed> {
        let (inner, key) = (Arc::clone(self), key(program, name));
        let (sender, claimed) = oneshot::channel();
        // It goes on if the process ends meanwhile: what is written then is given back.
        self.names.runtime.spawn(async move {
            let claimed = inner.claim(key.clone(), holder, lost).await;
            if let Err(Ok(())) = sender.send(claimed) {
                inner.give_back(&key, holder);
            }
        });
        claimed.await.unwrap_or(Err(NotClaimed::Unreachable))
    }

    /// # Errors
    /// [`NotClaimed`].
    async fn claim(
        self: &Arc<Self>,
        key: String,
        holder: Pid,
        lost: Lost,
    ) -> Result<(), NotClaimed> {
        let unreachable = |Unreachable| NotClaimed::Unreachable;
        let book = self.book().await.map_err(unreachable)?;
        let give_up = Instant::now() + book.lease;
        loop {
            let read = timeout_at(give_up, book.read(&key)).await;
            let read = read.unwrap_or(Err(Unreachable)).map_err(unreachable)?;
            let revision = match &read {
                None => 0,
                Some(Kept { value, revision }) if value.is_empty() => *revision,
                Some(Kept { value, revision }) => match pid(value) {
                    // It has ended, or gives the name back.
                    Some(other)
                        if other.host() == self.link.number()
                            && !self.names.leases.contains(&key) =>
                    {
                        *revision
                    }
                    Some(_) | None => return Err(NotClaimed::Taken),
                },
            };
            let sent = clock_ms();
            let writing = book.write(&key, value(holder), revision);
            match timeout_at(give_up, writing).await {
                Ok(Ok(revision)) => {
                    let until = sent + book.usable_ms();
                    if until < clock_ms() + millis(Leases::LOOK) {
                        return Err(NotClaimed::Unreachable); // it expires by itself
                    }
                    return self.keep(key, holder, revision, until, lost);
                }
                Ok(Err(NotWritten::Another)) => tokio::task::yield_now().await,
                Ok(Err(NotWritten::Unknown)) | Err(_) => return Err(NotClaimed::Unreachable),
            }
            if Instant::now() > give_up {
                return Err(NotClaimed::Unreachable);
            }
        }
    }

    /// # Errors
    /// [`NotClaimed`].
    fn keep(
        self: &Arc<Self>,
        key: String,
        holder: Pid,
        revision: u64,
        until: u64,
        lost: Lost,
    ) -> Result<(), NotClaimed> {
        let (release, released) = oneshot::channel();
        let lease = Lease {
            holder,
            until,
            lost,
            release,
        };
        let entered = self.names.leases.enter(key.clone(), lease);
        entered.map_err(|why| {
            tracing::warn!(%why, "names of the cluster can't be used");
            NotClaimed::Unreachable // it expires by itself
        })?;
        let keeper = Keeper {
            inner: Arc::clone(self),
            key,
            holder,
            revision,
            released,
        };
        self.names.keepers.fetch_add(1, Ordering::SeqCst);
        self.names.runtime.spawn(keeper.run());
        Ok(())
    }

    /// Gives a name back, and waits until others can have it.
    ///
    /// # Errors
    /// [`Unreachable`]: others can have it when the lease is over.
    pub(super) async fn release_name(
        &self,
        program: &str,
        name: &str,
        holder: Pid,
    ) -> Result<(), Unreachable> {
        let lease = self.names.leases.remove(&key(program, name), holder);
        let Some(lease) = lease else {
            return Ok(()); // it was lost
        };
        let (sender, released) = oneshot::channel();
        let _ended = lease.release.send(Some(sender));
        released.await.unwrap_or(Err(Unreachable))
    }

    /// Gives a name of this process back, if it has it. Nobody waits for that.
    pub(super) fn let_name_go(&self, program: &str, name: &str, holder: Pid) {
        self.give_back(&key(program, name), holder);
    }

    fn give_back(&self, key: &str, holder: Pid) {
        if let Some(lease) = self.names.leases.remove(key, holder) {
            let _ended = lease.release.send(None);
        }
    }

    /// The process of another host that has this name, if that host is there.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(super) async fn find_name(
        &self,
        program: &str,
        name: &str,
    ) -> Result<Option<Pid>, Unreachable> {
        let book = self.book().await?;
        let read = timeout(book.lease, book.read(&key(program, name))).await;
        let read = read.unwrap_or(Err(Unreachable))?;
        let holder = read.and_then(|kept| pid(&kept.value));
        let is_there = |holder: &Pid| {
            let host = holder.host();
            host != self.link.number() && !self.members.is_gone(host)
        };
        Ok(holder.filter(is_there))
    }
}

impl Book {
    /// How long a name may be used after it was last asked for, in milliseconds.
    fn usable_ms(&self) -> u64 {
        millis(self.lease - self.lease / PARTS)
    }
}

impl Keeper {
    async fn run(mut self) {
        // Without a word, the name was lost.
        if let Some(whom) = self.keep().await {
            let released = self.give_back().await;
            if let Some(whom) = whom {
                let _gone = whom.send(released);
            }
        }
    }

    /// Renews the lease until it is to be given back, or lost.
    async fn keep(&mut self) -> Option<Release> {
        let inner = Arc::clone(&self.inner);
        let leases = &inner.names.leases;
        let book = inner.names.book.get()?; // it is there: the name was written to it
        let pause = book.lease / PARTS;
        loop {
            tokio::select! {
                biased;
                released = &mut self.released => return released.ok(),
                () = sleep(pause) => {}
            }
            let sent = clock_ms();
            match timeout(pause, self.write(book, value(self.holder), TRIES)).await {
                Ok(Written::Yes) => {
                    let until = sent + book.usable_ms();
                    leases.prolong(&self.key, self.holder, until);
                }
                Ok(Written::Gone) => leases.lose(&self.key, self.holder),
                // The lease is over, or the next renewal comes in time.
                Ok(Written::Unknown) | Err(_) => {}
            }
        }
    }

    async fn give_back(&mut self) -> Result<(), Unreachable> {
        let inner = Arc::clone(&self.inner);
        let book = inner.names.book.get().ok_or(Unreachable)?;
        match timeout(book.lease, self.write(book, Bytes::new(), u32::MAX)).await {
            Ok(Written::Yes | Written::Gone) => Ok(()),
            Ok(Written::Unknown) | Err(_) => Err(Unreachable),
        }
    }

    /// Writes the entry, while it is this holder's.
    async fn write(&mut self, book: &Book, value: Bytes, tries: u32) -> Written {
        for _ in 0..tries {
            match book.write(&self.key, value.clone(), self.revision).await {
                Ok(revision) => {
                    self.revision = revision;
                    return Written::Yes;
                }
                Err(NotWritten::Unknown) => return Written::Unknown,
                Err(NotWritten::Another) => {}
            }
            // An earlier renewal may have been written without an answer.
            match book.read(&self.key).await {
                Ok(Some(Kept { value, revision })) if pid(&value) == Some(self.holder) => {
                    self.revision = revision;
                }
                Ok(_) => return Written::Gone,
                Err(Unreachable) => return Written::Unknown,
            }
        }
        Written::Unknown
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.names.keepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The key of a name. Guests choose names, so these are in hexadecimal digits.
fn key(program: &str, name: &str) -> String {
    let mut key = String::new();
    for byte in program.bytes() {
        let _infallible = write!(key, "{byte:02x}");
    }
    key.push('.');
    for byte in name.bytes() {
        let _infallible = write!(key, "{byte:02x}");
    }
    key
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn value(holder: Pid) -> Bytes {
    holder.to_string().into()
}

fn pid(value: &[u8]) -> Option<Pid> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().and_then(Pid::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_and_apart() {
        assert_eq!(key("main", "a*.>"), "6d61696e.612a2e3e");
        assert_ne!(key("a", "ab"), key("aa", "b"));
    }

    #[test]
    fn values_are_pids() {
        let holder = Pid::new(3 << 44 | 7).expect("nobody has 0");
        assert_eq!(pid(&value(holder)), Some(holder));
        assert_eq!(pid(b""), None);
        assert_eq!(pid(b"0"), None);
        assert_eq!(pid(b"x"), None);
    }
}
