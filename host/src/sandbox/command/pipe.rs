//! A *pipe* carries the body of a response from a program to whoever sends it. It holds a bounded
//! number of bytes. A program that writes more waits, so that a slow client costs no memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use crate::body::{BodyError, Piece, Stream};

/// As many bytes as Linux gives a pipe. A program that finds room may write once, even if its write
/// does not fit whole.
const CAPACITY: usize = 64 << 10;

/// The most bytes in the pipe. A program that asks for room on several handles, before it writes on
/// any, has room on each of them.
const MOST_BYTES: usize = 2 * CAPACITY;

/// The writing end.
#[derive(Debug)]
pub(super) struct Pipe(Arc<Mutex<Inner>>);

/// The reading end. Dropping it says that nobody wants the rest.
#[derive(Debug)]
pub(super) struct Reader {
    pipe: Arc<Mutex<Inner>>,
    /// Bytes still to come, if the head states them.
    left: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: BytesMut,
    /// No more bytes will be written.
    is_ended: bool,
    /// No more bytes will be read.
    is_closed: bool,
    reader: Option<Waker>,
    /// Wakers of those who wait for room. A guest of WASI 0.3 may have several tasks.
    writers: Vec<Waker>,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The reading end. There must be one only.
    pub(super) fn reader(&self, length: Option<u64>) -> Reader {
        Reader {
            pipe: Arc::clone(&self.0),
            left: length,
        }
    }

    /// Whether there is room for a write. `None` if the reader is gone.
    pub(super) fn has_room(&self) -> Option<bool> {
        let inner = lock(&self.0);
        (!inner.is_closed).then(|| inner.has_room())
    }

    /// Waits until there is room, or the reader is gone.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.0);
        if inner.is_closed || inner.has_room() {
            return Poll::Ready(());
        }
        let is_known = inner
            .writers
            .iter()
            .any(|waker| waker.will_wake(cx.waker()));
        if !is_known {
            inner.writers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Adds bytes. Returns false if the reader is gone, or the bytes are too many.
    pub(super) fn push(&self, bytes: &[u8]) -> bool {
        let mut inner = lock(&self.0);
        if inner.is_closed || inner.bytes.len() + bytes.len() > MOST_BYTES {
            return false;
        }
        inner.bytes.extend_from_slice(bytes);
        let reader = inner.reader.take();
        drop(inner);
        wake(reader);
        true
    }

    /// Says that all bytes have been written.
    pub(super) fn end(&self) {
        let mut inner = lock(&self.0);
        inner.is_ended = true;
        let reader = inner.reader.take();
        drop(inner);
        wake(reader);
    }
}

impl Inner {
    fn has_room(&self) -> bool {
        self.bytes.len() < CAPACITY
    }
}

impl Stream for Reader {
    fn length(&self) -> Option<u64> {
        self.left
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let mut inner = lock(&self.pipe);
        if inner.bytes.is_empty() {
            if !inner.is_ended {
                inner.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            return Poll::Ready(match self.left.take() {
                None | Some(0) => None,
                Some(left) => Some(Err(broken(format!(
                    "it printed {left} bytes less than its Content-Length"
                )))),
            });
        }
        let piece = inner.bytes.split().freeze();
        let writers = std::mem::take(&mut inner.writers);
        drop(inner);
        wake(writers);
        if let Some(left) = &mut self.left {
            match left.checked_sub(piece.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    let why = "it printed more bytes than its Content-Length";
                    return Poll::Ready(Some(Err(broken(why.to_owned()))));
                }
            }
        }
        Poll::Ready(Some(Ok(Piece::Bytes(piece))))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = lock(&self.pipe);
        inner.is_closed = true;
        inner.bytes = BytesMut::new();
        let writers = std::mem::take(&mut inner.writers);
        drop(inner);
        wake(writers);
    }
}

fn broken(why: String) -> BodyError {
    BodyError::Broken(why)
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

fn lock(pipe: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // No step can panic halfway, so a poisoned lock still guards a whole value.
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}
