//! A *mailbox* is the queue of messages for one process. It is bounded in messages and in bytes.
//! One process takes from it, and any process may add to it. The news that a monitored process has
//! ended has a reserved place, so that a full mailbox never loses it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::call::{Callers, Slot};
use crate::message::{Content, Message};
use crate::pid::Pid;
use crate::sync::{Elapsed, Mutex, MutexGuard, oneshot, timeout};

/// Places that an empty mailbox keeps allocated. When a longer queue becomes empty, its memory goes
/// back to the host.
const IDLE_CAPACITY: usize = 64;

/// The bounds of a mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most messages. The receiver may monitor as many processes, and the news of their ends
    /// comes on top.
    pub messages: usize,
    /// The most bytes, of all messages together.
    pub bytes: usize,
}

/// Why a message was not sent or not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MailError {
    /// No process and no client has this pid, or it has ended or left.
    NoProcess,
    /// The mailbox already has as many messages or bytes as it may.
    Full,
    /// The message has more bytes than it may.
    TooLarge,
    /// The process may not send this message, or not to this receiver.
    NotYours,
    TimedOut,
    /// The process is on another host, and that can't be reached.
    Unreachable,
}

/// The messages that a receiver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The oldest message.
    Any,
    /// The oldest message from this sender.
    From(Pid),
}

/// The queue of one process.
#[derive(Debug)]
pub(crate) struct Mailbox {
    settings: Settings,
    contents: Mutex<Contents>,
    /// Where the replies to the receiver's calls go, past the queue. Created at the first call,
    /// because most processes make none.
    slot: OnceLock<Arc<Slot>>,
}

#[derive(Debug, Default)]
struct Contents {
    queue: VecDeque<Queued>,
    /// Messages in the queue that count against the bounds, and their bytes.
    messages: usize,
    bytes: usize,
    /// Places reserved for the ends of monitored processes: for those that live, and for those
    /// whose end is in the queue.
    reserved: usize,
    next_number: u64,
    /// Set while the receiver sleeps: the messages it waits for, and how to wake it.
    waiting: Option<(Wanted, Waker)>,
    /// How often the receiver has looked for a message.
    visits: u64,
    /// The client whose request the receiver took at its last visit.
    working_for: Option<Pid>,
    /// Whether the receiver has ever taken a request.
    has_taken_request: bool,
    /// The callers that the receiver owed a reply when it stopped.
    callers: Callers,
    closed: bool,
}

/// A queued message.
#[derive(Debug)]
struct Queued {
    /// Ascending in the queue, so that a sender finds its message again.
    number: u64,
    message: Message,
    quota: Quota,
}

/// What a queued message counts against.
#[derive(Debug)]
enum Quota {
    /// The bounds of the mailbox.
    Counted,
    /// Its sender, which waits until the message is taken. So each sender has one at most.
    Sender(oneshot::Sender<()>),
    /// The place that a monitor reserved.
    Reserved,
}

/// The receiver to wake after all locks are released.
#[derive(Debug)]
#[must_use]
pub(crate) struct Wake {
    waker: Option<Waker>,
    /// [`Mailbox::visits`] at the moment when the message was added.
    pub visits: u64,
}

impl Mailbox {
    #[must_use]
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            contents: Mutex::default(),
            slot: OnceLock::new(),
        }
    }

    /// The place for replies to the receiver's calls.
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        self.slot.get_or_init(Arc::default)
    }

    /// Adds a message to the queue.
    ///
    /// # Errors
    /// [`MailError::Full`]; [`MailError::NoProcess`] if the receiver has ended.
    pub(crate) fn send(&self, message: Message) -> Result<Wake, MailError> {
        let weight = message.content.weight();
        let mut contents = self.lock();
        if contents.closed {
            return Err(MailError::NoProcess);
        }
        let fits = weight <= self.settings.bytes - contents.bytes;
        if contents.messages >= self.settings.messages || !fits {
            return Err(MailError::Full);
        }
        contents.messages += 1;
        contents.bytes += weight;
        Ok(contents.add(message, Quota::Counted, self.calls()))
    }

    /// Adds a message whose sender waits until the receiver takes it. The message doesn't count
    /// against the bounds: a process sends one such message at a time, and the message is withdrawn
    /// when the sender stops waiting.
    ///
    /// # Errors
    /// [`MailError::NoProcess`] if the receiver has ended.
    pub(crate) fn post(self: &Arc<Self>, message: Message) -> Result<(Wake, Posted), MailError> {
        let mut contents = self.lock();
        if contents.closed {
            return Err(MailError::NoProcess);
        }
        let number = contents.next_number;
        let (sender, taken) = oneshot::channel();
        let wake = contents.add(message, Quota::Sender(sender), self.calls());
        let posted = Posted {
            mailbox: Arc::clone(self),
            number,
            taken,
        };
        Ok((wake, posted))
    }

    /// Reserves a place for the news of an end. Returns whether a place was free.
    pub(crate) fn reserve(&self) -> bool {
        let mut contents = self.lock();
        let granted = contents.reserved < self.settings.messages;
        contents.reserved += usize::from(granted);
        granted
    }

    /// Gives a reserved place back: there will be no news.
    pub(crate) fn give_place_back(&self) {
        self.lock().reserved -= 1;
    }

    /// Puts the news of an end into its reserved place.
    pub(crate) fn deliver(&self, down: Message) -> Option<Wake> {
        let mut contents = self.lock();
        (!contents.closed).then(|| contents.add(down, Quota::Reserved, self.calls()))
    }

    /// Takes a wanted message, if there is one.
    pub(crate) fn try_receive(&self, wanted: Wanted) -> Option<Message> {
        self.lock().visit(wanted)
    }

    /// Takes a wanted message, or has the task of `cx` woken when one comes. A receiver that stops
    /// waiting calls [`Mailbox::stop_waiting`].
    pub(crate) fn poll_receive(&self, cx: &Context<'_>, wanted: Wanted) -> Poll<Message> {
        let mut contents = self.lock();
        if let Some(message) = contents.visit(wanted) {
            contents.waiting = None;
            return Poll::Ready(message);
        }
        contents.waiting = Some((wanted, cx.waker().clone()));
        Poll::Pending
    }

    pub(crate) fn stop_waiting(&self) {
        self.lock().waiting = None;
    }

    /// Waits for a wanted message and takes it. With `from`, it waits only while that mailbox is
    /// open: a process sends nothing after its end.
    ///
    /// # Errors
    /// [`MailError::NoProcess`] if `from` is closed and no wanted message is left.
    pub(crate) async fn receive(
        &self,
        wanted: Wanted,
        from: Option<&Self>,
    ) -> Result<Message, MailError> {
        let receive = Receive {
            mailbox: self,
            wanted,
            from,
            asleep: false,
        };
        receive.await
    }

    /// Has the receiver look again for what it waits for.
    pub(crate) fn interrupt(&self) -> Wake {
        let mut contents = self.lock();
        Wake {
            waker: contents.waiting.take().map(|(_, waker)| waker),
            visits: contents.visits + self.calls(),
        }
    }

    /// The number of messages in the queue.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// How often the receiver has looked for a message or called a process.
    pub(crate) fn visits(&self) -> u64 {
        self.lock().visits + self.calls()
    }

    /// Whether the receiver works only for this client since `visits` was read. It does if it isn't
    /// waiting, has called no process, and has received nothing but this client's request.
    pub(crate) fn is_stuck(&self, visits: u64, client: Pid) -> bool {
        let contents = self.lock();
        let came = contents.visits + self.calls() - visits;
        let calls = self.slot.get().is_some_and(|slot| slot.is_awaited());
        let is_away = contents.waiting.is_none() && !calls;
        is_away && (came == 0 || came == 1 && contents.working_for == Some(client))
    }

    /// Stores the callers that the receiver owes a reply until [`Mailbox::close`]. So no caller
    /// hears of the end before the table knows of it.
    pub(crate) fn store_callers(&self, callers: Callers) {
        self.lock().callers = callers;
    }

    /// Closes the mailbox when the receiver has ended. Dropping its messages tells the callers and
    /// the senders that wait.
    pub(crate) fn close(&self) {
        let left = {
            let mut contents = self.lock();
            let closed = Contents {
                closed: true,
                has_taken_request: contents.has_taken_request,
                ..Contents::default()
            };
            std::mem::replace(&mut *contents, closed)
        };
        drop(left); // outside the lock: it wakes senders and callers
    }

    /// Whether the receiver has ever taken a request. Closing the mailbox keeps this.
    #[must_use]
    pub(crate) fn has_taken_request(&self) -> bool {
        self.lock().has_taken_request
    }

    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The number of calls that the receiver has made.
    fn calls(&self) -> u64 {
        self.slot.get().map_or(0, |slot| slot.made())
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn add(&mut self, message: Message, quota: Quota, calls: u64) -> Wake {
        let number = self.next_number;
        self.next_number += 1;
        let awaited = |&mut (wanted, _): &mut (Wanted, Waker)| wanted.matches(&message);
        let wake = Wake {
            waker: self.waiting.take_if(awaited).map(|(_, waker)| waker),
            visits: self.visits + calls,
        };
        self.queue.push_back(Queued {
            number,
            message,
            quota,
        });
        wake
    }

    fn visit(&mut self, wanted: Wanted) -> Option<Message> {
        self.visits += 1;
        self.working_for = None;
        let queued = match wanted {
            Wanted::Any => self.queue.pop_front()?,
            Wanted::From(_) => {
                let matches = |queued: &Queued| wanted.matches(&queued.message);
                let at = self.queue.iter().position(matches)?;
                self.queue.remove(at)?
            }
        };
        self.release_quota(&queued);
        let Queued { message, quota, .. } = queued;
        if let Quota::Sender(taken) = quota {
            let _gone = taken.send(());
        }
        if let Content::Request { client, .. } = message.content {
            self.working_for = Some(client);
            self.has_taken_request = true;
        }
        Some(message)
    }

    fn withdraw(&mut self, number: u64) -> Option<Queued> {
        let at = self
            .queue
            .binary_search_by_key(&number, |queued| queued.number);
        let queued = self.queue.remove(at.ok()?)?;
        self.release_quota(&queued);
        Some(queued)
    }

    /// Gives back the allowance of a message that has left the queue.
    fn release_quota(&mut self, queued: &Queued) {
        match queued.quota {
            Quota::Counted => {
                self.messages -= 1;
                self.bytes -= queued.message.content.weight();
            }
            Quota::Sender(_) => {}
            Quota::Reserved => self.reserved -= 1,
        }
        if self.queue.is_empty() && self.queue.capacity() > IDLE_CAPACITY {
            self.queue.shrink_to(IDLE_CAPACITY);
        }
    }
}

impl Wanted {
    fn matches(self, message: &Message) -> bool {
        match self {
            Self::Any => true,
            Self::From(sender) => message.sender == sender,
        }
    }
}

impl Wake {
    /// Wakes the receiver, if it waits for the message.
    pub(crate) fn wake(self) {
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

/// A message in a mailbox whose sender waits. Dropping this withdraws the message.
#[derive(Debug)]
pub(crate) struct Posted {
    mailbox: Arc<Mailbox>,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl Posted {
    /// Waits for at most `time_limit` until the message is taken. Then withdraws it.
    ///
    /// # Errors
    /// [`MailError::TimedOut`]; [`MailError::NoProcess`] if the receiver ends first. In both cases
    /// the message was not taken and never will be.
    pub(crate) async fn taken(mut self, time_limit: Duration) -> Result<(), MailError> {
        match self.wait(time_limit).await {
            Ok(taken) => taken,
            Err(_elapsed) => self.withdraw().unwrap_or(Err(MailError::TimedOut)),
        }
    }

    /// Waits until the message is taken or never will be.
    ///
    /// # Errors
    /// If the message is still in the mailbox after `time_limit`.
    pub(crate) async fn wait(
        &mut self,
        time_limit: Duration,
    ) -> Result<Result<(), MailError>, Elapsed> {
        let taken = timeout(time_limit, &mut self.taken).await?;
        Ok(taken.map_err(|_closed| MailError::NoProcess))
    }

    /// Withdraws the message. If it has already left the mailbox, returns its outcome.
    pub(crate) fn withdraw(&mut self) -> Option<Result<(), MailError>> {
        let withdrawn = self.mailbox.lock().withdraw(self.number);
        match withdrawn {
            Some(_) => None,
            None => Some(self.taken.try_recv().map_err(|_| MailError::NoProcess)),
        }
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let queued = self.mailbox.lock().withdraw(self.number);
        drop(queued); // outside the lock
    }
}

/// A receiver that waits for a message.
struct Receive<'a> {
    mailbox: &'a Mailbox,
    wanted: Wanted,
    from: Option<&'a Mailbox>,
    asleep: bool,
}

impl Future for Receive<'_> {
    type Output = Result<Message, MailError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let received = self.mailbox.poll_receive(cx, self.wanted);
        self.asleep = received.is_pending();
        if self.asleep && self.from.is_some_and(Mailbox::is_closed) {
            // A last message may have come between the two checks.
            let last = self.mailbox.try_receive(self.wanted);
            return Poll::Ready(last.ok_or(MailError::NoProcess));
        }
        received.map(Ok)
    }
}

impl Drop for Receive<'_> {
    fn drop(&mut self) {
        if self.asleep {
            self.mailbox.stop_waiting();
        }
    }
}
