//! The body of a response in hyper's form: piece by piece, as the client takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::body::{self, BodyError, Reader};
use crate::steps::Steps;

/// What hyper sends after the head.
pub(super) struct ResponseBody(State);

enum State {
    /// Keeps this type small, because hyper moves it around.
    Bytes(Bytes),
    Reader(Box<Reader>),
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

    /// A guest's body. The first piece of a file is read before the head is sent. So a small file
    /// goes out with its head in one write, and a failing disk still gets an error status.
    pub(super) async fn of(body: body::Body, steps: &Steps) -> Result<Self, BodyError> {
        let mut reader = match body {
            body::Body::Bytes(bytes) => return Ok(Self::from(bytes)),
            body::Body::File(_) | body::Body::Stream(_) => Reader::new(body, steps),
        };
        reader.prepare().await?;
        Ok(match reader.whole() {
            Ok(bytes) => Self::from(bytes),
            Err(reader) => Self(State::Reader(Box::new(reader))),
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    /// After an error the connection breaks off: once the head has promised a body, HTTP/1.1 has no
    /// other way to say that the rest is missing.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.0 {
            State::Bytes(bytes) if bytes.is_empty() => None,
            State::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            State::Reader(reader) => ready!(reader.poll_piece(cx)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let length = match &self.0 {
            State::Bytes(bytes) => Some(bytes.len() as u64),
            State::Reader(reader) => reader.length(),
        };
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
