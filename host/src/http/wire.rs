//! The *wire* of a connection: a TCP or a Unix socket, bare or below TLS. Whoever reads and writes
//! bytes does not need to know which.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_rustls::server::TlsStream;

use super::patience::Activity;
use super::request::{DISCARD_BYTES, DISCARD_TIME};
use super::stopwatch::Stopwatch;

/// A socket that was accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The half that one owner reads. Reading through it costs one system call less than reading a
/// shared socket.
#[derive(Debug)]
pub(super) enum ReadHalf<'a> {
    Tcp(tcp::ReadHalf<'a>),
    Unix(unix::ReadHalf<'a>),
}

/// The half that is shared.
#[derive(Debug)]
pub(super) enum WriteHalf<'a> {
    Tcp(tcp::WriteHalf<'a>),
    Unix(unix::WriteHalf<'a>),
}

/// The whole socket, for those who write to it and watch it while somebody else reads it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

/// A bare socket. It notes when its client takes bytes.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    read: ReadHalf<'a>,
    stream: Stream<'a>,
    /// Bytes that were read to learn what the client speaks. They are read again by whoever
    /// understands them.
    ahead: BytesMut,
    activity: &'a Activity,
    stopwatch: Stopwatch,
}

/// What HTTP is read from and written to.
#[derive(Debug)]
pub(super) enum Wire<'a> {
    Plain(Plain<'a>),
    Tls(Box<TlsStream<Plain<'a>>>),
}

impl Accepted {
    pub(super) fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Unix(stream) => {
                let (read, write) = stream.split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
        }
    }
}

impl WriteHalf<'_> {
    pub(super) fn whole(&self) -> Stream<'_> {
        match self {
            Self::Tcp(half) => Stream::Tcp(half.as_ref()),
            Self::Unix(half) => Stream::Unix(half.as_ref()),
        }
    }
}

impl Stream<'_> {
    /// Completes when the client has reset the connection, or has closed a Unix socket, which
    /// knows no reset.
    pub(super) async fn reset(self) {
        /// A client that has only said that it will send no more is looked at in this interval.
        const GLANCE: Duration = Duration::from_secs(1);
        match self {
            Self::Tcp(stream) => {
                let _error = stream.ready(Interest::ERROR).await;
            }
            Self::Unix(stream) => {
                // Who waits for priority is told, too, that the client will send no more, and not
                // that it has sent something. Only a poll tells the two ends apart.
                let _ended = stream.ready(Interest::PRIORITY).await;
                while !has_hung_up(stream) {
                    tokio::time::sleep(GLANCE).await;
                }
            }
        }
    }

    /// Has the end of the connection tell the client that the response is incomplete. A Unix socket
    /// can't.
    pub(super) fn cut(self) {
        let _unsupported = set_socket_linger(self, Some(Duration::ZERO));
    }

    /// Discards the bytes that a refused client still sends, so that the client can read the
    /// answer. Closing the connection with unread bytes would reset it (RFC 9112, section 9.6).
    pub(super) async fn discard(self) {
        const SCRATCH_BYTES: usize = 16 << 10;
        let all = async {
            let mut scratch = vec![0; SCRATCH_BYTES];
            let mut discarded = 0;
            while discarded < DISCARD_BYTES && self.readable().await.is_ok() {
                match self.try_read(&mut scratch) {
                    Ok(0) => break,
                    Ok(count) => discarded += count as u64,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_gone) => break,
                }
            }
        };
        let _elapsed = tokio::time::timeout(DISCARD_TIME, all).await;
    }

    /// Writes as much as the socket takes at once.
    pub(super) fn try_write(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    pub(super) fn try_read(self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(bytes),
            Self::Unix(stream) => stream.try_read(bytes),
        }
    }

    async fn readable(self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    fn try_write_vectored(self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(pieces),
            Self::Unix(stream) => stream.try_write_vectored(pieces),
        }
    }

    fn poll_write_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }
}

/// Whether both directions of the socket have ended.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    match poll(&mut polled, Some(&Timespec::default())) {
        Ok(_) => polled[0].revents().contains(PollFlags::HUP),
        Err(_interrupted) => false,
    }
}

impl AsFd for Stream<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl<'a> Plain<'a> {
    pub(super) fn new(
        read: ReadHalf<'a>,
        stream: Stream<'a>,
        activity: &'a Activity,
        stopwatch: Stopwatch,
    ) -> Self {
        Self {
            read,
            stream,
            ahead: BytesMut::new(),
            activity,
            stopwatch,
        }
    }

    /// Reads more bytes ahead.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the client sends no more.
    pub(super) async fn look(&mut self) -> io::Result<&[u8]> {
        const LOOK_BYTES: usize = 1 << 10;
        let mut scratch = [0; LOOK_BYTES];
        let mut buffer = ReadBuf::new(&mut scratch);
        std::future::poll_fn(|cx| self.read.poll_read(cx, &mut buffer)).await?;
        if buffer.filled().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.extend_from_slice(buffer.filled());
        Ok(&self.ahead)
    }

    /// The bytes that were read ahead.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops this many bytes that were read ahead: they were understood.
    pub(super) fn drop_ahead(&mut self, count: usize) {
        self.ahead.advance(count.min(self.ahead.len()));
    }

    /// As in `TcpStream`, but for a shared stream.
    fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(Stream<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.activity.note_unless_paused();
                    self.stopwatch.written();
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl ReadHalf<'_> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            Self::Unix(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

impl AsyncRead for Plain<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.read.poll_read(cx, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is the kernel's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(self.stream, Shutdown::Write).map_err(io::Error::from))
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_write_vectored(cx, pieces),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
