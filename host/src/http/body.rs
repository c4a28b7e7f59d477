//! The body of a response in hyper's form: piece by piece, as the client takes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::Connection;
use crate::body::{self, BodyError, Piece, Reader, Stream};
use crate::steps::Steps;

/// What hyper sends after the head.
pub(super) struct ResponseBody(State);

enum State {
    /// Keeps this type small, because hyper moves it around.
    Bytes(Bytes),
    Reader(Box<Reader>),
    Stream(Box<Streamed>),
}

/// A body that is still being produced.
struct Streamed {
    stream: Box<dyn Stream>,
    connection: Arc<Connection>,
    /// Whether only the end of the connection ends the body.
    ends_connection: bool,
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

    /// A body in memory or in a file. The first piece of a file is read before the head is sent. So
    /// a small file goes out with its head in one write, and a failing disk still gets an error
    /// status.
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

    /// A body that is still being produced. `is_http_10` says whether the client knows chunks.
    pub(super) fn streamed(
        stream: Box<dyn Stream>,
        connection: &Arc<Connection>,
        is_http_10: bool,
    ) -> Self {
        Self(State::Stream(Box::new(Streamed {
            ends_connection: is_http_10 && stream.length().is_none(),
            stream,
            connection: Arc::clone(connection),
        })))
    }
}

impl Streamed {
    /// While the client waits for the producer, its patience is not asked for.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let Poll::Ready(piece) = self.stream.poll_piece(cx) else {
            self.connection.activity.pause();
            return Poll::Pending;
        };
        self.connection.activity.note();
        if let (Some(Err(_)), true) = (&piece, self.ends_connection) {
            self.connection.cut();
        }
        Poll::Ready(piece)
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
            State::Bytes(bytes) => Some(Ok(Piece::Bytes(std::mem::take(bytes)))),
            State::Reader(reader) => ready!(reader.poll_piece(cx)),
            State::Stream(streamed) => ready!(streamed.poll_piece(cx)),
        };
        Poll::Ready(piece.map(|piece| piece.map(frame).map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let length = match &self.0 {
            State::Bytes(bytes) => Some(bytes.len() as u64),
            State::Reader(reader) => reader.length(),
            State::Stream(streamed) => streamed.stream.length(),
        };
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn frame(piece: Piece) -> Frame<Bytes> {
    let fields = match piece {
        Piece::Bytes(bytes) => return Frame::data(bytes),
        Piece::Trailers(fields) => fields,
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes());
        // Fields that are not HTTP are left out: the head that could have said so is sent.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            trailers.append(name, value);
        }
    }
    Frame::trailers(trailers)
}
