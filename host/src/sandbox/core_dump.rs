//! A *core dump* is what a process that trapped leaves for a debugger: its memories, its globals
//! and its stack, in the format of WebAssembly's tool conventions (Coredump.md). A guest that traps
//! all the time writes one a second, and the oldest make room: it fills no disk and holds no core.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::{AsContextMut, Error, WasmCoreDump};

use crate::pid::Pid;
use crate::rate::Rate;
use crate::settings;
use crate::threads;

/// What the name of each file begins and ends with. Between them are the time, in milliseconds
/// since 1970, and the pid, so that the order of names is that of time.
const BEGIN: &str = "core-";
const END: &str = ".wasm";

/// A larger memory is not dumped: the host would need as much again while it writes.
pub(crate) const MOST_BYTES: u64 = 1 << 30;

/// The folder of one module's core dumps.
#[derive(Debug)]
pub(super) struct CoreDumps {
    folder: PathBuf,
    /// The most files.
    most: usize,
    pace: Rate,
    /// Whether one is being written. The next trap writes none then, so that the host holds one
    /// dump at a time.
    is_writing: AtomicBool,
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
            pace: Rate::new(),
            is_writing: AtomicBool::new(false),
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
        if self.is_writing.load(Ordering::Acquire) || self.pace.admit().is_none() {
            return;
        }
        // The names and numbers in it are a guest's, and wasmtime looks them up by indexing.
        let bytes = catch_unwind(AssertUnwindSafe(|| dump.serialize(store, module)));
        let Ok(bytes) = bytes else {
            tracing::warn!(pid = pid.get(), "the core can't be dumped");
            return;
        };
        self.is_writing.store(true, Ordering::Release);
        let dumps = Arc::clone(self);
        let write = move || {
            let written = dumps.write(pid, &bytes);
            dumps.is_writing.store(false, Ordering::Release);
            let (pid, bytes) = (pid.get(), bytes.len());
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
            fs::remove_file(old)?;
        }
        Ok(())
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
