//! Turns guests' output into lines of the log, with the pid and the current request. A program that
//! runs by itself prints to the host's own output instead (`inherit`). All handles that a process
//! has of one stream share that stream.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::lines::{Allowance, LastLines, MAX_LINE_BYTES, Splitter};
use crate::pid::Pid;
use crate::text;

/// The target of log events with guests' output. The log gives such lines less room than its own.
pub const GUEST_OUTPUT: &str = "wasm_pool_host::guest";

/// A guest that has had this many lines logged in one go yields before it prints more.
const LINES_AT_ONCE: u32 = 64;

/// Logs the output of one process.
#[derive(Debug)]
pub(super) struct Printer {
    pid: Pid,
    /// The current request; 0 for none.
    request: AtomicU64,
    has_skipped: AtomicBool,
    printed: Mutex<Printed>,
}

#[derive(Debug)]
struct Printed {
    streams: [Splitter; 2],
    allowance: Allowance,
    /// Lines that were skipped since the last logged line.
    skipped: u64,
    /// Lines that were logged since the guest last waited.
    at_once: u32,
    last: LastLines,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Stdout,
    Stderr,
}

/// A handle of a stream. All handles share one stream.
#[derive(Clone, Debug)]
pub(super) struct Stream(Arc<Printer>, Name);

impl Printer {
    /// A printer for a process that serves this request.
    pub(super) fn new(pid: Pid, request: u64) -> Arc<Self> {
        Arc::new(Self {
            pid,
            request: AtomicU64::new(request),
            has_skipped: AtomicBool::new(false),
            printed: Mutex::new(Printed {
                streams: Default::default(),
                allowance: Allowance::new(Instant::now()),
                skipped: 0,
                at_once: 0,
                last: LastLines::default(),
            }),
        })
    }

    pub(super) fn stream(self: &Arc<Self>, name: Name) -> Stream {
        Stream(Arc::clone(self), name)
    }

    /// Sets the current request.
    pub(super) fn serves(&self, request: u64) {
        self.request.store(request, Ordering::Relaxed);
    }

    /// Ends the current request, and logs how many lines were skipped.
    pub(super) fn served(&self) {
        if self.has_skipped.load(Ordering::Relaxed) {
            self.log_skipped(&mut self.printed());
        }
    }

    /// The last lines on standard error during the current request.
    pub(super) fn last_lines(&self) -> Option<String> {
        let mut printed = self.printed();
        self.finish(&mut printed);
        let request = self.request.load(Ordering::Relaxed);
        printed.last.of(request).map(str::to_owned)
    }

    /// Prints lines of the guest's that come whole. Others get their turn in between.
    pub(super) async fn log(&self, name: Name, lines: &[u8]) {
        self.print(name, lines);
        self.make_way().await;
    }

    /// Yields, if many lines were logged since the guest last waited.
    async fn make_way(&self) {
        let is_due = self.printed().at_once >= LINES_AT_ONCE;
        if is_due {
            tokio::task::yield_now().await;
            self.printed().at_once = 0;
        }
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, name: Name, bytes: &[u8]) {
        let mut printed = self.printed();
        let mut splitter = std::mem::take(&mut printed.streams[name as usize]);
        let now = Instant::now();
        splitter.push(bytes, |line| self.line(&mut printed, name, line, now));
        printed.streams[name as usize] = splitter;
    }

    fn finish(&self, printed: &mut Printed) {
        let now = Instant::now();
        for name in [Name::Stdout, Name::Stderr] {
            let mut splitter = std::mem::take(&mut printed.streams[name as usize]);
            splitter.finish(|line| self.line(printed, name, line, now));
        }
    }

    fn line(&self, printed: &mut Printed, name: Name, line: &[u8], now: Instant) {
        let request = self.request.load(Ordering::Relaxed);
        let admitted = printed.allowance.admits(now, request);
        if !admitted {
            printed.skipped += 1;
            self.has_skipped.store(true, Ordering::Relaxed);
            // Kept although it isn't logged: the last lines explain a panic.
            if name == Name::Stderr {
                printed.last.add(&String::from_utf8_lossy(line), request);
            }
            return;
        }
        self.log_skipped(printed);
        printed.at_once += 1;
        let line = String::from_utf8_lossy(line);
        if name == Name::Stderr {
            printed.last.add(&line, request);
        }
        tracing::info!(
            target: GUEST_OUTPUT,
            id = (request > 0).then_some(request),
            pid = self.pid.get(),
            stream = name.word(),
            line = text::cut_escaped(&line, MAX_LINE_BYTES),
            "guest output"
        );
    }

    fn log_skipped(&self, printed: &mut Printed) {
        let lines = std::mem::take(&mut printed.skipped);
        if lines > 0 {
            self.has_skipped.store(false, Ordering::Relaxed);
            let pid = self.pid.get();
            tracing::info!(target: GUEST_OUTPUT, pid, lines, "guest output skipped");
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        let mut printed = self.printed();
        self.finish(&mut printed);
        self.log_skipped(&mut printed);
    }
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn check_write(&mut self) -> StreamResult<usize> {
        let may_go_on = self.0.printed().at_once < LINES_AT_ONCE;
        Ok(if may_go_on { MAX_LINE_BYTES } else { 0 })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_LINE_BYTES {
            return Err(StreamError::trap(
                "it wrote more than `check-write` allowed",
            ));
        }
        self.0.print(self.1, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        self.0.make_way().await;
    }
}

/// The stream as WASI 0.3 writes to it.
impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut printed = self.0.printed();
        if printed.at_once >= LINES_AT_ONCE {
            printed.at_once = 0;
            cx.waker().wake_by_ref(); // it yields, and goes on
            return Poll::Pending;
        }
        drop(printed);
        let bytes = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
        self.0.print(self.1, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
