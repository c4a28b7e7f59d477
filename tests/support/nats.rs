//! A `nats-server` for one test, with files and a port of its own, and a client that speaks NATS's
//! text protocol: it says what no host would say.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::guests::workspace;
use super::server::memory;
use super::{PATIENCE, eventually, own_address};

/// What all servers of the tests have, unless they are configured as the example is: a lost client is
/// noticed within seconds.
const SETTINGS: &str = "ping_interval: \"2s\"\nping_max: 2\nwrite_deadline: \"2s\"\n";

/// Whoever says nothing for so long is asked again.
const SILENCE: Duration = Duration::from_secs(1);

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
        let config = workspace().join("examples/cluster/nats.conf");
        Self::of(&config, own_address(), &["-js"])
    }

    /// A server without JetStream, with further lines of a configuration.
    pub(crate) fn plain(config: &str) -> Self {
        Self::configured(config, &[])
    }

    /// A server with JetStream, with further lines of a configuration in place of the example.
    pub(crate) fn with(config: &str) -> Self {
        Self::configured(config, &["-js"])
    }

    /// Three servers that are one, each of which has JetStream.
    pub(crate) fn three() -> [Self; 3] {
        // The port of routes must be known before a server starts. Nobody else has these addresses.
        const PORT: u16 = 6222;
        let addresses = [own_address(), own_address(), own_address()];
        let routes = addresses.map(|address| format!("nats://{address}:{PORT}"));
        let servers = [0, 1, 2].map(|at| {
            let (name, others) = (format!("server-{at}"), routes.join(","));
            let arguments = [
                ["-js", "--server_name", &name].as_slice(),
                &["--cluster_name", "three", "--cluster", &routes[at]],
                &["--routes", &others],
            ];
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            fs::write(file.path(), SETTINGS).expect("a configuration");
            Self::of(file.path(), addresses[at], &arguments.concat())
        });
        // The three elect a leader, and until then no host can take a number.
        let client = servers[0].client();
        eventually("JetStream has a leader", || {
            let reply = client.request("$JS.API.STREAM.NAMES", b"")?;
            reply.text().contains("\"total\"").then_some(())
        });
        servers
    }

    fn configured(config: &str, flags: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), format!("{SETTINGS}{config}\n")).expect("a configuration");
        Self::of(file.path(), own_address(), flags)
    }

    fn of(config: &Path, address: Ipv4Addr, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = folder.path().join("nats.conf");
        fs::copy(config, &kept).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut arguments: Vec<String> = [
            ("-c", path("nats.conf")),
            ("-sd", path("store")),
            ("-l", path("log")),
            ("--ports_file_dir", path("")),
            ("-a", address.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut server = Self {
            child: spawn(&arguments, "-1"),
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
        self.child = spawn(&self.arguments, &self.address.port().to_string());
        assert_eq!(self.wait_ready(), self.address);
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

fn spawn(arguments: &[String], port: &str) -> Child {
    let mut command = Command::new(program());
    command.args(arguments).args(["-p", port]);
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

/// A client of the text protocol. A thread reads what the server says, and answers its pings.
pub(crate) struct NatsClient {
    stream: Arc<Mutex<TcpStream>>,
    frames: Receiver<Frame>,
    pongs: Receiver<()>,
}

/// One message, as it is on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    /// The bytes of NATS's own headers, if it has some.
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl NatsClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection to nats-server");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let stream = Arc::new(Mutex::new(stream));
        let ((frame, frames), (pong, pongs)) = (channel(), channel());
        thread::spawn({
            let stream = Arc::clone(&stream);
            move || listen(reader, &stream, &frame, &pong)
        });
        let client = Self {
            stream,
            frames,
            pongs,
        };
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        client.say(format!("CONNECT {options}\r\n").as_bytes());
        client.flush();
        client
    }

    /// Hears all messages with this subject from now on. Wildcards are allowed.
    pub(crate) fn subscribe(&self, subject: &str) {
        self.say(format!("SUB {subject} 1\r\n").as_bytes());
        self.flush();
    }

    pub(crate) fn publish(&self, subject: &str, payload: &[u8]) {
        self.send(&Frame {
            subject: subject.to_owned(),
            reply: None,
            head: Vec::new(),
            payload: payload.to_owned(),
        });
    }

    /// Publishes a message with all that belongs to it.
    pub(crate) fn send(&self, frame: &Frame) {
        let Frame {
            subject,
            reply,
            head,
            payload,
        } = frame;
        let reply = reply.as_deref().unwrap_or_default();
        let total = head.len() + payload.len();
        let line = if head.is_empty() {
            format!("PUB {subject} {reply} {total}\r\n")
        } else {
            format!("HPUB {subject} {reply} {} {total}\r\n", head.len())
        };
        self.say(&[line.as_bytes(), head, payload, b"\r\n"].concat());
    }

    /// The answer to a message with this subject. `None` if nobody listens there, or nobody says
    /// anything. Without another subscription, no other message is taken for the answer.
    fn request(&self, subject: &str, payload: &[u8]) -> Option<Frame> {
        const INBOX: &str = "_INBOX.test";
        self.say(format!("SUB {INBOX} 2\r\n").as_bytes());
        self.send(&Frame {
            subject: subject.to_owned(),
            reply: Some(INBOX.to_owned()),
            head: Vec::new(),
            payload: payload.to_owned(),
        });
        let answer = self.frames.recv_timeout(SILENCE).ok()?;
        self.say(b"UNSUB 2\r\n");
        (!answer.head.starts_with(b"NATS/1.0 503")).then_some(answer)
    }

    /// Waits until the server has had everything that was sent, and this has heard what it said
    /// before.
    pub(crate) fn flush(&self) {
        self.say(b"PING\r\n");
        let pong = self.pongs.recv_timeout(PATIENCE);
        pong.expect("nats-server answers a ping");
    }

    /// The next message of the subscription.
    pub(crate) fn next(&self) -> Frame {
        let frame = self.frames.recv_timeout(PATIENCE);
        frame.expect("a message on the subscription")
    }

    /// All messages of the subscription that have come and were not taken.
    pub(crate) fn all(&self) -> Vec<Frame> {
        self.flush();
        self.frames.try_iter().collect()
    }

    fn say(&self, bytes: &[u8]) {
        say(&self.stream, bytes).expect("nats-server listens");
    }
}

impl Drop for NatsClient {
    fn drop(&mut self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends the thread that reads.
        let _closed = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn say(stream: &Mutex<TcpStream>, bytes: &[u8]) -> std::io::Result<()> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(bytes)
}

/// Reads until the connection ends. What is asked for after that is waited for in vain.
fn listen(
    mut reader: BufReader<TcpStream>,
    stream: &Mutex<TcpStream>,
    frames: &Sender<Frame>,
    pongs: &Sender<()>,
) {
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(1..)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let heard = match words.as_slice() {
            ["PING"] => say(stream, b"PONG\r\n").is_ok(),
            // Whoever listens may be gone.
            ["PONG"] => pongs.send(()).is_ok(),
            ["MSG", subject, _, rest @ .., length] => {
                let frame = frame(&mut reader, subject, rest.first(), "0", length);
                frames.send(frame).is_ok()
            }
            ["HMSG", subject, _, rest @ .., head, length] => {
                let frame = frame(&mut reader, subject, rest.first(), head, length);
                frames.send(frame).is_ok()
            }
            ["INFO", ..] | ["+OK"] => true,
            _ => {
                eprintln!("nats-server says: {line}");
                true
            }
        };
        if !heard {
            return;
        }
        line.clear();
    }
}

fn frame(
    reader: &mut impl Read,
    subject: &str,
    reply: Option<&&str>,
    head: &str,
    length: &str,
) -> Frame {
    let number = |text: &str| text.parse::<usize>().expect("a length");
    let mut bytes = vec![0; number(length) + 2];
    reader.read_exact(&mut bytes).expect("a whole message");
    bytes.truncate(number(length));
    let payload = bytes.split_off(number(head));
    Frame {
        subject: subject.to_owned(),
        reply: reply.map(|reply| (*reply).to_owned()),
        head: bytes,
        payload,
    }
}
