//! What a guest prints goes through to the host's own output, or is turned into log lines with its pid. Of
//! those the host keeps at most one that is unfinished.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::pid::Pid;

/// A longer line is logged in pieces of this size.
const MAX_LINE_BYTES: usize = 4 << 10;

/// Where guests' standard output and standard error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the log, line by line.
    Log,
    /// To those of the host, as they are.
    Inherit,
}

/// Standard output or standard error of one process, as log lines.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    pid: Pid,
    stream: &'static str,
    unfinished: Vec<u8>,
}

impl Log {
    pub(super) fn new(pid: Pid, stream: &'static str) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            pid,
            stream,
            unfinished: Vec::new(),
        })))
    }
}

impl Lines {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.unfinished.len();
            let piece = &bytes[..bytes.len().min(room)];
            let newline = piece.iter().position(|&byte| byte == b'\n');
            let line = &piece[..newline.unwrap_or(piece.len())];
            self.unfinished.extend_from_slice(line);
            bytes = &bytes[newline.map_or(line.len(), |at| at + 1)..];
            if newline.is_some() || self.unfinished.len() == MAX_LINE_BYTES {
                self.log();
            }
        }
    }

    fn log(&mut self) {
        let line = String::from_utf8_lossy(&self.unfinished);
        tracing::info!(
            pid = self.pid.get(),
            stream = self.stream,
            line = &*line,
            "guest output"
        );
        self.unfinished.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.unfinished.is_empty() {
            self.log();
        }
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Log {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
