//! A *call* is a message whose sender waits for the reply, and for nothing else meanwhile. The
//! receiver holds a [`Caller`], the right to reply once. Dropping the caller without a reply tells
//! its process that none will come, so that no process waits for one that has ended. The reply
//! bypasses the caller's mailbox, so that it arrives even if the mailbox is full.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::pid::Pid;
use crate::sync::{AtomicU64, Instant, Mutex, MutexGuard, Ordering, Sleep, sleep_until};

/// A process that holds this many callers checks which of them have stopped waiting. One caller
/// takes about forty bytes.
const CALLERS_UNTIL_LOOK: usize = 64;

/// Why a call got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The called process has ended.
    Ended,
    TimedOut,
    /// The mailbox of the called process, on another host, is full.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code))]
    Full,
    /// The reply from another host has more bytes than may go from one host to another.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code))]
    TooLarge,
    /// The host of the called process is lost.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code))]
    Unreachable,
}

/// The calling side of one process. It has one call at a time.
#[derive(Debug)]
pub(crate) struct Calls {
    slot: Arc<Slot>,
    alarm: Alarm,
}

/// Where a process finds the reply to its call.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The number of calls that the process has made. Each call's number is its tag.
    made: AtomicU64,
    /// The tag of the call that the process waits for; 0 for none. Replies with another tag are
    /// refused. Filling the slot and giving up write this under the lock of `arrival`. Beginning a
    /// call needs no lock: no earlier caller has the new tag, and the new caller goes out later.
    awaited: AtomicU64,
    arrival: Mutex<Arrival>,
}

#[derive(Debug, Default)]
struct Arrival {
    /// The reply, or why none will come.
    reply: Option<Reply>,
    waker: Option<Waker>,
}

type Reply = Result<Vec<u8>, NoReply>;

/// A process that waits for a reply. Dropping this tells it that none will come.
#[derive(Debug)]
pub(crate) struct Caller {
    slot: Arc<Slot>,
    tag: u64,
}

/// The callers that a process holds, by pid. A process waits for one call at a time, so each pid is
/// in here once at most.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    /// The latest caller. Most servers reply to a call before they take the next one.
    last: Option<(Pid, Caller)>,
    others: HashMap<Pid, Caller>,
    /// The size of `others` at which the next check is due: twice the size that the last check
    /// left.
    look_at: usize,
}

impl Calls {
    /// The calling side of the process with this slot.
    #[must_use]
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        let alarm = Alarm::default();
        Self { slot, alarm }
    }

    /// The calling side of a process of another host, for its call with this tag, which is the
    /// next one to begin.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code))]
    pub(crate) fn on_behalf(tag: u64) -> Self {
        let slot = Slot {
            made: AtomicU64::new(tag.wrapping_sub(1)),
            ..Slot::default()
        };
        Self::new(Arc::new(slot))
    }

    /// Begins the next call. Its caller travels with the message.
    pub(crate) fn begin(&mut self) -> Caller {
        let tag = self.slot.made.load(Ordering::Relaxed) + 1;
        self.slot.made.store(tag, Ordering::Relaxed);
        self.slot.awaited.store(tag, Ordering::Release);
        Caller {
            slot: Arc::clone(&self.slot),
            tag,
        }
    }

    /// Takes the reply to the latest call, or waits for it until `deadline`. The call is over once
    /// this is ready.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<Result<Vec<u8>, NoReply>> {
        if let Some(reply) = self.slot.take(cx) {
            return Poll::Ready(reply);
        }
        if self.alarm.poll(cx, deadline).is_pending() {
            return Poll::Pending;
        }
        match self.give_up() {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Ready(Err(NoReply::TimedOut)),
        }
    }

    /// Ends the call, so that a later reply is refused. Returns the reply if one has already come.
    pub(crate) fn give_up(&mut self) -> Option<Reply> {
        let mut arrival = self.slot.arrival();
        self.slot.awaited.store(0, Ordering::Release);
        arrival.waker = None;
        arrival.reply.take()
    }
}

impl Slot {
    /// How many calls the process has made.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Whether the process waits for a reply.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) != 0
    }

    fn take(&self, cx: &Context<'_>) -> Option<Reply> {
        let mut arrival = self.arrival();
        let reply = arrival.reply.take();
        if reply.is_none() {
            arrival.waker = Some(cx.waker().clone());
        }
        reply
    }

    /// Stores the reply and wakes the process. Gives the reply back if the process no longer waits
    /// for it.
    fn fill(&self, tag: u64, reply: Reply) -> Result<(), Reply> {
        let waker = {
            let mut arrival = self.arrival();
            if self.awaited.load(Ordering::Acquire) != tag {
                return Err(reply);
            }
            self.awaited.store(0, Ordering::Release);
            arrival.reply = Some(reply);
            arrival.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    fn arrival(&self) -> MutexGuard<'_, Arrival> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.arrival.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// The number of the call among all calls of this caller.
    #[must_use]
    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }

    /// Replies. Returns whether the caller was still waiting.
    #[must_use]
    pub(crate) fn reply(self, bytes: Vec<u8>) -> bool {
        self.slot.fill(self.tag, Ok(bytes)).is_ok()
    }

    /// Tells the caller why there is no reply.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code))]
    pub(crate) fn fail(self, why: NoReply) {
        let _given_up = self.slot.fill(self.tag, Err(why));
    }

    /// Whether the process still waits for this reply.
    pub(crate) fn is_waiting(&self) -> bool {
        self.slot.awaited.load(Ordering::Relaxed) == self.tag
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.is_waiting() {
            let _replied_or_given_up = self.slot.fill(self.tag, Err(NoReply::Ended));
        }
    }
}

impl Callers {
    /// Holds the caller until the process replies.
    pub(crate) fn hold(&mut self, pid: Pid, caller: Caller) {
        let Some((pid, before)) = self.last.replace((pid, caller)) else {
            return;
        };
        if before.is_waiting() {
            self.others.insert(pid, before);
            if self.others.len() >= self.look_at.max(CALLERS_UNTIL_LOOK) {
                self.others.retain(|_, caller| caller.is_waiting());
                self.look_at = 2 * self.others.len();
            }
        }
    }

    /// The caller with this pid, if it waits for the call with this tag.
    pub(crate) fn take(&mut self, pid: Pid, tag: u64) -> Option<Caller> {
        let is_it = |caller: &Caller| caller.tag == tag;
        let last = self
            .last
            .take_if(|(last, caller)| *last == pid && is_it(caller));
        match last {
            Some((_, caller)) => Some(caller),
            None if self.others.get(&pid).is_some_and(is_it) => self.others.remove(&pid),
            None => None,
        }
    }
}

/// A timer that most calls don't touch, because setting a timer is slow beside a call. The first
/// call sets it. It is set anew when it fires before the deadline of the current call, or when the
/// current call's deadline is earlier.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `deadline`, never earlier.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
