//! The *compile cache* keeps compiled code in a folder of the host's user. Compiling a large module
//! takes many seconds. Mapping the code that an earlier start has compiled takes milliseconds.
//!
//! The file of a module is named by a hash over the module and over all that shapes its code. So a
//! changed module, another version of wasmtime and another CPU have other files, and no file is
//! ever out of date. A file is written under another name and then renamed. It is never written
//! again, only replaced or removed. Its last bytes are a hash of all bytes before, so that a file
//! is whole, or counts as missing. Hosts share a folder without locks.
//!
//! Code is trusted. So the folder must be the user's alone, or nothing is read from it.

use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The most bytes of all files together. The code of a large interpreter has some 30 MB, so this is
/// room for some thirty of them.
const MAX_BYTES: u64 = 1 << 30;

/// The endings of files with code, and of files that a host writes at this moment.
const CODE: &str = ".cwasm";
const UNFINISHED: &str = ".part";

/// An unfinished file of this age was left behind by a host that ended. Writing takes seconds.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// The length of the hash at the end of a file.
const SEAL_BYTES: usize = 32;

/// How much of a file is read at a time to hash it.
const PIECE_BYTES: usize = 256 << 10;

/// Others may write with any of these bits of a file's mode.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The names of this process's descriptors. wasmtime opens code by name, and a descriptor's name
/// leads to the file that was checked.
const DESCRIPTORS: &str = if cfg!(target_os = "linux") {
    "/proc/self/fd"
} else {
    "/dev/fd"
};

/// Compiled code, in the form that engines load. Any number of engines load the same image.
pub(super) struct Image(Stored);

enum Stored {
    /// Code that the build script has compiled.
    BuiltIn(&'static [u8]),
    /// Code that this process has compiled.
    Bytes(Vec<u8>),
    /// A whole file of the cache. Engines map it, so that hosts share its memory.
    File(File),
}

/// The format of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Component,
    Core,
}

/// A folder that is the user's alone.
struct Cache {
    folder: OwnedFd,
}

/// The SHA-256 of a module.
pub(super) type Sha = [u8; 32];

/// Finds the code of a module in the cache in `folder`, or compiles it and keeps it there. `digest`
/// is that of the binary. Returns the loaded code, and the image for further engines. `compiling`
/// is called before a compilation, which may take long. If the folder can't be used, the log says
/// so, and the code is not kept.
///
/// # Errors
/// The compiler's error, or that of `load`.
pub(super) fn load_or_compile<T>(
    folder: Option<&Path>,
    engine: &Engine,
    (binary, digest): (&[u8], &Sha),
    format: Format,
    compiling: impl FnOnce(),
    load: impl Fn(&Image) -> wasmtime::Result<T>,
) -> wasmtime::Result<(T, Image)> {
    let compile = || {
        compiling();
        match format {
            Format::Component => engine.precompile_component(binary),
            Format::Core => engine.precompile_module(binary),
        }
    };
    let without = |path: &Path, error: &dyn std::fmt::Display| {
        let folder = path.display();
        tracing::warn!(%folder, reason = %error, "no compile cache: the next start compiles again");
    };
    let opened = folder.map(|path| (path, Cache::open(path)));
    let (path, cache) = match opened {
        Some((path, Ok(cache))) => (path, cache),
        Some((path, Err(error))) => {
            without(path, &error);
            return Image::compiled(compile()?).loaded(load);
        }
        None => return Image::compiled(compile()?).loaded(load),
    };
    let name = name(engine, digest);
    if let Some(image) = cache.find(&name)
        && let Ok(found) = image.loaded(&load)
    {
        return Ok(found);
    }
    let code = compile()?;
    match cache.keep(&name, &code) {
        // A file system may forbid to run what is on it.
        Ok(image) => match image.loaded(&load) {
            Ok(found) => return Ok(found),
            Err(error) => without(path, &error),
        },
        Err(error) => without(path, &error),
    }
    Image::compiled(code).loaded(load)
}

impl Image {
    /// The code that the build script has compiled with the same version of wasmtime.
    pub(super) fn built_in(code: &'static [u8]) -> Self {
        Self(Stored::BuiltIn(code))
    }

    fn compiled(code: Vec<u8>) -> Self {
        Self(Stored::Bytes(code))
    }

    fn loaded<T>(self, load: impl Fn(&Self) -> wasmtime::Result<T>) -> wasmtime::Result<(T, Self)> {
        Ok((load(&self)?, self))
    }

    /// Loads a component.
    ///
    /// # Errors
    /// If the engine differs from the compiler, or has no room for the component.
    pub(super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: see `Image::module`.
        unsafe {
            match &self.0 {
                Stored::BuiltIn(code) => Component::deserialize(engine, code),
                Stored::Bytes(code) => Component::deserialize(engine, code),
                Stored::File(file) => Component::deserialize_file(engine, path(file)),
            }
        }
    }

    /// Loads a core module.
    ///
    /// # Errors
    /// As [`Image::component`].
    pub(super) fn module(&self, engine: &Engine) -> wasmtime::Result<wasmtime::Module> {
        // SAFETY: wasmtime trusts code to come from its own compiler, and a mapped file not to
        // change. An image has one of three origins. The build script compiled it; Cargo uses one
        // version of wasmtime for both. Or this process compiled it, just before. Or a host of this
        // user compiled it: only the user and the superuser can write the folder and the file,
        // which `Cache::open` and `Cache::find` have checked on the open descriptors. The file ends
        // with the hash of its content, so it is what that host wrote, and hosts never write a file
        // that has its final name. The path is the name of the checked descriptor. Moreover,
        // wasmtime itself compares its version, the target and all settings before it uses code.
        unsafe {
            match &self.0 {
                Stored::BuiltIn(code) => wasmtime::Module::deserialize(engine, code),
                Stored::Bytes(code) => wasmtime::Module::deserialize(engine, code),
                Stored::File(file) => wasmtime::Module::deserialize_file(engine, path(file)),
            }
        }
    }
}

impl Cache {
    /// Opens the folder, and creates it if nothing is there.
    ///
    /// # Errors
    /// If it can't be opened, or anybody else may write into it.
    fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if path.is_symlink() {
            return Err(io::Error::other("it is a symbolic link"));
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        is_ours_alone(&rustix::fs::fstat(&folder)?)?;
        Ok(Self { folder })
    }

    /// The file of this name, if it is there, whole and ours alone. It becomes the newest.
    fn find(&self, name: &str) -> Option<Image> {
        // Opening a FIFO would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty()).ok()?;
        let found = rustix::fs::fstat(&file).ok()?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !is_file || is_ours_alone(&found).is_err() {
            return None;
        }
        let file = File::from(file);
        if !is_whole(&file).unwrap_or(false) {
            return None;
        }
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let both = Timestamps {
            last_access: now,
            last_modification: now,
        };
        // On a file system that can't be written it stays as old as it is.
        let _unchanged = rustix::fs::futimens(&file, &both);
        Some(Image(Stored::File(file)))
    }

    /// Writes a file, in place of the one of this name.
    ///
    /// # Errors
    /// If the code is larger than the whole cache, or the disk is full.
    fn keep(&self, name: &str, code: &[u8]) -> io::Result<Image> {
        self.make_room((code.len() + SEAL_BYTES) as u64)?;
        let random = RandomState::new().build_hasher().finish();
        let mut unfinished = Unfinished {
            cache: self,
            name: Some(format!("{random:016x}{UNFINISHED}")),
        };
        let mut file = unfinished.create()?;
        file.write_all(code)?;
        file.write_all(&Sha256::digest(code))?;
        unfinished.rename(name)?;
        Ok(Image(Stored::File(file)))
    }

    /// Removes the oldest files until there is room for this many bytes.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let Some(most) = MAX_BYTES.checked_sub(bytes) else {
            return Err(io::Error::other("the code is larger than the cache may be"));
        };
        let now = SystemTime::now();
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let name = entry?.file_name().to_owned();
            let text = name.to_string_lossy();
            let is_unfinished = text.ends_with(UNFINISHED);
            if !is_unfinished && !text.ends_with(CODE) {
                continue; // no file of ours
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let Ok(found) = rustix::fs::statat(&self.folder, &*name, flags) else {
                continue; // another host has just removed it
            };
            let age = now.duration_since(modified(&found)).unwrap_or_default();
            if is_unfinished && age > ABANDONED {
                self.remove(&name);
                continue;
            }
            let size = u64::try_from(found.st_size).unwrap_or_default();
            files.push((age, size, name));
        }
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        files.sort(); // the newest first
        while total > most
            && let Some((_, size, name)) = files.pop()
        {
            self.remove(&name);
            total -= size;
        }
        Ok(())
    }

    fn remove(&self, name: &std::ffi::CStr) {
        // Another host may have removed it. Hosts that have mapped it keep what they have.
        let _gone = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }
}

/// A file that is being written. Dropping this removes the file, unless it was renamed.
struct Unfinished<'a> {
    cache: &'a Cache,
    name: Option<String>,
}

impl Unfinished<'_> {
    fn create(&self) -> io::Result<File> {
        let name = self.name.as_deref().unwrap_or_default();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.cache.folder, name, flags, mode)?.into())
    }

    fn rename(&mut self, name: &str) -> io::Result<()> {
        let folder = &self.cache.folder;
        let own = self.name.as_deref().unwrap_or_default();
        rustix::fs::renameat(folder, own, folder, name)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _gone = rustix::fs::unlinkat(&self.cache.folder, name, AtFlags::empty());
        }
    }
}

/// The name of the file with the code of this module.
fn name(engine: &Engine, digest: &Sha) -> String {
    let mut hash = Hashing(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hash);
    let name = hash.0.chain_update(digest).finalize();
    format!("{name:x}{CODE}")
}

/// The digest of a module.
pub(super) fn digest(module: &[u8]) -> Sha {
    Sha256::digest(module).into()
}

/// The first 12 hexadecimal digits of a digest.
#[cfg(feature = "cluster")]
pub(super) fn shown(digest: &Sha) -> String {
    const BYTES: usize = 6;
    let digits = digest.iter().take(BYTES);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the last bytes of the file are the hash of all before.
fn is_whole(mut file: &File) -> io::Result<bool> {
    let Some(bytes) = file.metadata()?.size().checked_sub(SEAL_BYTES as u64) else {
        return Ok(false);
    };
    let mut hash = Sha256::new();
    let mut code = (&mut file).take(bytes);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match code.read(&mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    let mut seal = [0; SEAL_BYTES];
    file.read_exact(&mut seal)?;
    Ok(hash.finalize()[..] == seal)
}

/// Checks that a folder or a file is this user's, and that nobody else may write it.
fn is_ours_alone(found: &Stat) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if found.st_uid != user {
        let owner = found.st_uid;
        let text = format!("it belongs to user {owner}, and the host runs as user {user}");
        return Err(io::Error::other(text));
    }
    if found.st_mode & WRITABLE_BY_OTHERS != 0 {
        let text = "others may write into it (chmod 700 keeps them out)";
        return Err(io::Error::other(text));
    }
    Ok(())
}

fn modified(found: &Stat) -> SystemTime {
    let seconds = u64::try_from(found.st_mtime).unwrap_or_default();
    let nanos = u32::try_from(found.st_mtime_nsec).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, nanos)
}

/// A name that leads to this open file.
fn path(file: &File) -> PathBuf {
    Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string())
}

/// wasmtime tells what shapes code only to hashers of the standard library.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the digest is longer.
    fn finish(&self) -> u64 {
        0
    }
}
