//! A running *server*: child processes in the foreground, on a port of their own, alone on the machine with the
//! load, ended with all their children when their guard is dropped.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::cost::{self, Use};

/// How long a single answer, or a start, may take; that of ten thousand processes too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether a server that starts listens by now: small beside any start.
const PAUSE: Duration = Duration::from_millis(1);

/// What of a server's last words an error repeats.
const LAST_WORDS: usize = 1000;

/// One running server.
pub(crate) struct Server {
    /// Each leads a process group.
    children: Vec<Child>,
    pub(crate) address: SocketAddr,
    counting: Counting,
    /// Configurations, sockets, and what they wrote to standard error.
    scratch: TempDir,
}

/// When a server's CPU time is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// While it lives.
    Alive,
    /// When it has ended, and all its processes with it. The kernel rounds each one's time down to a tick: with
    /// hundreds of processes nearly all of it would be lost. In the sum that a parent has of those it waited
    /// for, nothing is.
    Ended,
}

/// A free port of this machine: it is the kernel's choice, and given back. Nobody else will be given it soon.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(any)?.local_addr()?)
}

impl Server {
    /// Starts these one after the other; returns when the path is answered at the address.
    pub(crate) fn start(
        commands: Vec<Command>,
        address: SocketAddr,
        scratch: TempDir,
        path: &str,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            children: Vec::new(),
            address,
            counting: Counting::Alive,
            scratch,
        };
        for command in commands {
            server.spawn(command)?;
        }
        let give_up = Instant::now() + PATIENCE;
        loop {
            match server.ask(path).and_then(Pending::answer) {
                Ok(_) => return Ok(server),
                Err(error) if Instant::now() > give_up => {
                    return Err(error.context(server.last_words()));
                }
                Err(_) => server.check()?,
            }
            thread::sleep(PAUSE);
        }
    }

    /// The same, for one that answers with ever so many processes. Once measured, it has ended.
    pub(crate) fn of_many_processes(mut self) -> Self {
        self.counting = Counting::Ended;
        self
    }

    fn spawn(&mut self, mut command: Command) -> anyhow::Result<()> {
        let errors = File::options()
            .create(true)
            .append(true)
            .open(self.scratch.path().join("stderr"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(errors).process_group(0);
        // SAFETY: between fork and exec only what is safe in a signal handler may be called; this is one system
        // call, and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // If we are killed: their orderly stop, which takes their own children along.
                Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
            });
        }
        let child = command.spawn();
        self.children
            .push(child.with_context(|| format!("can't run {command:?}"))?);
        Ok(())
    }

    /// That none of them has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        for at in 0..self.children.len() {
            if let Some(status) = self.children[at].try_wait()? {
                bail!("it ended with {status}: {}", self.last_words());
            }
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let words = std::fs::read(self.scratch.path().join("stderr")).unwrap_or_default();
        let start = words.len().saturating_sub(LAST_WORDS);
        String::from_utf8_lossy(&words[start..]).trim().to_owned()
    }

    /// Asks once, on a connection of its own.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Pending> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let fields = format!("host: {}\r\nconnection: close", self.address);
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes())?;
        Ok(Pending { stream })
    }

    /// What it uses while this is done.
    pub(crate) fn using<T>(
        &mut self,
        work: impl FnOnce(SocketAddr) -> std::io::Result<T>,
    ) -> anyhow::Result<(T, Use)> {
        let groups: Vec<_> = self.children.iter().map(Child::id).collect();
        let before = cost::used(&groups)?;
        let result = work(self.address)?;
        let mut used = cost::used(&groups)?;
        if self.counting == Counting::Ended {
            used.cpu = self.end()?;
        }
        used.cpu = used.cpu.saturating_sub(before.cpu);
        Ok((result, used))
    }

    /// Asks it to end, with all its processes; returns the CPU time of its whole life.
    fn end(&mut self) -> anyhow::Result<Duration> {
        let before = cost::of_those_waited_for()?;
        for child in &mut self.children {
            signal(child, Signal::TERM);
            let give_up = Instant::now() + PATIENCE;
            while child.try_wait()?.is_none() {
                ensure!(Instant::now() < give_up, "it does not end");
                thread::sleep(PAUSE);
            }
        }
        self.children.clear();
        Ok(cost::of_those_waited_for()?.saturating_sub(before))
    }

    /// The memory of a server of one process that is in RAM, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        let [child] = &self.children[..] else {
            bail!("it is not one process");
        };
        let kib = cost::kib(child.id(), "VmRSS")?;
        kib.context("it has ended")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            signal(child, Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// Sends it to its whole group. All of it may have ended by itself; then there is nothing to do.
fn signal(leader: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(leader.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// A request that was sent. Dropped, its connection is closed.
pub(crate) struct Pending {
    stream: TcpStream,
}

impl Pending {
    /// The whole response, which must be a good one.
    pub(crate) fn answer(mut self) -> anyhow::Result<String> {
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(
            answer.starts_with("HTTP/1.1 200 "),
            "a response that is not 200: {answer:?}"
        );
        Ok(answer.into_owned())
    }

    /// That nothing has come back so far.
    pub(crate) fn is_running(&self) -> anyhow::Result<()> {
        self.stream.set_nonblocking(true)?;
        match self.stream.peek(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => bail!("it was answered"),
        }
    }
}
