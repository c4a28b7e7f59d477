//! An *open file* is a descriptor, or a copy of a small file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::{Blocking, FileError, MAX_READ_BYTES, Metadata, blocking, file_error, metadata_of};

/// Files of at most this many bytes are copied when they are opened. A larger copy would cost more
/// than opening the file again. 256 copies take at most 16 MiB.
pub(super) const SMALL: usize = 64 << 10;

/// A regular file, open for reading. Dropping this closes the file.
#[derive(Debug)]
#[expect(unreachable_pub)] // the generated stubs re-export it
pub struct OpenFile {
    pub(super) content: Content,
    /// Where the next [`OpenFile::read`] starts.
    position: u64,
}

/// The source of an open file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A small file as it was when it was opened, whatever happens on the disk later. Metadata and
    /// bytes come from one look at the file.
    Copy { metadata: Metadata, bytes: Bytes },
    /// Any other file, as it is when it is read. Shared with reads on blocking threads, which may
    /// outlive the process.
    Live(Arc<OwnedFd>),
}

impl OpenFile {
    pub(super) fn of(content: Content) -> Self {
        let position = 0;
        Self { content, position }
    }

    /// The next bytes: at most `nbytes`, and at most [`MAX_READ_BYTES`]. Empty at the end of the
    /// file.
    ///
    /// # Errors
    /// [`FileError::Io`] if the disk fails.
    pub(crate) async fn read(&mut self, nbytes: usize) -> Result<Bytes, FileError> {
        let bytes = self.read_at(self.position, nbytes).await?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    /// Reads at `offset` like [`OpenFile::read`], without moving the position.
    ///
    /// # Errors
    /// [`FileError::Io`] if the disk fails.
    pub(crate) async fn read_at(&self, offset: u64, nbytes: usize) -> Result<Bytes, FileError> {
        let fd = match &self.content {
            Content::Copy { bytes, .. } => {
                let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                return Ok(bytes.slice(start..start.saturating_add(nbytes).min(bytes.len())));
            }
            Content::Live(fd) => fd,
        };
        // The kernel rejects offsets past this one, and no file has bytes there.
        const LAST_OFFSET: u64 = i64::MAX as u64;
        let possible = usize::try_from(LAST_OFFSET.saturating_sub(offset)).unwrap_or(usize::MAX);
        let nbytes = nbytes.min(MAX_READ_BYTES).min(possible);
        if nbytes == 0 {
            return Ok(Bytes::new());
        }
        read(fd, offset, nbytes).await
    }

    /// The bytes of host memory that this open file holds: the size of the copy, or 0 without one.
    /// Several open files may share a copy; each reports all of it.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        match &self.content {
            Content::Copy { bytes, .. } => bytes.len(),
            Content::Live(_) => 0,
        }
    }

    /// The metadata: for a copy, of the moment of opening; otherwise, of this moment.
    ///
    /// # Errors
    /// [`FileError::Io`] if the disk fails.
    pub(crate) fn stat(&self) -> Result<Metadata, FileError> {
        match &self.content {
            Content::Copy { metadata, .. } => Ok(*metadata),
            Content::Live(fd) => metadata_of(fd.as_fd()),
        }
    }
}

impl Content {
    /// The content of a file that was just opened: a copy if the file is small and isn't being
    /// written at this moment.
    pub(super) async fn of(fd: OwnedFd, metadata: Metadata) -> Self {
        let fd = Arc::new(fd);
        let Some(size) = usize::try_from(metadata.size)
            .ok()
            .filter(|&size| size <= SMALL)
        else {
            return Self::Live(fd);
        };
        // One byte more than expected, to notice a file that has grown.
        let bytes = read(&fd, 0, size + 1).await;
        let is_whole =
            |bytes: &Bytes| bytes.len() == size && metadata_of(fd.as_fd()) == Ok(metadata);
        match bytes.ok().filter(is_whole) {
            Some(bytes) => Self::Copy { metadata, bytes },
            None => Self::Live(fd),
        }
    }
}

/// Reads bytes of a file, from the disk if necessary.
async fn read(fd: &Arc<OwnedFd>, offset: u64, nbytes: usize) -> Result<Bytes, FileError> {
    let read = match read_now(fd, offset, nbytes, Blocking::No) {
        // Not in the page cache, or the file system can't tell.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => {
            let fd = Arc::clone(fd);
            blocking(move || read_now(&fd, offset, nbytes, Blocking::Yes).map_err(file_error)).await
        }
        other => other.map_err(file_error),
    };
    read.map(Bytes::from)
}

fn read_now(
    fd: &OwnedFd,
    offset: u64,
    nbytes: usize,
    blocking: Blocking,
) -> Result<Vec<u8>, Errno> {
    let flags = match blocking {
        Blocking::No => ReadWriteFlags::NOWAIT,
        Blocking::Yes => ReadWriteFlags::empty(),
    };
    let mut bytes = vec![0; nbytes];
    let got = rustix::io::retry_on_intr(|| {
        rustix::io::preadv2(fd, &mut [io::IoSliceMut::new(&mut bytes)], offset, flags)
    })?;
    bytes.truncate(got);
    Ok(bytes)
}
