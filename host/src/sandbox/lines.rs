//! *Lines* of a guest's output for the log. Output is split at newlines and counted against bounds,
//! so that a guest that prints without end is cut short, and not the log.

use std::time::{Duration, Instant};

use crate::text;

/// A longer line is logged in pieces of this size. Escaped text of a line is cut at this size too.
pub(crate) const MAX_LINE_BYTES: usize = 4 << 10;

/// The most logged lines of one process in a second, and for one request. Further lines are only
/// counted.
const LINES_PER_SECOND: u32 = 1_000;
const LINES_PER_REQUEST: u32 = 256;

/// The most bytes of a process's last lines: enough for a panic's place and message, and some lines
/// before it.
const LAST_BYTES: usize = 1 << 10;

/// Rust's advice after a panic. Nobody can follow it here, because guests have no environment.
const ADVICE: &[u8] = b"note: run with `RUST_BACKTRACE=";

/// Splits bytes into lines. Holds at most one unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    unfinished: Vec<u8>,
}

/// The budget of lines that may be logged.
#[derive(Debug)]
pub(crate) struct Allowance {
    second: Instant,
    in_second: u32,
    request: u64,
    in_request: u32,
}

/// The last lines that were printed during one request.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    request: u64,
    text: String,
}

impl Splitter {
    /// Adds bytes, and passes each finished line to `emit`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.unfinished.len();
            let piece = &bytes[..bytes.len().min(room)];
            let newline = piece.iter().position(|&byte| byte == b'\n');
            let line = &piece[..newline.unwrap_or(piece.len())];
            self.unfinished.extend_from_slice(line);
            bytes = &bytes[newline.map_or(line.len(), |at| at + 1)..];
            if newline.is_some() || self.unfinished.len() == MAX_LINE_BYTES {
                self.emit(&mut emit);
            }
        }
    }

    /// Passes the unfinished line to `emit`, if there is one.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            self.emit(&mut emit);
        }
    }

    fn emit(&mut self, emit: &mut impl FnMut(&[u8])) {
        if !self.unfinished.starts_with(ADVICE) {
            emit(&self.unfinished);
        }
        self.unfinished.clear();
    }
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            second: now,
            in_second: 0,
            request: 0,
            in_request: 0,
        }
    }

    /// Whether one more line may be logged now. `request` is the current request; 0 for none.
    pub(crate) fn admits(&mut self, now: Instant, request: u64) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        if self.request != request {
            (self.request, self.in_request) = (request, 0);
        }
        let admitted = self.in_second < LINES_PER_SECOND
            && (request == 0 || self.in_request < LINES_PER_REQUEST);
        self.in_second += u32::from(admitted);
        self.in_request += u32::from(admitted);
        admitted
    }
}

impl LastLines {
    /// Adds a line. Drops older lines that no longer fit, and all lines of another request.
    pub(crate) fn add(&mut self, line: &str, request: u64) {
        if self.request != request {
            self.text.clear();
            self.request = request;
        }
        let line = text::cut_escaped(line.trim_end(), LAST_BYTES);
        if line.is_empty() {
            return;
        }
        while !self.text.is_empty() && self.text.len() + 1 + line.len() > LAST_BYTES {
            let first = self.text.find('\n').map_or(self.text.len(), |at| at + 1);
            self.text.drain(..first);
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    /// The last lines of this request, if any.
    pub(crate) fn of(&self, request: u64) -> Option<&str> {
        (self.request == request && !self.text.is_empty()).then_some(&*self.text)
    }
}
