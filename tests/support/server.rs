//! A server for one test: the real binary, on a port that the kernel chose, its log read line by
//! line.
//!
//! Each server logs JSON down to `debug` unless the test sets otherwise. A line that isn't JSON
//! fails the test that started the server. So a panic of the host, or a forged line, is detected.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::door::{Address, Door};
use super::http::{Client, Reply};
use super::log::Log;
use super::{Folder, PATIENCE, eventually, guests};

/// A short line with a short timeout, for tests that check whether all processes are busy.
pub(crate) const SHORT_QUEUE: &str = "--queue 4 --queue-timeout 100ms";

/// The program itself.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-pool-host");

/// The folder of caches: the tests leave that of the user alone.
pub(crate) const CACHES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/caches");

pub(crate) struct Server {
    child: Child,
    /// Where clients find it, and what they speak there.
    pub(crate) door: Address,
    /// The line on standard output that says that the program is ready.
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

/// A server with one of the example guests in the clear, and at another address over TLS, with the
/// certificate that all clients trust.
pub(crate) fn guest_with_tls(name: &str, flags: &str) -> Server {
    const PLACES: &str = "--listen http://127.0.0.1:0 --listen https://127.0.0.1:0";
    let folder = Folder::new();
    let pair = Door::Tls.flags(folder.path(), PLACES).join(" ");
    guest_over(name, folder, &format!("{PLACES} {pair} {flags}"))
}

/// A server with the module of this path, over this folder.
pub(crate) fn module(path: &Path, folder: Folder, flags: &str) -> Server {
    Server::start(Some(path), folder, flags)
}

/// A server with a component written as text, over this folder.
pub(crate) fn component(text: &str, folder: Folder, flags: &str) -> Server {
    let module = folder.path().join("component.wat");
    fs::write(&module, text).expect("a component's text");
    Server::start(Some(&module), folder, flags)
}

/// A server with this configuration, which stands in the test's folder. The guests' roots are what
/// it says.
pub(crate) fn configured(config: &str, folder: Folder, flags: &str) -> Server {
    let file = folder.path().join("host.toml");
    fs::write(&file, config).expect("a configuration");
    let file = file.to_str().expect("temporary folders have plain names");
    Server::start(None, folder, &format!("--config {file} {flags}"))
}

/// A server with a module that may not be able to start. If it doesn't start: the program's exit
/// status, and its output.
pub(crate) fn try_component(text: &str, flags: &str) -> Result<Server, (ExitStatus, String)> {
    let folder = Folder::new();
    let module = folder.path().join("component.wat");
    fs::write(&module, text).expect("a component's text");
    Server::try_start(Some(&module), folder, flags)
}

/// A server with the module of this path, if one is given, and with these variables around it.
pub(crate) fn with_variables(
    module: Option<&Path>,
    folder: Folder,
    flags: &str,
    variables: &[(&str, &str)],
) -> Server {
    let mut command = command(module, &folder.root(), flags);
    command.envs(variables.iter().copied());
    started(Server::of(command, folder, flags))
}

/// A server with these flags that may not be able to start. If it doesn't start: the program's exit
/// status, and its output.
pub(crate) fn try_serve(
    module: Option<&Path>,
    flags: &str,
) -> Result<Server, (ExitStatus, String)> {
    Server::try_start(module, Folder::new(), flags)
}

fn started(server: Result<Server, (ExitStatus, String)>) -> Server {
    server.unwrap_or_else(|(status, text)| panic!("the server did not start: {status}\n{text}"))
}

impl Server {
    fn start(module: Option<&Path>, folder: Folder, flags: &str) -> Self {
        started(Self::try_start(module, folder, flags))
    }

    fn try_start(
        module: Option<&Path>,
        folder: Folder,
        flags: &str,
    ) -> Result<Self, (ExitStatus, String)> {
        let command = command(module, &folder.root(), flags);
        Self::of(command, folder, flags)
    }

    fn of(mut command: Command, folder: Folder, flags: &str) -> Result<Self, (ExitStatus, String)> {
        let mut child = command.spawn().expect("the program runs");
        let log = Arc::new(Log::default());
        let errors = child.stderr.take().expect("standard error is piped");
        let reader = {
            let log = log.clone();
            std::thread::spawn(move || log.read(errors))
        };
        let output = child.stdout.take().expect("standard output is piped");
        let start_line = first_line(output);
        let Some(door) = Address::of(&start_line) else {
            // The program has ended, or never will by itself.
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
            door,
            start_line,
            folder,
            log,
            reader: Some(reader),
            json,
        })
    }

    /// # Panics
    /// If it is a Unix socket.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.tcp()
    }

    /// Where it speaks TLS, according to its start line.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        let mut words = self.start_line.split([' ', ',']);
        let place = words.find_map(|word| word.strip_prefix("https://"));
        let place = place.expect("the start line names it");
        place.parse().expect("an address")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.door.clone())
    }

    pub(crate) fn try_client(&self) -> io::Result<Client> {
        Client::try_connect(self.door.clone())
    }

    /// This many clients. They share a connection if it takes several requests at a time.
    pub(crate) fn clients(&self, count: usize) -> Vec<Client> {
        let first = self.client();
        let other = || first.beside().unwrap_or_else(|| self.client());
        let others: Vec<_> = (1..count).map(|_| other()).collect();
        others.into_iter().chain([first]).collect()
    }

    /// Sends a request on a new connection, and reads nothing yet.
    pub(crate) fn send(&self, target: &str) -> Client {
        let mut client = self.client();
        client.ask("GET", target, b"");
        client
    }

    /// Sends a request on a new connection, and reads the reply.
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

    /// Sends requests on new connections until the answer is `200`. On a busy machine, a client may
    /// send its head too late or come before there is room, and must try again.
    pub(crate) fn wait_served(&self, target: &str) -> Reply {
        eventually(target, || {
            let mut client = self.try_client().ok()?;
            let reply = client.try_request("GET", target, &[], b"").ok()?;
            (reply.status == 200).then_some(reply)
        })
    }

    /// Requests `/ok` until all processes are busy and the line's timeout is over. From then on,
    /// all earlier requests are running. Needs a short queue timeout, as in [`SHORT_QUEUE`].
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

    /// Waits until there are at least this many log lines with this message.
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

    /// The log line about the end of the process with this pid.
    pub(crate) fn wait_end(&self, pid: u64) -> Value {
        self.wait_entry("process ended", |entry| entry["pid"] == pid)
    }

    /// The reason why the process of the request with this id ended.
    pub(crate) fn wait_reason(&self, id: u64) -> String {
        let pid = self.wait_request(id)["pid"].as_u64().expect("a pid");
        let end = self.wait_end(pid);
        end["reason"].as_str().expect("a reason").to_owned()
    }

    /// Waits until exactly this many processes live, and returns their pids.
    pub(crate) fn wait_living(&self, count: usize) -> BTreeSet<u64> {
        self.log.wait(&format!("{count} living processes"), |log| {
            let living = log.living();
            (living.len() == count).then_some(living)
        })
    }

    /// The pids of the living processes, according to the log.
    pub(crate) fn living(&self) -> BTreeSet<u64> {
        self.log.lock().living()
    }

    /// The program's standard error so far.
    pub(crate) fn log_text(&self) -> String {
        self.log.text()
    }

    /// Waits until standard error has this text.
    pub(crate) fn wait_text(&self, text: &str) {
        self.log
            .wait(text, |log| log.text.contains(text).then_some(()));
    }

    /// The number of the host's open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd"))
            .expect("the host's descriptors")
            .count()
    }

    /// The number of open descriptors of a file with this name.
    pub(crate) fn open_files(&self, name: &str) -> usize {
        let entries = fs::read_dir(self.proc("fd")).expect("the host's descriptors");
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.ends_with(name)).count()
    }

    /// The number of bytes that clients have sent and the host has not read yet.
    pub(crate) fn unread(&self) -> u64 {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's connections");
        let port = format!(":{:04X}", self.address().port());
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

    /// The growth of the host's peak of resident memory since it was `before`. The kernel's
    /// counters are imprecise, so a later peak may be a little lower.
    pub(crate) fn grown(&self, before: u64) -> u64 {
        self.memory("VmHWM").saturating_sub(before)
    }

    /// A line of `/proc/PID/status` in bytes: `VmRSS` is the current resident memory, `VmHWM` its
    /// peak.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        memory(self.pid(), line)
    }

    /// The CPU time of the host so far, in clock ticks of 10 ms.
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

    /// Freezes the program, and waits until all of its threads stand still. The signal alone does
    /// not say so: the thread that takes it may have to wait for a core, and the others go on.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let stands_still = |folder: fs::DirEntry| {
            let stat = fs::read_to_string(folder.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_name, state)| state);
            state.is_some_and(|state| state.starts_with('T'))
        };
        eventually("it stands still", || {
            let threads = fs::read_dir(self.proc("task")).expect("the host's threads");
            let mut threads = threads.map(|thread| thread.expect("a thread"));
            threads.all(stands_still).then_some(())
        });
    }

    /// The process id of the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
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
        // Both calls fail if the program has already ended, which is fine.
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

/// A line of `/proc/PID/status` in bytes.
pub(crate) fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process's status");
    let value = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let value = value
        .and_then(|text| text.trim().strip_suffix(" kB"))
        .expect("a size in kB");
    value.trim().parse::<u64>().expect("a number") * 1024
}

/// The program with its output captured, the tests' log settings, and the door of this process on a
/// free port or a new socket.
pub(crate) fn command(module: Option<&Path>, root: &Path, flags: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("XDG_CACHE_HOME", CACHES);
    // Each test's hosts have their sockets in its own folder.
    let folder = root.parent().unwrap_or(root);
    isolate(&mut command, folder);
    if let Some(module) = module {
        command.arg("--module").arg(module);
    }
    let root = root.to_str().expect("temporary folders have plain names");
    for (flag, value) in [
        ("--root", root),
        ("--log-format", "json"),
        ("--log-level", "debug"),
    ] {
        // A front of a cluster has no guests, and a configuration says where theirs is.
        let is_elsewhere = ["--config ", "--role front"].map(|other| flags.contains(other));
        let has_no_root = flag == "--root" && is_elsewhere.contains(&true);
        if !flags.contains(flag) && !has_no_root {
            command.args([flag, value]);
        }
    }
    command.args(Door::chosen().flags(folder, flags));
    command.args(flags.split_whitespace());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Has the program find and make control sockets in this folder only.
pub(crate) fn isolate(command: &mut Command, folder: &Path) {
    command.env("XDG_RUNTIME_DIR", folder).env("TMPDIR", folder);
}

/// The exit code of a program that ends by itself, and all of its output.
pub(crate) fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("output is text");
    (output.status.code().unwrap_or(-1), text)
}

/// The first line of the program's output. Empty if the program ends before, or if the line doesn't
/// arrive in time.
fn first_line(output: impl Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        // The receiver may be gone.
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.recv_timeout(PATIENCE).unwrap_or(Ok(String::new()));
    line.expect("standard output is text")
}
