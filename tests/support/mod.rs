//! What every test needs: a folder, a server over it, a client that may misbehave, and guests that
//! do.

pub(crate) mod guests;
pub(crate) mod http;
mod log;
pub(crate) mod program;
pub(crate) mod scripts;
pub(crate) mod server;
pub(crate) mod wat;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use http::{Client, Reply};
pub(crate) use server::Server;

/// How long a test waits for what must happen. Generous: a busy machine is no failure, a hang is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at where nothing tells us that it changed.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something.
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

/// For what happens at random; `DRILL_SEED` makes it happen again.
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

/// An address of this machine that nobody else uses, for those who need to see that a port is
/// closed: on the usual one, the kernel may give it to the next server at once.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // 127.0.0.0/8 is all this machine's; 127.0 and 127.255 have uses of their own.
    Ipv4Addr::new(127, high % 254 + 1, low, count.clamp(1, 254))
}

/// A temporary folder with a `root` to serve and room `outside` of it.
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

    /// Writes a file below the root, with the folders on the way.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders on the way");
        fs::write(path, content).expect("a file below the root");
        self
    }

    /// Makes an empty folder below the root.
    pub(crate) fn dir(self, name: &str) -> Self {
        fs::create_dir_all(self.root().join(name)).expect("a folder below the root");
        self
    }

    /// Makes a symbolic link below the root.
    pub(crate) fn link(self, name: &str, target: impl AsRef<Path>) -> Self {
        symlink(target, self.root().join(name)).expect("a link below the root");
        self
    }
}

/// The contents of a file of this size: no two neighbouring blocks of it are alike.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31)) as u8)
        .collect()
}

/// Random numbers that a printed seed brings back (xorshift64*).
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
