//! The command line: its help, the arguments that it refuses and their errors, and `check`.

mod flags;
mod kinds;
mod modules;
mod new;
mod serving;

use std::fs;
use std::process::Command;

use crate::support::server::{CACHES, PROGRAM};

/// The exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    // An empty folder, so that nothing is served by mistake.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(PROGRAM)
        .args(arguments)
        .env("XDG_CACHE_HOME", CACHES)
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A file with this component. It lives as long as the value.
fn wat_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".wat")
        .tempfile()
        .expect("a temporary file");
    fs::write(file.path(), text).expect("a component's text");
    file
}
