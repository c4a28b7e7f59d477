//! The files that guests may read. The *root folder* is the only folder that guests can see. An
//! *open file* is a descriptor of a file in it, or a copy of a small file. Nothing else in this
//! program opens a path that a guest asked for. No path leads out of the root folder: the kernel
//! resolves it beneath the folder, including links and concurrent renames.
//!
//! Each call first tries to finish without waiting for the disk, on its own thread. If the kernel
//! hasn't cached the data, a blocking thread finishes the call, so that a slow disk delays no other
//! process.

mod folder;
mod open;
mod path;
mod recent;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use folder::Folder;
use open::Content;
#[expect(unreachable_pub)] // the generated stubs re-export it
pub use open::OpenFile;
use path::normal;
pub(crate) use recent::MAX_RECENT_FILES;
use recent::Recent;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::rate::Rate;
use crate::threads;

/// The most bytes that one read returns. The guest chooses the size, so the host must bound its
/// allocation. At 1 MiB, the call itself costs nothing beside the copy.
pub(crate) const MAX_READ_BYTES: usize = 1 << 20;

/// The most entries that reading a directory returns. A million names would take 50 MB.
pub(crate) const MAX_DIR_ENTRIES: usize = 10_000;

/// Why a call failed. These are the cases of `error-code` in `wit/files.wit`, which explains each.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    NoEntry,
    Access,
    IsDirectory,
    NotDirectory,
    NotSupported,
    InvalidPath,
    NameTooLong,
    Loop,
    TooManyOpen,
    TooLarge,
    Io,
}

/// The most variants of a file that one call tries: one for each content coding that web servers
/// know, and some to spare. Each variant that doesn't exist costs a system call.
pub(crate) const MAX_VARIANTS: usize = 8;

/// The kind of thing that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    RegularFile,
    Directory,
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970; earlier times count as 0.
    pub modified_seconds: u64,
    /// Nanoseconds within the second.
    pub modified_nanoseconds: u32,
}

/// A file that was just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub file: OpenFile,
    /// The metadata at the moment of opening.
    pub metadata: Metadata,
}

/// One entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, without its path.
    pub name: String,
    /// The kind of the target if the entry is a link.
    pub kind: EntryKind,
}

/// The root folder: whatever folder its path leads to. If the path leads to another folder after a
/// deployment, calls see the new folder within a second.
#[derive(Clone, Debug)]
pub(crate) struct RootFolder {
    path: Arc<Path>,
    recent: Arc<Recent>,
}

/// Whether a call may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocking {
    /// No: fails with `EAGAIN` if the kernel hasn't cached the data.
    No,
    /// Yes. For blocking threads.
    Yes,
}

impl RootFolder {
    /// Opens the folder at `path`. A relative path is resolved against the current directory, once.
    ///
    /// # Errors
    /// If the folder doesn't exist or can't be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let folder = Folder::open(&path)?;
        Ok(Self {
            path: path.into(),
            recent: Arc::new(Recent::new(folder)),
        })
    }

    /// The path, for a guest whose own view of the folder is WASI's.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// See [`FileError`].
    pub(crate) async fn open_file(&self, path: &str) -> Result<Opened, FileError> {
        let path = normal(path)?;
        if let Some(opened) = self.recent.get(&path) {
            return Ok(opened);
        }
        // O_NONBLOCK: opening a FIFO would otherwise wait for its writer. The flag has no effect on
        // regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let folder = self.folder().await;
        let fd = folder.resolve(&path, flags).await?;
        let metadata = metadata_of(fd.as_fd())?;
        match metadata.kind {
            EntryKind::RegularFile => {
                let content = Content::of(fd, metadata).await;
                self.recent.put(&folder, &path, &content);
                let file = OpenFile::of(content);
                Ok(Opened { file, metadata })
            }
            EntryKind::Directory => Err(FileError::IsDirectory),
        }
    }

    /// Opens the first variant that can be opened and isn't older than the file at `path`.
    /// Otherwise opens that file. Returns the variant's index.
    ///
    /// # Errors
    /// Those of [`RootFolder::open_file`] for `path`.
    pub(crate) async fn open_variant(
        &self,
        path: &str,
        variants: &[String],
    ) -> Result<(Opened, Option<usize>), FileError> {
        let original = self.open_file(path).await?;
        for (nth, variant) in variants.iter().enumerate() {
            match self.open_file(variant).await {
                Ok(variant) if !variant.metadata.is_older(&original.metadata) => {
                    return Ok((variant, Some(nth)));
                }
                Ok(_older) => {}
                Err(_whatever_it_is) => {}
            }
        }
        Ok((original, None))
    }

    /// The metadata of the file or directory at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub(crate) async fn stat(&self, path: &str) -> Result<Metadata, FileError> {
        let path = normal(path)?;
        let fd = self.folder().await.resolve(&path, OFlags::PATH).await?;
        metadata_of(fd.as_fd())
    }

    /// The names in a directory, sorted, without those that can't be served.
    ///
    /// # Errors
    /// See [`FileError`]. [`FileError::TooLarge`] for more than [`MAX_DIR_ENTRIES`] names.
    pub(crate) async fn read_dir(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let path = normal(path)?.into_owned();
        let folder = self.folder().await;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = folder.resolve(&path, flags).await?;
        blocking(move || folder.list(dir, &path)).await
    }

    /// The folder that the path leads to. Looks again if the last look is too old.
    async fn folder(&self) -> Folder {
        let (folder, is_old) = self.recent.folder();
        if !is_old {
            return folder;
        }
        let looked = Instant::now();
        let found = folder.look_again(&self.path).await;
        self.recent.follow(looked, found, &self.path)
    }
}

impl Metadata {
    /// Compares whole seconds: some compressors copy the time of the original without its fraction.
    fn is_older(&self, other: &Self) -> bool {
        self.modified_seconds < other.modified_seconds
    }
}

fn metadata_of(fd: impl AsFd) -> Result<Metadata, FileError> {
    metadata(&rustix::fs::fstat(fd).map_err(file_error)?)
}

fn metadata(stat: &Stat) -> Result<Metadata, FileError> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::RegularFile,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Err(FileError::NotSupported),
    };
    // Times before 1970 count as 0. The kernel keeps nanoseconds below a second.
    let modified_seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let modified_nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Metadata {
        kind,
        size,
        modified_seconds,
        modified_nanoseconds,
    })
}

/// Maps the kernel's error to the guest's. Errors that are none of the guest's business become `Io`
/// and are logged.
fn file_error(errno: Errno) -> FileError {
    match errno {
        Errno::NOENT => FileError::NoEntry,
        Errno::ACCESS | Errno::PERM | Errno::XDEV => FileError::Access,
        Errno::ISDIR => FileError::IsDirectory,
        Errno::NOTDIR => FileError::NotDirectory,
        Errno::NXIO | Errno::NODEV => FileError::NotSupported,
        Errno::NAMETOOLONG => FileError::NameTooLong,
        Errno::LOOP => FileError::Loop,
        Errno::INVAL => FileError::InvalidPath,
        other => {
            tracing::error!(error = %other, "the disk failed a guest's call");
            FileError::Io
        }
    }
}

/// Runs `work` on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    static NO_THREAD: Rate = Rate::new();
    threads::run(work).await.unwrap_or_else(|error| {
        if let Some(skipped) = NO_THREAD.admit() {
            let skipped = (skipped > 0).then_some(skipped);
            tracing::error!(%error, skipped, "a file can't be read: there is no thread for it");
        }
        Err(FileError::Io)
    })
}
