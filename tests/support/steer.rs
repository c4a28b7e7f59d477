//! Asks a running host, by the program itself, over the control socket in its test's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::eventually;
use super::server::{PROGRAM, Server, isolate, outcome};

/// The program with these arguments, which finds the hosts of this folder.
pub(crate) fn asking(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split_whitespace());
    isolate(&mut command, folder);
    command
}

/// The exit code and the output of a command that asks the hosts of this folder.
pub(crate) fn ask(folder: &Path, arguments: &str) -> (i32, String) {
    outcome(&mut asking(folder, arguments))
}

/// The output of a command that succeeds.
pub(crate) fn told(server: &Server, arguments: &str) -> String {
    let (code, text) = ask(server.folder.path(), arguments);
    assert_eq!(code, 0, "{arguments}: {text}");
    text
}

/// The same as JSON.
pub(crate) fn json(server: &Server, arguments: &str) -> Value {
    serde_json::from_str(&told(server, arguments)).expect("JSON")
}

/// The control socket.
pub(crate) fn socket(server: &Server) -> PathBuf {
    let name = format!("wasm-pool-host/{}.sock", server.pid());
    server.folder.path().join(name)
}

/// Waits until this many requests run.
pub(crate) fn wait_running(server: &Server, count: usize) {
    eventually(&format!("{count} requests run"), || {
        let list = json(server, "ps --json");
        let processes = list.as_array().expect("an array");
        let running = processes
            .iter()
            .filter(|process| process["request"].is_number());
        (running.count() == count).then_some(())
    });
}
