//! Caches the root folder and recently opened files by path. Opening and closing is half the cost
//! of reading a small file. A small file is cached with a copy of its bytes, so it isn't read again
//! either.
//!
//! Each thread caches its own files, so that threads don't contend. One bound counts the files of
//! all threads.
//!
//! An entry is valid for a moment only. A change of a file is seen at most [`FILE_VALIDITY`] later.
//! A root path that leads to another folder is seen at most [`FOLDER_VALIDITY`] later than that;
//! cached files are dropped with their folder. A cached length always matches its bytes: a copy has
//! both from one look at the file, and without a copy only the descriptor is cached.
//!
//! No task watches the disk, so that an idle host stays idle. A call looks again if the last look
//! is too old.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use super::folder::Folder;
use super::open::{Content, OpenFile};
use super::{Opened, metadata};
use crate::threads;

/// Shorter than anybody would notice. Under load, still as long as thousands of requests.
const FILE_VALIDITY: Duration = Duration::from_millis(100);

/// Together with [`FILE_VALIDITY`], this is a second: soon enough for a deployment, and too seldom
/// to cost anything.
const FOLDER_VALIDITY: Duration = Duration::from_millis(900);

/// The most cached files, and so the most descriptors or copies.
pub(crate) const MAX_RECENT_FILES: usize = 256;

/// Most machines have fewer cores. With more threads than shards, threads share.
const SHARDS: usize = 32;

/// The root folder, and its recent files.
#[derive(Debug)]
pub(super) struct Recent {
    current: Mutex<Current>,
    shards: [Shard; SHARDS],
    /// The number of files in all shards.
    count: AtomicUsize,
    /// Whether [`sweep`] is running.
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Current {
    folder: Folder,
    /// The time of the last look at the root's path.
    looked: Instant,
    /// Whether the root's path led nowhere at that look.
    is_lost: bool,
}

/// Recent files of one thread, by path.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Shard(Mutex<HashMap<Box<str>, File>>);

#[derive(Debug)]
struct File {
    content: Content,
    opened: Instant,
}

impl Recent {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            current: Mutex::new(Current {
                folder,
                looked: Instant::now(),
                is_lost: false,
            }),
            shards: std::array::from_fn(|_| Shard::default()),
            count: AtomicUsize::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    /// The folder, and whether the last look at the root's path is too old.
    pub(super) fn folder(&self) -> (Folder, bool) {
        let current = self.current();
        let is_old = current.looked.elapsed() >= FOLDER_VALIDITY;
        (current.folder.clone(), is_old)
    }

    /// Applies the outcome of a look at the root's path that began at `looked`. Returns the current
    /// folder. If the path leads nowhere, the last folder stays.
    pub(super) fn follow(
        &self,
        looked: Instant,
        found: Result<Folder, Errno>,
        path: &Path,
    ) -> Folder {
        let path = path.display();
        let mut current = self.current();
        if looked <= current.looked {
            return current.folder.clone(); // a later look has already finished
        }
        current.looked = looked;
        let was_lost = std::mem::replace(&mut current.is_lost, found.is_err());
        match found {
            Ok(folder) if current.folder.is(&folder) => folder,
            Ok(folder) => {
                current.folder = folder.clone();
                drop(current);
                // After the folder is replaced: a file that is cached meanwhile is either of the
                // new folder or dropped here.
                self.forget(|_| true);
                tracing::info!(root = %path, "the root leads to another folder");
                folder
            }
            Err(error) => {
                if !was_lost {
                    tracing::warn!(root = %path, %error, "the root leads nowhere; the last folder stays");
                }
                current.folder.clone()
            }
        }
    }

    /// The cached file of this path. A file without a copy must still have a name. Otherwise it was
    /// deleted or replaced, which is seen at once.
    pub(super) fn get(&self, path: &str) -> Option<Opened> {
        let shard = &self.shards[threads::slot(SHARDS)];
        let content = {
            let files = shard.files();
            let file = files.get(path)?;
            (file.opened.elapsed() < FILE_VALIDITY).then(|| file.content.clone())?
        };
        let metadata = match &content {
            Content::Copy { metadata, .. } => Some(*metadata),
            Content::Live(fd) => {
                let stat = rustix::fs::fstat(fd).ok();
                let stat = stat.filter(|stat| stat.st_nlink > 0);
                stat.and_then(|stat| metadata(&stat).ok())
            }
        };
        let Some(metadata) = metadata else {
            if shard.files().remove(path).is_some() {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            return None;
        };
        let file = OpenFile::of(content);
        Some(Opened { file, metadata })
    }

    /// Caches a file that was just opened in this folder, if there is room and the folder is still
    /// the root folder.
    pub(super) fn put(self: &Arc<Self>, folder: &Folder, path: &str, content: &Content) {
        let mut files = self.shards[threads::slot(SHARDS)].files();
        let is_new = !files.contains_key(path);
        if is_new && !self.has_room() {
            return;
        }
        if !self.current().folder.is(folder) {
            self.count.fetch_sub(usize::from(is_new), Ordering::Relaxed);
            return;
        }
        let content = content.clone();
        let opened = Instant::now();
        files.insert(path.into(), File { content, opened });
        drop(files);
        if !self.is_swept.swap(true, Ordering::SeqCst) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Counts one more file, if there is room for it. Returns whether there is.
    fn has_room(&self) -> bool {
        let one_more = |count: usize| (count < MAX_RECENT_FILES).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.count.fetch_update(order, order, one_more).is_ok()
    }

    /// Drops the files for which `is_over` holds.
    fn forget(&self, is_over: impl Fn(&File) -> bool) {
        for shard in &self.shards {
            let closed: Vec<_> = shard.files().extract_if(|_, file| is_over(file)).collect();
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn files(&self) -> MutexGuard<'_, HashMap<Box<str>, File>> {
        // No step can panic halfway, so a poisoned lock still guards whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops files that are no longer valid, until none is left.
async fn sweep(recent: Weak<Recent>) {
    loop {
        tokio::time::sleep(FILE_VALIDITY).await;
        let Some(recent) = recent.upgrade() else {
            return;
        };
        recent.forget(|file| file.opened.elapsed() >= FILE_VALIDITY);
        if recent.count.load(Ordering::Relaxed) > 0 {
            continue;
        }
        recent.is_swept.store(false, Ordering::SeqCst);
        // A file that was cached before the store did not start another sweep.
        let is_empty = recent.count.load(Ordering::SeqCst) == 0;
        if is_empty || recent.is_swept.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}
