//! *Words* for whoever started the bench: how it was called, and errors of servers without flags
//! that were not given to the bench.

use anyhow::anyhow;

/// What a server's command line says beside a problem.
const USAGE: [&str; 2] = ["error: ", "For more information, try '--help'."];

/// How this program was called, as a shell takes it.
pub(crate) fn command() -> String {
    let args = std::env::args_os().skip(1);
    let words = args.map(|arg| quoted(&arg.to_string_lossy()));
    let words: Vec<_> = ["wasm-pool-host".to_owned()]
        .into_iter()
        .chain(words)
        .collect();
    words.join(" ")
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
pub(crate) fn in_words(error: &anyhow::Error) -> anyhow::Error {
    let mut said = format!("{error:#}");
    for usage in USAGE {
        said = said.replace(usage, "");
    }
    let is_given = |flag: &str| std::env::args().any(|arg| arg.split('=').next() == Some(flag));
    let in_flag = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let mut words = String::new();
    for word in said.split_inclusive(|letter| !in_flag(letter)) {
        match word.strip_prefix("--") {
            Some(name) if name.starts_with(char::is_alphabetic) => {
                let flag = word.trim_end_matches(|letter| !in_flag(letter));
                if is_given(flag) {
                    words.push_str(word);
                } else {
                    words.push_str(&name.replace('-', " "));
                }
            }
            Some(_) | None => words.push_str(word),
        }
    }
    anyhow!("{}", words.trim())
}
