//! Text that guests chose, on its way to a terminal: control characters don't reach it, nor do
//! those that reverse or hide what follows.

/// The text with each harmful character replaced.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// At most so many characters of it.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    let mut letters = text.chars().map(harmless);
    let mut short: String = letters.by_ref().take(longest).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

fn harmless(letter: char) -> char {
    match letter {
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    }
}
