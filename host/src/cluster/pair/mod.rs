//! A *pair* is the connection from this host to another one, for the mail of processes: what is on
//! its way, what has come, and who waits for what. It numbers and counts, and knows nothing of NATS
//! or of processes.

use std::collections::{HashMap, VecDeque};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::frames::{Done, Frame, Mail, Missed, Post};
use crate::call::{Caller, NoReply};
use crate::mailbox::MailError;
use crate::peers::NotWatched;
use crate::pid::Pid;

/// The most pieces that are on their way to one host. What answers a piece of that host is beyond
/// this bound, and within the other host's.
const WINDOW: usize = 4096;

/// The most bytes of pieces that are on their way to one host. So one message has at most as many.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

/// What the other side may have sent before it is told what has come: a part of the window, so that
/// it can go on meanwhile.
const BATCH: usize = WINDOW / 4;
const BATCH_BYTES: usize = WINDOW_BYTES / 4;

/// The most bytes of a body in one frame. NATS takes more, with the head.
const PIECE_BYTES: usize = 128 << 10;

/// The most answers that processes of this host wait for from one other host.
const MOST_ASKED: usize = 64 << 10;

/// How long a full mailbox of another host counts as full.
const FULL_FOR: Duration = Duration::from_millis(100);

/// The processes that are known to have ended, or to have a full mailbox, of one host. Beyond this,
/// the oldest is forgotten, and the next message to it tells it again.
const KNOWN_MISSES: usize = 4096;

/// The connection to one host.
pub(super) struct Pair {
    pub(super) host: u32,
    since: Instant,
    state: Mutex<State>,
    /// Notified when a frame is to be sent.
    pub(super) ready: Notify,
    /// Notified when there may be room in the window.
    pub(super) room: Notify,
    /// Whether a frame was taken out of the queue, and the connection to NATS has yet to take it.
    pub(super) is_writing: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) epoch: u64,
    /// Whether a frame could not be sent.
    pub(super) is_broken: bool,
    pub(super) out: Out,
    /// The last number that has come.
    pub(super) heard: u64,
    /// The body of the next message, as far as it has come.
    partial: Vec<u8>,
    /// What has come since the other side was told: pieces and bytes.
    pub(super) owed: (usize, usize),
    /// Messages that have come and did not reach their receivers.
    pub(super) missed: Vec<(u64, Missed)>,
    /// What this host does for processes of the other one, by the number that is to be answered.
    pub(super) serving: HashMap<u64, AbortHandle>,
    /// What processes of this host wait for.
    pub(super) asked: HashMap<u64, Asked>,
}

/// The sending half.
#[derive(Default)]
pub(super) struct Out {
    /// The last number.
    pub(super) sent: u64,
    /// Frames that the connection to NATS has not taken yet.
    pub(super) queue: VecDeque<Bytes>,
    /// The bytes of each piece that the other side has not told of.
    on_way: VecDeque<usize>,
    /// When the other side has last told of one, or else when the first of them was sent.
    progress: Option<Instant>,
    bytes: usize,
    /// Receivers that earlier messages did not reach, and since when.
    misses: HashMap<Pid, (Missed, Instant)>,
    /// The same, the oldest first.
    order: VecDeque<Pid>,
}

/// What a process of this host waits for.
pub(super) enum Asked {
    Wait(oneshot::Sender<Result<(), MailError>>),
    Watch(oneshot::Sender<Result<(), NotWatched>>),
    Call(Caller),
}

/// What a connection leaves when it is over.
pub(super) struct Left {
    /// Whether anything can have been lost.
    pub(super) was_used: bool,
    pub(super) asked: HashMap<u64, Asked>,
    pub(super) serving: HashMap<u64, AbortHandle>,
}

/// What has come.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    /// The bytes of a whole message.
    Whole(Bytes),
    /// A part of the next message.
    Part,
    /// It has come before.
    Again,
    /// Something before it was lost.
    Gap,
}

impl Pair {
    /// The first connection has this number.
    pub(super) fn new(host: u32, epoch: u64) -> Self {
        let state = State {
            epoch,
            ..State::default()
        };
        Self {
            host,
            since: Instant::now(),
            state: Mutex::new(state),
            ready: Notify::new(),
            room: Notify::new(),
            is_writing: AtomicBool::new(false),
        }
    }

    /// Whether the connection to NATS has all frames.
    pub(super) fn is_written(&self) -> bool {
        let state = self.state();
        state.out.queue.is_empty() && !self.is_writing.load(Ordering::Relaxed)
    }

    /// Whether it has been there for long enough to have heard a beat of its host.
    pub(super) fn is_old(&self) -> bool {
        const BEATS: Duration = Duration::from_secs(60);
        self.since.elapsed() > BEATS
    }

    /// # Errors
    /// What is known of the receiver.
    pub(super) fn miss_of(&self, to: Pid) -> Result<(), MailError> {
        match self.state().out.misses.get(&to) {
            Some((Missed::NoProcess, _)) => Err(MailError::NoProcess),
            Some((Missed::Full, since)) if since.elapsed() < FULL_FOR => Err(MailError::Full),
            // What is over stays: `order` has each receiver once.
            Some((Missed::Full, _)) | None => Ok(()),
        }
    }

    /// What waits for the answer with this number, and waits no more.
    pub(super) fn answered(&self, id: u64) -> Option<Asked> {
        let asked = self.state().asked.remove(&id);
        self.room.notify_waiters();
        asked
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No step under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anything can be lost.
    pub(super) fn is_used(&self) -> bool {
        self.out.sent > 0 || self.heard > 0
    }

    /// Whether a message with so long a body is within the window.
    ///
    /// # Errors
    /// [`MailError::Full`] and [`MailError::TooLarge`].
    pub(super) fn fits(&self, body: usize) -> Result<(), MailError> {
        let Out { on_way, bytes, .. } = &self.out;
        let pieces = body.div_ceil(PIECE_BYTES).max(1);
        if body > WINDOW_BYTES {
            return Err(MailError::TooLarge);
        }
        if on_way.len() + pieces > WINDOW || bytes + body > WINDOW_BYTES {
            return Err(MailError::Full);
        }
        Ok(())
    }

    /// Whether a message for whose answer a process waits is within the window.
    ///
    /// # Errors
    /// As [`State::fits`].
    pub(super) fn fits_asking(&self, body: usize) -> Result<(), MailError> {
        match self.asked.len() < MOST_ASKED {
            true => self.fits(body),
            false => Err(MailError::Full),
        }
    }

    /// Removes the calls whose processes wait no more. Returns their numbers.
    pub(super) fn given_up(&mut self) -> Vec<u64> {
        let is_over = |asked: &Asked| match asked {
            Asked::Call(caller) => !caller.is_waiting(),
            Asked::Wait(_) | Asked::Watch(_) => false, // their guards withdraw them
        };
        let given_up = self.asked.extract_if(|_, asked| is_over(asked));
        given_up.map(|(id, _)| id).collect()
    }

    /// Takes in a piece.
    pub(super) fn receive(&mut self, number: u64, is_part: bool, body: Bytes) -> Received {
        if number <= self.heard {
            return Received::Again;
        }
        let length = self.partial.len() + body.len();
        if number != self.heard + 1 || length > WINDOW_BYTES {
            return Received::Gap;
        }
        self.heard = number;
        self.owed.0 += 1;
        self.owed.1 += body.len();
        if !is_part && self.partial.is_empty() {
            return Received::Whole(body);
        }
        self.partial.extend_from_slice(&body);
        match is_part {
            true => Received::Part,
            false => Received::Whole(take(&mut self.partial).into()),
        }
    }

    /// Whether the other side is to be told now what has come.
    pub(super) fn owes_much(&self) -> bool {
        self.owed.0 >= BATCH || self.owed.1 >= BATCH_BYTES
    }

    /// Begins the next connection.
    pub(super) fn begin(&mut self, epoch: u64) -> Left {
        let ended = take(self);
        self.epoch = epoch;
        Left {
            was_used: ended.is_used() || !ended.asked.is_empty(),
            asked: ended.asked,
            serving: ended.serving,
        }
    }

    /// Appends a message, in as many pieces as it needs.
    pub(super) fn push(&mut self, host: u32, what: &Post<'_>, body: &[u8]) {
        let mut pieces = body.chunks(PIECE_BYTES).peekable();
        let epoch = self.epoch;
        loop {
            let piece = pieces.next().unwrap_or_default();
            let is_last = pieces.peek().is_none();
            self.out.sent += 1;
            let frame = Frame::Mail {
                host,
                epoch,
                mail: Mail::Numbered {
                    number: self.out.sent,
                    what: if is_last { what.clone() } else { Post::Part },
                },
            };
            self.out.queue.push_back(frame.encode(piece));
            if self.out.on_way.is_empty() {
                self.out.progress = Some(Instant::now());
            }
            self.out.on_way.push_back(piece.len());
            self.out.bytes += piece.len();
            if is_last {
                return;
            }
        }
    }
}

impl Out {
    /// Whether pieces are on their way, and none has arrived for so long.
    pub(super) fn is_late(&self, time: Duration) -> bool {
        let since = self.progress.filter(|_| !self.on_way.is_empty());
        since.is_some_and(|since| since.elapsed() > time)
    }

    /// The other side has got so many pieces, and has missed these receivers. Returns whether so
    /// many were sent.
    pub(super) fn taken(&mut self, number: u64, missed: &[(u64, Missed)]) -> bool {
        let before = self.sent - self.on_way.len() as u64;
        if number > self.sent {
            return false;
        }
        for _ in before..number {
            let taken = self.on_way.pop_front();
            self.bytes -= taken.unwrap_or(0);
        }
        let now = Instant::now();
        if number > before {
            self.progress = Some(now);
        }
        for (to, missed) in missed {
            let Some(to) = Pid::new(*to) else {
                continue;
            };
            if self.misses.insert(to, (*missed, now)).is_none() {
                self.order.push_back(to);
            }
            if self.order.len() > KNOWN_MISSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.misses.remove(&oldest);
            }
        }
        true
    }
}

impl Asked {
    pub(super) fn done(self, done: Done) {
        match self {
            Self::Wait(sender) => {
                let _gone = sender.send(done.into());
            }
            Self::Watch(sender) => {
                let done: Result<(), MailError> = done.into();
                let _gone = sender.send(done.map_err(not_watched));
            }
            Self::Call(caller) => match done {
                Done::Full => caller.fail(NoReply::Full),
                Done::TooLarge => caller.fail(NoReply::TooLarge),
                Done::TimedOut => caller.fail(NoReply::TimedOut),
                Done::Unreachable => caller.fail(NoReply::Unreachable),
                Done::Taken | Done::NoProcess | Done::NotYours => caller.fail(NoReply::Ended),
            },
        }
    }

    pub(super) fn lost(self) {
        self.done(Done::Unreachable);
    }
}

pub(super) fn not_watched(error: MailError) -> NotWatched {
    match error {
        MailError::NoProcess | MailError::NotYours => NotWatched::NoProcess,
        MailError::Full | MailError::TooLarge | MailError::TimedOut | MailError::Unreachable => {
            NotWatched::Unreachable
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Post<'static> = Post::Withdraw { id: 1 };

    /// The pieces that are to be sent, and forgets them.
    fn sent(state: &mut State) -> Vec<(u64, bool, Bytes)> {
        let frames = take(&mut state.out.queue);
        let pieces = frames.iter().map(|frame| match Frame::decode(frame) {
            Some((
                Frame::Mail {
                    mail: Mail::Numbered { number, what },
                    ..
                },
                body,
            )) => (number, what == Post::Part, body),
            other => panic!("no piece: {other:?}"),
        });
        pieces.collect()
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        for size in [
            0,
            1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
            WINDOW_BYTES,
        ] {
            let (mut near, mut far) = (State::default(), State::default());
            let body = vec![7; size];
            assert_eq!(near.fits(size), Ok(()));
            near.push(1, &PIECE, &body);
            let mut pieces = sent(&mut near);
            let (number, is_part, last) = pieces.pop().expect("a last piece");
            for (number, is_part, piece) in pieces {
                assert_eq!(far.receive(number, is_part, piece), Received::Part);
            }
            let whole = far.receive(number, is_part, last.clone());
            assert_eq!(whole, Received::Whole(body.into()), "{size}");
            assert_eq!(far.receive(number, is_part, last), Received::Again);
            assert!(near.out.taken(far.heard, &[]));
            assert_eq!((near.out.on_way.len(), near.out.bytes), (0, 0));
        }
    }

    #[test]
    fn a_piece_that_is_missing_is_missed() {
        let (mut near, mut far) = (State::default(), State::default());
        for _ in 0..3 {
            near.push(1, &PIECE, b"x");
        }
        let pieces = sent(&mut near);
        let receive = |state: &mut State, at: usize| {
            let (number, is_part, body) = pieces[at].clone();
            state.receive(number, is_part, body)
        };
        assert_eq!(
            receive(&mut far, 0),
            Received::Whole(Bytes::from_static(b"x"))
        );
        assert_eq!(receive(&mut far, 2), Received::Gap);
        assert!(far.begin(1).was_used);
        assert!(!far.begin(2).was_used);
    }

    #[test]
    fn the_window_is_bounded_in_messages_and_bytes() {
        let mut state = State::default();
        for _ in 0..WINDOW {
            assert_eq!(state.fits(1), Ok(()));
            state.push(1, &PIECE, b"x");
        }
        assert_eq!(state.fits(1), Err(MailError::Full));
        assert!(state.out.taken(1, &[]));
        assert_eq!(state.fits(1), Ok(()));
        assert!(
            !state.out.taken(WINDOW as u64 + 1, &[]),
            "so many were not sent"
        );
        let mut state = State::default();
        assert_eq!(state.fits(WINDOW_BYTES + 1), Err(MailError::TooLarge));
        state.push(1, &PIECE, b"x");
        assert_eq!(state.fits(WINDOW_BYTES), Err(MailError::Full));
    }

    #[test]
    fn who_has_ended_is_remembered() {
        let pair = Pair::new(2, 0);
        let pid = Pid::new(2 << 44 | 1).expect("nobody has 0");
        pair.state().push(1, &PIECE, b"");
        assert_eq!(pair.miss_of(pid), Ok(()));
        assert!(pair.state().out.taken(1, &[(pid.get(), Missed::Full)]));
        assert_eq!(pair.miss_of(pid), Err(MailError::Full));
        assert!(pair.state().out.taken(1, &[(pid.get(), Missed::NoProcess)]));
        assert_eq!(pair.miss_of(pid), Err(MailError::NoProcess));
    }
}
