//! An *upload* is a request's body that a guest reads while the client sends it. What is short is
//! read before: a client that sends slowly then costs a connection and no process.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Instant, Sleep};

use super::Reading;
use super::fault::Fault;
use super::request::discard;
use crate::body::{Body, BodyError, Gathered, Piece, Stream};

/// A body that says it has at most so many bytes is read whole before a process is taken.
const SHORT_BYTES: u64 = 64 << 10;

/// The state of an upload. The connection reads it when the guest has answered, or has failed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploading(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A [`Flaw`], or 0.
    flaw: AtomicU8,
    /// Whether the client has sent what nobody has read.
    is_unread: AtomicBool,
}

/// Why the rest of a body is missing.
#[derive(Clone, Copy)]
enum Flaw {
    TooLarge = 1,
    TooSlow,
    Broken,
}

impl Uploading {
    /// The fault of the client, if it has not sent its body as it should.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.0.flaw.load(Ordering::Relaxed) {
            flaw if flaw == Flaw::TooLarge as u8 => Some(Fault::BodyTooLarge),
            flaw if flaw == Flaw::TooSlow as u8 => Some(Fault::BodyTooSlow),
            flaw if flaw == Flaw::Broken as u8 => Some(Fault::BadRequest(BROKEN)),
            _ => None,
        }
    }

    /// Whether the guest has left a part of the body unread.
    pub(super) fn is_unread(&self) -> bool {
        self.0.is_unread.load(Ordering::Relaxed)
    }
}

/// The text for the client whose body does not end as it should.
pub(super) const BROKEN: &str = "the request body is broken off or malformed";

/// Begins to read a body. `waits` says whether the client sends it only on request.
///
/// # Errors
/// If the body says that it is too large, or a short one does not come as it should.
pub(super) async fn begin(
    body: Incoming,
    waits: bool,
    uploading: &Uploading,
    reading: Reading,
) -> Result<Body, Fault> {
    let hint = body.size_hint();
    if hint.lower() > reading.max_body {
        if !waits {
            discard(body).await;
        }
        return Err(Fault::BodyTooLarge);
    }
    let mut upload = Upload {
        length: hint.exact(),
        left: reading.max_body,
        body: Some(body),
        pieces: VecDeque::new(),
        patience: reading.patience,
        timer: Box::pin(tokio::time::sleep(reading.patience)),
        uploading: uploading.clone(),
    };
    let is_short = hint.exact().is_some_and(|length| length <= SHORT_BYTES);
    let read = tokio::time::timeout(reading.body_time, async {
        loop {
            let piece = std::future::poll_fn(|cx| upload.poll_body(cx)).await;
            match piece {
                Some(Ok(piece)) => upload.pieces.push_back(piece),
                Some(Err(_flaw)) => return Err(()),
                None => return Ok(()),
            }
            if !is_short {
                return Ok(()); // it has begun
            }
        }
    });
    let read = read.await;
    if read.is_err() {
        return Err(Fault::BodyTooSlow);
    }
    if let Some(fault) = uploading.fault() {
        if let (Fault::BodyTooLarge, Some(body)) = (&fault, upload.body.take()) {
            discard(body).await;
        }
        return Err(fault);
    }
    Ok(upload.into_body())
}

fn is_bytes(piece: &Piece) -> bool {
    matches!(piece, Piece::Bytes(_))
}

/// A body on its way from the client to a guest.
struct Upload {
    /// The length of the whole body, if the client has told it.
    length: Option<u64>,
    /// Bytes that may still come.
    left: u64,
    /// None once it has ended.
    body: Option<Incoming>,
    /// Pieces that came before the guest was there.
    pieces: VecDeque<Piece>,
    /// The longest time without a piece while the guest waits for one.
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    uploading: Uploading,
}

impl Upload {
    /// The body in the simplest form that it has.
    fn into_body(mut self) -> Body {
        match (&self.body, self.pieces.pop_front()) {
            (None, None) => Body::empty(),
            (None, Some(Piece::Bytes(first))) if self.pieces.iter().all(is_bytes) => {
                let mut whole = Gathered::default();
                whole.push(first);
                for piece in self.pieces.drain(..) {
                    if let Piece::Bytes(bytes) = piece {
                        whole.push(bytes);
                    }
                }
                Body::Bytes(whole.into_bytes())
            }
            (_, first) => {
                if let Some(first) = first {
                    self.pieces.push_front(first);
                }
                Body::Stream(Box::new(Unshared(Mutex::new(self))))
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return match self.timer.as_mut().poll(cx) {
                        Poll::Ready(()) => {
                            Poll::Ready(Some(Err(self.fail(Flaw::TooSlow, BodyError::TooSlow))))
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
            };
            self.timer.as_mut().reset(Instant::now() + self.patience);
            match frame {
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
                Some(Err(_broken)) => {
                    self.body = None;
                    let error = BodyError::Broken(BROKEN.to_owned());
                    return Poll::Ready(Some(Err(self.fail(Flaw::Broken, error))));
                }
                Some(Ok(frame)) => match self.piece(frame) {
                    Ok(None) => {}
                    Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    fn piece(&mut self, frame: Frame<bytes::Bytes>) -> Result<Option<Piece>, BodyError> {
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let fields = trailers.iter();
                let fields =
                    fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                return Ok(Some(Piece::Trailers(fields.collect())));
            }
        };
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => return Err(self.fail(Flaw::TooLarge, BodyError::TooLarge)),
        }
        Ok((!bytes.is_empty()).then_some(Piece::Bytes(bytes)))
    }

    fn fail(&self, flaw: Flaw, error: BodyError) -> BodyError {
        self.uploading.0.flaw.store(flaw as u8, Ordering::Relaxed);
        error
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let is_unread = self.body.is_some();
        self.uploading
            .0
            .is_unread
            .store(is_unread, Ordering::Relaxed);
    }
}

/// The lock is there only because hyper's body can't be shared. Nobody shares it.
struct Unshared(Mutex<Upload>);

impl Stream for Unshared {
    fn length(&self) -> Option<u64> {
        // Told once, before anything is read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).length
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let upload = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        match upload.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None => upload.poll_body(cx),
        }
    }
}

impl fmt::Debug for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}
