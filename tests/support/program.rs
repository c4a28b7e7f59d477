//! A program that runs by itself: `wasm-pool-host run MODULE -- ARGS`, and its output.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::server::{CACHES, PROGRAM};
use super::{PATIENCE, eventually, guests};

/// A running program.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Runs a guest with these arguments to its end.
pub(crate) fn run(name: &str, flags: &str, args: &[&str]) -> Ended {
    Program::start(&guests::path(name), flags, args).ended()
}

/// Runs an actor: each line has a script, and the outcome of its last statement.
///
/// ```text
/// spawn a { }; monitor a; receive     -> a is down: normal
/// ```
pub(crate) fn perform(flags: &str, play: &str) {
    let lines = play.lines().map(str::trim).filter(|line| !line.is_empty());
    let (scripts, expected): (Vec<&str>, Vec<&str>) = lines
        .map(|line| line.rsplit_once("->").expect("a script and its outcome"))
        .map(|(script, outcome)| (script.trim(), outcome.trim()))
        .unzip();
    let ended = run("actor", flags, &scripts);
    let mut outcomes = ended.output.lines();
    for (script, expected) in scripts.iter().zip(expected) {
        let outcome = outcomes.next().map(str::trim);
        assert_eq!(outcome, Some(expected), "{script}\n{}", ended.errors);
    }
    assert_eq!(outcomes.next(), None);
    assert_eq!(ended.code, 0, "{}", ended.errors);
    assert!(!ended.errors.contains("host/src"), "{}", ended.errors);
}

impl Program {
    pub(crate) fn start(module: &Path, flags: &str, args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.env("XDG_CACHE_HOME", CACHES);
        command.arg("run").args(flags.split_whitespace());
        command.arg(module).arg("--").args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut errors = child.stderr.take().expect("standard error is piped");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).expect("standard error");
            let text = String::from_utf8_lossy(&text).into_owned();
            // On a busy machine compiling takes a while, and the program logs it.
            let mut lines: Vec<_> = text.split_inclusive('\n').collect();
            lines.retain(|line| !line.starts_with("wasm-pool-host: compiling "));
            lines.concat()
        });
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n') {
                let line = line.expect("standard output can be read");
                // The receiver may be gone.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let errors = Some(errors);
        Self {
            child,
            lines,
            errors,
        }
    }

    /// The next line of its output.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of output")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program runs");
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let status = eventually("the program ends", || {
            self.child.try_wait().expect("a child's status")
        });
        let errors = self.errors.take().map(|errors| errors.join());
        Ended {
            code: status.code().expect("no signal ended it"),
            output: self.lines.iter().map(|line| line + "\n").collect(),
            errors: errors.and_then(Result::ok).unwrap_or_default(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both calls fail if the program has already ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
