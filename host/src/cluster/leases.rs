//! The *leases* of this host: the names that its processes have, and until when. A thread ends the
//! holder of a lease that is over. It does not wait for the runtime, whose threads run guests, and
//! its clock goes on while the machine is suspended. So a host that was frozen ends its holders as
//! soon as it goes on.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use tokio::sync::oneshot;

use super::clock_ms;
use crate::peers::{Lost, Unreachable};
use crate::pid::Pid;

/// The names that this host has.
#[derive(Default)]
pub(super) struct Leases(Mutex<Held>);

#[derive(Default)]
struct Held {
    leases: HashMap<String, Lease>,
    /// Whether a thread looks after them. It ends once there are none.
    is_watched: bool,
}

/// A name that a process of this host has.
pub(super) struct Lease {
    pub(super) holder: Pid,
    /// When the holder is ended, by [`clock_ms`].
    pub(super) until: u64,
    /// Ends the holder.
    pub(super) lost: Lost,
    /// Has the keeper give the name back. Dropped once the name is lost.
    pub(super) release: oneshot::Sender<Release>,
}

/// Whom the keeper tells that it has given the name back.
pub(super) type Release = Option<oneshot::Sender<Result<(), Unreachable>>>;

impl Leases {
    /// The longest time after which the thread looks for a lease that is over sooner than the ones
    /// it knows. No lease is entered that is over sooner than that.
    pub(super) const LOOK: Duration = Duration::from_millis(200);

    /// Enters a lease.
    ///
    /// # Errors
    /// If another process of this host has been given the name meanwhile, or the thread can't be
    /// started. The lease is not entered then.
    pub(super) fn enter(self: &Arc<Self>, key: String, lease: Lease) -> io::Result<()> {
        let mut held = self.held();
        if held.leases.contains_key(&key) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !held.is_watched {
            let leases = Arc::clone(self);
            let thread = thread::Builder::new().name("leases".into());
            let _detached = thread.spawn(move || leases.watch())?;
            held.is_watched = true;
        }
        held.leases.insert(key, lease);
        Ok(())
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.held().leases.contains_key(key)
    }

    /// Prolongs the lease of this holder. Returns whether it was not over.
    pub(super) fn prolong(&self, key: &str, holder: Pid, until: u64) -> bool {
        let mut held = self.held();
        let lease = held.leases.get_mut(key);
        let lease = lease.filter(|lease| lease.holder == holder);
        lease.map(|lease| lease.until = until).is_some()
    }

    /// Removes the lease of this holder, if it has one.
    pub(super) fn remove(&self, key: &str, holder: Pid) -> Option<Lease> {
        let mut held = self.held();
        let lease = held.leases.get(key);
        let is_own = lease.is_some_and(|lease| lease.holder == holder);
        is_own.then(|| held.leases.remove(key)).flatten()
    }

    /// Ends this holder, whose lease is over early.
    pub(super) fn lose(&self, key: &str, holder: Pid) {
        if let Some(lost) = self.remove(key, holder) {
            lost.end();
        }
    }

    /// Ends the holders whose leases are over, until there are no leases.
    fn watch(&self) {
        loop {
            let (over, next) = {
                let mut held = self.held();
                let now = clock_ms();
                let over = held.leases.extract_if(|_, lease| lease.until <= now);
                let over: Vec<_> = over.map(|(_, lease)| lease).collect();
                let next = held.leases.values().map(|lease| lease.until).min();
                held.is_watched = next.is_some();
                (over, next)
            };
            over.into_iter().for_each(Lease::end);
            let Some(next) = next else {
                return;
            };
            let look = u64::try_from(Self::LOOK.as_millis()).unwrap_or(u64::MAX);
            sleep_until(next.min(clock_ms().saturating_add(look)));
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No step under this lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn end(self) {
        (self.lost)();
        tracing::warn!(
            pid = self.holder.get(),
            "a name of the cluster was lost, and its process ends"
        );
    }
}

/// Sleeps until this time of [`clock_ms`], or wakes up early.
fn sleep_until(ms: u64) {
    let time = Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
    };
    if clock_nanosleep_absolute(ClockId::Boottime, &time).is_err() {
        thread::sleep(Duration::from_millis(1)); // interrupted: whoever sleeps looks again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const HOLDER: fn() -> Pid = || Pid::new(1 << 44 | 7).expect("nobody has 0");

    fn enter(leases: &Arc<Leases>, key: &str, until: u64) -> mpsc::Receiver<u64> {
        let (sender, lost) = mpsc::channel();
        let lease = Lease {
            holder: HOLDER(),
            until,
            lost: Box::new(move || sender.send(clock_ms()).expect("the test listens")),
            release: oneshot::channel().0,
        };
        leases.enter(key.into(), lease).expect("a thread");
        lost
    }

    #[test]
    fn who_has_a_lease_that_is_over_is_ended_and_nobody_else() {
        const LONG: u64 = 1 << 40;
        let leases = Arc::new(Leases::default());
        let now = clock_ms();
        let late = enter(&leases, "late", now + 300);
        let kept = enter(&leases, "kept", now + 300);
        assert!(leases.prolong("kept", HOLDER(), now + LONG));
        let soon = enter(&leases, "soon", now + 1);
        for (lost, until) in [(soon, now + 1), (late, now + 300)] {
            let ended = lost.recv().expect("it is ended");
            assert!(ended >= until);
        }
        assert!(!leases.prolong("late", HOLDER(), now + LONG), "it is over");
        assert!(leases.contains("kept") && kept.try_recv().is_err());
        let other = Pid::new(1 << 44 | 8).expect("nobody has 0");
        leases.lose("kept", other);
        assert!(leases.contains("kept"), "it has another holder");
        leases.lose("kept", HOLDER());
        assert!(kept.recv().is_ok());
        // The thread ends with the last lease, and another one looks after the next.
        let next = enter(&leases, "next", now);
        assert!(next.recv().is_ok());
    }
}
