//! A *server* under measurement: the host, a native server, or a peer of several processes.
//! Dropping it ends all its processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::process::{Signal, set_parent_process_death_signal};
use tempfile::TempDir;
use wasm_pool_host::steps::Totals;

use crate::client::{self, Answer, Pending};
use crate::kernel::{self, Use};
use crate::load::{self, Load, Question};
use crate::process::Running;
use crate::quantities::{CPU, P50, P99, P99_9, PEAK, RATE};
use crate::results::Turn;

/// Lets the kernel choose a free port of this machine.
pub(crate) const LISTEN: &str = "127.0.0.1:0";

/// The longest time until a peer answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interval between two requests to a peer that does not answer yet. It is short compared to
/// any start.
const GLANCE: Duration = Duration::from_millis(1);

/// A running server.
pub(crate) struct Server {
    processes: Vec<Running>,
    pub(crate) address: SocketAddr,
    /// The line that the server printed when it was ready. Empty for peers.
    pub(crate) start_line: String,
    /// Whether its CPU time is read after its end, and not while it lives. The kernel rounds each
    /// process's time down to a tick, so hundreds of processes would lose nearly all of their time.
    /// The sum that a parent has of its ended children is exact.
    ends_to_count: bool,
    /// The folder for a peer's configurations and sockets.
    _scratch: Option<TempDir>,
}

/// The host. It doesn't log single requests.
pub(crate) fn host(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", LISTEN]);
    command.args(["--log-level", "warn", "--end-with-parent"]);
    command
}

/// A free port for a peer, since a peer can't report the port that the kernel gave it. The kernel
/// won't give this port away again soon.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(any)?.local_addr()?)
}

/// Waits until a process listens at this address, for processes that print nothing then.
pub(crate) fn wait_for(process: &Running, address: SocketAddr) -> anyhow::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(address) {
        if Instant::now() > give_up {
            return process.check(Err(error));
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}

impl Server {
    /// Starts a server that prints its address when it is ready.
    pub(crate) fn start(name: &str, command: Command) -> anyhow::Result<Self> {
        const FAILED: &str = "it did not start";
        let process = Running::start(name, command)?;
        let start_line = process.line(FAILED)?;
        let address = start_line.split_once("://").and_then(|(_, rest)| {
            let address = rest.split_whitespace().next()?;
            address.parse().ok()
        });
        Ok(Self {
            address: process.check(address.context(FAILED))?,
            processes: vec![process],
            start_line,
            ends_to_count: false,
            _scratch: None,
        })
    }

    /// Starts a peer's processes, one after the other. Returns once a request for the path is
    /// answered at the address.
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
            ends_to_count: false,
            _scratch: Some(scratch),
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            match server.ask(path) {
                Ok(_) => return Ok(server),
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(error) if server.has_ended() => return Err(error.context("it has ended")),
                Err(_) => thread::sleep(GLANCE),
            }
        }
    }

    /// The same server, with other processes that do a part of its work.
    pub(crate) fn beside(mut self, others: Vec<Running>) -> Self {
        self.processes.splice(0..0, others);
        self
    }

    /// The same server, for the case that many processes answer. Its measurement ends it.
    pub(crate) fn of_many_processes(mut self) -> Self {
        self.ends_to_count = true;
        self
    }

    /// Adds the server's name to an error, and the server's output.
    pub(crate) fn check<T, E: Into<anyhow::Error>>(
        &self,
        result: Result<T, E>,
    ) -> anyhow::Result<T> {
        match self.processes.last() {
            Some(process) => process.check(result),
            None => result.map_err(Into::into),
        }
    }

    /// Sends a request. The answer must be good.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        let answer = self.check(client::ask(self.address, path))?;
        let status = answer.status;
        let refused = || anyhow!("{path} is answered with status {status}");
        self.check(answer.is_good().then_some(answer).ok_or_else(refused))
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn send(&self, path: &str) -> anyhow::Result<Pending> {
        self.check(client::send(self.address, path))
    }

    /// Measures the server under a load, and the resources that it uses meanwhile.
    pub(crate) fn measure(
        &mut self,
        load: &Load<'_>,
        question: Question<'_>,
    ) -> anyhow::Result<Turn> {
        let address = self.address;
        let (tally, used) = self.used_during(|| load::run(address, load, question))?;
        let cpu = used.cpu.as_secs_f64();
        Ok(vec![
            (RATE, tally.per_second),
            (P50, tally.latency_ms(0.5)),
            (P99, tally.latency_ms(0.99)),
            (P99_9, tally.latency_ms(0.999)),
            (CPU, cpu * 1000.0 / tally.responses_in_all()),
            (PEAK, used.peak_kib / 1024.0),
            ("failed", tally.failed as f64),
            ("requests", tally.requests() as f64),
        ])
    }

    /// What the work returns, and the resources that the server uses meanwhile.
    pub(crate) fn used_during<T, E: Into<anyhow::Error>>(
        &mut self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> anyhow::Result<(T, Use)> {
        let groups: Vec<_> = self.processes.iter().map(Running::group).collect();
        let before = Use::of_groups(&groups)?;
        let done = self.check(work())?;
        let mut used = Use::of_groups(&groups)?;
        if self.ends_to_count {
            used.cpu = self.end()?;
        }
        used.cpu = used.cpu.saturating_sub(before.cpu);
        Ok((done, used))
    }

    /// Ends the server with all its processes. Returns the CPU time of its whole life.
    fn end(&mut self) -> anyhow::Result<Duration> {
        let before = kernel::cpu_of_ended_children()?;
        for process in &mut self.processes {
            process.terminate()?;
        }
        self.processes.clear();
        Ok(kernel::cpu_of_ended_children()?.saturating_sub(before))
    }

    /// Stops a server of one process that times its steps. Returns the times.
    pub(crate) fn steps(self) -> anyhow::Result<Totals> {
        const FAILED: &str = "it did not print its steps";
        let process = self.process()?;
        process.ask_to_end()?;
        let line = process.line(FAILED)?;
        process.check(serde_json::from_str(&line).context(FAILED))
    }

    /// The resident memory of a server of one process, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        self.process()?.resident_kib()
    }

    fn process(&self) -> anyhow::Result<&Running> {
        self.processes.last().context("the server has ended")
    }

    /// Whether one of its processes has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut ends = self.processes.iter_mut().map(Running::ended);
        ends.any(|end| !matches!(end, Ok(None)))
    }
}

/// A peer's command. If this process is killed, the peer is told to stop, and then stops its own
/// children.
pub(crate) fn ended_with_us(mut command: Command) -> Command {
    // SAFETY: between fork and exec, only async-signal-safe calls are allowed. This is one system
    // call, and it doesn't allocate.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
    command
}
