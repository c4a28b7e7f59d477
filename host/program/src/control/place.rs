//! The *place* of the control socket: a folder of the user's own, with a socket for each host.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::unix_socket::{Reserved, UnixSocket, is_stale};

/// The folder below the user's folder for sockets.
const NAME: &str = "wasm-pool-host";

/// Where the control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the user's folder, named by the host's pid.
    Usual,
    At(PathBuf),
    Nowhere,
}

/// A socket that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: UnixSocket,
}

/// Only its user may connect to the socket.
const MODE: u32 = 0o600;

/// Connections that the kernel holds until they are accepted: more than are served at one time.
const BACKLOG: i32 = 128;

impl Place {
    /// Binds the socket. `None` if there is to be none.
    ///
    /// # Errors
    /// If the folder is not the user's alone, or something else is in the socket's place.
    pub(super) fn bind(&self) -> anyhow::Result<Option<Socket>> {
        let path = match self {
            Self::Usual => {
                let folder = folder();
                make_private(&folder)?;
                remove_stale(&folder);
                folder.join(format!("{}.sock", std::process::id()))
            }
            Self::At(path) => path.clone(),
            Self::Nowhere => return Ok(None),
        };
        let (listener, path) = Reserved::new(&path, MODE)?.listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        Ok(Some(Socket { listener, path }))
    }
}

/// The sockets of all living hosts of this user, in all usual places.
pub(super) fn living() -> Vec<PathBuf> {
    let folders = folders().into_iter();
    let mut sockets: Vec<_> = folders.flat_map(|folder| sockets(&folder)).collect();
    sockets.retain(|path| UnixStream::connect(path).is_ok());
    sockets.sort();
    sockets
}

/// The socket of the host with this process id, in the first of the usual places that has it.
pub(super) fn of(pid: u32) -> PathBuf {
    let name = format!("{pid}.sock");
    let mut paths = folders().into_iter().map(|folder| folder.join(&name));
    let found = paths.find(|path| path.exists());
    found.unwrap_or_else(|| folder().join(name))
}

/// Where hosts of this user may have their sockets. A host that a system has started may have found
/// another folder than its user finds.
pub(super) fn folders() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let mut folders = vec![
        folder(),
        PathBuf::from(format!("/run/user/{user}")).join(NAME),
        std::env::temp_dir().join(format!("{NAME}-{user}")),
    ];
    let mut seen = HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

fn folder() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder.join(NAME),
        Some(_) | None => std::env::temp_dir().join(format!("{NAME}-{user}")),
    }
}

/// Creates the folder if it is missing, and makes sure that it is the user's alone.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("{shown}: can't create this folder"));
        }
        Ok(()) | Err(_) => {}
    }
    let found = folder.symlink_metadata()?;
    if !found.is_dir() {
        bail!("{shown}: this is no folder");
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        bail!("{shown}: this folder belongs to user {}", found.uid());
    }
    if found.mode() & 0o077 != 0 {
        bail!("{shown}: others may use this folder; make it private (chmod 700)");
    }
    Ok(())
}

/// Removes what hosts left that were ended by force.
fn remove_stale(folder: &Path) {
    for path in sockets(folder).into_iter().filter(|path| is_stale(path)) {
        let _gone = fs::remove_file(path);
    }
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "sock")
        })
        .collect()
}

impl std::str::FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "off" => Self::Nowhere,
            path => Self::At(path.into()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("the usual place"),
            Self::At(path) => path.display().fmt(f),
            Self::Nowhere => f.write_str("off"),
        }
    }
}
