//! *Lines* are what the log has of a guest's output: bytes are split at newlines, and counted
//! against bounds, so that a guest that prints without end is cut and not the log.

use std::time::{Duration, Instant};

use crate::text;

/// A longer line is logged in pieces of this size; also the most that a line takes where it is
/// escaped.
pub(crate) const MAX_LINE_BYTES: usize = 4 << 10;

/// Lines that are logged of one process in one second, and of one request. The rest is counted.
const LINES_PER_SECOND: u32 = 1_000;
const LINES_PER_REQUEST: u32 = 256;

/// How much is kept of the last lines of standard error: a panic's place and message, and what led
/// to it.
const LAST_BYTES: usize = 1 << 10;

/// Rust's advice to its user. Nobody can take it here: guests have no environment.
const ADVICE: &[u8] = b"note: run with `RUST_BACKTRACE=";

/// Splits bytes into lines. Keeps at most one that is unfinished.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    unfinished: Vec<u8>,
}

/// Which lines may be logged.
#[derive(Debug)]
pub(crate) struct Allowance {
    second: Instant,
    in_second: u32,
    request: u64,
    in_request: u32,
}

/// The last lines that were printed while one request was served.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    request: u64,
    text: String,
}

impl Splitter {
    /// Adds bytes, and says each line that they finish.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut say: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.unfinished.len();
            let piece = &bytes[..bytes.len().min(room)];
            let newline = piece.iter().position(|&byte| byte == b'\n');
            let line = &piece[..newline.unwrap_or(piece.len())];
            self.unfinished.extend_from_slice(line);
            bytes = &bytes[newline.map_or(line.len(), |at| at + 1)..];
            if newline.is_some() || self.unfinished.len() == MAX_LINE_BYTES {
                self.say(&mut say);
            }
        }
    }

    /// Says what is unfinished, if anything is.
    pub(crate) fn finish(&mut self, mut say: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            self.say(&mut say);
        }
    }

    fn say(&mut self, say: &mut impl FnMut(&[u8])) {
        if !self.unfinished.starts_with(ADVICE) {
            say(&self.unfinished);
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

    /// Whether one more line may be logged now, while this request is served; 0 for none.
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
    /// Adds a line, and forgets what is too old for it: what was printed for another request, too.
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

    /// What was printed for this request, if anything was.
    pub(crate) fn of(&self, request: u64) -> Option<&str> {
        (self.request == request && !self.text.is_empty()).then_some(&*self.text)
    }
}
