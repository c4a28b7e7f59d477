//! The five *structurings* of a server that are compared, and what they all serve. Ours are the ordinary
//! program with its `--mode`; the other two are [yardsticks](super::yardstick).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::client;
use super::scratch::Scratch;
use super::server::Server;
use crate::cli::Bench;

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Structuring {
    /// The one process there is.
    Single,
    /// A process that is created for it.
    PerRequest,
    /// An idle process.
    Pool,
    /// Natively, an idle thread.
    Threads,
    /// Natively, a process that is created for it by fork and exec.
    ForkExec,
}

/// What is served.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) program: PathBuf,
    /// For ours: what guests may read, and their limits.
    guests: [OsString; 4],
    max_open_files: u32,
    module: Option<PathBuf>,
    pub(super) path: String,
    /// What all answer.
    pub(super) body: Vec<u8>,
    /// A file that holds it, for the yardsticks.
    pub(super) file: PathBuf,
}

impl Structuring {
    pub(super) const ALL: [Self; 5] = [
        Self::Single,
        Self::PerRequest,
        Self::Pool,
        Self::Threads,
        Self::ForkExec,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::PerRequest => "per-request",
            Self::Pool => "pool",
            Self::Threads => "threads",
            Self::ForkExec => "fork-exec",
        }
    }

    /// Whether it is ours.
    pub(super) fn is_ours(self) -> bool {
        match self {
            Self::Single | Self::PerRequest | Self::Pool => true,
            Self::Threads | Self::ForkExec => false,
        }
    }
}

impl Site {
    /// Asks the module once, in order to have the same answered by all.
    pub(super) fn new(args: &Bench, scratch: &Scratch) -> anyhow::Result<Self> {
        let mut site = Self {
            program: std::env::current_exe().context("can't find this program itself")?,
            guests: args.guests.flags(),
            max_open_files: args.guests.max_open_files,
            module: args.place.module.clone(),
            path: args.path.clone(),
            body: Vec::new(),
            file: PathBuf::new(),
        };
        site.body = site.answer()?;
        site.file = scratch.write("body", &site.body)?;
        Ok(site)
    }

    fn answer(&self) -> anyhow::Result<Vec<u8>> {
        let path = &self.path;
        let server = self.server(Structuring::Pool, &[])?;
        ensure!(
            !server.is_program,
            "the module exports `run`; only modules that export `handle` can be measured"
        );
        let ask = || server.check(client::ask(server.address, path));
        let (first, second) = (ask()?, ask()?);
        ensure!(
            first.status == 200,
            "path {path}: the module answers with status {}; only what is answered with 200 can be measured",
            first.status
        );
        ensure!(
            first.body == second.body,
            "path {path}: the module answers with another body each time; what can't be checked can't be \
             measured: choose a path that is always answered with the same"
        );
        Ok(first.body)
    }

    /// The same with another module, which the yardsticks know nothing of.
    pub(super) fn with_module(self, module: PathBuf) -> Self {
        Self {
            module: Some(module),
            ..self
        }
    }

    /// The same, with so many files for each process.
    pub(super) fn with_open_files(self, max_open_files: u32) -> Self {
        Self {
            max_open_files,
            ..self
        }
    }

    /// Starts a server, which gets these flags as well.
    pub(super) fn server(
        &self,
        structuring: Structuring,
        flags: &[&str],
    ) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.program);
        if structuring.is_ours() {
            command.args(["serve", "--listen", super::LISTEN]);
            // A pool is what there is without a mode, for a module that knows none too.
            if structuring != Structuring::Pool {
                command.args(["--mode", structuring.name()]);
            }
            command.args(["--log-level", "warn", "--end-with-parent"]);
            command.args(&self.guests);
            command.args(["--max-open-files", &self.max_open_files.to_string()]);
            if let Some(module) = &self.module {
                command.arg("--module").arg(module);
            }
        } else {
            command.args(["yardstick", "--kind", structuring.name(), "--file"]);
            command.arg(&self.file);
        }
        command.args(flags);
        Server::start(structuring, command)
    }
}

impl std::fmt::Display for Structuring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
