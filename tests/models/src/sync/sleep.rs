//! tokio's `Sleep`, for the model checker. Models have no time, so a sleep with a deadline ends at
//! any moment after its first poll.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use shuttle::thread;

use super::{Mutex, MutexGuard};

/// A time. Models know only the order of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) u64);

/// A sleep with this deadline never ends.
pub(crate) const NEVER: Instant = Instant(u64::MAX);

#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Instant,
    /// Set by the first poll.
    bell: Option<Arc<Mutex<Bell>>>,
}

#[derive(Debug, Default)]
struct Bell {
    has_rung: bool,
    waker: Option<Waker>,
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    let bell = None;
    Sleep { deadline, bell }
}

impl Sleep {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        *self = sleep_until(deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline == NEVER {
            return Poll::Pending;
        }
        let bell = self.bell.get_or_insert_with(|| {
            let bell = Arc::new(Mutex::new(Bell::default()));
            let rope = Arc::clone(&bell);
            thread::spawn(move || ring(&rope));
            bell
        });
        let mut bell = lock(bell);
        if bell.has_rung {
            return Poll::Ready(());
        }
        bell.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn ring(bell: &Mutex<Bell>) {
    let waker = {
        let mut bell = lock(bell);
        bell.has_rung = true;
        bell.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock(bell: &Mutex<Bell>) -> MutexGuard<'_, Bell> {
    bell.lock().unwrap_or_else(PoisonError::into_inner)
}
