//! What a guest prints becomes lines of the log, with its pid and the request that it serves; or,
//! in a program that is run by itself, goes on to the host's own output. All handles that a process
//! has of one stream are one stream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::lines::{Allowance, LastLines, MAX_LINE_BYTES, Splitter};
use crate::pid::Pid;
use crate::text;

/// The target of events that are lines of guests' output: the log gives them less room than its
/// own.
pub const GUEST_OUTPUT: &str = "wasm_pool_host::guest";

/// A guest that has had so many lines logged at one go lets others run before it prints on.
const LINES_AT_ONCE: u32 = 64;

/// All that one process prints, as log lines.
#[derive(Debug)]
pub(super) struct Printer {
    pid: Pid,
    /// The request that the process serves; 0 for none.
    request: AtomicU64,
    has_skipped: AtomicBool,
    printed: Mutex<Printed>,
}

#[derive(Debug)]
struct Printed {
    streams: [Splitter; 2],
    allowance: Allowance,
    /// Lines since the last one that was logged.
    skipped: u64,
    /// Lines that were logged since the guest last waited.
    at_once: u32,
    last: LastLines,
}

/// One of the two streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Stdout,
    Stderr,
}

/// A stream, or a handle of it: any number of handles share one stream.
#[derive(Clone, Debug)]
pub(super) struct Stream(Arc<Printer>, Name);

impl Printer {
    /// Nothing is printed yet; the process serves this request.
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

    /// The process serves this request now.
    pub(super) fn serves(&self, request: u64) {
        self.request.store(request, Ordering::Relaxed);
    }

    /// The request has been served: how many lines were skipped is known.
    pub(super) fn served(&self) {
        if self.has_skipped.load(Ordering::Relaxed) {
            self.say_skipped(&mut self.printed());
        }
    }

    /// The last lines on standard error, of the request that the process serves.
    pub(super) fn last_lines(&self) -> Option<String> {
        let mut printed = self.printed();
        self.finish(&mut printed);
        let request = self.request.load(Ordering::Relaxed);
        printed.last.of(request).map(str::to_owned)
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
            // A panic is known by its last lines, however much was printed before.
            if name == Name::Stderr {
                printed.last.add(&String::from_utf8_lossy(line), request);
            }
            return;
        }
        self.say_skipped(printed);
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

    fn say_skipped(&self, printed: &mut Printed) {
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
        self.say_skipped(&mut printed);
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
        Box::new(tokio::io::sink()) // WASI 0.3 asks for this, which guests here don't have
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
        let is_due = self.0.printed().at_once >= LINES_AT_ONCE;
        if is_due {
            tokio::task::yield_now().await;
            self.0.printed().at_once = 0;
        }
    }
}
