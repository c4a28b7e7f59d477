//! Runs tests of this binary *again*, in a process of its own, through another door.

use std::env;
use std::process::{Command, Stdio};

use super::door::{Door, VARIABLE};

/// Tests that run at a time. Others run beside this process.
const THREADS: &str = "2";

/// The names of all tests of this binary.
pub(crate) fn tests() -> Vec<String> {
    let output = this_binary().args(["--list", "--format", "terse"]).output();
    let output = output.expect("this binary runs").stdout;
    let lines = String::from_utf8(output).expect("names are text");
    let names = lines.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

/// Runs exactly these tests, with these variables in their environment.
///
/// # Panics
/// If one of them fails, or is no test: with the output of all.
pub(crate) fn run(door: Door, tests: &[String], variables: &[(&str, &str)]) {
    let mut command = this_binary();
    command
        .env(VARIABLE, door.name())
        .envs(variables.iter().copied())
        .args(["--exact", "--test-threads", THREADS])
        .args(tests);
    let output = command.output().expect("this binary runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let all = format!(
        "test result: ok. {} passed; 0 failed; 0 ignored",
        tests.len()
    );
    assert!(
        output.status.success() && text.contains(&all),
        "{VARIABLE}={}: {}\n{text}",
        door.name(),
        output.status
    );
}

fn this_binary() -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary has a path"));
    command.stdin(Stdio::null());
    command
}
