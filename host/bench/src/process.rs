//! A *process* under measurement: a child of this process, which leads a process group. Dropping
//! the guard ends the whole group. Its output is read line by line, and its standard error is kept
//! for errors.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::kernel;

/// The longest silence of a process when a line is expected, and the longest time that it may take
/// to end. Compiling a large module takes long, and so do requests that are running at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The interval between two checks whether a process has ended.
const GLANCE: Duration = Duration::from_millis(1);

/// The most lines in the queue. A process that prints more waits.
const LINES: usize = 1024;

/// The most bytes of standard error that an error repeats. It repeats the first bytes, since they
/// are the cause of the rest.
const SAID_BYTES: usize = 16 << 10;

/// A running process.
pub(crate) struct Running {
    /// For errors.
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: File,
}

impl Running {
    pub(crate) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let errors = tempfile::tempfile().context("can't make a temporary file")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name}: can't start {command:?}"))?;
        let output = child.stdout.take();
        let (sender, lines) = sync_channel(LINES);
        let running = Self {
            name: name.to_owned(),
            child,
            lines,
            errors,
        };
        let output = output.context("a child without output")?;
        running.check(thread::Builder::new().spawn(move || read(output, &sender)))?;
        Ok(running)
    }

    /// Adds the process's name to an error, and the process's output on standard error.
    pub(crate) fn check<T, E: Into<anyhow::Error>>(
        &self,
        result: Result<T, E>,
    ) -> anyhow::Result<T> {
        result.map_err(|error| {
            let (name, error) = (&self.name, error.into());
            match self.said().as_str() {
                "" => anyhow!("{name}: {error:#}"),
                said => anyhow!("{name}: {error:#}; it said:\n{said}"),
            }
        })
    }

    fn said(&self) -> String {
        let mut said = [0; SAID_BYTES];
        // Reads at its own position, since the process writes at the file's. An error of reading
        // matters less than the error that this text is added to.
        let bytes = self.errors.read_at(&mut said, 0).unwrap_or(0);
        String::from_utf8_lossy(&said[..bytes]).trim().to_owned()
    }

    /// The next line of output.
    ///
    /// # Errors
    /// If no line arrives in time. The error is `failure`, with the process's name.
    pub(crate) fn line(&self, failure: &str) -> anyhow::Result<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        self.check(line.map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow!("{failure} within {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => anyhow!("{failure}"),
        }))
    }

    /// Waits until the process ends, which must succeed. Returns all lines of output.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let mut output = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => output += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(error) => return self.check(Err(error)),
            }
        }
        let status = self.ended_in_time()?;
        self.check(status.success().then_some(()).context(status))?;
        Ok(output)
    }

    /// Ends the process in an orderly way.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        self.ended_in_time().map(|_status| ())
    }

    /// Asks only the process itself to end, not the others of its group.
    pub(crate) fn ask_to_end(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    fn ended_in_time(&mut self) -> anyhow::Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(begin.elapsed() < PATIENCE, "{}: it does not end", self.name);
            thread::sleep(GLANCE);
        }
    }

    /// The exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The process group's id.
    pub(crate) fn group(&self) -> u32 {
        self.child.id()
    }

    /// The size in a field of a file of `/proc/PID`, in KiB.
    pub(crate) fn kib(&self, file: &str, field: &str) -> anyhow::Result<f64> {
        self.check(kernel::kib(&format!("{}/{file}", self.child.id()), field))
    }

    /// The resident memory in KiB. The kernel counts it page by page for this file; its running
    /// totals are rounded.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        self.kib("smaps_rollup", "Rss")
    }

    fn signal(&self, signal: Signal) {
        // The whole group may have ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

/// Passes on lines of output, until the process ends or the receiver is gone. This needs its own
/// thread, since a pipe can't be read with a deadline.
fn read(output: ChildStdout, lines: &SyncSender<String>) {
    let mut printed = BufReader::new(output).lines().map_while(Result::ok);
    let _unwanted = printed.try_for_each(|line| lines.send(line));
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
