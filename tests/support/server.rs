//! A server of one's own: the real binary on a port that the kernel chose, its log read line by
//! line.
//!
//! Each server logs JSON down to `debug` unless the test says otherwise, and a line that isn't JSON
//! fails the test that started it: that is how a panic of the host, or a forged line, comes to
//! light.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{Client, Reply};
use super::log::Log;
use super::{Folder, PATIENCE, eventually, guests};

/// A line that is over soon, for tests that look whether all processes are busy.
pub(crate) const SHORT_QUEUE: &str = "--queue 4 --queue-timeout 100ms";

/// The program itself.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-pool-host");

pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// What the program says on standard output once it is ready.
    pub(crate) start_line: String,
    pub(crate) folder: Folder,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    json: bool,
}

/// A server with the default worker over this folder.
pub(crate) fn serve(folder: Folder, flags: &str) -> Server {
    Server::start(None, folder, flags)
}

/// A server with one of the example guests, over an empty folder.
pub(crate) fn guest(name: &str, flags: &str) -> Server {
    Server::start(Some(&guests::path(name)), Folder::new(), flags)
}

/// A server with one of the example guests, over this folder.
pub(crate) fn guest_over(name: &str, folder: Folder, flags: &str) -> Server {
    Server::start(Some(&guests::path(name)), folder, flags)
}

/// A server with a component written as text, over this folder.
pub(crate) fn component(text: &str, folder: Folder, flags: &str) -> Server {
    let module = folder.path().join("component.wat");
    fs::write(&module, text).expect("a component's text");
    Server::start(Some(&module), folder, flags)
}

/// A server with a module that may not be able to start: then how the program ended, and what it
/// said.
pub(crate) fn try_component(text: &str, flags: &str) -> Result<Server, (ExitStatus, String)> {
    let folder = Folder::new();
    let module = folder.path().join("component.wat");
    fs::write(&module, text).expect("a component's text");
    Server::try_start(Some(&module), folder, flags)
}

impl Server {
    fn start(module: Option<&Path>, folder: Folder, flags: &str) -> Self {
        Self::try_start(module, folder, flags)
            .unwrap_or_else(|(status, text)| panic!("the server did not start: {status}\n{text}"))
    }

    fn try_start(
        module: Option<&Path>,
        folder: Folder,
        flags: &str,
    ) -> Result<Self, (ExitStatus, String)> {
        let mut command = command(module, &folder.root(), flags);
        let mut child = command.spawn().expect("the program runs");
        let log = Arc::new(Log::default());
        let errors = child.stderr.take().expect("standard error is piped");
        let reader = {
            let log = log.clone();
            std::thread::spawn(move || log.read(errors))
        };
        let output = child.stdout.take().expect("standard output is piped");
        let start_line = first_line(output);
        let Some(address) = address(&start_line) else {
            // It has ended, or never will by itself.
            let ended = child.try_wait().expect("a child's status");
            child.kill().expect("the program can be ended");
            let status = child.wait().expect("a child's status");
            reader.join().expect("the log was read");
            assert!(
                ended.is_some() || start_line.is_empty(),
                "not a start line: {start_line:?}"
            );
            return Err((status, log.text()));
        };
        let json = !flags.contains("--log-format text");
        Ok(Self {
            child,
            address,
            start_line,
            folder,
            log,
            reader: Some(reader),
            json,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends a request on a connection of its own, and reads nothing yet.
    pub(crate) fn send(&self, target: &str) -> Client {
        let mut client = self.client();
        client.ask("GET", target, b"");
        client
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.client().get(target)
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.client().request(method, target, fields, body)
    }

    /// Asks on new connections until the answer is `200`. A client that sends its head too late
    /// on a busy machine, or comes before there is room, has to ask again.
    pub(crate) fn wait_served(&self, target: &str) -> Reply {
        eventually(target, || {
            let mut client = Client::try_connect(self.address).ok()?;
            let reply = client.try_request("GET", target, &[], b"").ok()?;
            (reply.status == 200).then_some(reply)
        })
    }

    /// Asks for `/ok` until every process is taken and the line is not served in time: from then
    /// on, what was sent before is running. Needs a short queue timeout, as [`SHORT_QUEUE`] has.
    pub(crate) fn wait_until_busy(&self) {
        eventually("all processes are busy", || {
            (self.get("/ok").status == 503).then_some(())
        });
    }

    /// All log lines so far with this message.
    pub(crate) fn entries(&self, message: &str) -> Vec<Value> {
        self.log
            .lock()
            .entries
            .iter()
            .filter(|entry| entry["message"] == message)
            .cloned()
            .collect()
    }

    /// Waits until there are this many log lines with this message, or more.
    pub(crate) fn wait_entries(&self, message: &str, count: usize) -> Vec<Value> {
        self.log.wait(&format!("{count} times: {message}"), |log| {
            let entries: Vec<_> = log
                .entries
                .iter()
                .filter(|entry| entry["message"] == message)
                .collect();
            (entries.len() >= count).then(|| entries.into_iter().cloned().collect())
        })
    }

    /// Waits for a log line with this message that `wanted` accepts.
    pub(crate) fn wait_entry(&self, message: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(message, |log| {
            log.entries
                .iter()
                .find(|entry| entry["message"] == message && wanted(entry))
                .cloned()
        })
    }

    /// The log line of the request with this id.
    pub(crate) fn wait_request(&self, id: u64) -> Value {
        self.wait_entry("request", |entry| entry["id"] == id)
    }

    /// The log line of the process with this pid that ended.
    pub(crate) fn wait_end(&self, pid: u64) -> Value {
        self.wait_entry("process ended", |entry| entry["pid"] == pid)
    }

    /// Why the process of the request with this id ended.
    pub(crate) fn wait_reason(&self, id: u64) -> String {
        let pid = self.wait_request(id)["pid"].as_u64().expect("a pid");
        let end = self.wait_end(pid);
        end["reason"].as_str().expect("a reason").to_owned()
    }

    /// Waits until exactly this many processes live, and says which.
    pub(crate) fn wait_living(&self, count: usize) -> BTreeSet<u64> {
        self.log.wait(&format!("{count} living processes"), |log| {
            let living = log.living();
            (living.len() == count).then_some(living)
        })
    }

    /// The pids of the processes that live, by the log.
    pub(crate) fn living(&self) -> BTreeSet<u64> {
        self.log.lock().living()
    }

    /// Everything the program wrote to standard error.
    pub(crate) fn log_text(&self) -> String {
        self.log.text()
    }

    /// Waits until standard error has this text.
    pub(crate) fn wait_text(&self, text: &str) {
        self.log
            .wait(text, |log| log.text.contains(text).then_some(()));
    }

    /// How many descriptors the host has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd"))
            .expect("the host's descriptors")
            .count()
    }

    /// How many of them are of a file with this name.
    pub(crate) fn open_files(&self, name: &str) -> usize {
        let entries = fs::read_dir(self.proc("fd")).expect("the host's descriptors");
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.ends_with(name)).count()
    }

    /// How many bytes clients have sent that the host has not read yet.
    pub(crate) fn unread(&self) -> u64 {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's connections");
        let port = format!(":{:04X}", self.address.port());
        let queue = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let established = fields.get(3) == Some(&"01");
            let ours = fields.get(1).is_some_and(|local| local.ends_with(&port));
            let (_, unread) = fields.get(4)?.split_once(':')?;
            (established && ours)
                .then(|| u64::from_str_radix(unread, 16).ok())
                .flatten()
        };
        table.lines().skip(1).filter_map(queue).sum()
    }

    /// By how many bytes the host's peak of resident memory has grown since it was `before`. The
    /// kernel adds up its counters loosely: a later peak may be a little lower.
    pub(crate) fn grown(&self, before: u64) -> u64 {
        self.memory("VmHWM").saturating_sub(before)
    }

    /// A line of `/proc/PID/status` in bytes: `VmRSS` is resident memory now, `VmHWM` its peak.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("the host's status");
        let value = status
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let value = value
            .and_then(|text| text.trim().strip_suffix(" kB"))
            .expect("a size in kB");
        value.trim().parse::<u64>().expect("a number") * 1024
    }

    /// Processor time the host has used so far, in clock ticks of 10 ms.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).expect("the host's times");
        let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
        let field = |number: usize| {
            after_name
                .split_whitespace()
                .nth(number)
                .and_then(|text| text.parse().ok())
        };
        let (user, system): (Option<u64>, Option<u64>) = (field(11), field(12));
        user.zip(system)
            .map(|(user, system)| user + system)
            .expect("user and system time")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the program runs and takes a signal");
    }

    /// Waits for the program to end by itself.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the program ends", || {
            child.try_wait().expect("a child's status")
        });
        self.finish_log();
        status
    }

    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log was read");
        }
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where the program has ended already, which is what we want of them.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.finish_log();
        let log = self.log.lock();
        if std::thread::panicking() {
            let from = log.text.lines().count().saturating_sub(40);
            let tail: Vec<&str> = log.text.lines().skip(from).collect();
            eprintln!("the server's last words:\n{}", tail.join("\n"));
        } else {
            assert!(
                !self.json || log.strangers.is_empty(),
                "not log lines: {:#?}",
                log.strangers
            );
            assert!(
                !log.text.contains("panicked at host/src"),
                "the host panicked:\n{}",
                log.text
            );
        }
    }
}

/// The program with its output captured, its log as the tests want it, and a port that is free.
pub(crate) fn command(module: Option<&Path>, root: &Path, flags: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    if let Some(module) = module {
        command.arg("--module").arg(module);
    }
    let root = root.to_str().expect("temporary folders have plain names");
    for (flag, value) in [
        ("--listen", "127.0.0.1:0"),
        ("--root", root),
        ("--log-format", "json"),
        ("--log-level", "debug"),
    ] {
        if !flags.contains(flag) {
            command.args([flag, value]);
        }
    }
    command.args(flags.split_whitespace());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The first line of the program's output; empty if it ends without one, or has none in good time.
fn first_line(output: impl Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        // Nobody may be waiting any longer.
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.recv_timeout(PATIENCE).unwrap_or(Ok(String::new()));
    line.expect("standard output is text")
}

/// The address in a start line.
pub(crate) fn address(start_line: &str) -> Option<SocketAddr> {
    let after = start_line.split_once("http://")?.1;
    let end = after.find(|letter: char| !letter.is_ascii_digit() && !".:".contains(letter));
    after[..end.unwrap_or(after.len())].parse().ok()
}
