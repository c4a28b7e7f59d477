//! The log writes all output of a guest as lines in its own format. No guest can forge a line.

use super::{changed, corpus, fuzz};
use crate::support::server::guest;

const WORDS: &[&str] = &[
    "\\n",
    "\\r\\n",
    "\\r",
    "\\x00",
    "\\x1b[31m",
    "\\x1b]0;title\\x07",
    "\\x07",
    "\\x08",
    "\\x7f",
    "\\xc2\\x9b",
    "\\xff",
    "\\xe2\\x80\\xae",
    "\"",
    "\\\\",
    "{",
    "}",
    "{\"message\":\"forged\"}",
    " INFO forged",
    "\\xe2\\x80\\xa8",
];

#[test]
fn any_output_forges_nothing_in_json() {
    // A line that isn't flat JSON fails the test when the server is dropped.
    print_anything("json");
}

#[test]
fn any_output_forges_nothing_in_text() {
    let text = print_anything("text");
    assert!(
        text.chars()
            .all(|letter| letter == '\n' || !letter.is_control()),
        "{text:?}"
    );
    let is_ours = |line: &str| {
        ["INFO", "WARN", "DEBUG"]
            .iter()
            .any(|level| line.contains(level))
    };
    // On a busy machine compiling takes a while, and the program logs it.
    let is_compiling = |line: &&str| line.starts_with("wasm-pool-host: compiling ");
    let mut lines = text.lines().skip_while(is_compiling);
    assert!(lines.all(is_ours), "{text}");
}

fn print_anything(format: &str) -> String {
    let server = guest(
        "mirror",
        &format!("--workers 1 --log-level debug --log-format {format}"),
    );
    fuzz(
        changed(corpus(include_str!("corpus/lines.txt")), WORDS),
        |bytes| {
            let reply = server.request("POST", "/", &[("x-mirror", "print")], &bytes);
            proptest::prop_assert_eq!(reply.status, 200);
            Ok(())
        },
    );
    assert_eq!(server.get("/last").status, 200);
    server.wait_text("/last");
    assert!(server.entries("forged").is_empty());
    server.log_text()
}
