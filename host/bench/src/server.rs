//! A *server* that is measured: the host, a native server, or a peer of several processes. Dropping
//! it ends them all.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use tempfile::TempDir;
use wasm_pool_host::steps::Totals;

use crate::client::{self, Answer, Pending};
use crate::kernel::{self, Use};
use crate::load::{self, Load, Question};
use crate::process::Running;
use crate::turn::Turn;

/// A free port of this machine.
pub(crate) const LISTEN: &str = "127.0.0.1:0";

/// How long a peer may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a peer that does not answer yet: short beside any start.
const GLANCE: Duration = Duration::from_millis(1);

/// A running server.
pub(crate) struct Server {
    processes: Vec<Running>,
    pub(crate) address: SocketAddr,
    /// What it printed when it was ready; empty for peers.
    pub(crate) start_line: String,
    counting: Counting,
    /// Configurations and sockets of peers.
    _scratch: Option<TempDir>,
}

/// When a server's CPU time is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// While it lives.
    Alive,
    /// When it has ended. The kernel rounds each process's time down to a tick, so that nearly all
    /// of the time of hundreds of processes would be lost. The sum that a parent has of its ended
    /// children is exact.
    Ended,
}

/// The host over this folder, silent about single requests.
pub(crate) fn host(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", LISTEN]);
    command.args(["--log-level", "warn", "--end-with-parent"]);
    command
}

/// A free port for a peer, which can't say which port the kernel gave it. Nobody else is given this
/// one soon.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(any)?.local_addr()?)
}

impl Server {
    /// Starts a server that prints its address when it is ready.
    pub(crate) fn start(name: &str, command: Command) -> anyhow::Result<Self> {
        const FAILED: &str = "it did not start";
        let process = Running::start(name, command)?;
        let start_line = process.line(FAILED)?;
        let address = start_line.split_once("http://").and_then(|(_, rest)| {
            let address = rest.split_whitespace().next()?;
            address.parse().ok()
        });
        Ok(Self {
            address: process.check(address.context(FAILED))?,
            processes: vec![process],
            start_line,
            counting: Counting::Alive,
            _scratch: None,
        })
    }

    /// Starts a peer's processes, one after the other. Returns when the path is answered at the
    /// address.
    pub(crate) fn start_peer(
        commands: Vec<Command>,
        address: SocketAddr,
        scratch: TempDir,
        path: &str,
    ) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for command in commands {
            processes.push(Running::start("the server", ended_with_us(command))?);
        }
        let mut server = Self {
            processes,
            address,
            start_line: String::new(),
            counting: Counting::Alive,
            _scratch: Some(scratch),
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            match server.ask(path) {
                Ok(_) => return Ok(server),
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(error) if server.has_ended()? => return Err(error.context("it has ended")),
                Err(_) => thread::sleep(GLANCE),
            }
        }
    }

    /// The same server, which answers with very many processes. It has ended once it was measured.
    pub(crate) fn of_many_processes(mut self) -> Self {
        self.counting = Counting::Ended;
        self
    }

    /// Gives an error the server's name, and adds what the server said.
    pub(crate) fn check<T, E: Into<anyhow::Error>>(
        &self,
        result: Result<T, E>,
    ) -> anyhow::Result<T> {
        match self.processes.last() {
            Some(process) => process.check(result),
            None => result.map_err(Into::into),
        }
    }

    /// Asks once; the answer must be a good one.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        self.check(
            client::ask(self.address, path).and_then(|answer| match answer.status {
                200 => Ok(answer),
                status => Err(io::Error::other(format!(
                    "{path} is answered with status {status}"
                ))),
            }),
        )
    }

    /// Asks, and leaves the answer for later.
    pub(crate) fn send(&self, path: &str) -> anyhow::Result<Pending> {
        self.check(client::send(self.address, path))
    }

    /// Measures how the server does under a load, and what it uses meanwhile.
    pub(crate) fn measure(
        &mut self,
        load: &Load<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Turn> {
        let groups: Vec<_> = self.processes.iter().map(Running::group).collect();
        let before = Use::of_groups(&groups)?;
        let sample = self.check(load::run(self.address, load, question))?;
        let mut used = Use::of_groups(&groups)?;
        if self.counting == Counting::Ended {
            used.cpu = self.end()?;
        }
        used.cpu = used.cpu.saturating_sub(before.cpu);
        Ok(Turn::of(&sample, used))
    }

    /// Ends it, with all its processes. Returns the CPU time of its whole life.
    fn end(&mut self) -> anyhow::Result<Duration> {
        let before = kernel::cpu_of_ended_children()?;
        for process in &mut self.processes {
            process.terminate()?;
        }
        self.processes.clear();
        Ok(kernel::cpu_of_ended_children()?.saturating_sub(before))
    }

    /// Stops a server of one process that times its steps. Returns how long they took.
    pub(crate) fn steps(self) -> anyhow::Result<Totals> {
        const FAILED: &str = "it did not print its steps";
        let process = self.process()?;
        process.ask_to_end()?;
        let line = process.line(FAILED)?;
        process.check(serde_json::from_str(&line).context(FAILED))
    }

    /// The memory of a server of one process that is in RAM, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        self.process()?.resident_kib()
    }

    fn process(&self) -> anyhow::Result<&Running> {
        match &self.processes[..] {
            [process] => Ok(process),
            _ => bail!("the server is not one process"),
        }
    }

    /// Whether one of its processes has ended by itself.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        for process in &mut self.processes {
            if process.ended()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A peer's command. If this process is killed, the peer is told to stop, and stops its own
/// children.
fn ended_with_us(mut command: Command) -> Command {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. This is one system
    // call, and it allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
    command
}
