//! *Slow* requests are logged once, while they run, with the functions that the guest is in. What
//! makes a request slow is then known before its time is up, and also if it ends well.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{AsContext, WasmBacktrace};

use super::backtrace;
use crate::message::Request;
use crate::pid::Pid;
use crate::table::{Row, State};
use crate::text;

/// The most bytes of a method and a path that the log shows.
const LOGGED_BYTES: usize = 1 << 10;

/// How often a guest is looked at that was neither running at a tick nor waiting when its time
/// came.
const LOOK: Duration = Duration::from_millis(10);

/// A request that may become slow.
#[derive(Debug)]
pub(super) struct Slow {
    begun: Instant,
    /// From then on it is slow.
    at: Instant,
    pid: Pid,
    request: u64,
    /// Method and path.
    asked: String,
    is_logged: AtomicBool,
}

impl Slow {
    /// A request that begins now, and is slow after this time.
    pub(super) fn new(limit: Duration, pid: Pid, request: &Request) -> Arc<Self> {
        let begun = Instant::now();
        let asked = format_args!("{} {}", request.method, request.path);
        Arc::new(Self {
            begun,
            at: begun + limit,
            pid,
            request: request.id,
            asked: text::formatted(LOGGED_BYTES, asked),
            is_logged: AtomicBool::new(false),
        })
    }

    /// Called at a tick, while the guest runs.
    pub(super) fn look(&self, store: impl AsContext) {
        if Instant::now() < self.at || self.is_logged.load(Ordering::Relaxed) {
            return;
        }
        let captured = WasmBacktrace::force_capture(store);
        let frames = captured.frames().iter();
        let frames = frames.map(|frame| (frame.func_name(), frame.func_index()));
        self.log(&backtrace::line(frames));
    }

    /// Logs the request if the guest waits when its time comes. Does not end.
    pub(super) async fn watch(&self, row: &Row) -> Infallible {
        tokio::time::sleep_until(self.at.into()).await;
        while !self.is_logged.load(Ordering::Relaxed) {
            // At the next tick, its backtrace can be taken.
            let waits = row.sample().state == State::Waiting && !row.is_yielding();
            if waits {
                self.log("it waits for the host");
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
        std::future::pending().await
    }

    fn log(&self, backtrace: &str) {
        if self.is_logged.swap(true, Ordering::Relaxed) {
            return;
        }
        let (id, pid) = (self.request, self.pid.get());
        let running_ms = self.begun.elapsed().as_millis() as u64;
        tracing::warn!(
            id,
            pid,
            asked = self.asked,
            running_ms,
            backtrace,
            "slow request"
        );
    }
}
