//! A *flow* is what two hosts share of one exchange: the request's body one way, the response's the
//! other. Each is sent in parts within a *window* that its reader extends, so no reader has to hold
//! more than a window, whoever is slow.
//!
//! Parts have offsets. One that doesn't follow the last was lost on the way, or the one before it
//! was, and the body is broken off.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frames::{Frame, Part, Progress, ToFront, ToWorker};
use super::link::Link;
use crate::body::{Body, BodyError, Gathered, Piece, Reader, Stream};
use crate::steps::Steps;

/// The largest part of a body in one frame.
pub(super) const PART_BYTES: usize = 64 << 10;

/// The window that every body begins with.
pub(super) const LEAST_WINDOW: u64 = 16 << 10;

/// The window of a body that is taken, while there is room.
const WINDOW: u64 = 256 << 10;

/// What the windows of all bodies together have beyond the least. A body whose reader is slow may
/// hold its part for long. The others have the least window then: 16 KiB for each way to the other
/// host and back.
const ALL_WINDOWS: u64 = 16 << 20;

/// Parts of fewer bytes are put together: each piece has a cost of its own.
const SMALL_BYTES: usize = 4 << 10;

/// The room for windows.
#[derive(Clone, Debug)]
pub(super) struct Windows(Arc<Semaphore>);

/// The side of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Front,
    Worker,
}

/// How the other side of an exchange is reached.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) link: Link,
    /// The number of the other host.
    pub(super) host: u32,
    pub(super) id: u64,
    /// Which side this host is.
    pub(super) side: Side,
}

#[derive(Debug)]
pub(super) struct Flow {
    peer: Peer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether the exchange is over, whatever is missing.
    is_over: bool,
    /// Those who wait for the end.
    over: Vec<Waker>,
}

#[derive(Debug)]
struct Incoming {
    window: u64,
    windows: Windows,
    /// What the window has beyond the least.
    room: Option<OwnedSemaphorePermit>,
    /// Whether the other side knows that it may send.
    is_invited: bool,
    pieces: VecDeque<Piece>,
    /// Bytes that have come.
    received: u64,
    /// Bytes that were taken out.
    taken: u64,
    /// Bytes that the other side knows it may send.
    allowed: u64,
    end: Option<Result<(), String>>,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Outgoing {
    sent: u64,
    allowed: u64,
    has_ended: bool,
    writer: Option<Waker>,
}

/// The other side wants no more, or is lost.
#[derive(Debug)]
pub(super) struct Over;

impl Windows {
    pub(super) fn new() -> Self {
        let units = ALL_WINDOWS / LEAST_WINDOW;
        Self(Arc::new(Semaphore::new(
            usize::try_from(units).unwrap_or(0),
        )))
    }

    /// What a window has beyond the least.
    fn room(&self) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(WINDOW / LEAST_WINDOW - 1).unwrap_or(0);
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}

/// What both sides of an exchange say.
enum Said<'a> {
    Body(Part<'a>),
    Allowed(u64),
}

impl Peer {
    /// What this host says to the other.
    fn frame<'a>(&self, said: Said<'a>) -> Frame<'a> {
        let (own, id) = (self.link.number(), self.id);
        match self.side {
            Side::Front => Frame::ToWorker {
                front: own,
                id,
                what: match said {
                    Said::Body(part) => ToWorker::Body(part),
                    Said::Allowed(allowed) => ToWorker::Allowed(allowed),
                },
            },
            Side::Worker => Frame::ToFront {
                worker: own,
                id,
                what: match said {
                    Said::Body(part) => ToFront::Body(part),
                    Said::Allowed(allowed) => ToFront::Allowed(allowed),
                },
            },
        }
    }
}

impl Flow {
    /// `allowed` is what the other side lets this one send. A front has said what it lets its
    /// worker send; a worker says so once somebody reads the body.
    pub(super) fn new(peer: Peer, windows: Windows, allowed: u64) -> Self {
        let incoming = Incoming {
            allowed: LEAST_WINDOW,
            window: LEAST_WINDOW,
            windows,
            room: None,
            is_invited: peer.side == Side::Front,
            pieces: VecDeque::new(),
            received: 0,
            taken: 0,
            end: None,
            reader: None,
        };
        let outgoing = Outgoing {
            sent: 0,
            allowed,
            has_ended: false,
            writer: None,
        };
        let state = State {
            incoming,
            outgoing,
            is_over: false,
            over: Vec::new(),
        };
        Self {
            peer,
            state: Mutex::new(state),
        }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.state();
        Progress {
            id: self.peer.id,
            sent: state.outgoing.sent + u64::from(state.outgoing.has_ended),
            allowed: match state.incoming.is_invited {
                true => state.incoming.allowed,
                false => 0,
            },
        }
    }

    /// What the other side says of itself. Whatever it had sent before has come by now, or never
    /// will.
    ///
    /// # Errors
    /// [`Over`] if something was lost.
    pub(super) fn compare(&self, other: Progress) -> Result<(), Over> {
        self.allow(other.allowed);
        let mut state = self.state();
        let incoming = &state.incoming;
        let has = incoming.received + u64::from(matches!(incoming.end, Some(Ok(()))));
        if other.sent <= has || state.is_over {
            return Ok(());
        }
        state
            .incoming
            .fail("a part of it was lost between two hosts");
        Err(Over)
    }

    /// The first bytes of the incoming body, which came with the head and within the window.
    pub(super) fn begin(&self, bytes: Bytes) {
        let part = Part::Bytes {
            offset: 0,
            is_last: false,
        };
        self.receive(part, bytes);
    }

    /// Takes in a part of the incoming body.
    pub(super) fn receive(&self, part: Part<'_>, bytes: Bytes) {
        let mut state = self.state();
        let incoming = &mut state.incoming;
        if incoming.end.is_some() {
            return;
        }
        match part {
            Part::Broken => incoming.fail("its sender has broken it off"),
            Part::Bytes { offset, .. } | Part::Trailers { offset, .. }
                if offset != incoming.received =>
            {
                incoming.fail("a part of it was lost between two hosts");
            }
            Part::Bytes { is_last, .. } => {
                incoming.received += bytes.len() as u64;
                if incoming.received > incoming.allowed {
                    incoming.fail("its sender has sent more than it may");
                } else {
                    incoming.add(bytes);
                    incoming.end = is_last.then_some(Ok(()));
                }
            }
            Part::Trailers { fields, .. } => {
                let fields = fields.into_iter();
                let fields = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
                incoming.pieces.push_back(Piece::Trailers(fields.collect()));
                incoming.end = Some(Ok(()));
            }
        }
        if let Some(reader) = incoming.reader.take() {
            reader.wake();
        }
    }

    /// The other side lets this one send so much in all.
    pub(super) fn allow(&self, allowed: u64) {
        let mut state = self.state();
        let outgoing = &mut state.outgoing;
        outgoing.allowed = outgoing.allowed.max(allowed);
        if let Some(writer) = outgoing.writer.take() {
            writer.wake();
        }
    }

    /// Ends it all. What is missing of the incoming body is missing for this reason.
    pub(super) fn end(&self, why: &str) {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_over, true) {
            return;
        }
        if state.incoming.end.is_none() {
            state.incoming.fail(why);
        }
        if let Some(writer) = state.outgoing.writer.take() {
            writer.wake();
        }
        state.over.drain(..).for_each(Waker::wake);
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Completes when the exchange is over.
    pub(super) async fn over(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.is_over {
                return Poll::Ready(());
            }
            if !state.over.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.over.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Sends bytes of the outgoing body, as the other side lets it.
    ///
    /// # Errors
    /// [`Over`].
    pub(super) async fn send(&self, mut bytes: Bytes) -> Result<(), Over> {
        while !bytes.is_empty() {
            let (offset, room) = poll_fn(|cx| self.poll_room(cx)).await?;
            let room = usize::try_from(room).unwrap_or(PART_BYTES).min(PART_BYTES);
            let part = bytes.split_to(room.min(bytes.len()));
            let head = Part::Bytes {
                offset,
                is_last: false,
            };
            self.send_part(head, &part).await?;
            self.has_sent(part.len() as u64, false);
        }
        Ok(())
    }

    /// Notes bytes that are on their way. Never before they are, since who compares would miss
    /// them.
    pub(super) fn has_sent(&self, bytes: u64, is_whole: bool) {
        let mut state = self.state();
        state.outgoing.sent += bytes;
        state.outgoing.has_ended |= is_whole;
    }

    /// Ends the outgoing body, perhaps with fields behind it.
    ///
    /// # Errors
    /// [`Over`].
    pub(super) async fn finish(&self, trailers: Option<&[(String, Vec<u8>)]>) -> Result<(), Over> {
        let offset = self.state().outgoing.sent;
        let part = match trailers {
            None => Part::Bytes {
                offset,
                is_last: true,
            },
            Some(fields) => Part::Trailers {
                offset,
                fields: fields
                    .iter()
                    .map(|(name, value)| (&**name, &**value))
                    .collect(),
            },
        };
        self.send_part(part, b"").await?;
        self.has_sent(0, true);
        Ok(())
    }

    /// Breaks the outgoing body off.
    pub(super) async fn break_off(&self) {
        let _over = self.send_part(Part::Broken, b"").await;
    }

    /// Sends a whole body, unless the exchange is over before.
    pub(super) async fn send_all(&self, body: Body) {
        let mut reader = Reader::new(body, &Steps::default());
        let sending = async {
            loop {
                let (bytes, behind) = poll_fn(|cx| gather(&mut reader, cx)).await;
                self.send(bytes).await?;
                match behind {
                    Behind::More => {}
                    Behind::End(trailers) => return self.finish(trailers.as_deref()).await,
                    Behind::Broken => {
                        self.break_off().await;
                        return Err(Over);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.over() => {}
            _sent = sending => {}
        }
    }

    async fn send_part(&self, part: Part<'_>, bytes: &[u8]) -> Result<(), Over> {
        let Peer { link, host, .. } = &self.peer;
        let frame = self.peer.frame(Said::Body(part)).encode(bytes);
        let is_sent = link.send(*host, frame).await;
        is_sent.then_some(()).ok_or(Over)
    }

    fn tell_allowed(&self, allowed: u64) {
        let Peer { link, host, .. } = &self.peer;
        let frame = self.peer.frame(Said::Allowed(allowed));
        // A probe repeats it.
        let _posted = link.post(*host, frame.encode(b""));
    }

    /// Where the next byte goes, and how many may.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(u64, u64), Over>> {
        let mut state = self.state();
        if state.is_over {
            return Poll::Ready(Err(Over));
        }
        let outgoing = &mut state.outgoing;
        let room = outgoing.allowed.saturating_sub(outgoing.sent);
        if room > 0 {
            return Poll::Ready(Ok((outgoing.sent, room)));
        }
        outgoing.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next piece of the incoming body.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let mut state = self.state();
        let incoming = &mut state.incoming;
        let Some(piece) = incoming.pieces.pop_front() else {
            return match &incoming.end {
                None => {
                    incoming.reader = Some(cx.waker().clone());
                    if !std::mem::replace(&mut incoming.is_invited, true) {
                        let allowed = incoming.allowed;
                        drop(state);
                        self.tell_allowed(allowed);
                    }
                    Poll::Pending
                }
                Some(Ok(())) => Poll::Ready(None),
                Some(Err(why)) => Poll::Ready(Some(Err(BodyError::Broken(why.clone())))),
            };
        };
        let mut allowed = None;
        if let Piece::Bytes(bytes) = &piece {
            incoming.taken += bytes.len() as u64;
            allowed = incoming.extend();
        }
        drop(state);
        if let Some(allowed) = allowed {
            self.tell_allowed(allowed);
        }
        Poll::Ready(Some(Ok(piece)))
    }

    /// Whether all of the incoming body has come.
    pub(super) fn has_all(&self) -> bool {
        matches!(self.state().incoming.end, Some(Ok(())))
    }

    fn taken(&self) -> u64 {
        self.state().incoming.taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// Adds bytes that have come.
    fn add(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if bytes.len() < SMALL_BYTES
            && let Some(Piece::Bytes(last)) = self.pieces.back_mut()
            && last.len() < SMALL_BYTES
        {
            *last = [&**last, &*bytes].concat().into();
        } else {
            self.pieces.push_back(Piece::Bytes(bytes));
        }
    }

    /// How much the other side may send by now in all, if it is to be told. Telling less often
    /// costs no speed, as long as the other side can go on.
    fn extend(&mut self) -> Option<u64> {
        if self.end.is_some() || self.taken + self.window - self.allowed < self.window / 2 {
            return None;
        }
        if self.room.is_none() {
            self.room = self.windows.room();
            self.window = if self.room.is_some() {
                WINDOW
            } else {
                LEAST_WINDOW
            };
        }
        self.allowed = self.taken + self.window;
        Some(self.allowed)
    }

    fn fail(&mut self, why: &str) {
        self.end = Some(Err(why.to_owned()));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// What follows gathered bytes.
pub(super) enum Behind {
    /// More, which is not there yet or does not fit.
    More,
    /// The end, perhaps with fields behind the body.
    End(Option<Vec<(String, Vec<u8>)>>),
    /// The rest is missing.
    Broken,
}

/// Gathers the pieces of a body that are there, up to one part. Waits only for the first.
pub(super) fn gather(reader: &mut Reader, cx: &mut Context<'_>) -> Poll<(Bytes, Behind)> {
    let mut gathered = Gathered::default();
    loop {
        let behind = match reader.poll_piece(cx) {
            Poll::Pending if gathered.is_empty() => return Poll::Pending,
            Poll::Pending => Behind::More,
            Poll::Ready(None) => Behind::End(None),
            Poll::Ready(Some(Ok(Piece::Trailers(fields)))) => Behind::End(Some(fields)),
            Poll::Ready(Some(Err(_logged))) => Behind::Broken,
            Poll::Ready(Some(Ok(Piece::Bytes(bytes)))) => {
                gathered.push(bytes);
                if gathered.len() < PART_BYTES {
                    continue;
                }
                Behind::More
            }
        };
        return Poll::Ready((gathered.into_bytes(), behind));
    }
}

/// The incoming body as a stream. The guard lives as long.
pub(super) struct Received<G> {
    flow: Arc<Flow>,
    length: Option<u64>,
    _guard: G,
}

impl<G> Received<G> {
    pub(super) fn new(flow: Arc<Flow>, length: Option<u64>, guard: G) -> Self {
        Self {
            flow,
            length,
            _guard: guard,
        }
    }
}

impl<G: Send + Sync> Stream for Received<G> {
    fn length(&self) -> Option<u64> {
        let length = self.length?;
        Some(length.saturating_sub(self.flow.taken()))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        self.flow.poll_piece(cx)
    }
}

impl<G> fmt::Debug for Received<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}
