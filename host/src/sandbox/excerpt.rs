//! An *excerpt* is the visible part of text that a module's author chose, alone or in a compiler's
//! message. It is short, and has no control characters that a terminal would obey.

/// Enough for a linker's longest sentence. A compiler shows the line of an error, and a whole
/// module may be one line.
const LINE_LETTERS: usize = 400;

/// The first lines state the cause of the rest.
const LINES: usize = 20;

/// Enough for the name of any interface and of most functions.
const NAME_LETTERS: usize = 120;

/// Marks omitted text.
const CUT: char = '…';

/// The beginnings of the first lines.
pub(super) fn excerpt(text: &str) -> String {
    let lines = text.lines().take(LINES);
    let mut lines: Vec<_> = lines.map(|line| beginning(line, LINE_LETTERS)).collect();
    if text.lines().nth(LINES).is_some() {
        lines.push(CUT.into());
    }
    lines.join("\n")
}

/// The beginning of a name, in one line.
pub(super) fn name(name: &str) -> String {
    beginning(name, NAME_LETTERS)
}

fn beginning(line: &str, most: usize) -> String {
    let mut letters = line.chars();
    let begin: String = letters.by_ref().take(most).collect();
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
