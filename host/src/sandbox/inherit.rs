//! The host's own standard output and standard error, where guests print to them: a process that
//! prints waits while nobody reads, and nobody else does.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::outlet::Outlet;
use crate::threads;

/// What may wait for a reader: as much as waits in a pipe. Each process may add one more
/// [`WRITE_BYTES`] to each.
const WAITING_BYTES: usize = 64 << 10;

/// What a process may write at one go.
const WRITE_BYTES: usize = 4 << 10;

/// How long the end of a program waits for a reader that reads a little now and then.
const PATIENCE: Duration = Duration::from_secs(60);

static OUTLETS: OnceLock<Outlets> = OnceLock::new();

/// Both, written by one thread where they are one file, so that lines come in the order in which
/// they were printed.
struct Outlets {
    stdout: Terminal,
    stderr: Terminal,
}

#[derive(Clone, Debug)]
struct Terminal {
    outlet: Outlet,
    /// Or a file, or a pipe.
    is_one: bool,
}

/// One of them, as one process has it: any number of handles share it.
#[derive(Clone, Debug)]
pub(super) struct Inherited(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    terminal: Terminal,
    /// The process was told that it may write, and has not yet.
    may_write: AtomicBool,
}

/// Starts the threads, once.
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
        stdout: Terminal {
            outlet,
            is_one: stdout.is_terminal(),
        },
        stderr: Terminal {
            outlet: errors,
            is_one: stderr.is_terminal(),
        },
    });
    Ok(())
}

fn same_file(one: impl AsFd, other: impl AsFd) -> bool {
    let file = |of: rustix::fs::Stat| (of.st_dev, of.st_ino);
    let one = rustix::fs::fstat(one).map(file);
    one.is_ok() && one == rustix::fs::fstat(other).map(file)
}

/// Standard output and standard error, for one process.
pub(super) fn streams() -> Option<(Inherited, Inherited)> {
    let Outlets { stdout, stderr } = OUTLETS.get()?;
    let stream = |terminal: &Terminal| {
        Inherited(Arc::new(Inner {
            terminal: terminal.clone(),
            may_write: AtomicBool::new(false),
        }))
    };
    Some((stream(stdout), stream(stderr)))
}

/// Waits until standard output can't be written any more: whoever read it has gone, or a disk is
/// full.
pub(crate) async fn output_failed() -> io::Error {
    match OUTLETS.get() {
        Some(outlets) => outlets.stdout.outlet.failed().await.into(),
        None => std::future::pending().await,
    }
}

/// Waits until all that guests printed is written, or nobody reads any of it for as long as
/// `unread`. Returns how many bytes are left.
pub(crate) async fn output_written(unread: Duration) -> usize {
    let Some(Outlets { stdout, stderr }) = OUTLETS.get() else {
        return 0;
    };
    let drained = threads::run(move || {
        let left = stdout.outlet.drain(unread, PATIENCE);
        left + stderr.outlet.drain(unread, PATIENCE)
    });
    drained.await.unwrap_or(0)
}

impl IsTerminal for Inherited {
    fn is_terminal(&self) -> bool {
        self.0.terminal.is_one
    }
}

impl StdoutStream for Inherited {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink()) // WASI 0.3 asks for this, which guests here don't have
    }
}

impl OutputStream for Inherited {
    /// Where the outlet has failed, whatever is printed is lost: whether that ends the program is
    /// decided elsewhere.
    fn check_write(&mut self) -> StreamResult<usize> {
        let Inner {
            terminal,
            may_write,
        } = &*self.0;
        if terminal.outlet.has_room().unwrap_or(true) {
            may_write.store(true, Ordering::Relaxed);
        }
        Ok(if may_write.load(Ordering::Relaxed) {
            WRITE_BYTES
        } else {
            0
        })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Inner {
            terminal,
            may_write,
        } = &*self.0;
        if bytes.len() > WRITE_BYTES || !may_write.swap(false, Ordering::Relaxed) {
            return Err(StreamError::trap(
                "it wrote more than `check-write` allowed",
            ));
        }
        if terminal.outlet.has_room().is_ok() {
            terminal.outlet.push(&bytes);
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
            self.0.terminal.outlet.room().await;
            self.0.may_write.store(true, Ordering::Relaxed);
        }
    }
}
