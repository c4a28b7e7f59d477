//! The *wire* of a client of HTTP/1.1: a TCP or a Unix socket, bare or below TLS. Reads and writes
//! block, and take at most [`PATIENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, recv};
use tokio_rustls::rustls::ClientConnection;

use super::PATIENCE;
use super::door::{Address, server_name, tls};

pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

/// A TCP socket, and the state of TLS above it.
pub(crate) struct Tls {
    session: ClientConnection,
    stream: TcpStream,
}

impl Wire {
    /// Connects, and completes the handshake where there is one.
    ///
    /// # Panics
    /// If HTTP/2 is spoken there, or nobody listens.
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Http1(address) => tcp(*address).map(Self::Tcp),
            Address::Tls(address) => {
                let tls = Tls::over(tcp(*address)?)?;
                Ok(Self::Tls(Box::new(tls)))
            }
            Address::Unix(path) => unix(path).map(Self::Unix),
            Address::Http2(_) => panic!("this wire is for HTTP/1"),
            Address::Nowhere => panic!("a worker has no clients"),
        }
    }

    /// Connects as a proxy does that passes TLS on: this header goes before the handshake.
    pub(crate) fn passed_on(address: SocketAddr, header: &[u8]) -> io::Result<Self> {
        let mut stream = tcp(address)?;
        stream.write_all(header)?;
        Ok(Self::Tls(Box::new(Tls::over(stream)?)))
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tls(tls) => {
                let records = tls.records(bytes)?;
                tls.stream.write_all(&records)
            }
        }
    }

    /// Sends all bytes from a thread of its own. What it can't send, it drops.
    pub(crate) fn write_meanwhile(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => in_a_thread(stream.try_clone()?, bytes),
            Self::Unix(stream) => in_a_thread(stream.try_clone()?, bytes),
            Self::Tls(tls) => {
                // The session stays here, since reading needs it.
                let records = tls.records(&bytes)?;
                in_a_thread(tls.stream.try_clone()?, records);
            }
        }
        Ok(())
    }

    /// Reads some bytes. None if the server has closed the connection in an orderly way.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Says that no more bytes will come.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                tls.session.send_close_notify();
                let records = tls.records(b"")?;
                tls.stream.write_all(&records)?;
                tls.stream.shutdown(Shutdown::Write)
            }
        }
    }

    /// Closes the connection by a reset. A Unix socket knows no reset, and is only closed.
    pub(crate) fn reset(self) {
        if let Some(stream) = self.tcp() {
            set_socket_linger(stream, Some(Duration::ZERO)).expect("a socket's linger can be set");
        }
    }

    /// Whether there are unread bytes of the server's HTTP, or an unread end.
    pub(crate) fn has_news(&mut self) -> bool {
        match self {
            Self::Tcp(stream) => is_readable(stream.as_fd()),
            Self::Unix(stream) => is_readable(stream.as_fd()),
            Self::Tls(tls) => tls.has_news(),
        }
    }

    /// # Panics
    /// If it is a Unix socket.
    pub(crate) fn local_address(&self) -> SocketAddr {
        let stream = self
            .tcp()
            .expect("the client of a Unix socket has no address");
        stream.local_addr().expect("the client's address")
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(tls) => Some(&tls.stream),
            Self::Unix(_) => None,
        }
    }
}

impl Tls {
    fn over(mut stream: TcpStream) -> io::Result<Self> {
        let mut session =
            ClientConnection::new(tls(b"http/1.1"), server_name()).map_err(io::Error::other)?;
        // All of a request is encrypted before any of it is sent.
        session.set_buffer_limit(None);
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self { session, stream })
    }

    /// The records of these bytes, and of what the session itself has to say.
    fn records(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.session.writer().write_all(bytes)?;
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records)?;
        }
        Ok(records)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                read => return read,
            }
        }
    }

    /// Takes some records from the socket, or its end.
    fn receive(&mut self) -> io::Result<()> {
        self.session.read_tls(&mut self.stream)?;
        let processed = self.session.process_new_packets();
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(())
    }

    /// The records of a new session ticket are no news.
    fn has_news(&mut self) -> bool {
        loop {
            let has_bytes = match self.session.process_new_packets() {
                Ok(state) => state.plaintext_bytes_to_read() > 0 || state.peer_has_closed(),
                Err(_broken) => true,
            };
            if has_bytes || !is_readable(self.stream.as_fd()) {
                return has_bytes;
            }
            // Does not block, since there is something to read. The end of the socket is read as 0.
            if !matches!(self.session.read_tls(&mut self.stream), Ok(1..)) {
                return true;
            }
        }
    }
}

/// A socket of TCP with the timeouts of a test.
pub(crate) fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unix(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn in_a_thread(mut stream: impl Write + Send + 'static, bytes: Vec<u8>) {
    std::thread::spawn(move || stream.write_all(&bytes));
}

/// Whether a read would not block.
fn is_readable(socket: BorrowedFd<'_>) -> bool {
    let peeked = recv(socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    !matches!(peeked, Err(Errno::WOULDBLOCK))
}
