//! Binds sockets before the host listens on them. A port is reserved while the module is compiled,
//! and clients are refused until the host can answer.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::reuse_port;
use crate::cli::{Connections, FIRST_INHERITED, Listen, ListenPlace as Place};
use crate::unix_socket::{Reserved, UnixSocket};

/// Connections that the kernel holds until they are accepted. The standard library asks for an
/// eighth, which would drop a burst of clients.
const BACKLOG: i32 = 1024;

/// A reserved place on which the host doesn't listen yet.
pub(super) struct Bound {
    socket: Socket,
    failed: String,
    /// Whether TLS is spoken there.
    pub(super) is_tls: bool,
    /// Its place among all.
    pub(super) position: usize,
}

enum Socket {
    Tcp {
        socket: OwnedFd,
        takes_over: bool,
    },
    Unix(Reserved),
    /// It listens already.
    Inherited(Listening),
}

/// A socket that takes connections.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, Option<UnixSocket>),
}

/// Binds the places for clients that `wanted` names. A name may have several addresses: binds the
/// first that can be bound.
///
/// # Errors
/// An error that names the flag.
pub(super) fn bind_all(
    connections: &Connections,
    wanted: fn(&Place) -> bool,
) -> anyhow::Result<Vec<Bound>> {
    let mut inherited = ListenFd::from_env();
    let endpoints = connections.listen.iter().enumerate();
    let endpoints = endpoints.filter(|(_, endpoint)| wanted(&endpoint.place));
    let bound = endpoints.map(|(position, endpoint)| {
        let failed = format!("--listen {endpoint}: can't listen there");
        let socket = match &endpoint.place {
            Place::Tcp(listen) => {
                let takes_over = connections.reuse_port;
                tcp(listen, takes_over).map(|socket| Socket::Tcp { socket, takes_over })
            }
            Place::Unix(path) => Reserved::new(path, connections.unix_mode()).map(Socket::Unix),
            Place::Inherited(number) => take(&mut inherited, *number).map(Socket::Inherited),
        };
        Ok(Bound {
            socket: socket.with_context(|| failed.clone())?,
            failed,
            is_tls: connections.is_tls(endpoint),
            position,
        })
    });
    bound.collect()
}

/// Listens on the address for whoever watches.
///
/// # Errors
/// An error that names the flag.
pub(super) fn admin(listen: &Listen) -> anyhow::Result<TcpListener> {
    let failed = || format!("--admin {listen}: can't listen there");
    let socket = tcp(listen, false).with_context(failed)?;
    rustix::net::listen(&socket, BACKLOG).with_context(failed)?;
    Ok(TcpListener::from(socket))
}

fn tcp(listen: &Listen, takes_over: bool) -> anyhow::Result<OwnedFd> {
    let mut last = anyhow!("the name has no address");
    for address in addresses(listen)? {
        match bind_to(address, takes_over) {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                // Another address of the same name would hide that this one is taken.
                let kind = error.kind();
                last = anyhow!(error);
                if kind == ErrorKind::AddrInUse {
                    return Err(last.context(TAKEN));
                }
                if kind == ErrorKind::PermissionDenied && PRIVILEGED.contains(&address.port()) {
                    last = last.context(NEEDS_A_RIGHT);
                }
            }
        }
    }
    Err(last)
}

const TAKEN: &str =
    "another program has this port: stop it, or give another, or start both with --reuse-port";

/// Ports that are not everybody's, unless the system says otherwise (ip(7)).
const PRIVILEGED: Range<u16> = 1..1024;

const NEEDS_A_RIGHT: &str = "a port below 1024 needs root with --user, a socket of systemd, or \
                             CAP_NET_BIND_SERVICE";

/// This machine's own address of the usual kind comes first: that is where others look for
/// `localhost`.
fn addresses(listen: &Listen) -> io::Result<Vec<SocketAddr>> {
    match listen {
        Listen::Address(address) => Ok(vec![*address]),
        Listen::Name { host, port } => {
            let found = (host.as_str(), *port).to_socket_addrs()?;
            let mut addresses: Vec<_> = found.collect();
            addresses.sort_by_key(|address| address.ip() != Ipv4Addr::LOCALHOST);
            Ok(addresses)
        }
    }
}

fn bind_to(address: SocketAddr, takes_over: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a host that has just ended don't block its port. A host that still listens
    // does.
    set_socket_reuseaddr(&socket, true)?;
    if takes_over {
        set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Takes a socket that whoever started the program has handed over.
fn take(inherited: &mut ListenFd, number: usize) -> anyhow::Result<Listening> {
    let at = number - FIRST_INHERITED;
    if at >= inherited.len() {
        match inherited.len() {
            0 => bail!(
                "no socket was handed over: LISTEN_FDS and LISTEN_PID say which; systemd sets them for a \
                 .socket unit"
            ),
            1 => bail!("1 socket was handed over, fd:{FIRST_INHERITED}"),
            count => bail!(
                "{count} sockets were handed over, fd:{FIRST_INHERITED} to fd:{}",
                FIRST_INHERITED + count - 1
            ),
        }
    }
    if let Ok(Some(listener)) = inherited.take_tcp_listener(at) {
        return Ok(Listening::Tcp(listener));
    }
    if let Ok(Some(listener)) = inherited.take_unix_listener(at) {
        return Ok(Listening::Unix(listener, None));
    }
    bail!("this is no TCP or Unix socket that listens")
}

impl Bound {
    /// The path of a Unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.socket {
            Socket::Unix(reserved) => Some(reserved.path()),
            Socket::Tcp { .. } | Socket::Inherited(_) => None,
        }
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// If another host has begun to listen there meanwhile.
    pub(super) fn listen(self) -> anyhow::Result<Listening> {
        let failed = self.failed;
        match self.socket {
            Socket::Tcp { socket, takes_over } => {
                let listening = rustix::net::listen(&socket, BACKLOG).map_err(io::Error::from);
                let taken = |error: io::Error| match error.kind() == ErrorKind::AddrInUse {
                    true => anyhow!(error).context(TAKEN),
                    false => anyhow!(error),
                };
                listening.map_err(taken).context(failed)?;
                if takes_over {
                    reuse_port::take_over(&socket);
                }
                Ok(Listening::Tcp(TcpListener::from(socket)))
            }
            Socket::Unix(reserved) => {
                let (listener, socket) = reserved.listen(BACKLOG).context(failed)?;
                Ok(Listening::Unix(listener, Some(socket)))
            }
            Socket::Inherited(listening) => Ok(listening),
        }
    }
}

impl Listening {
    /// Where clients find it, for a person.
    pub(super) fn url(&self, is_tls: bool) -> String {
        let scheme = if is_tls { "https" } else { "http" };
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("{scheme}://{address}"),
                Err(_) => scheme.to_owned(),
            },
            Self::Unix(listener, own) => {
                let address = listener.local_addr().ok();
                let own = own.as_ref().map(UnixSocket::path);
                let path = own.or_else(|| address.as_ref()?.as_pathname());
                format!("unix:{}", path.unwrap_or_else(|| "".as_ref()).display())
            }
        }
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}
