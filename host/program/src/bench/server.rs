//! One *server* that is measured: a child process with memory and a fate of its own, ended when its guard is
//! dropped. What it says on standard error is kept, for the case that something is wrong.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use wasm_pool_host::steps::Totals;

use super::structurings::Structuring;

/// How long a server may take to say where it listens, and, once it is told to stop, what its steps took. What
/// takes long is compiling a large module, and the requests under way at the end have ten seconds; a server that
/// takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an error shows of what a server said: the first of it is the cause of the rest.
const SAID_BYTES: usize = 16 << 10;

/// What the command line says beside a problem.
const USAGE: [&str; 2] = ["error: ", "For more information, try '--help'."];

/// A running server.
pub(super) struct Server {
    structuring: Structuring,
    child: Child,
    /// What it prints.
    lines: Receiver<String>,
    errors: File,
    pub(super) address: SocketAddr,
    /// Whether its module is a program: such modules have no structurings.
    pub(super) is_program: bool,
}

impl Server {
    /// Returns when it says where it listens.
    pub(super) fn start(structuring: Structuring, mut command: Command) -> anyhow::Result<Self> {
        let errors = tempfile::tempfile().context("can't make a temporary file")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()
            .with_context(|| format!("{structuring}: can't start {command:?}"))?;
        let output = child.stdout.take().context("a child without output")?;
        let (sender, lines) = channel();
        let mut server = Self {
            structuring,
            child,
            lines,
            errors,
            address: SocketAddr::from(([0; 4], 0)),
            is_program: false,
        };
        server.check(thread::Builder::new().spawn(move || read(output, &sender)))?;
        let line = server.line("it did not start")?;
        let address = line.split_once("http://").and_then(|(_, rest)| {
            let (address, _) = rest.split_once(char::is_whitespace)?;
            address.parse().ok()
        });
        server.address = server.check(address.context("it did not start"))?;
        server.is_program = line.contains(" · program ");
        Ok(server)
    }

    /// Gives an error this server's name, and what it said about it.
    pub(super) fn check<T, E: Into<anyhow::Error>>(
        &self,
        result: Result<T, E>,
    ) -> anyhow::Result<T> {
        result.map_err(|error| {
            let error = error.into();
            match self.said().as_str() {
                "" => anyhow!("{}: {error:#}", self.structuring),
                said => anyhow!("{}: {error:#}; it said:\n{said}", self.structuring),
            }
        })
    }

    /// Stops it, and has what its steps took.
    pub(super) fn steps(self) -> anyhow::Result<Totals> {
        const FAILED: &str = "it did not print its steps";
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let line = self.line(FAILED)?;
        self.check(serde_json::from_str(&line).context(FAILED))
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// Where there is none in time: `failure`, said of the server.
    fn line(&self, failure: &str) -> anyhow::Result<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        self.check(line.map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow!("{failure} within {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => anyhow!("{failure}"),
        }))
    }

    /// Its memory that is in RAM, in KiB: counted page by page, since the kernel's running totals are rounded.
    pub(super) fn resident_kib(&self) -> anyhow::Result<f64> {
        let pages = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()));
        self.check(
            pages
                .map_err(anyhow::Error::from)
                .and_then(|pages| super::memory::kib(&pages, "Rss")),
        )
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    fn said(&self) -> String {
        let mut said = [0; SAID_BYTES];
        // From a place of its own: the server writes where the file's is. And the error that this is added to
        // matters more than one of reading it.
        let bytes = self.errors.read_at(&mut said, 0).unwrap_or(0);
        in_words(&String::from_utf8_lossy(&said[..bytes]))
    }
}

/// What a server said to whoever starts servers, for whoever started the bench: flags that were not given to
/// the bench are words.
fn in_words(said: &str) -> String {
    let mut said = said.to_owned();
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
    words.trim().to_owned()
}

/// Passes on what a server prints, until it ends or nobody wants to know: a pipe can't be read with a deadline.
fn read(output: ChildStdout, lines: &Sender<String>) {
    let mut printed = BufReader::new(output).lines().map_while(Result::ok);
    let _unwanted = printed.try_for_each(|line| lines.send(line));
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
