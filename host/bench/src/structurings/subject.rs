//! The *subject*: the five structurings under comparison, and the content that all of them serve.
//! Three are the ordinary program with its `--mode`; the other two are
//! [yardsticks](super::yardstick).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::Settings;
use crate::client;
use crate::load::Question;
use crate::server::{self, Server};

/// The process or thread that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structuring {
    /// The only process.
    Single,
    /// A process that is created for the request.
    PerRequest,
    /// An idle process.
    Pool,
    /// Native: an idle thread.
    Threads,
    /// Native: a process that is created for the request by fork and exec.
    ForkExec,
}

/// The served content and the requests for it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(super) program: PathBuf,
    /// For the host: the files that guests may read, and their limits.
    pub(super) guests: Vec<OsString>,
    pub(super) max_open_files: u32,
    pub(super) module: Option<PathBuf>,
    pub(super) path: String,
    /// The answer that all give.
    pub(super) body: Vec<u8>,
    /// A file with this answer, for the yardsticks.
    pub(super) file: PathBuf,
}

impl Structuring {
    pub(crate) const ALL: [Self; 5] = [
        Self::Single,
        Self::PerRequest,
        Self::Pool,
        Self::Threads,
        Self::ForkExec,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::PerRequest => "per-request",
            Self::Pool => "pool",
            Self::Threads => "threads",
            Self::ForkExec => "fork-exec",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Threads | Self::ForkExec)
    }
}

impl Subject {
    /// Sends the module one request, so that all servers can give the same answer.
    pub(crate) fn new(settings: &Settings, scratch: &Path) -> anyhow::Result<Self> {
        let mut subject = Self {
            program: std::env::current_exe().context("can't find this program itself")?,
            guests: settings.guests.clone(),
            max_open_files: settings.max_open_files,
            module: settings.module.clone(),
            path: settings.path.clone(),
            body: Vec::new(),
            file: PathBuf::new(),
        };
        subject.body = subject.answer()?;
        subject.file = scratch.join("body");
        fs::write(&subject.file, &subject.body).context("can't write a temporary file")?;
        Ok(subject)
    }

    fn answer(&self) -> anyhow::Result<Vec<u8>> {
        let path = &self.path;
        let server = self.server(Structuring::Pool, &[])?;
        ensure!(
            !server.start_line.contains(" · program "),
            "the module exports `run`; only modules that export `handle` can be measured"
        );
        let ask = || server.check(client::ask(server.address, path));
        let (first, second) = (ask()?, ask()?);
        ensure!(
            first.is_good(),
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

    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            path: &self.path,
            body: &self.body,
        }
    }

    /// Starts a server, with these flags in addition.
    pub(crate) fn server(&self, one: Structuring, flags: &[&str]) -> anyhow::Result<Server> {
        let mut command = server::host(&self.program);
        match one {
            // Without a mode there is a pool, also for a module that has no modes.
            Structuring::Pool => {}
            Structuring::Single | Structuring::PerRequest => {
                command.args(["--mode", one.name()]);
            }
            Structuring::Threads | Structuring::ForkExec => {
                command = Command::new(&self.program);
                command.args(["yardstick", "--file"]).arg(&self.file);
            }
        }
        if one == Structuring::ForkExec {
            command.arg("--fork-exec");
        }
        if one.is_ours() {
            command.args(&self.guests);
            command.args(["--max-open-files", &self.max_open_files.to_string()]);
            let module = self.module.iter();
            command.args(module.flat_map(|module| ["--module".as_ref(), module.as_os_str()]));
        }
        command.args(flags);
        Server::start(one.name(), command)
    }
}
