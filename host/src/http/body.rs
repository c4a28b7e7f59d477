//! The body of a response: bytes that are there, or a file that is read piece by piece while the client
//! takes it, so that a file of any size costs one piece of memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::files::{FileError, OpenFile};
use crate::message::FileSlice;
use crate::sandbox::Failure;
use crate::steps::{Step, Steps};

/// One piece of a file. Large enough that system calls no longer count beside the copies, small enough
/// that a thousand slow clients who take such files cost the host 256 MiB and not more.
const PIECE_BYTES: u64 = 256 << 10;

/// What hyper sends after the head.
pub(super) struct ResponseBody(State);

enum State {
    Bytes(Bytes),
    /// The first piece is there already; the rest comes from the file.
    File {
        ready: Bytes,
        rest: Rest,
    },
}

struct Rest {
    offset: u64,
    length: u64,
    reading: Reading,
    steps: Steps,
}

/// What a read gives back: the file, and bytes of it.
type Piece = (OpenFile, Result<Bytes, FileError>);

/// The file rests here, or a read has it.
enum Reading {
    Idle(OpenFile),
    Busy(Pin<Box<dyn Future<Output = Piece> + Send + Sync>>),
    Over,
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self(State::Bytes(bytes))
    }
}

impl ResponseBody {
    /// No body.
    pub(super) fn absent() -> Self {
        Self::from(Bytes::new())
    }

    /// Part of a file that has these bytes. The first piece is read before the head is sent, so that a
    /// small file goes out with it in one write, and a disk that fails is answered for.
    pub(super) async fn file(slice: FileSlice, steps: &Steps) -> Result<Self, Failure> {
        let FileSlice {
            file,
            offset,
            length,
        } = slice;
        let first = usize::try_from(length.min(PIECE_BYTES)).unwrap_or(0);
        let timing = steps.time(Step::Files).out_of(Step::Reply);
        let ready = file.read_at(offset, first).await;
        drop(timing);
        let ready = ready
            .map_err(|error| Failure::Response(format!("its file can't be read: {error:?}")))?;
        let got = ready.len() as u64;
        if got == length {
            return Ok(Self::from(ready));
        }
        let rest = Rest {
            offset: offset + got,
            length: length - got,
            reading: Reading::Idle(file),
            steps: steps.clone(),
        };
        Ok(Self(State::File { ready, rest }))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.0 {
            State::Bytes(bytes) => std::mem::take(bytes),
            State::File { ready, rest } if ready.is_empty() => match ready!(rest.poll_piece(cx)) {
                Ok(piece) => piece,
                Err(error) => return Poll::Ready(Some(Err(error))),
            },
            State::File { ready, .. } => std::mem::take(ready),
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            State::Bytes(bytes) => bytes.len() as u64,
            State::File { ready, rest } => ready.len() as u64 + rest.length,
        })
    }
}

impl Rest {
    /// The next piece; empty at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.length == 0 {
            return Poll::Ready(Ok(Bytes::new()));
        }
        let mut busy = match std::mem::replace(&mut self.reading, Reading::Over) {
            Reading::Busy(busy) => busy,
            Reading::Idle(file) => {
                let (offset, nbytes) = (self.offset, self.length.min(PIECE_BYTES));
                let nbytes = usize::try_from(nbytes).unwrap_or(0);
                let timing = self.steps.time(Step::Files).out_of(Step::Reply);
                Box::pin(async move {
                    let _timing = timing;
                    let piece = file.read_at(offset, nbytes).await;
                    (file, piece)
                })
            }
            Reading::Over => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        };
        let Poll::Ready((file, piece)) = busy.as_mut().poll(cx) else {
            self.reading = Reading::Busy(busy);
            return Poll::Pending;
        };
        let piece = piece
            .map_err(|error| io::Error::other(format!("the file can't be read: {error:?}")))?;
        if piece.is_empty() {
            // It was cut short after the head promised its bytes: breaking off is all HTTP/1.1 leaves.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.reading = Reading::Idle(file);
        self.offset += piece.len() as u64;
        self.length -= piece.len() as u64;
        Poll::Ready(Ok(piece))
    }
}
