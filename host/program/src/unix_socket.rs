//! A *Unix socket* with a path. What an ended program has left there is replaced, and what lives is
//! not. Whoever has bound the path removes it again.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A socket that is bound beside its path. Nobody can connect yet.
#[derive(Debug)]
pub(crate) struct Reserved {
    socket: OwnedFd,
    bound: UnixSocket,
    path: PathBuf,
}

/// The path of a socket that listens. It is removed when this is dropped, unless another socket has
/// taken its place.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
}

impl Reserved {
    /// Binds a socket, which `mode` will let some connect to.
    ///
    /// # Errors
    /// If something else is there, or a program that lives.
    pub(crate) fn new(path: &Path, mode: u32) -> anyhow::Result<Self> {
        check_free(path)?;
        let beside = beside(path)?;
        let _stale = fs::remove_file(&beside);
        let address = SocketAddrUnix::new(&beside).context("the path is too long for a socket")?;
        let socket = socket(SocketFlags::empty())?;
        rustix::net::bind(&socket, &address)?;
        let bound = UnixSocket::at(beside)?;
        fs::set_permissions(&bound.path, Permissions::from_mode(mode))?;
        Ok(Self {
            socket,
            bound,
            path: path.to_owned(),
        })
    }

    /// The path that it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets clients connect, and takes the place of what was left there.
    ///
    /// # Errors
    /// If the path has gone.
    pub(crate) fn listen(mut self, backlog: i32) -> anyhow::Result<(UnixListener, UnixSocket)> {
        rustix::net::listen(&self.socket, backlog)?;
        fs::rename(&self.bound.path, &self.path)?;
        self.bound.path = self.path;
        Ok((UnixListener::from(self.socket), self.bound))
    }
}

impl UnixSocket {
    fn at(path: PathBuf) -> anyhow::Result<Self> {
        let found = path.symlink_metadata()?;
        let file = (found.dev(), found.ino());
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let found = self.path.symlink_metadata();
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that a path is free, or has a socket that nobody listens on.
fn check_free(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        bail!("{shown}: something else is there");
    }
    if !is_stale(path) {
        bail!("{shown}: another host listens there, or a program of another user");
    }
    Ok(())
}

/// Whether nobody listens on a socket. One that can't be asked is not stale, and one whose queue is
/// full is not asked for long.
pub(crate) fn is_stale(path: &Path) -> bool {
    let connect = || {
        let address = SocketAddrUnix::new(path)?;
        rustix::net::connect(&socket(SocketFlags::NONBLOCK)?, &address)
    };
    connect() == Err(Errno::CONNREFUSED)
}

fn socket(more: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | more;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Where the socket is until the host can answer: in the same folder, since it is renamed.
fn beside(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path.file_name().context("give the path of a file")?;
    let name = format!(".{}.{}", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(name))
}
