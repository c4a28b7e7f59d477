//! Counts the frames of an HTTP/2 connection that ask for nothing. A client may send some:
//! settings, pings, windows, resets. One that sends little else wants to keep the host busy, and is
//! left.
//!
//! Only hyper interprets frames. This file finds where each begins (RFC 9113, section 4.1), and
//! keeps a *budget*: frames that bring no data cost some of it, and responses earn it back.

use std::time::Instant;

/// The bytes before the first frame (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's header: three bytes of length, type, flags, and the stream.
const HEADER_BYTES: usize = 9;

/// The type of frames with data.
const DATA: u8 = 0;

/// The flag of frames with padding, and the most bytes of padding with its length.
const PADDED: u8 = 8;
const MOST_PADDING: usize = 256;

/// The frames that a client may send in one go without any use: some hundred requests that it
/// cancels, with a window and a priority each.
const MOST: u64 = 1000;

/// What a response earns: the head of its request, and a window or a reset.
const PER_RESPONSE: u64 = 2;

/// The bytes of a response that earn one frame: a client with a small window opens it again and
/// again. What a client sends earns nothing, since it needs no frames for that.
const BYTES: u64 = 1 << 10;

/// The frames a second that a connection earns by being there: pings of a patient client.
const PER_SECOND: u64 = 10;

/// Finds the frames in the bytes of a connection, and keeps the budget.
#[derive(Debug)]
pub(super) struct Frames {
    /// The bytes of the preface that are still to come.
    preface: usize,
    /// The header of the frame, as far as it has come.
    header: [u8; HEADER_BYTES],
    has: usize,
    /// The bytes of the frame behind its header that are still to come.
    left: usize,
    budget: u64,
    /// Bytes that went out and have not earned a frame yet.
    bytes: u64,
    since: Instant,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            preface: PREFACE.len(),
            header: [0; HEADER_BYTES],
            has: 0,
            left: 0,
            budget: MOST,
            bytes: 0,
            since: Instant::now(),
        }
    }

    /// Takes note of bytes that the client has sent. Returns whether the budget covers them.
    /// `responses` were finished since the last look.
    #[must_use]
    pub(super) fn came(&mut self, mut bytes: &[u8], responses: u64) -> bool {
        self.earn(responses * PER_RESPONSE);
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            let here = (HEADER_BYTES - self.has).min(bytes.len());
            self.header[self.has..self.has + here].copy_from_slice(&bytes[..here]);
            self.has += here;
            bytes = &bytes[here..];
            if self.has == HEADER_BYTES && !self.begins() {
                return false;
            }
        }
        true
    }

    /// Takes note of bytes that the client has taken.
    pub(super) fn went(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.earn(self.bytes / BYTES);
        self.bytes %= BYTES;
    }

    /// A frame's header is whole. Returns whether the budget covers the frame.
    fn begins(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.has = 0;
        let padding = if flags & PADDED == 0 { 0 } else { MOST_PADDING };
        if kind == DATA && self.left > padding {
            return true;
        }
        if self.budget == 0 {
            let now = Instant::now();
            let seconds = now.duration_since(self.since).as_secs();
            if seconds > 0 {
                self.since = now;
                self.earn(seconds.saturating_mul(PER_SECOND));
            }
        }
        let left = self.budget.checked_sub(1);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    fn earn(&mut self, frames: u64) {
        self.budget = self.budget.saturating_add(frames).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const HEADERS: u8 = 1;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [.., high, middle, low] = length.to_be_bytes();
        let mut frame = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + length, 0xff);
        frame
    }

    /// How many of these frames are covered.
    fn covered(frames: &mut Frames, bytes: &[u8], responses: u64) -> u64 {
        let mut count = 0;
        while count < 10 * MOST && frames.came(bytes, responses) {
            count += 1;
        }
        count
    }

    #[test]
    fn frames_that_ask_for_nothing_cost() {
        for kind in [HEADERS, 2, 3, 4, PING, 8, 9, 200] {
            let mut frames = Frames::new();
            assert!(frames.came(PREFACE, 0));
            assert_eq!(covered(&mut frames, &frame(kind, 8), 0), MOST, "{kind}");
        }
        let empty = frame(DATA, 0);
        let mut frames = Frames::new();
        assert!(frames.came(PREFACE, 0));
        assert_eq!(covered(&mut frames, &empty, 0), MOST);
        let mut padding = frame(DATA, 1);
        padding[4] = PADDED;
        let mut frames = Frames::new();
        assert!(frames.came(PREFACE, 0));
        assert_eq!(covered(&mut frames, &padding, 0), MOST);
    }

    #[test]
    fn use_earns() {
        let spent = || {
            let mut frames = Frames::new();
            assert!(frames.came(PREFACE, 0));
            for _ in 0..MOST {
                assert!(frames.came(&frame(PING, 8), 0));
            }
            frames
        };
        assert_eq!(covered(&mut spent(), &frame(HEADERS, 8), 1), 10 * MOST);
        assert_eq!(covered(&mut spent(), &frame(DATA, 16384), 0), 10 * MOST);
        let mut frames = spent();
        frames.went(3 << 10);
        assert_eq!(covered(&mut frames, &frame(PING, 8), 0), 3);
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let mut whole = Frames::new();
        let mut pieces = Frames::new();
        let kinds = [HEADERS, DATA, PING, DATA, 8];
        let frames = kinds.iter().zip([5, 70_000, 8, 0, 4]);
        let mut bytes = PREFACE.to_vec();
        frames.for_each(|(kind, length)| bytes.extend(frame(*kind, length)));
        assert!(whole.came(&bytes, 0));
        for byte in bytes.chunks(1) {
            assert!(pieces.came(byte, 0));
        }
        assert_eq!(
            (whole.budget, whole.bytes, whole.left, whole.has),
            (pieces.budget, pieces.bytes, 0, 0)
        );
        assert_eq!(whole.budget, MOST - 4);
    }
}
