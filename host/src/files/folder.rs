//! A *folder* is the root folder, opened once. All paths of one call are resolved in one folder,
//! even if the root's path leads elsewhere meanwhile. No path leads out of the folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{
    Blocking, Entry, EntryKind, FileError, MAX_DIR_ENTRIES, blocking, file_error, metadata_of,
};

/// The flags for opening the root folder itself.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    dir: Arc<OwnedFd>,
    /// Device and inode. No other folder gets this pair while `dir` is open.
    id: (u64, u64),
    pub(super) resolver: Resolver,
}

/// How paths are kept beneath the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolver {
    /// `openat2(2)` with `RESOLVE_BENEATH`: one system call, and safe against concurrent renames.
    Kernel {
        /// Whether the kernel can decline to wait for the disk: `RESOLVE_CACHED`, since Linux 5.12.
        can_decline: bool,
    },
    /// cap-std, name by name. For kernels before Linux 5.6, and seccomp filters that hide
    /// `openat2`.
    Library,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let dir = rustix::fs::open(path, FOLDER, Mode::empty())?;
        let resolver = Resolver::of(&dir);
        Self::of(dir, resolver)
    }

    /// Opens the folder that `path` leads to now. Usually this is the same folder.
    pub(super) async fn look_again(&self, path: &Arc<Path>) -> Result<Self, Errno> {
        let resolver = self.resolver;
        if (resolver == Resolver::Kernel { can_decline: true }) {
            match rustix::fs::openat2(CWD, &**path, FOLDER, Mode::empty(), ResolveFlags::CACHED) {
                Err(Errno::AGAIN) => {}
                other => return Self::of(other?, resolver),
            }
        }
        let path = Arc::clone(path);
        let open = move || Ok(rustix::fs::open(&*path, FOLDER, Mode::empty()));
        let dir = blocking(open).await.unwrap_or(Err(Errno::IO))?;
        Self::of(dir, resolver)
    }

    fn of(dir: OwnedFd, resolver: Resolver) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&dir)?;
        Ok(Self {
            dir: Arc::new(dir),
            id: (stat.st_dev, stat.st_ino),
            resolver,
        })
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Opens `path` in this folder. The path must be [normal](super::path::normal).
    pub(super) async fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, FileError> {
        match self.open_now(path, flags, Blocking::No) {
            Err(Errno::AGAIN) => {
                let (folder, path) = (self.clone(), path.to_owned());
                blocking(move || {
                    folder
                        .open_now(&path, flags, Blocking::Yes)
                        .map_err(file_error)
                })
                .await
            }
            other => other.map_err(file_error),
        }
    }

    fn open_now(&self, path: &str, flags: OFlags, blocking: Blocking) -> Result<OwnedFd, Errno> {
        match (self.resolver, blocking) {
            (Resolver::Kernel { can_decline: true }, Blocking::No) => {
                open_beneath(&self.dir, path, flags, ResolveFlags::CACHED)
            }
            (Resolver::Kernel { .. }, Blocking::Yes) => {
                // `openat2` returns EAGAIN if a concurrent rename leaves unclear whether `..` in a
                // link stays beneath the folder. The manual page says to try again.
                const TRIES: usize = 16;
                let mut answer = Err(Errno::AGAIN);
                for _ in 0..TRIES {
                    answer = open_beneath(&self.dir, path, flags, ResolveFlags::empty());
                    if !matches!(answer, Err(Errno::AGAIN)) {
                        break;
                    }
                }
                answer
            }
            (Resolver::Kernel { can_decline: false } | Resolver::Library, Blocking::No) => {
                Err(Errno::AGAIN)
            }
            (Resolver::Library, Blocking::Yes) => open_by_library(&self.dir, path, flags),
        }
    }

    /// Lists the names in `dir`, which was opened at `path` in this folder. May wait for the disk.
    pub(super) fn list(&self, dir: OwnedFd, path: &str) -> Result<Vec<Entry>, FileError> {
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
                FileType::RegularFile => Some(EntryKind::RegularFile),
                FileType::Directory => Some(EntryKind::Directory),
                // A link, or a file system that doesn't report kinds.
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

    fn kind_at(&self, path: &str) -> Option<EntryKind> {
        let fd = self.open_now(path, OFlags::PATH, Blocking::Yes).ok()?;
        Some(metadata_of(fd.as_fd()).ok()?.kind)
    }
}

impl Resolver {
    /// Finds the best resolver that this kernel supports.
    fn of(dir: &OwnedFd) -> Self {
        let probe = |extra| open_beneath(dir, ".", OFlags::PATH, extra).is_ok();
        if probe(ResolveFlags::empty()) {
            Self::Kernel {
                can_decline: probe(ResolveFlags::CACHED),
            }
        } else {
            Self::Library
        }
    }
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

/// Opens through cap-std, which walks the path itself and never leaves the folder.
fn open_by_library(dir: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
    let dir = dir.as_fd().try_clone_to_owned().map_err(errno)?;
    let mut options = OpenOptions::new();
    // cap-std sets the access mode and O_CLOEXEC itself.
    options
        .read(true)
        .custom_flags((flags - OFlags::RDONLY).bits().cast_signed());
    let file = Dir::from_std_file(File::from(dir))
        .open_with(path, &options)
        .map_err(errno)?;
    Ok(OwnedFd::from(file.into_std()))
}

fn errno(error: io::Error) -> Errno {
    match Errno::from_io_error(&error) {
        Some(errno) => errno,
        // cap-std reports a path that leads out of the folder like this.
        None if error.kind() == io::ErrorKind::PermissionDenied => Errno::PERM,
        None => Errno::IO,
    }
}
