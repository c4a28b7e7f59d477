//! An *excerpt* is the visible part of text that a module's author chose, alone or in a compiler's
//! message. It is short, and has no control characters that a terminal would obey.

/// Enough for a linker's longest sentence. A compiler shows the line of an error, and a whole
/// module may be one line.
const LINE_LETTERS: usize = 400;

/// The first lines state the cause of the rest.
const LINES: usize = 20;

/// Marks omitted text.
const CUT: char = '…';

/// The beginnings of the first lines.
pub(super) fn excerpt(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().take(LINES).map(beginning).collect();
    if text.lines().nth(LINES).is_some() {
        lines.push(CUT.into());
    }
    lines.join("\n")
}

fn beginning(line: &str) -> String {
    let mut letters = line.chars();
    let begin: String = letters.by_ref().take(LINE_LETTERS).collect();
    let mut shown = printable(&begin);
    if letters.next().is_some() {
        shown.push(CUT);
    }
    shown
}

/// The text with invisible characters escaped.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}
