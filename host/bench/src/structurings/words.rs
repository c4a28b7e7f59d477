//! *Words* for whoever started the bench: how it was called, and errors of servers without flags
//! that were not given to the bench.

/// What a server's command line says beside a problem.
const USAGE: [&str; 2] = ["error: ", "For more information, try '--help'."];

/// How this program was called, as a shell takes it.
pub(crate) fn command() -> String {
    let args = std::env::args_os().skip(1);
    let words = args.map(|arg| format!(" {}", quoted(&arg.to_string_lossy())));
    format!("wasm-pool-host{}", words.collect::<String>())
}

/// A word in quotes, unless nothing in it means anything else to a shell.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:=,@%+-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The same error, in which flags that were not given to the bench are words.
pub(crate) fn in_words(error: &str) -> String {
    let mut said = error.to_owned();
    for usage in USAGE {
        said = said.replace(usage, "");
    }
    let is_given = |flag: &str| std::env::args().any(|arg| arg.split('=').next() == Some(flag));
    let in_flag = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let mut words = String::new();
    for word in said.split_inclusive(|letter| !in_flag(letter)) {
        let flag = word.trim_end_matches(|letter| !in_flag(letter));
        let name = word.strip_prefix("--").filter(|_| !is_given(flag));
        match name.filter(|name| name.starts_with(char::is_alphabetic)) {
            Some(name) => words.push_str(&name.replace('-', " ")),
            None => words.push_str(word),
        }
    }
    words.trim().to_owned()
}
