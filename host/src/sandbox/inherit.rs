//! Passes guests' output to the host's own standard output and standard error. If nobody reads
//! them, only the process that prints waits.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::outlet::Outlet;
use crate::threads;

/// Bytes that may wait for a reader in each outlet: as many as in a pipe. Each process may add one
/// more [`WRITE_BYTES`] to each.
const WAITING_BYTES: usize = 64 << 10;

/// The most bytes of one write.
const WRITE_BYTES: usize = 4 << 10;

/// The end of a program waits at most this long for a reader that reads slowly.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

static OUTLETS: OnceLock<Outlets> = OnceLock::new();

/// Both streams. If they are one file, one thread writes them, so that lines keep their order.
struct Outlets {
    stdout: HostStream,
    stderr: HostStream,
}

#[derive(Clone, Debug)]
struct HostStream {
    outlet: Outlet,
    /// Whether the stream is a terminal, and not a file or a pipe.
    is_terminal: bool,
}

/// One stream as seen by one process. All its handles share this.
#[derive(Clone, Debug)]
pub(super) struct Inherited(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: HostStream,
    /// The process may write once: `check_write` has allowed it, and it has not written since.
    may_write: AtomicBool,
}

/// Starts the threads that write, once per host process.
pub(super) fn start() -> io::Result<()> {
    if OUTLETS.get().is_some() {
        return Ok(());
    }
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let outlet = Outlet::start(&stdout, "stdout", WAITING_BYTES)?;
    let errors = if same_file(&stdout, &stderr) {
        outlet.clone()
    } else {
        Outlet::start(&stderr, "stderr", WAITING_BYTES)?
    };
    let _first = OUTLETS.set(Outlets {
        stdout: HostStream {
            outlet,
            is_terminal: stdout.is_terminal(),
        },
        stderr: HostStream {
            outlet: errors,
            is_terminal: stderr.is_terminal(),
        },
    });
    Ok(())
}

fn same_file(one: impl AsFd, other: impl AsFd) -> bool {
    let file = |of: rustix::fs::Stat| (of.st_dev, of.st_ino);
    let one = rustix::fs::fstat(one).map(file);
    one.is_ok() && one == rustix::fs::fstat(other).map(file)
}

/// Standard output and standard error for one process. `None` before [`start`].
pub(super) fn streams() -> Option<(Inherited, Inherited)> {
    let Outlets { stdout, stderr } = OUTLETS.get()?;
    let stream = |stream: &HostStream| {
        Inherited(Arc::new(Inner {
            stream: stream.clone(),
            may_write: AtomicBool::new(false),
        }))
    };
    Some((stream(stdout), stream(stderr)))
}

/// Writes lines that a guest logs to standard error. They are lost if nobody reads it.
pub(super) fn log(lines: &[u8]) {
    if let Some(Outlets { stderr, .. }) = OUTLETS.get()
        && stderr.outlet.has_room().is_ok_and(|has_room| has_room)
    {
        stderr.outlet.push(lines);
    }
}

/// Waits until standard output can't be written: its reader has gone, or a disk is full.
pub(crate) async fn output_failed() -> io::Error {
    match OUTLETS.get() {
        Some(outlets) => outlets.stdout.outlet.failed().await.into(),
        None => std::future::pending().await,
    }
}

/// Waits until all output of guests is written, or until nobody has read any of it for `unread`.
/// Returns the number of bytes left.
pub(crate) async fn output_written(unread: Duration) -> usize {
    let Some(Outlets { stdout, stderr }) = OUTLETS.get() else {
        return 0;
    };
    let drained = threads::run(move || {
        let left = stdout.outlet.drain(unread, DRAIN_TIMEOUT);
        left + stderr.outlet.drain(unread, DRAIN_TIMEOUT)
    });
    drained.await.unwrap_or(0)
}

impl IsTerminal for Inherited {
    fn is_terminal(&self) -> bool {
        self.0.stream.is_terminal
    }
}

impl StdoutStream for Inherited {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Awaited {
            stream: self.0.stream.clone(),
            room: None,
        })
    }
}

impl OutputStream for Inherited {
    /// If the outlet has failed, writes succeed and are lost. [`output_failed`] decides whether the
    /// program ends.
    fn check_write(&mut self) -> StreamResult<usize> {
        let Inner { stream, may_write } = &*self.0;
        if stream.outlet.has_room().unwrap_or(true) {
            may_write.store(true, Ordering::Relaxed);
        }
        Ok(if may_write.load(Ordering::Relaxed) {
            WRITE_BYTES
        } else {
            0
        })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Inner { stream, may_write } = &*self.0;
        if bytes.len() > WRITE_BYTES || !may_write.swap(false, Ordering::Relaxed) {
            return Err(StreamError::trap(
                "it wrote more than `check-write` allowed",
            ));
        }
        if stream.outlet.has_room().is_ok() {
            stream.outlet.push(&bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Inherited {
    async fn ready(&mut self) {
        if !self.0.may_write.load(Ordering::Relaxed) {
            self.0.stream.outlet.room().await;
            self.0.may_write.store(true, Ordering::Relaxed);
        }
    }
}

/// A stream as WASI 0.3 writes to it.
struct Awaited {
    stream: HostStream,
    /// The wait for room, while there is none.
    room: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for Awaited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outlet = self.stream.outlet.clone();
        while outlet.has_room() == Ok(false) {
            let room = self.room.get_or_insert_with(|| {
                let outlet = outlet.clone();
                Box::pin(async move { outlet.room().await })
            });
            ready!(room.as_mut().poll(cx));
            self.room = None;
        }
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
        if outlet.has_room().is_ok() {
            outlet.push(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
