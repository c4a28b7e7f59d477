//! A *listener* accepts connections, up to a limit of all listeners together, and says what is
//! spoken on them.

use std::fmt;
use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::os::unix::net as unix;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;

use super::connection;
use super::refusals::Reason;
use super::tls::Tls;
use super::wire::Accepted;
use super::{MAX_LISTENERS, Service};
use crate::shutdown::Phase;

/// The pause after the host has run out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The answer to a connection beyond the limit, which is then closed. Below TLS there is none.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 54\r\n\r\n\
    503 Service Unavailable: too many connections at once\n";

/// A socket that listens, and what is spoken on its connections: HTTP/1.1 in the clear, unless
/// something else is set.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    spoken: Spoken,
}

#[derive(Debug)]
enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

/// What is spoken on the connections of one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken {
    /// TLS, and above it HTTP/2 with clients who ask for it.
    pub(super) tls: Option<Tls>,
    /// HTTP/2 in the clear, with clients who begin with it.
    pub(super) is_h2c: bool,
    /// The PROXY protocol, by trusted proxies.
    pub(super) has_proxy_header: bool,
}

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Address(SocketAddr),
    Unix,
}

impl From<net::TcpListener> for Listener {
    fn from(listener: net::TcpListener) -> Self {
        Self {
            socket: Socket::Tcp(listener),
            spoken: Spoken::default(),
        }
    }
}

impl From<unix::UnixListener> for Listener {
    fn from(listener: unix::UnixListener) -> Self {
        Self {
            socket: Socket::Unix(listener),
            spoken: Spoken::default(),
        }
    }
}

impl Listener {
    /// Has clients speak TLS, with HTTP/2 or HTTP/1.1 above it, as they ask by ALPN.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.spoken.tls = Some(tls);
        self
    }

    /// Lets clients begin with HTTP/2 in the clear (RFC 9113, section 3.3).
    #[must_use]
    pub fn with_h2c(mut self) -> Self {
        self.spoken.is_h2c = true;
        self
    }

    /// Has trusted proxies begin each connection with a header of the PROXY protocol, version 1 or
    /// 2. They must send it, and nobody else may.
    #[must_use]
    pub fn with_proxy_protocol(mut self) -> Self {
        self.spoken.has_proxy_header = true;
        self
    }

    /// # Errors
    /// If tokio can't use the socket.
    pub(crate) fn open(self) -> io::Result<Open> {
        let socket = match self.socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Tcp(TcpListener::from_std(listener)?)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Open {
            socket,
            spoken: Arc::new(self.spoken),
        })
    }
}

/// A listener in use.
#[derive(Debug)]
pub(crate) struct Open {
    socket: Accepting,
    spoken: Arc<Spoken>,
}

#[derive(Debug)]
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Open {
    /// Accepts connections until the host stops; returns when all connections of the host are
    /// closed.
    pub(crate) async fn listen(self, service: Arc<Service>) {
        let listening = Arc::clone(&service.listening).try_acquire_owned();
        let mut stopping = service.stopping.clone();
        tokio::select! {
            () = stopping.reached(Phase::Draining) => {}
            () = self.accept_all(&service) => {}
        }
        self.accept_last(&service);
        drop(listening);
        service.closed().await;
    }

    async fn accept_all(&self, service: &Arc<Service>) {
        loop {
            match self.socket.accept().await {
                Ok((socket, peer)) => admit(socket, peer, &self.spoken, service),
                Err(error) if is_of_one_client(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts what the kernel has accepted already, and closes the socket. Closing it alone would
    /// reset these connections. Clients who go on connecting don't hold it up.
    fn accept_last(self, service: &Arc<Service>) {
        let Ok(socket) = self.socket.into_std() else {
            return;
        };
        for _ in 0..MOST_HELD {
            match socket.accept() {
                Ok((socket, peer)) => admit(socket, peer, &self.spoken, service),
                Err(error) if is_of_one_client(&error) => {}
                Err(_none_is_left) => return,
            }
        }
    }
}

/// The most connections that the kernel holds for a listener, by default (`net.core.somaxconn`).
const MOST_HELD: usize = 4096;

impl Socket {
    /// The next connection that the kernel has accepted. The socket doesn't block.
    fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Accepted::Tcp(TcpStream::from_std(stream)?), client.into()))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Accepted::Unix(UnixStream::from_std(stream)?), Peer::Unix))
            }
        }
    }
}

impl Accepting {
    fn into_std(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.into_std().map(Socket::Tcp),
            Self::Unix(listener) => listener.into_std().map(Socket::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                Ok((Accepted::Tcp(stream), client.into()))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok((Accepted::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// Serves a connection, if there is room for it.
fn admit(socket: Accepted, peer: Peer, spoken: &Arc<Spoken>, service: &Arc<Service>) {
    match Arc::clone(&service.room).try_acquire_owned() {
        Ok(permit) => {
            let (spoken, service) = (Arc::clone(spoken), Arc::clone(service));
            tokio::spawn(connection::serve(socket, peer, spoken, service, permit));
        }
        Err(_full) => {
            let reason = Reason::TooManyConnections;
            service.refusals.note(reason, &peer, None);
            if spoken.tls.is_none() {
                turn_away(socket);
            }
        }
    }
}

fn turn_away(mut socket: Accepted) {
    let (_read, write) = socket.split();
    let stream = write.whole();
    // Bytes that have arrived are read, because closing with unread bytes would reset the
    // connection before the client reads the answer. A fresh socket takes an answer of this size at
    // once, or the client is gone.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(TURNED_AWAY);
}

impl Service {
    /// Waits until all listeners and all connections are closed. Only for a host that stops.
    pub(crate) async fn closed(&self) {
        let _none_is_accepted: Result<_, _> = self.listening.acquire_many(MAX_LISTENERS).await;
        let all = u32::try_from(self.settings.connections).unwrap_or(u32::MAX);
        let _all_closed: Result<_, _> = self.room.acquire_many(all).await;
        // A stream's task ends after its connection.
        let _all_ended: Result<_, _> = self.streams.acquire_many(all).await;
    }
}

/// A connection counts as long as this lives.
pub(super) type Permit = OwnedSemaphorePermit;

impl Peer {
    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// Whether accepting failed for one connection only. Linux passes on an error of that connection
/// (accept(2), Error handling). The next connection is unaffected.
fn is_of_one_client(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [
            Errno::CONNABORTED,
            Errno::PERM,
            Errno::INTR,
            Errno::NETDOWN,
            Errno::PROTO,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::OPNOTSUPP,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::CONNRESET,
        ]
        .contains(&errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exhausted_host_pauses() {
        let is_of_one_client = |errno: Errno| is_of_one_client(&errno.into());
        assert!(is_of_one_client(Errno::CONNABORTED));
        assert!(is_of_one_client(Errno::PERM));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_one_client(errno), "{errno}");
        }
    }
}
