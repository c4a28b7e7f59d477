//! An *excerpt* is what people see of a text that a module's author chose, alone or in a compiler's
//! message: short, and without what a terminal would obey.

/// A linker's longest sentence has room. A compiler shows the line that it fails at, and all of a
/// module may be one.
const LINE_LETTERS: usize = 400;

/// The first lines are the cause of the rest.
const LINES: usize = 20;

/// In place of what is left out.
const CUT: char = '…';

/// The first lines, and the beginning of each.
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

/// The same text, with what is not meant to be seen spelled out.
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
