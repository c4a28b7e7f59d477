//! A *body* follows the head of a request or a response. It is bytes in memory, a part of a file,
//! or a stream that is still being produced. A stream owns its producer, and may fail after the
//! head has been sent.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::files::{FileError, OpenFile};
use crate::steps::{Step, Steps, Timing};

/// One piece of a file. It is large enough that system calls no longer count beside the copies. It
/// is small enough that a thousand slow clients who take such files cost the host at most 256 MiB.
const PIECE_BYTES: u64 = 256 << 10;

/// The body of a request or a response.
#[derive(Debug)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file that a process handed to the host.
    File(FileSlice),
    /// Pieces that arrive one after the other.
    Stream(Box<dyn Stream>),
}

/// Bytes `offset .. offset + length` of an open file.
#[derive(Debug)]
pub struct FileSlice {
    pub(crate) file: OpenFile,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Produces the pieces of a body. Dropping the stream says that nobody wants the rest.
pub trait Stream: fmt::Debug + Send + Sync {
    /// The number of bytes still to come, if known.
    fn length(&self) -> Option<u64>;

    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>>;

    /// Why the body is known to be incomplete, before a piece of it is taken.
    fn broken(&self) -> Option<String> {
        None
    }

    /// Says that the message as a whole is not acceptable, for this reason.
    fn reject(self: Box<Self>, _reason: &str) {}

    /// Says that the body will not be sent, although the message is acceptable: its head is all
    /// that the client wants.
    fn discard(self: Box<Self>) {}
}

/// One piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// At least one byte.
    Bytes(Bytes),
    /// The fields that follow the body. Only the end follows them.
    Trailers(Vec<(String, Vec<u8>)>),
}

/// Why the rest of a body is missing.
#[derive(Debug)]
pub enum BodyError {
    /// The body exceeds its limit.
    TooLarge,
    /// The body's producer made no progress for too long.
    TooSlow,
    /// A file can't be read, or has become shorter than its slice.
    File(FileError),
    /// The producer of the body failed.
    Broken(String),
}

impl Body {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// The number of bytes in the body, if known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(slice) => Some(slice.length),
            Self::Stream(stream) => stream.length(),
        }
    }

    /// Whether the body is in memory.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::File(_) | Self::Stream(_) => false,
        }
    }

    /// All bytes of the body, if it is in memory. Otherwise an empty slice.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(_) | Self::Stream(_) => &[],
        }
    }

    /// Waits for all bytes of the body and returns them.
    ///
    /// # Errors
    /// [`BodyError`]; [`BodyError::TooLarge`] if the body has more than `most` bytes.
    pub async fn collect(self, most: u64) -> Result<Bytes, BodyError> {
        if self.length().is_some_and(|length| length > most) {
            return Err(BodyError::TooLarge);
        }
        let mut reader = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::File(_) | Self::Stream(_) => Reader::new(self, &Steps::default()),
        };
        let mut collected = Vec::new();
        while let Some(piece) = poll_fn(|cx| reader.poll_piece(cx)).await {
            let Piece::Bytes(piece) = piece? else {
                continue;
            };
            if collected.len() as u64 + piece.len() as u64 > most {
                return Err(BodyError::TooLarge);
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected.into())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// Bytes that are put together. A single piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    first: Bytes,
    /// All pieces, if there are several.
    all: Vec<u8>,
}

impl Gathered {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.first = bytes;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self.all.is_empty() {
            true => self.first,
            false => self.all.into(),
        }
    }
}

/// Reads any body piece by piece, so that a file of any size costs one piece of memory.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The bytes that come next.
    ready: Bytes,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    None,
    Stream(Box<dyn Stream>),
    File(Pieces),
}

#[derive(Debug)]
struct Pieces {
    offset: u64,
    length: u64,
    reading: Reading,
    steps: Steps,
}

/// The outcome of a read: the file, and bytes of it.
type Read = (OpenFile, Result<Bytes, FileError>);

/// The state of the file: at rest, in a read, or closed.
enum Reading {
    Idle(OpenFile),
    Busy(Pin<Box<dyn Future<Output = Read> + Send + Sync>>),
    Over,
}

impl Reader {
    pub(crate) fn new(body: Body, steps: &Steps) -> Self {
        let (ready, rest) = match body {
            Body::Bytes(bytes) => (bytes, Rest::None),
            Body::Stream(stream) => (Bytes::new(), Rest::Stream(stream)),
            Body::File(slice) => (Bytes::new(), Rest::File(Pieces::of(slice, steps))),
        };
        Self { ready, rest }
    }

    /// Reads the first piece of a file ahead. So a small file goes out with its head, and the host
    /// knows of a failing disk before it sends the head.
    pub(crate) async fn prepare(&mut self) -> Result<(), BodyError> {
        match &mut self.rest {
            Rest::File(pieces) => {
                self.ready = pieces.first().await?;
                Ok(())
            }
            Rest::Stream(_) | Rest::None => Ok(()),
        }
    }

    /// All bytes still to come, if they are in memory. Otherwise the reader itself.
    pub(crate) fn whole(self) -> Result<Bytes, Self> {
        match &self.rest {
            Rest::None => Ok(self.ready),
            Rest::File(pieces) if pieces.length == 0 => Ok(self.ready),
            Rest::File(_) | Rest::Stream(_) => Err(self),
        }
    }

    /// The number of bytes still to come, if known.
    pub(crate) fn length(&self) -> Option<u64> {
        let ready = self.ready.len() as u64;
        match &self.rest {
            Rest::None => Some(ready),
            Rest::Stream(stream) => stream.length().map(|length| ready + length),
            Rest::File(pieces) => Some(ready + pieces.length),
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, BodyError>>> {
        if !self.ready.is_empty() {
            let ready = std::mem::take(&mut self.ready);
            return Poll::Ready(Some(Ok(Piece::Bytes(ready))));
        }
        match &mut self.rest {
            Rest::None => Poll::Ready(None),
            Rest::Stream(stream) => stream.poll_piece(cx),
            Rest::File(pieces) => {
                let piece = ready!(pieces.poll_piece(cx));
                Poll::Ready(piece.map(|piece| piece.map(Piece::Bytes)))
            }
        }
    }
}

impl Pieces {
    fn of(slice: FileSlice, steps: &Steps) -> Self {
        Self {
            offset: slice.offset,
            length: slice.length,
            reading: Reading::Idle(slice.file),
            steps: steps.clone(),
        }
    }

    /// Reads the first piece. Most files have no second one, so this read needs no future on the
    /// heap.
    async fn first(&mut self) -> Result<Bytes, BodyError> {
        let Some(file) = self.take_file() else {
            return Ok(Bytes::new());
        };
        let timing = self.time();
        let piece = file.read_at(self.offset, self.next()).await;
        drop(timing);
        self.advance(file, piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(file) = self.take_file() {
            let (timing, offset, nbytes) = (self.time(), self.offset, self.next());
            self.reading = Reading::Busy(Box::pin(async move {
                let _timing = timing;
                let piece = file.read_at(offset, nbytes).await;
                (file, piece)
            }));
        }
        let Reading::Busy(busy) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let (file, piece) = ready!(busy.as_mut().poll(cx));
        Poll::Ready(Some(self.advance(file, piece)))
    }

    /// The file, if no read has it and bytes remain. A file that has no bytes left is closed here.
    fn take_file(&mut self) -> Option<OpenFile> {
        match std::mem::replace(&mut self.reading, Reading::Over) {
            Reading::Idle(file) => (self.length > 0).then_some(file),
            busy @ Reading::Busy(_) => {
                self.reading = busy;
                None
            }
            Reading::Over => None,
        }
    }

    fn advance(
        &mut self,
        file: OpenFile,
        piece: Result<Bytes, FileError>,
    ) -> Result<Bytes, BodyError> {
        self.reading = Reading::Over;
        let piece = piece.map_err(BodyError::File)?;
        if piece.is_empty() && self.length > 0 {
            // The file was truncated after the response had promised its bytes.
            return Err(BodyError::File(FileError::Io));
        }
        self.offset += piece.len() as u64;
        self.length -= piece.len() as u64;
        if self.length > 0 {
            self.reading = Reading::Idle(file);
        }
        Ok(piece)
    }

    fn next(&self) -> usize {
        usize::try_from(self.length.min(PIECE_BYTES)).unwrap_or(0)
    }

    fn time(&self) -> Timing {
        self.steps.time(Step::Files).out_of(Step::Reply)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle(_) => "Idle",
            Self::Busy(_) => "Busy",
            Self::Over => "Over",
        })
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the body has more bytes than it may have"),
            Self::TooSlow => f.write_str("the body did not come in time"),
            Self::File(error) => write!(f, "the body's file can't be read: {error:?}"),
            Self::Broken(why) => write!(f, "the body is broken off: {why}"),
        }
    }
}

impl std::error::Error for BodyError {}
