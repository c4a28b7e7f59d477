//! One *server* that is measured: a child process with memory and a fate of its own, ended when its guard is
//! dropped. What it says on standard error is kept, for the case that something is wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use wasm_pool_host::steps::Totals;

use super::structurings::Structuring;

/// A running server.
pub(super) struct Server {
    structuring: Structuring,
    child: Child,
    output: BufReader<ChildStdout>,
    errors: File,
    pub(super) address: SocketAddr,
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
        let mut server = Self {
            structuring,
            child,
            output: BufReader::new(output),
            errors,
            address: SocketAddr::from(([0; 4], 0)),
        };
        let mut line = String::new();
        server.output.read_line(&mut line)?;
        let address = line.split_once("http://").and_then(|(_, rest)| {
            let (address, _) = rest.split_once(char::is_whitespace)?;
            address.parse().ok()
        });
        server.address = server.check(address.context("it did not start"))?;
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
    pub(super) fn steps(mut self) -> anyhow::Result<Totals> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut line = String::new();
        let read = self.output.read_to_string(&mut line);
        self.check(read)?;
        self.check(serde_json::from_str(&line).context("it did not print its steps"))
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
        let mut said = String::new();
        let mut errors = &self.errors;
        // The error that this is added to matters more than one of reading it.
        let _ = errors
            .rewind()
            .and_then(|()| errors.read_to_string(&mut said));
        said.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
