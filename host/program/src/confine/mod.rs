//! The *second wall*: before it serves, the host gives up what it won't need. The first wall, the
//! sandbox, keeps a guest inside of its process. If a guest ever broke out of it, it would find
//! itself in a program that can open few files, make few system calls, and start nothing.
//!
//! The wall has four parts, of the kernel's: Landlock says which files may be opened and where TCP
//! may go (`landlock`), seccomp which system calls there are (`syscalls`), the process has no
//! capabilities and gets none, and it runs as a user without rights, if that was asked for
//! (`user`). All of them hold for the thread that asks and for all that it starts, and for good:
//! no part can be taken back or widened.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
mod landlock;
mod places;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod syscalls;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use rustix::thread::set_no_new_privs;

pub(crate) use places::has_successors;
pub(crate) use user::{Account, User, become_user};

/// What the host will need while it serves. All else is refused to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Files and folders to read: roots of guests, modules, the configuration, certificates, files
    /// of variables. What takes their place later can be read too, see [`places`]. What does not
    /// exist is passed over.
    pub(crate) to_read: Vec<PathBuf>,
    /// Folders whose files are the host's own, to read and to write: the cache, core dumps. They
    /// are created if they are missing, for the user alone.
    pub(crate) to_write: Vec<PathBuf>,
    /// The log's file. It can be renamed, and opened anew.
    pub(crate) log: Option<PathBuf>,
    /// Unix sockets that the host has bound. It may rename and remove them, and so, for lack of a
    /// finer right, whatever is in their folders.
    pub(crate) sockets: Vec<PathBuf>,
    /// Where outgoing connections may go.
    pub(crate) outbound: Outbound,
    /// Whether the certificates are read that the system trusts. Guests' requests go without: the
    /// library has its own.
    pub(crate) certificates: bool,
    /// TCP ports that are bound later. Usually all are bound before.
    pub(crate) ports_to_bind: BTreeSet<u16>,
    /// Whether Unix sockets are made later, to connect or to listen. The kernel does not say of
    /// whom a program asks something over such a socket, so this opens a way around the wall.
    pub(crate) unix_sockets: bool,
    /// The user that the host has become, see [`become_user`].
    pub(crate) user: Option<Account>,
}

/// Where outgoing connections of TCP may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outbound {
    #[default]
    Nowhere,
    /// To these ports, and to name servers.
    Ports(BTreeSet<u16>),
}

/// What holds from now on. Displays as one line.
#[derive(Debug)]
pub(crate) struct Walls {
    parts: [Told; 2],
    user: String,
}

/// What one part of the wall says of itself.
#[derive(Debug, Default)]
struct Told {
    held: Option<String>,
    /// What does not hold, and why.
    missing: Option<String>,
}

/// Gives up all that is not in `needs`: for the calling thread, which must be the only one, and so
/// for all threads that are started later. What the kernel can't do is told by the [`Walls`].
///
/// # Errors
/// If other threads run, if the process is not the user that it should have become, or if the
/// kernel refuses to take away what it could take away.
pub(crate) fn confine(needs: &Needs) -> anyhow::Result<Walls> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    ensure!(
        threads.unwrap_or(1) == 1,
        "can't confine the host: it has started threads already, which would stay free"
    );
    confine_thread(needs).context("can't confine the host; --no-confine starts it without")
}

/// As [`confine`], and other threads stay free.
fn confine_thread(needs: &Needs) -> anyhow::Result<Walls> {
    let uid = rustix::process::geteuid().as_raw();
    if let Some(account) = &needs.user {
        ensure!(account.uid == uid, "the host is not user {}", account.name);
    }
    // It may not be possible to look it up later.
    let user = user::current(needs.user.as_ref());
    places::create(&needs.to_write);
    user::drop_capabilities().context("can't give up capabilities")?;
    set_no_new_privs(true)?;
    let files = landlock::restrict(needs).context("Landlock")?;
    // The last, because it forbids all of the above.
    let calls = syscalls::restrict(needs).context("seccomp")?;
    Ok(Walls {
        parts: [files, calls],
        user,
    })
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("confined: ")?;
        for held in self.parts.iter().filter_map(|part| part.held.as_ref()) {
            write!(f, "{held}, ")?;
        }
        write!(f, "no capabilities, no new privileges, user {}", self.user)?;
        for missing in self.parts.iter().filter_map(|part| part.missing.as_ref()) {
            write!(f, "; not confined: {missing}")?;
        }
        Ok(())
    }
}

/// The numbers of system calls differ from one kind of CPU to the other.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod syscalls {
    use super::{Needs, Told};

    #[expect(clippy::unnecessary_wraps)] // as where there is a list
    pub(super) fn restrict(_: &Needs) -> anyhow::Result<Told> {
        Ok(Told {
            held: None,
            missing: Some("system calls (there is no list for this kind of CPU)".to_owned()),
        })
    }
}
