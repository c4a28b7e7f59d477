//! A *body* is what follows the head of a request or a response: bytes that are there, a part of a
//! file, or a stream that somebody still produces. A stream owns whatever produces it, and may fail
//! after the head has been sent.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::files::{FileError, OpenFile};
use crate::steps::{Step, Steps, Timing};

/// One piece of a file. Large enough that system calls no longer count beside the copies, small
/// enough that a thousand slow clients who take such files cost the host 256 MiB and not more.
const PIECE_BYTES: u64 = 256 << 10;

/// The body of a request or a response.
#[derive(Debug)]
pub enum Body {
    /// Bytes that are there.
    Bytes(Bytes),
    /// Part of a file that a process gave away.
    File(FileSlice),
    /// Pieces that come one after the other.
    Stream(Box<dyn Stream>),
}

/// Bytes `offset .. offset + length` of an open file.
#[derive(Debug)]
pub struct FileSlice {
    pub(crate) file: OpenFile,
    /// In bytes, from the start of the file.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) length: u64,
}

/// Produces the pieces of a body. Dropping it says that nobody wants the rest.
pub trait Stream: fmt::Debug + Send + Sync {
    /// How many bytes are still to come, where that is known.
    fn length(&self) -> Option<u64>;

    /// The next piece, which has at least one byte; none at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;
}

/// Why the rest of a body can't be had.
#[derive(Debug)]
pub enum BodyError {
    /// The body has more bytes than it may have.
    TooLarge,
    /// A file can't be read, or has become shorter than its slice.
    File(FileError),
    /// Whoever produces the body has failed.
    Broken(String),
}

impl Body {
    /// A body without any bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// How many bytes the body has, where that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(slice) => Some(slice.length),
            Self::Stream(stream) => stream.length(),
        }
    }

    /// Whether all bytes of the body are there.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::File(_) | Self::Stream(_) => false,
        }
    }

    /// All bytes of the body, if they are there.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(_) | Self::Stream(_) => &[],
        }
    }

    /// Waits for all bytes of the body.
    ///
    /// # Errors
    /// A [`BodyError`], [`BodyError::TooLarge`] where there are more than `most`.
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
            let piece = piece?;
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

/// Reads a body piece by piece, whatever it is, so that a file of any size costs one piece of
/// memory.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes that come next.
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

/// What a read gives back: the file, and bytes of it.
type Piece = (OpenFile, Result<Bytes, FileError>);

/// The file rests here, or a read has it.
enum Reading {
    Idle(OpenFile),
    Busy(Pin<Box<dyn Future<Output = Piece> + Send + Sync>>),
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

    /// Has the first piece of a file ready, so that a small file goes out with its head, and a disk
    /// that fails is known before.
    pub(crate) async fn prepare(&mut self) -> Result<(), BodyError> {
        match &mut self.rest {
            Rest::File(pieces) => {
                self.ready = pieces.first().await?;
                Ok(())
            }
            Rest::Stream(_) | Rest::None => Ok(()),
        }
    }

    /// All bytes that are still to come, if they are there.
    pub(crate) fn whole(self) -> Result<Bytes, Self> {
        match &self.rest {
            Rest::None => Ok(self.ready),
            Rest::File(pieces) if pieces.length == 0 => Ok(self.ready),
            Rest::File(_) | Rest::Stream(_) => Err(self),
        }
    }

    /// How many bytes are still to come, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        let ready = self.ready.len() as u64;
        match &self.rest {
            Rest::None => Some(ready),
            Rest::Stream(stream) => stream.length().map(|length| ready + length),
            Rest::File(pieces) => Some(ready + pieces.length),
        }
    }

    /// The next piece; none at the end.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        match &mut self.rest {
            Rest::None => Poll::Ready(None),
            Rest::Stream(stream) => stream.poll_piece(cx),
            Rest::File(pieces) => pieces.poll_piece(cx),
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

    /// The first piece. Most files have no other, and need no future on the heap.
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

    /// The file, where it rests and has bytes to come. With the last byte it is closed.
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
            // The file was cut short after its bytes had been promised.
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
            Self::File(error) => write!(f, "the body's file can't be read: {error:?}"),
            Self::Broken(why) => write!(f, "the body is broken off: {why}"),
        }
    }
}

impl std::error::Error for BodyError {}
