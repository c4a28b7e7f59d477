//! Whether output has the *form* that a document shows. In a form, `…` is any text, and a line of
//! only `…` is any number of lines.

/// What can stand behind a number, or as a word of its own behind it.
const UNITS: &[&str] = &[
    "ns", "us", "ms", "s", "m", "h", "%", "B", "KiB", "MiB", "GiB", "kB", "MB", "GB",
];

/// What numbers, times and sizes become in [`shape`].
const QUANTITY: &str = "#";

/// Whether these lines match the form.
pub(crate) fn has_form(lines: &[&str], form: &[String]) -> bool {
    match (lines, form) {
        (_, [any, rest @ ..]) if any == "…" => {
            (0..=lines.len()).any(|skipped| has_form(&lines[skipped..], rest))
        }
        ([line, lines @ ..], [first, form @ ..]) => {
            line_has_form(line, first) && has_form(lines, form)
        }
        _ => lines.is_empty() && form.is_empty(),
    }
}

fn line_has_form(line: &str, form: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, form) = (words(line), words(form));
    let mut parts = form.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        match rest.find(part).filter(|_| !rest.is_empty()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        if part.is_empty() {
            rest = ""; // the last part: it takes the rest
        }
    }
    rest.is_empty()
}

/// The line without what differs between two runs: each number, time or size is `#`, and so are
/// several in a row, and a `-` in the place of one.
pub(crate) fn shape(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let is_repeated = words.last().is_some_and(|last| last == QUANTITY);
        match is_quantity(word) {
            true if is_repeated => {}
            true => words.push(QUANTITY.to_owned()),
            false => words.push(without_digits(word)),
        }
    }
    words.join(" ")
}

fn is_quantity(word: &str) -> bool {
    let word = word.trim_end_matches([',', ';']);
    let end = word.find(|letter: char| !letter.is_ascii_digit() && !".,".contains(letter));
    let (number, unit) = word.split_at(end.unwrap_or(word.len()));
    let is_number = number.matches('.').count() <= 1 && number.starts_with(char::is_numeric);
    match (number.is_empty(), unit.is_empty()) {
        (true, _) => word == "-" || UNITS.contains(&unit),
        (false, true) => is_number,
        (false, false) => is_number && UNITS.contains(&unit),
    }
}

/// The word with `#` for each number in it.
fn without_digits(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        match letter {
            '0'..='9' if text.ends_with(QUANTITY) => {}
            '0'..='9' => text.push_str(QUANTITY),
            other => text.push(other),
        }
    }
    text
}

#[test]
fn lines_of_one_shape() {
    for (one, other) in [
        ("up 2s 900ms · 3 requests", "up  17ms ·  0 requests"),
        ("MEMORY 512.1 KiB -", "MEMORY 0 B 1,351"),
        ("pid 7, 0 of 2..64", "pid 13865 0 of 1..32"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:41327"),
    ] {
        assert_eq!(shape(one), shape(other));
    }
    for (one, other) in [
        ("idle 7", "busy 7"),
        ("0 requests", "requests"),
        ("1.2.3", "1.2"),
    ] {
        assert_ne!(shape(one), shape(other));
    }
}
