//! The disk, seen through one folder. *Root* is the folder that guests may read; an *open file* is a
//! descriptor in it, or a copy of a small one. Nothing else in this program opens a path that a guest asked
//! for, and no path leads out: the kernel resolves it beneath the root, links and races included.
//!
//! A call first tries what can be done without waiting for the disk, on the thread it is on. What the
//! kernel has not cached is finished on tokio's blocking threads, so that a cold disk holds up nobody else.

mod recent;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
pub use recent::MAX_RECENT_FILES;
use recent::Recent;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, ReadWriteFlags};

/// The most that one read returns. A guest chooses how much it asks for, so the host bounds what it
/// allocates; 1 MiB is enough that the call itself no longer costs anything beside the copy.
pub const MAX_READ_BYTES: usize = 1 << 20;

/// Files of at most this many bytes are copied when they are opened. For larger ones the copy would no longer cost
/// less than opening and asking, and 256 of these are no more than 16 MiB.
const SMALL: usize = 64 << 10;

/// The most entries that reading a directory returns. A million names would be 50 MB of answer.
pub const MAX_DIR_ENTRIES: usize = 10_000;

/// Why a call failed. The same closed set as `error-code` in `wit/files.wit`, which says what each means.
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

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    RegularFile,
    /// A directory.
    Directory,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// File or directory.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970; earlier ones are zero.
    pub modified_seconds: u64,
    /// Nanoseconds within the second.
    pub modified_nanoseconds: u32,
}

/// One name in a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a path.
    pub name: String,
    /// What it names, links followed.
    pub kind: Kind,
}

/// The folder that guests may read.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Arc<OwnedFd>,
    resolver: Resolver,
    recent: Arc<Recent>,
}

/// Who keeps a path beneath the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolver {
    /// `openat2(2)` with `RESOLVE_BENEATH`: one system call, and safe against renames meanwhile.
    Kernel {
        /// Whether it can also be told not to wait for the disk: `RESOLVE_CACHED`, Linux 5.12.
        can_decline: bool,
    },
    /// cap-std, name by name, where the kernel is older than Linux 5.6 or a seccomp filter hides the call.
    Library,
}

/// How patient a call may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Only what the kernel has cached; `EAGAIN` otherwise.
    Cached,
    /// As long as the disk takes. For blocking threads.
    Disk,
}

impl Root {
    /// Opens the folder at `path`, once: what becomes of the path later does not matter.
    ///
    /// # Errors
    /// Where there is no such folder, or it can't be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Arc::new(rustix::fs::open(path, flags, Mode::empty())?);
        let probe = |extra| open_beneath(dir.as_fd(), ".", OFlags::PATH, extra).is_ok();
        let resolver = if probe(ResolveFlags::empty()) {
            Resolver::Kernel {
                can_decline: probe(ResolveFlags::CACHED),
            }
        } else {
            Resolver::Library
        };
        Ok(Self {
            dir,
            resolver,
            recent: Arc::default(),
        })
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn open_file(&self, path: &str) -> Result<OpenFile, FileError> {
        check(path)?;
        if let Some(content) = self.recent.get(path) {
            return Ok(OpenFile {
                content,
                position: 0,
            });
        }
        // O_NONBLOCK: opening a FIFO would otherwise wait for its writer. It means nothing to regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.resolve(path, flags).await?;
        let metadata = metadata_of(fd.as_fd())?;
        match metadata.kind {
            Kind::RegularFile => {
                let content = Content::of(fd, metadata).await;
                self.recent.put(path, &content);
                Ok(OpenFile {
                    content,
                    position: 0,
                })
            }
            Kind::Directory => Err(FileError::IsDirectory),
        }
    }

    /// What is known of the file or directory at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn stat(&self, path: &str) -> Result<Metadata, FileError> {
        let fd = self.resolve(path, OFlags::PATH).await?;
        metadata_of(fd.as_fd())
    }

    /// The names in a directory, sorted; what can't be served is left out.
    ///
    /// # Errors
    /// See [`FileError`]; [`FileError::TooLarge`] past [`MAX_DIR_ENTRIES`].
    pub async fn read_dir(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let dir = self
            .resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .await?;
        let (root, path) = (self.clone(), path.to_owned());
        blocking(move || root.list(dir, &path)).await
    }

    async fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, FileError> {
        check(path)?;
        match self.open_now(path, flags, Patience::Cached) {
            Err(Errno::AGAIN) => {
                let (root, path) = (self.clone(), path.to_owned());
                blocking(move || {
                    root.open_now(&path, flags, Patience::Disk)
                        .map_err(file_error)
                })
                .await
            }
            other => other.map_err(file_error),
        }
    }

    fn open_now(&self, path: &str, flags: OFlags, patience: Patience) -> Result<OwnedFd, Errno> {
        match (self.resolver, patience) {
            (Resolver::Kernel { can_decline: true }, Patience::Cached) => {
                open_beneath(self.dir.as_fd(), path, flags, ResolveFlags::CACHED)
            }
            (Resolver::Kernel { .. }, Patience::Disk) => {
                // openat2 answers EAGAIN where a rename meanwhile leaves it unsure that `..` in a link
                // stays beneath: its manual says to try again.
                const TRIES: usize = 16;
                let mut answer = Err(Errno::AGAIN);
                for _ in 0..TRIES {
                    answer = open_beneath(self.dir.as_fd(), path, flags, ResolveFlags::empty());
                    if !matches!(answer, Err(Errno::AGAIN)) {
                        break;
                    }
                }
                answer
            }
            (Resolver::Kernel { can_decline: false } | Resolver::Library, Patience::Cached) => {
                Err(Errno::AGAIN)
            }
            (Resolver::Library, Patience::Disk) => open_by_library(self.dir.as_fd(), path, flags),
        }
    }

    fn list(&self, dir: OwnedFd, path: &str) -> Result<Vec<Entry>, FileError> {
        let mut entries = Vec::new();
        let mut seen = 0;
        for item in rustix::fs::Dir::new(dir).map_err(file_error)? {
            let item = item.map_err(file_error)?;
            let name = item.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            seen += 1;
            if seen > MAX_DIR_ENTRIES {
                return Err(FileError::TooLarge);
            }
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            }; // WIT strings are Unicode
            let kind = match item.file_type() {
                FileType::RegularFile => Some(Kind::RegularFile),
                FileType::Directory => Some(Kind::Directory),
                // A link, or a file system that does not say.
                FileType::Symlink | FileType::Unknown => self.kind_at(&format!("{path}/{name}")),
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice => None,
            };
            entries.extend(kind.map(|kind| Entry {
                name: name.to_owned(),
                kind,
            }));
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn kind_at(&self, path: &str) -> Option<Kind> {
        let fd = self.open_now(path, OFlags::PATH, Patience::Disk).ok()?;
        Some(metadata_of(fd.as_fd()).ok()?.kind)
    }
}

/// A regular file, open for reading. Dropping it closes it.
#[derive(Debug)]
pub struct OpenFile {
    content: Content,
    /// Where the next [`OpenFile::read`] starts.
    position: u64,
}

/// What reading an open file gives.
#[derive(Clone, Debug)]
enum Content {
    /// A small file as it was when it was opened: what it says of itself and what it holds are of one look at it,
    /// whatever becomes of it on the disk.
    Copy { metadata: Metadata, bytes: Bytes },
    /// Any other file, as it is when it is read. Shared with a read that a blocking thread still has under way
    /// when the process is already gone.
    Live(Arc<OwnedFd>),
}

impl OpenFile {
    /// The next bytes, at most `nbytes` and at most [`MAX_READ_BYTES`]; empty at the end of the file.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub async fn read(&mut self, nbytes: usize) -> Result<Bytes, FileError> {
        let bytes = self.read_at(self.position, nbytes).await?;
        self.position += bytes.len() as u64;
        Ok(bytes)
    }

    /// As [`OpenFile::read`], from `offset`, leaving the position alone.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub async fn read_at(&self, offset: u64, nbytes: usize) -> Result<Bytes, FileError> {
        let fd = match &self.content {
            Content::Copy { bytes, .. } => {
                let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                return Ok(bytes.slice(start..start.saturating_add(nbytes).min(bytes.len())));
            }
            Content::Live(fd) => fd,
        };
        // No file has bytes past what the kernel's offsets can say, and the kernel minds being asked.
        const LAST_OFFSET: u64 = i64::MAX as u64;
        let possible = usize::try_from(LAST_OFFSET.saturating_sub(offset)).unwrap_or(usize::MAX);
        let nbytes = nbytes.min(MAX_READ_BYTES).min(possible);
        if nbytes == 0 {
            return Ok(Bytes::new());
        }
        read(fd, offset, nbytes).await
    }

    /// How many bytes of the host's memory this open file holds: those of a small file's copy, 0 of any other.
    /// Open files of one path may share a copy, and each says that it holds all of it.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.content {
            Content::Copy { bytes, .. } => bytes.len(),
            Content::Live(_) => 0,
        }
    }

    /// Size, time and kind: of a small file as it was when it was opened, of others as they are now.
    ///
    /// # Errors
    /// [`FileError::Io`] where the disk fails.
    pub fn stat(&self) -> Result<Metadata, FileError> {
        match &self.content {
            Content::Copy { metadata, .. } => Ok(*metadata),
            Content::Live(fd) => metadata_of(fd.as_fd()),
        }
    }
}

impl Content {
    /// What was just opened: as a copy if it is small, and not being written at this moment.
    async fn of(fd: OwnedFd, metadata: Metadata) -> Self {
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

fn open_beneath(
    dir: impl AsFd,
    path: &str,
    flags: OFlags,
    extra: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | extra;
    rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// The same through cap-std, which walks the path itself and never leaves the folder.
fn open_by_library(dir: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
    let dir = dir.as_fd().try_clone_to_owned().map_err(errno)?;
    let mut options = OpenOptions::new();
    // Access mode and O_CLOEXEC are cap-std's own to set.
    options
        .read(true)
        .custom_flags((flags - OFlags::RDONLY).bits().cast_signed());
    let file = Dir::from_std_file(File::from(dir))
        .open_with(path, &options)
        .map_err(errno)?;
    Ok(OwnedFd::from(file.into_std()))
}

/// Refuses what needs no look at the disk. `..` is refused even where it would stay beneath the root:
/// whoever wants `b` need not ask for `a/../b`.
fn check(path: &str) -> Result<(), FileError> {
    /// The kernel's, with the NUL at the end. A guest may pass megabytes.
    const PATH_MAX: usize = 4096;
    if path.len() >= PATH_MAX {
        return Err(FileError::NameTooLong);
    }
    if path.is_empty() || path.contains('\0') {
        return Err(FileError::InvalidPath);
    }
    if path.starts_with('/') || path.split('/').any(|name| name == "..") {
        return Err(FileError::Access);
    }
    Ok(())
}

fn metadata_of(fd: impl AsFd) -> Result<Metadata, FileError> {
    let stat: Stat = rustix::fs::fstat(fd).map_err(file_error)?;
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

/// What the guest is told of the kernel's answer. What is none of its business is `Io`, and is logged.
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

fn errno(error: io::Error) -> Errno {
    match Errno::from_io_error(&error) {
        Some(errno) => errno,
        // cap-std's own word for "leads out of the folder".
        None if error.kind() == io::ErrorKind::PermissionDenied => Errno::PERM,
        None => Errno::IO,
    }
}

/// Runs `work` on a blocking thread. If the caller goes away, work that has not begun never does.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);
    impl<T> Drop for AbortOnDrop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = AbortOnDrop(tokio::task::spawn_blocking(work));
    match (&mut task.0).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a blocking thread failed");
            Err(FileError::Io)
        }
    }
}
