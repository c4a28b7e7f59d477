//! What a host tells the service manager that has started it. The test is the service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::server::{SHORT_QUEUE, with_variables};
use crate::support::steer::{json, told};
use crate::support::wat::worker;
use crate::support::{Folder, PATIENCE, Server, guests};

/// Signs of life that come after a moment, beyond those that were on their way.
const SIGNS: usize = 3;

const ALIVE: &str = "WATCHDOG=1";

/// The log's words for a pool that does not answer.
const SILENT: &str =
    "no answer yet to the watchdog's request: the service manager ends this host if none comes";

/// A service manager that waits for a sign of life.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let patience = Some(PATIENCE);
        socket.set_read_timeout(patience).expect("a timeout");
        Self { socket, path }
    }

    /// Starts a host, which is to say so often that it lives.
    fn start(&self, module: Option<&Path>, folder: Folder, flags: &str, usec: &str) -> Server {
        let path = self.path.to_str().expect("plain names");
        let variables = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", usec)];
        with_variables(module, folder, flags, &variables)
    }

    /// The next message that has a line with this beginning.
    fn wait(&self, begin: &str) -> String {
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message);
            let length = length.unwrap_or_else(|error| panic!("waited for {begin}: {error}"));
            let message = String::from_utf8_lossy(&message[..length]);
            if message.lines().any(|line| line.starts_with(begin)) {
                return message.into_owned();
            }
        }
    }

    /// All messages that have come so far.
    fn so_far(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("a mode");
        let mut message = [0; 4096];
        let mut messages = Vec::new();
        while let Ok(length) = self.socket.recv(&mut message) {
            messages.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).expect("a mode");
        messages
    }

    /// Waits for signs of life that are given from now on.
    fn lives(&self) {
        self.so_far();
        (0..SIGNS).for_each(|_| drop(self.wait(ALIVE)));
    }
}

/// A host with a worker that runs this code for each request.
fn served(handle: &str, flags: &str, usec: &str) -> (Manager, Server) {
    let folder = Folder::new();
    let module = folder.path().join("component.wat");
    fs::write(&module, worker(handle)).expect("our own");
    let manager = Manager::new(&folder);
    let server = manager.start(Some(&module), folder, flags, usec);
    (manager, server)
}

#[test]
fn from_the_start_to_the_end() {
    let (manager, mut server) = served("", "--workers 1", "1000000");
    assert_eq!(manager.wait("READY="), "READY=1\n");
    let status = manager.wait("STATUS=");
    assert_eq!(status, "STATUS=1 pool, 1 process, 0 requests/s\n");
    manager.lives();
    told(&server, "reload");
    let reloading = manager.wait("RELOADING=1");
    let when = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let when = when.and_then(|when| when.parse::<u64>().ok());
    assert!(when.is_some_and(|when| when > 0), "{reloading}");
    manager.wait("READY=1");
    told(&server, "reload main");
    manager.wait("RELOADING=1");
    manager.wait("READY=1");
    server.signal(Signal::HUP);
    manager.wait("RELOADING=1");
    manager.wait("READY=1");
    // One that fails is over, too.
    let module = server.folder.path().join("component.wat");
    fs::remove_file(module).expect("our own");
    server.signal(Signal::HUP);
    manager.wait("RELOADING=1");
    manager.wait("READY=1");
    manager.lives();
    server.signal(Signal::TERM);
    let stopping = manager.wait("STOPPING=1");
    assert!(
        stopping.contains("\nEXTEND_TIMEOUT_USEC=20000000\n"),
        "{stopping}"
    );
    assert!(server.wait_exit().success());
}

#[test]
fn a_sign_of_life_is_no_request() {
    let (manager, server) = served("", "--workers 1 --max-requests 1", "200000");
    manager.lives();
    let status = json(&server, "status --json");
    assert_eq!(status["answered"], 0, "{status}");
    let pool = &status["pools"][0];
    assert_eq!(pool["latency"]["requests"], 0, "{pool}");
    assert_eq!(pool["restarts"], 0, "{pool}");
    assert_eq!(server.entries("request").len(), 0);
    let processes = json(&server, "ps --json");
    assert_eq!(processes[0]["requests"], 0, "{processes}");
    // Nor has it used up a process.
    assert_eq!(server.entries("process started").len(), 1);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.wait_entries("request", 1)[0]["id"], 1);
}

#[test]
fn silence_stops_the_signs_of_life() {
    let flags = "--workers 1 --request-timeout 600s --grace 1s";
    let (manager, mut server) = served("(loop $for-ever (br $for-ever))", flags, "500000");
    manager.wait("READY=1");
    let silent = server.wait_entries(SILENT, 1);
    assert_eq!(silent[0]["pool"], "main");
    let messages = manager.so_far();
    assert!(
        !messages.iter().any(|message| message.contains(ALIVE)),
        "{messages:?}"
    );
    // It stops in order nevertheless.
    server.signal(Signal::TERM);
    manager.wait("STOPPING=1");
    assert!(server.wait_exit().success());
    let messages = manager.so_far();
    assert!(
        !messages.iter().any(|message| message.contains(ALIVE)),
        "{messages:?}"
    );
}

#[test]
fn a_failure_is_the_guests_matter() {
    for handle in [
        "(unreachable)",
        "(i32.store16 (i32.const 1024) (i32.const 500))",
    ] {
        let (manager, server) = served(handle, "--workers 1", "500000");
        manager.lives();
        assert!(server.get("/").status >= 500, "{handle}");
        manager.lives();
    }
    // Nor does it matter that a guest is ended because it takes too long.
    let flags = "--workers 1 --request-timeout 100ms";
    let (manager, server) = served("(loop $for-ever (br $for-ever))", flags, "2000000");
    manager.lives();
    assert!(!server.wait_entries("process ended", 1).is_empty());
}

#[test]
fn a_refusal_is_an_answer() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let flags = format!("--workers 1 --request-timeout 600s {SHORT_QUEUE}");
    let misbehave = guests::path("misbehave");
    let server = manager.start(Some(&misbehave), folder, &flags, "500000");
    let spinning = server.send("/spin");
    server.wait_until_busy();
    manager.lives();
    spinning.reset();
    told(&server, "drain");
    manager.wait("STATUS=draining main");
    manager.lives();
    told(&server, "reload");
    manager.wait("STATUS=1 pool, ");
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn every_pool_is_asked() {
    let folder = Folder::new().file("index.html", "home");
    let silent = folder.path().join("silent.wat");
    let spins = worker("(loop $for-ever (br $for-ever))");
    fs::write(&silent, spins).expect("our own");
    let (good, program) = (guests::path("hello"), guests::path("prefork"));
    let config = |others: &str| {
        format!(
            "request-timeout = \"600s\"\n\
             [[pool]]\nname = \"good\"\nmodule = {good:?}\nworkers = 1\n\
             [[pool]]\nname = \"program\"\nmodule = {program:?}\nroot = \"root\"\nroutes = [\"/p/*\"]\n{others}"
        )
    };
    let file = folder.path().join("host.toml");
    fs::write(&file, config("")).expect("our own");
    let manager = Manager::new(&folder);
    let flags = format!("--config {}", file.display());
    let server = manager.start(None, folder, &flags, "500000");
    manager.wait("STATUS=2 pools, ");
    manager.lives();
    let others =
        "[[pool]]\nname = \"silent\"\nmodule = \"silent.wat\"\nroutes = [\"/s/*\"]\nworkers = 1\n";
    fs::write(&file, config(others)).expect("our own");
    told(&server, "reload");
    let entry = server.wait_entries(SILENT, 1);
    assert_eq!(entry[0]["pool"], "silent");
    manager.so_far();
    assert_eq!(server.get("/").status, 200);
    let messages = manager.so_far();
    assert!(
        !messages.iter().any(|message| message.contains(ALIVE)),
        "{messages:?}"
    );
}
