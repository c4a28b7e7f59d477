//! *Words* for the user of the bench: its command line, and errors of servers without flags that
//! the user didn't give.

/// The parts of a server's error message that are not about the problem.
const USAGE: [&str; 2] = ["error: ", "For more information, try '--help'."];

/// The command line of this program, quoted for a shell.
pub(crate) fn command() -> String {
    let args = std::env::args_os().skip(1);
    let words = args.map(|arg| format!(" {}", quoted(&arg.to_string_lossy())));
    format!("wasm-pool-host{}", words.collect::<String>())
}

/// Quotes a word, unless all its characters are plain to a shell.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:=,@%+-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The same error, with words in place of flags that were not given to the bench.
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
