//! Helpers for all tests: a folder, a server over it, a client that may misbehave, and guests that
//! misbehave.

pub(crate) mod again;
pub(crate) mod browser;
pub(crate) mod cable;
pub(crate) mod command;
pub(crate) mod door;
pub(crate) mod form;
pub(crate) mod frames;
pub(crate) mod guests;
mod h2;
pub(crate) mod http;
mod http1;
mod log;
pub(crate) mod nats;
pub(crate) mod network;
pub(crate) mod program;
pub(crate) mod scripts;
pub(crate) mod server;
pub(crate) mod shell;
pub(crate) mod sparse;
pub(crate) mod steer;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod wat;
mod wire;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use http::{Client, Reply};
pub(crate) use server::Server;

/// The longest wait of a test. It is long, so that only a hang fails a test, and not a busy
/// machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The interval for checking a condition, if no event reports its change.
const GLANCE: Duration = Duration::from_millis(5);

/// Says what a test does without, on this machine. It goes past the harness, which shows nothing
/// that a passing test has printed.
pub(crate) fn untested(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("{test}: not tested: {what}\n");
    let said = std::io::stderr().write_all(line.as_bytes());
    said.expect("standard error is open");
}

/// Waits until `condition` returns a value.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for: {what}"
        );
        std::thread::sleep(GLANCE);
    }
}

/// Does something while clients are served, and ends the clients whatever comes of it. Each client
/// asks before each request whether it shall go on.
pub(crate) fn meanwhile<T>(
    clients: usize,
    client: impl Fn(&dyn Fn() -> bool) + Sync,
    act: impl FnOnce() -> T,
) -> T {
    let is_over = AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| client(&goes_on));
        }
        let acted = catch_unwind(AssertUnwindSafe(act));
        is_over.store(true, Ordering::Relaxed);
        acted.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// A seed for random tests. `DRILL_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970");
    let chosen = std::env::var("DRILL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or(now.as_micros() as u64);
    println!("to see this again: DRILL_SEED={seed}");
    seed
}

/// A local address of its own, for tests that check that a port is closed. On the usual address,
/// the kernel may give the port to the next server at once.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // All of 127.0.0.0/8 is this machine's. 127.0 and 127.255 have other uses.
    Ipv4Addr::new(127, high % 254 + 1, low, count.clamp(1, 254))
}

/// A temporary folder with a `root` to serve, and a folder `outside` of the root.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("root")).expect("the root");
        fs::create_dir(folder.path().join("outside")).expect("the folder outside of the root");
        Self { folder }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the root, and creates its parent folders.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders on the way");
        fs::write(path, content).expect("a file below the root");
        self
    }

    /// Creates a sparse file of this size below the root.
    pub(crate) fn sparse(self, name: &str, size: u64) -> Self {
        sparse::create(&self.root().join(name), size);
        self
    }

    /// Creates an empty folder below the root.
    pub(crate) fn dir(self, name: &str) -> Self {
        fs::create_dir_all(self.root().join(name)).expect("a folder below the root");
        self
    }

    /// Creates a symbolic link below the root.
    pub(crate) fn link(self, name: &str, target: impl AsRef<Path>) -> Self {
        symlink(target, self.root().join(name)).expect("a link below the root");
        self
    }
}

/// The content of a file of this size. Neighbouring blocks differ.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31)) as u8)
        .collect()
}

/// Random numbers that are reproducible from a printed seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
