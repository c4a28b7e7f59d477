//! Cuts text that a guest or a client chose before it is formatted, copied or logged. Otherwise the
//! guest or the client would choose how much work and memory the text costs.

use std::fmt::{self, Write};

/// Bytes of a quoted name or value that a message shows: enough to recognise it.
const QUOTED_BYTES: usize = 128;

/// The length of a control character that JSON escapes: `\u0000`.
const JSON_ESCAPE_BYTES: usize = 6;

/// The beginning of `text`, at most `bytes` long.
#[must_use]
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The beginning of `text` that takes at most `bytes` once the log has escaped it, as text or as
/// JSON.
#[must_use]
pub(crate) fn cut_escaped(text: &str, bytes: usize) -> &str {
    let mut room = bytes;
    let end = text.char_indices().find(|&(_, letter)| {
        let size = letter.escape_debug().map(char::len_utf8).sum::<usize>();
        let size = match letter {
            letter if letter.is_control() => size.max(JSON_ESCAPE_BYTES),
            _ => size,
        };
        let fits = size <= room;
        room = room.saturating_sub(size);
        !fits
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Shows the beginning of `text`, escaped and in quotes. `…` stands for the rest.
#[must_use]
pub(crate) fn quoted(text: &str) -> impl fmt::Display + fmt::Debug + '_ {
    Quoted(text)
}

/// Formats at most `bytes`, and stops there: the rest is not even computed.
#[must_use]
pub(crate) fn formatted(bytes: usize, text: fmt::Arguments<'_>) -> String {
    let mut short = Short::new(bytes);
    let _full = short.write_fmt(text);
    short.text
}

/// A text of bounded length. It refuses every byte beyond the bound.
#[derive(Debug)]
pub(crate) struct Short {
    text: String,
    room: usize,
}

impl Short {
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            text: String::new(),
            room: bytes,
        }
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let part = cut(text, self.room);
        self.text.push_str(part);
        if part.len() < text.len() {
            self.room = 0; // a later, shorter piece must not follow a gap
            return Err(fmt::Error);
        }
        self.room -= part.len();
        Ok(())
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = cut(self.0, QUOTED_BYTES);
        let rest = if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        };
        write!(f, "{shown:?}{rest}")
    }
}

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
