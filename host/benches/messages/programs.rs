//! The *programs* that are measured: child processes of this one, each alone on the machine, ended when their
//! guard is dropped.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

/// More than any program here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The host as its users have it, running a program whose root may have so many children.
pub(crate) fn host(program: &Path, children: usize, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasm-pool-host"));
    command.arg("run");
    command.args(["--max-processes", &(children + 1).to_string()]);
    command.args(["--max-children", &children.to_string()]);
    command.arg(program).arg("--").args(args);
    command
}

/// All that it prints, and that it ends well.
pub(crate) fn output(command: Command) -> anyhow::Result<String> {
    let mut running = Running::start(command)?;
    let output = running.said(|mut stdout| {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    })?;
    let status = running.child.wait()?; // it has closed its output: it is about to end
    ensure!(status.success(), "{}: {status}", running.name);
    Ok(output)
}

/// One that runs on.
pub(crate) struct Running {
    child: Child,
    /// For messages of errors.
    name: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("can't run {name}"))?;
        Ok(Self { child, name })
    }

    /// Waits for the first line that it prints; what comes after is lost.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        self.said(|stdout| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        })
    }

    /// A line of `/proc` about this process that has this name, in KiB.
    pub(crate) fn kib(&self, file: &str, name: &str) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(field, _)| *field == name);
        let kib = field.and_then(|(_, kib)| kib.split_whitespace().next());
        Ok(kib.context("/proc does not say")?.parse()?)
    }

    /// What `read` reads of its output, in time: a thread reads, so that this one can stop waiting.
    fn said(
        &mut self,
        read: impl FnOnce(ChildStdout) -> io::Result<String> + Send + 'static,
    ) -> anyhow::Result<String> {
        let stdout = self.child.stdout.take().context("it was read before")?;
        let (said, hear) = mpsc::channel();
        thread::spawn(move || said.send(read(stdout)));
        let text = hear.recv_timeout(PATIENCE);
        Ok(text.with_context(|| format!("{} is silent", self.name))??)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
