//! A *core dump* is what a process that trapped leaves for a debugger: its memories, its globals
//! and its stack, in the format of WebAssembly's tool conventions (Coredump.md). A guest that traps
//! all the time writes one a second at most, and the oldest make room: it fills no disk, and
//! takes a twentieth of a core at most.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::{AsContextMut, Error, WasmCoreDump};

use crate::pid::Pid;
use crate::settings;
use crate::threads;

/// What the name of each file begins and ends with. Between them are the time, in milliseconds
/// since 1970, and the pid, so that the order of names is that of time.
const BEGIN: &str = "core-";
const END: &str = ".wasm";

/// A larger memory is not dumped: the host would need as much again while it writes.
pub(crate) const MOST_BYTES: u64 = 1 << 30;

/// The least time between two dumps.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause is so many times as long as the dump took: making one occupies a core.
const SHARE: u32 = 20;

/// The folder of one module's core dumps.
#[derive(Debug)]
pub(super) struct CoreDumps {
    folder: PathBuf,
    /// The most files.
    most: usize,
    /// When there may be another.
    next: Mutex<Instant>,
    /// Whether one is being made or written. The next trap leaves none then, so that the host holds
    /// one dump at a time.
    is_busy: AtomicBool,
}

impl CoreDumps {
    /// Creates the folder if it is missing. Only the user may look into it: memories hold what
    /// clients have sent.
    ///
    /// # Errors
    /// If the folder can't be created, or is something else.
    pub(super) fn new(settings: &settings::CoreDumps) -> io::Result<Arc<Self>> {
        let folder = &settings.folder;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(Arc::new(Self {
            folder: folder.clone(),
            most: settings.most.get() as usize,
            next: Mutex::new(Instant::now()),
            is_busy: AtomicBool::new(false),
        }))
    }

    /// Dumps the process of this store, if the error is a trap and it is time for another dump.
    pub(super) fn dump(
        self: &Arc<Self>,
        store: impl AsContextMut,
        error: &Error,
        pid: Pid,
        module: &str,
    ) {
        let Some(dump) = error.downcast_ref::<WasmCoreDump>() else {
            return;
        };
        let Some(turn) = self.turn() else {
            return;
        };
        // The names and numbers in it are a guest's, and wasmtime looks them up by indexing.
        let bytes = catch_unwind(AssertUnwindSafe(|| dump.serialize(store, module)));
        let Ok(bytes) = bytes else {
            tracing::warn!(pid = pid.get(), "the core can't be dumped");
            return;
        };
        let write = move || {
            let Turn { dumps, .. } = &turn;
            let (written, bytes) = (dumps.write(pid, &bytes), bytes.len());
            let pid = pid.get();
            match written {
                Ok(path) => {
                    let path = path.display();
                    tracing::info!(pid, %path, bytes, "the core was dumped");
                }
                Err(error) => {
                    let folder = dumps.folder.display();
                    tracing::warn!(pid, %folder, %error, "the core can't be dumped");
                }
            }
        };
        tokio::spawn(async move {
            // Without a thread there is no dump, and the next trap may have one.
            let _unwritten = threads::run(write).await;
        });
    }

    /// The right to make a dump, if it is time for one.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let begun = Instant::now();
        let is_early = *self.next() > begun;
        if is_early || self.is_busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let dumps = Arc::clone(self);
        Some(Turn { dumps, begun })
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        // It is a plain value.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, pid: Pid, bytes: &[u8]) -> io::Result<PathBuf> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = time.unwrap_or_default().as_millis();
        let path = self
            .folder
            .join(format!("{BEGIN}{ms}-{pid}{END}", pid = pid.get()));
        self.make_room()?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(bytes).inspect_err(|_| {
            // Half a dump would take the place of a whole one.
            let _gone = fs::remove_file(&path);
        })?;
        Ok(path)
    }

    /// Removes the oldest dumps, so that there is room for one more.
    fn make_room(&self) -> io::Result<()> {
        let mut dumps: Vec<PathBuf> = fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_dump(path))
            .collect();
        dumps.sort();
        let too_many = (dumps.len() + 1).saturating_sub(self.most);
        for old in &dumps[..too_many.min(dumps.len())] {
            match fs::remove_file(old) {
                // Another pool's host made room too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// The right to make a dump. Dropping it sets when the next one may be.
struct Turn {
    dumps: Arc<CoreDumps>,
    begun: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Self { dumps, begun } = self;
        let pause = PAUSE.max(begun.elapsed() * SHARE);
        *dumps.next() = Instant::now() + pause;
        dumps.is_busy.store(false, Ordering::Release);
    }
}

/// Whether the host has named this file.
fn is_dump(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let numbers = name.and_then(|name| name.strip_prefix(BEGIN)?.strip_suffix(END));
    numbers
        .and_then(|numbers| numbers.split_once('-'))
        .is_some_and(|(ms, pid)| {
            let is_number =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            is_number(ms) && is_number(pid)
        })
}
