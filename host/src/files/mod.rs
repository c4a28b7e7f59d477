//! The disk, seen through one folder. *Root* is the folder that guests may read; an *open file* is
//! a descriptor in it, or a copy of a small one. Nothing else in this program opens a path that a
//! guest asked for, and no path leads out: the kernel resolves it beneath the root, links and races
//! included.
//!
//! A call first tries what can be done without waiting for the disk, on the thread it is on. What
//! the kernel has not cached is finished on threads that may wait, so that a cold disk holds up
//! nobody else.

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

/// The most that one read returns. A guest chooses how much it asks for, so the host bounds what it
/// allocates; 1 MiB is enough that the call itself no longer costs anything beside the copy.
pub(crate) const MAX_READ_BYTES: usize = 1 << 20;

/// The most entries that reading a directory returns. A million names would be 50 MB of answer.
pub(crate) const MAX_DIR_ENTRIES: usize = 10_000;

/// Why a call failed. The same closed set as `error-code` in `wit/files.wit`, which says what each
/// means.
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

/// The most variants of a file that one call looks for: one for each content coding that a web
/// server knows, and some to spare. Looking for a variant that is not there costs the host a system
/// call.
pub(crate) const MAX_VARIANTS: usize = 8;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    RegularFile,
    /// A directory.
    Directory,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// File or directory.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970; earlier ones are zero.
    pub modified_seconds: u64,
    /// Nanoseconds within the second.
    pub modified_nanoseconds: u32,
}

/// A file that was just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file.
    pub file: OpenFile,
    /// The file's metadata at that moment.
    pub metadata: Metadata,
}

/// One name in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, without a path.
    pub name: String,
    /// What it names, links followed.
    pub kind: Kind,
}

/// The folder that guests may read: the one that its path leads to. Where a deployment has the path
/// lead to another folder, this is seen within a second.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    path: Arc<Path>,
    recent: Arc<Recent>,
}

/// How patient a call may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Only what the kernel has cached; `EAGAIN` otherwise.
    Cached,
    /// As long as the disk takes. For threads that may wait.
    Disk,
}

impl Root {
    /// Opens the folder at `path`; a relative one is taken from where the program is now, once and
    /// for all.
    ///
    /// # Errors
    /// Where there is no such folder, or it can't be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let folder = Folder::open(&path)?;
        Ok(Self {
            path: path.into(),
            recent: Arc::new(Recent::new(folder)),
        })
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
        // O_NONBLOCK: opening a FIFO would otherwise wait for its writer. It means nothing to
        // regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let folder = self.folder().await;
        let fd = folder.resolve(&path, flags).await?;
        let metadata = metadata_of(fd.as_fd())?;
        match metadata.kind {
            Kind::RegularFile => {
                let content = Content::of(fd, metadata).await;
                self.recent.put(&folder, &path, &content);
                let file = OpenFile::of(content);
                Ok(Opened { file, metadata })
            }
            Kind::Directory => Err(FileError::IsDirectory),
        }
    }

    /// Opens the first of these variants that can be opened and is not older than the file at
    /// `path`, or that file. With the variant's position.
    ///
    /// # Errors
    /// Those of [`Root::open_file`] for `path`.
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

    /// What is known of the file or directory at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub(crate) async fn stat(&self, path: &str) -> Result<Metadata, FileError> {
        let path = normal(path)?;
        let fd = self.folder().await.resolve(&path, OFlags::PATH).await?;
        metadata_of(fd.as_fd())
    }

    /// The names in a directory, sorted; what can't be served is left out.
    ///
    /// # Errors
    /// See [`FileError`]; [`FileError::TooLarge`] past [`MAX_DIR_ENTRIES`].
    pub(crate) async fn read_dir(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let path = normal(path)?.into_owned();
        let folder = self.folder().await;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = folder.resolve(&path, flags).await?;
        blocking(move || folder.list(dir, &path)).await
    }

    /// The folder that the path leads to. Where nobody has looked for a while, this does.
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
    /// In whole seconds: some compressors copy the time of the original, and not all copy its
    /// fractions.
    fn is_older(&self, other: &Self) -> bool {
        self.modified_seconds < other.modified_seconds
    }
}

fn metadata_of(fd: impl AsFd) -> Result<Metadata, FileError> {
    metadata(&rustix::fs::fstat(fd).map_err(file_error)?)
}

fn metadata(stat: &Stat) -> Result<Metadata, FileError> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::RegularFile,
        FileType::Directory => Kind::Directory,
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Err(FileError::NotSupported),
    };
    // Before 1970 is zero; the kernel keeps nanoseconds below a second.
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

/// What the guest is told of the kernel's answer. What is none of its business is `Io`, and is
/// logged.
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

/// Runs `work` on a thread that may wait.
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
