//! A place in the system: what is installed where, what the manual and completions say, and what a
//! service manager is told.

mod install;
mod manual;
mod package;
mod told;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::guests::workspace;
use crate::support::server::PROGRAM;
use crate::support::untested;

/// Each command that the manual has a page for; the first is the program itself.
const COMMANDS: &[&str] = &[
    "",
    "bench",
    "check",
    "config",
    "config check",
    "config show",
    "drain",
    "drill",
    "generate",
    "generate completions",
    "generate man",
    "hosts",
    "kill",
    "log-level",
    "new",
    "ps",
    "push",
    "reload",
    "run",
    "scale",
    "serve",
    "status",
    "stop",
    "top",
    "trace",
];

/// The name of a command's page.
fn page(command: &str) -> String {
    let words = ["wasm-pool-host", command].join(" ");
    words.trim().replace(' ', "-") + ".1"
}

/// Has make do this with the program under test, which it strips and does not build.
fn make(goal: &str, variables: &[(&str, &Path)]) {
    let mut make = Command::new("make");
    make.current_dir(workspace()).args(["--silent", goal]);
    make.arg(format!("BINARY={PROGRAM}"));
    for (name, value) in variables {
        make.arg(format!("{name}={}", value.display()));
    }
    // A make that runs the tests means itself with these.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"] {
        make.env_remove(name);
    }
    // What is compressed is for others to download.
    make.env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    succeeded(&mut make);
}

/// The output of a command that must succeed.
fn succeeded(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// All that a command has printed.
fn text(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Whether a tool is there. A test that needs it, and does without, says so.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        untested(&format!("what needs {tool}, which is not here"));
    }
    found
}

/// All files below a folder, each with its mode.
fn files(folder: &Path) -> BTreeMap<String, u32> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("it is there");
            if metadata.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder");
                let mode = metadata.permissions().mode() & 0o7777;
                files.insert(name.display().to_string(), mode);
            }
        }
    }
    files
}
