//! The *servers* that are measured: child processes on ports of the kernel's choice, each alone on the
//! machine with the load, ended when their guard is dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// The first argument of this program when it shall be the native server.
pub(crate) const BE_NATIVE: &str = "--be-native";

/// A free port of this machine.
const LISTEN: &str = "127.0.0.1:0";

/// How long a single answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// The native server over this folder.
pub(crate) fn native(root: &Path) -> anyhow::Result<Server> {
    native_with(root.as_os_str())
}

/// The native server with an answer that never changes.
pub(crate) fn constant() -> anyhow::Result<Server> {
    native_with("--constant".as_ref())
}

fn native_with(source: &OsStr) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(BE_NATIVE).arg(source).arg(LISTEN);
    Server::start(command)
}

/// The host over this folder, as its users have it, except that it is silent about single requests.
pub(crate) fn host(root: &Path, flags: &[&str]) -> anyhow::Result<Server> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasm-pool-host"));
    command.arg("--root").arg(root);
    command.args(["--listen", LISTEN, "--log-level", "warn"]);
    command.args(flags);
    Server::start(command)
}

impl Server {
    /// Returns when it says where it listens.
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut server = Self {
            child: child.with_context(|| format!("can't run {command:?}"))?,
            address: SocketAddr::from(([0; 4], 0)),
        };
        let mut line = String::new();
        if let Some(output) = &mut server.child.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line.split_once("http://").and_then(|(_, rest)| {
            let (address, _) = rest.split_once(char::is_whitespace)?;
            address.parse().ok()
        });
        server.address = address.with_context(|| format!("{command:?} said {line:?}"))?;
        Ok(server)
    }

    /// Asks once, on a connection of its own.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Pending> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let fields = format!("host: {}\r\nconnection: close", self.address);
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes())?;
        Ok(Pending { stream })
    }

    /// The memory of this process that is in RAM, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("/proc does not say")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("a response that is not 200: {answer:?}");
        }
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
