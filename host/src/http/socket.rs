//! The socket of a connection, as hyper sees it: one whole head at a time, and its body behind it.
//! So the start of every head is known, even of pipelined requests. While a client is still sending
//! a head, hyper sees none of it and takes the connection for idle.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::{Flaw, Framing, Scan, Whole};
use super::stopwatch::Stopwatch;
use super::wire::Wire;

/// Stands in for a head that hyper must not see. So the refusal is answered like any other request,
/// behind the answers before it.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: \r\n\r\n";

/// The capacity that an empty buffer for held bytes keeps. Few clients ever need any.
const KEPT_BYTES: usize = 4 << 10;

/// State that the socket and the requests of one connection share. Both run in one task.
#[derive(Debug)]
pub(super) struct Hints {
    /// The flaw of the last head that hyper was given: a [`Flaw`], or 0.
    flaw: AtomicU8,
    /// The body behind this head: [`Hints::UNTOLD`], [`Hints::CHUNKED`] or its length in bytes.
    body: AtomicU64,
    /// Whether a head has arrived in part.
    has_half: AtomicBool,
}

impl Hints {
    const UNTOLD: u64 = u64::MAX;
    const CHUNKED: u64 = u64::MAX - 1;

    pub(super) fn new() -> Self {
        Self {
            flaw: AtomicU8::new(0),
            body: AtomicU64::new(Self::UNTOLD),
            has_half: AtomicBool::new(false),
        }
    }

    /// Tells the length of the body behind the head that hyper has just read; none for a chunked
    /// body.
    pub(super) fn tell_body(&self, length: Option<u64>) {
        let length = length.unwrap_or(Self::CHUNKED);
        self.body.store(length, Ordering::Relaxed);
    }

    /// The flaw of the head that hyper has just read.
    pub(super) fn flaw(&self) -> Option<Flaw> {
        match self.flaw.load(Ordering::Relaxed) {
            0 => None,
            flaw => Flaw::from_u8(flaw),
        }
    }

    /// Whether the client has begun a head and not ended it.
    pub(super) fn has_half(&self) -> bool {
        self.has_half.load(Ordering::Relaxed)
    }

    fn set_flaw(&self, flaw: Option<Flaw>) {
        let flaw = flaw.map_or(0, |flaw| flaw as u8);
        self.flaw.store(flaw, Ordering::Relaxed);
    }

    fn framing(&self) -> Option<Framing> {
        match self.body.load(Ordering::Relaxed) {
            Self::UNTOLD => None,
            Self::CHUNKED => Some(Framing::CHUNKED),
            0 => Some(Framing::Over),
            length => Some(Framing::Length(length)),
        }
    }
}

/// A socket that hands out whole heads, and notes when its client sends.
pub(super) struct Socket<'a> {
    wire: Wire<'a>,
    hints: &'a Hints,
    stopwatch: Stopwatch,
    stage: Stage,
    /// Bytes that were read and that hyper can't have yet: a part of a head, or bytes behind a
    /// whole one.
    held: BytesMut,
}

/// The next thing that hyper reads.
enum Stage {
    /// A head, once it is whole.
    Head(Scan),
    /// This many of the held bytes belong to a head, or to the rest of one.
    Give(usize),
    /// hyper has the head, and has not told yet what follows.
    Given,
    Body(Framing),
    /// Nothing: the next head is refused.
    Refused(&'static [u8]),
    /// Anything: the client sends no more, or hyper itself refuses its bytes.
    Rest,
}

impl Stage {
    fn behind(framing: Framing) -> Self {
        match framing {
            Framing::Over => Self::Head(Scan::default()),
            Framing::Length(_)
            | Framing::Size { .. }
            | Framing::Chunk(_)
            | Framing::Trailer { .. } => Self::Body(framing),
        }
    }
}

impl<'a> Socket<'a> {
    pub(super) fn new(wire: Wire<'a>, hints: &'a Hints, stopwatch: Stopwatch) -> Self {
        Self {
            wire,
            hints,
            stopwatch,
            stage: Stage::Head(Scan::default()),
            held: BytesMut::new(),
        }
    }

    /// Reads until a head is whole, has a flaw, or the client sends no more. Nearly always one read
    /// gets one head, directly into hyper's memory.
    fn poll_head(
        &mut self,
        mut scan: Scan,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut seen = scan.look(&self.held);
        loop {
            match seen {
                Ok(None) => {}
                Ok(Some(whole)) => {
                    self.found(whole);
                    self.stage = Stage::Give(whole.length);
                    return Poll::Ready(Ok(()));
                }
                Err(flaw) => {
                    self.hints.set_flaw(Some(flaw));
                    self.held = BytesMut::new();
                    self.stage = Stage::Refused(STAND_IN);
                    return Poll::Ready(Ok(()));
                }
            }
            let in_place = self.held.is_empty();
            if Pin::new(&mut self.wire).poll_read(cx, buffer)?.is_pending() {
                self.hints.has_half.store(!in_place, Ordering::Relaxed);
                self.stage = Stage::Head(scan);
                return Poll::Pending;
            }
            let read = buffer.filled();
            if read.is_empty() {
                self.stage = Stage::Rest;
                return Poll::Ready(Ok(()));
            }
            self.stopwatch.arrived();
            if in_place {
                seen = scan.look(read);
                if let Ok(Some(whole)) = seen {
                    self.found(whole);
                    self.held.extend_from_slice(&read[whole.length..]);
                    buffer.set_filled(whole.length);
                    self.given();
                    return Poll::Ready(Ok(()));
                }
            }
            self.held.extend_from_slice(read);
            buffer.clear();
            if !in_place {
                seen = scan.look(&self.held);
            }
        }
    }

    fn found(&self, head: Whole) {
        self.hints.set_flaw(head.fragment.then_some(Flaw::Fragment));
    }

    fn poll_body(
        &mut self,
        mut framing: Framing,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            if Pin::new(&mut self.wire).poll_read(cx, buffer)?.is_pending() {
                self.stage = Stage::Body(framing);
                return Poll::Pending;
            }
            self.stopwatch.arrived();
            let read = buffer.filled();
            let count = framing.take(read);
            self.held.extend_from_slice(&read[count..]);
            buffer.set_filled(count);
        } else {
            let most = self.held.len().min(buffer.remaining());
            let count = framing.take(&self.held[..most]);
            self.give(count, buffer);
        }
        self.stage = Stage::behind(framing);
        Poll::Ready(Ok(()))
    }

    fn given(&mut self) {
        self.hints.body.store(Hints::UNTOLD, Ordering::Relaxed);
        self.stage = Stage::Given;
        if self.held.is_empty() && self.held.capacity() > KEPT_BYTES {
            self.held = BytesMut::new();
        }
    }

    /// Moves at most `most` of the held bytes to hyper.
    fn give(&mut self, most: usize, buffer: &mut ReadBuf<'_>) -> usize {
        let count = most.min(self.held.len()).min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.held.advance(count);
        count
    }
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.stage, Stage::Rest) {
                Stage::Head(scan) => {
                    ready!(this.poll_head(scan, cx, buffer))?;
                    if !buffer.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Stage::Give(most) => {
                    match most - this.give(most, buffer) {
                        0 => this.given(),
                        left => this.stage = Stage::Give(left),
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Given => match this.hints.framing() {
                    Some(framing) => this.stage = Stage::behind(framing),
                    // hyper takes for half a head what ends here, or is reading no more.
                    None => this.stage = Stage::Rest,
                },
                Stage::Body(framing) => return this.poll_body(framing, cx, buffer),
                Stage::Refused(stand_in) => {
                    let (now, later) = stand_in.split_at(stand_in.len().min(buffer.remaining()));
                    buffer.put_slice(now);
                    this.stage = Stage::Refused(later);
                    return Poll::Ready(Ok(()));
                }
                Stage::Rest if this.held.is_empty() => {
                    return Pin::new(&mut this.wire).poll_read(cx, buffer);
                }
                Stage::Rest => {
                    this.give(usize::MAX, buffer);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
