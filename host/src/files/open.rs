//! An *open file*: a descriptor, or a copy of a small file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::{FileError, MAX_READ_BYTES, Metadata, Patience, blocking, file_error, metadata_of};

/// Files of at most this many bytes are copied when they are opened. For larger ones the copy would
/// no longer cost less than opening and asking, and 256 of these are no more than 16 MiB.
pub(super) const SMALL: usize = 64 << 10;

/// A regular file, open for reading. Dropping it closes it.
#[derive(Debug)]
#[expect(unreachable_pub)] // the generated stubs re-export it
pub struct OpenFile {
    pub(super) content: Content,
    /// Where the next [`OpenFile::read`] starts.
    position: u64,
}

/// What reading an open file gives.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A small file as it was when it was opened: what it says of itself and what it holds are of
    /// one look at it, whatever becomes of it on the disk.
    Copy { metadata: Metadata, bytes: Bytes },
    /// Any other file, as it is when it is read. Shared with a read that a blocking thread still
    /// has under way when the process is already gone.
    Live(Arc<OwnedFd>),
}

impl OpenFile {
    pub(super) fn of(content: Content) -> Self {
        let position = 0;
        Self { content, position }
    }

    /// The next bytes, at most `nbytes` and at most [`MAX_READ_BYTES`]; empty at the end of the
    /// file.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub(crate) async fn read(&mut self, nbytes: usize) -> Result<Bytes, FileError> {
        let bytes = self.read_at(self.position, nbytes).await?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    /// As [`OpenFile::read`], from `offset`, leaving the position alone.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub(crate) async fn read_at(&self, offset: u64, nbytes: usize) -> Result<Bytes, FileError> {
        let fd = match &self.content {
            Content::Copy { bytes, .. } => {
                let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                return Ok(bytes.slice(start..start.saturating_add(nbytes).min(bytes.len())));
            }
            Content::Live(fd) => fd,
        };
        // No file has bytes past what the kernel's offsets can say, and the kernel minds being
        // asked.
        const LAST_OFFSET: u64 = i64::MAX as u64;
        let possible = usize::try_from(LAST_OFFSET.saturating_sub(offset)).unwrap_or(usize::MAX);
        let nbytes = nbytes.min(MAX_READ_BYTES).min(possible);
        if nbytes == 0 {
            return Ok(Bytes::new());
        }
        read(fd, offset, nbytes).await
    }

    /// How many bytes of the host's memory this open file holds: those of a small file's copy, 0 of
    /// any other. Open files of one path may share a copy, and each says that it holds all of it.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        match &self.content {
            Content::Copy { bytes, .. } => bytes.len(),
            Content::Live(_) => 0,
        }
    }

    /// Size, time and kind: of a small file as it was when it was opened, of others as they are
    /// now.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub(crate) fn stat(&self) -> Result<Metadata, FileError> {
        match &self.content {
            Content::Copy { metadata, .. } => Ok(*metadata),
            Content::Live(fd) => metadata_of(fd.as_fd()),
        }
    }
}

impl Content {
    /// What was just opened: as a copy if it is small, and not being written at this moment.
    pub(super) async fn of(fd: OwnedFd, metadata: Metadata) -> Self {
        let fd = Arc::new(fd);
        let Some(size) = usize::try_from(metadata.size)
            .ok()
            .filter(|&size| size <= SMALL)
        else {
            return Self::Live(fd);
        };
        // One byte more than there should be, to see whether it has grown.
        let bytes = read(&fd, 0, size + 1).await;
        let is_whole =
            |bytes: &Bytes| bytes.len() == size && metadata_of(fd.as_fd()) == Ok(metadata);
        match bytes.ok().filter(is_whole) {
            Some(bytes) => Self::Copy { metadata, bytes },
            None => Self::Live(fd),
        }
    }
}

/// Bytes of a file, if need be from the disk.
async fn read(fd: &Arc<OwnedFd>, offset: u64, nbytes: usize) -> Result<Bytes, FileError> {
    let read = match read_now(fd, offset, nbytes, Patience::Cached) {
        // Not in the page cache, or a file system that can't tell.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => {
            let fd = Arc::clone(fd);
            blocking(move || read_now(&fd, offset, nbytes, Patience::Disk).map_err(file_error))
                .await
        }
        other => other.map_err(file_error),
    };
    read.map(Bytes::from)
}

fn read_now(
    fd: &OwnedFd,
    offset: u64,
    nbytes: usize,
    patience: Patience,
) -> Result<Vec<u8>, Errno> {
    let flags = match patience {
        Patience::Cached => ReadWriteFlags::NOWAIT,
        Patience::Disk => ReadWriteFlags::empty(),
    };
    let mut bytes = vec![0; nbytes];
    let got = rustix::io::retry_on_intr(|| {
        rustix::io::preadv2(fd, &mut [io::IoSliceMut::new(&mut bytes)], offset, flags)
    })?;
    bytes.truncate(got);
    Ok(bytes)
}
