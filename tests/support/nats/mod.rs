//! A `nats-server` for one test, with files and a port of its own. A test kills it, and starts it
//! again on the same port.

pub(crate) mod client;

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::guests::workspace;
use super::server::memory;
use super::{eventually, own_address};
use client::{Frame, NatsClient};

/// What all servers of the tests have, unless they are configured as the example is. A lost client
/// is noticed within seconds.
const SETTINGS: &str = "ping_interval: \"2s\"\nping_max: 2\nwrite_deadline: \"2s\"\n";

/// JetStream, with its files below the folder in which the server is started.
const JETSTREAM: &str = "jetstream { store_dir: \"store\" }\n";

/// A running server. It ends, and its files are removed, when this is dropped.
pub(crate) struct Nats {
    child: Child,
    address: SocketAddr,
    /// All arguments but the port.
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Nats {
    /// A server with JetStream, configured as the example of a cluster is.
    pub(crate) fn start() -> Self {
        Self::at(own_address())
    }

    /// The same at this address.
    pub(crate) fn at(address: Ipv4Addr) -> Self {
        let config = workspace().join("examples/cluster/nats.conf");
        Self::of(&config, address, &[])
    }

    /// A server without JetStream, with further lines of a configuration.
    pub(crate) fn plain(config: &str) -> Self {
        Self::configured(config)
    }

    /// A server with JetStream, with further lines of a configuration in place of the example.
    pub(crate) fn with(config: &str) -> Self {
        Self::configured(&format!("{JETSTREAM}{config}"))
    }

    /// Three servers that are one, each of which has JetStream.
    pub(crate) fn three() -> [Self; 3] {
        // The port of routes must be known before a server starts. Nobody else has these addresses.
        const PORT: u16 = 6222;
        let addresses = [own_address(), own_address(), own_address()];
        let routes = addresses.map(|address| format!("nats://{address}:{PORT}"));
        let servers = [0, 1, 2].map(|at| {
            let (name, others) = (format!("server-{at}"), routes.join(","));
            #[rustfmt::skip] // a flag and its value
            let arguments = [
                "--server_name", &name, "--cluster_name", "three",
                "--cluster", &routes[at], "--routes", &others,
            ];
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            fs::write(file.path(), format!("{SETTINGS}{JETSTREAM}")).expect("a configuration");
            Self::of(file.path(), addresses[at], &arguments)
        });
        // The three elect a leader, and until then no host can take a number.
        let client = servers[0].client();
        eventually("JetStream has a leader", || {
            let reply = client.request("$JS.API.STREAM.NAMES", b"")?;
            reply.text().contains("\"total\"").then_some(())
        });
        servers
    }

    fn configured(config: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), format!("{SETTINGS}{config}\n")).expect("a configuration");
        Self::of(file.path(), own_address(), &[])
    }

    fn of(config: &Path, address: Ipv4Addr, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = folder.path().join("nats.conf");
        fs::copy(config, &kept).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut arguments: Vec<String> = [
            ("-c", path("nats.conf")),
            ("-l", path("log")),
            ("--ports_file_dir", path("")),
            ("-a", address.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut server = Self {
            child: spawn(folder.path(), &arguments, "-1"),
            address: (address, 0).into(),
            arguments,
            folder,
        };
        server.address = server.wait_ready();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The growth of the server's peak of resident memory since it was `before`.
    pub(crate) fn grown(&self, before: u64) -> u64 {
        self.memory("VmHWM").saturating_sub(before)
    }

    /// A line of `/proc/PID/status` in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        memory(self.child.id(), line)
    }

    /// Kills it, as the kernel would that has no more memory.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server ends");
    }

    /// Starts it again, on the same port and with the same store. It was killed before.
    pub(crate) fn restart(&mut self) {
        let port = self.address.port().to_string();
        self.child = spawn(self.folder.path(), &self.arguments, &port);
        assert_eq!(self.wait_ready(), self.address);
    }

    /// Removes all that JetStream keeps. It was killed before.
    pub(crate) fn forget(&self) {
        let entries = fs::read_dir(self.folder.path()).expect("the server's folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let stores: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        assert_eq!(stores.len(), 1, "the only folder is the store: {stores:?}");
        fs::remove_dir_all(&stores[0]).expect("the store can be removed");
    }

    /// What JetStream answers to this question.
    pub(crate) fn jetstream(&self, subject: &str, question: &Value) -> Value {
        let question = match question.is_null() {
            true => String::new(),
            false => question.to_string(),
        };
        eventually("JetStream answers", || {
            let answer = self.client().request(subject, question.as_bytes())?;
            serde_json::from_slice(&answer.payload).ok()
        })
    }

    /// The jobs of a queue of the cluster `default` that nobody has taken from. They are taken now.
    pub(crate) fn take_all_jobs(&self, queue: &str) -> Vec<Vec<u8>> {
        const STREAM: &str = "JOBS_wph-default";
        const INBOX: &str = "_INBOX.jobs";
        let subject = format!("wph-default.jobs.{queue}");
        let config = json!({
            "name": "all",
            "durable_name": "all",
            "filter_subject": subject,
            "ack_policy": "explicit",
            "max_ack_pending": 1_000_000,
        });
        let create = format!("$JS.API.CONSUMER.CREATE.{STREAM}.all.{subject}");
        let made = self.jetstream(&create, &json!({ "stream_name": STREAM, "config": config }));
        let count = made["num_pending"].as_u64();
        let count = count.unwrap_or_else(|| panic!("no consumer: {made}"));
        let client = self.client();
        client.subscribe(INBOX);
        client.send(&Frame {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.all"),
            reply: Some(INBOX.to_owned()),
            head: Vec::new(),
            payload: json!({ "batch": count, "expires": 60_000_000_000_u64 })
                .to_string()
                .into(),
        });
        (0..count).map(|_| client.next().payload).collect()
    }

    pub(crate) fn client(&self) -> NatsClient {
        NatsClient::connect(self.address)
    }

    /// Waits until it listens, and returns where.
    fn wait_ready(&mut self) -> SocketAddr {
        // The server writes this file as the last step of its start.
        let name = format!("nats-server_{}.ports", self.child.id());
        let file = self.folder.path().join(name);
        eventually("nats-server is ready", || {
            if let Some(status) = self.child.try_wait().expect("a child's status") {
                panic!("nats-server does not start: {status}\n{}", self.log());
            }
            let ports: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            let url = ports["nats"][0].as_str()?;
            url.strip_prefix("nats://")?.parse().ok()
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Both calls fail if a test has killed it, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(20);
            let tail: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("the last words of nats-server:\n{}", tail.join("\n"));
        }
    }
}

fn spawn(folder: &Path, arguments: &[String], port: &str) -> Child {
    let mut command = Command::new(program());
    command.args(arguments).args(["-p", port]);
    // The example keeps its files below the folder in which the server is started.
    command.current_dir(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("nats-server runs")
}

/// Debian has servers in a folder that is not in the `PATH` of all users.
fn program() -> PathBuf {
    let paths = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("nats-server"));
    found.into_iter().find(|path| path.is_file()).expect(
        "nats-server is missing: install the package nats-server, which the tests of the cluster need",
    )
}
