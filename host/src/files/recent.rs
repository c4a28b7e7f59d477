//! The folder that the root's path leads to, and files that were opened in it a moment ago. Opening
//! and closing is half the cost of reading a small file, so a file that is asked for again is found
//! here by its path. A small file is here with a copy of its bytes, and is not read again either.
//!
//! Each thread has files of its own, so that threads don't meet; the bound is for all together.
//!
//! An entry is believed for a moment only: a change of a file is seen [`FILE_VALIDITY`] later at
//! most, and a path that leads to another folder [`FOLDER_VALIDITY`] later than that. Files go with
//! their folder. An old length is never remembered with new bytes: a copy has both from one look at
//! the file, and of a file without a copy only the descriptor is remembered.
//!
//! Nobody watches the disk: whoever asks looks again where the last look is too old, so that an
//! idle host stays idle.

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

/// Shorter than anybody would notice, and still thousands of requests long under load.
const FILE_VALIDITY: Duration = Duration::from_millis(100);

/// With [`FILE_VALIDITY`], a second: soon enough for who puts up a new release, and too seldom to
/// cost anything.
const FOLDER_VALIDITY: Duration = Duration::from_millis(900);

/// The most files, and so descriptors or copies, that are kept.
pub(crate) const MAX_RECENT_FILES: usize = 256;

/// More than most machines have cores; threads beyond share.
const SHARDS: usize = 32;

/// The folder of one root, and its recent files.
#[derive(Debug)]
pub(super) struct Recent {
    root: Mutex<Root>,
    shards: [Shard; SHARDS],
    /// Files in all shards.
    count: AtomicUsize,
    /// Whether [`sweep`] is at work.
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Root {
    folder: Folder,
    /// When somebody last looked where the root's path leads.
    looked: Instant,
    /// Whether it led nowhere.
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
            root: Mutex::new(Root {
                folder,
                looked: Instant::now(),
                is_lost: false,
            }),
            shards: std::array::from_fn(|_| Shard::default()),
            count: AtomicUsize::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    /// The folder, and whether the last look at where the root's path leads is too old.
    pub(super) fn folder(&self) -> (Folder, bool) {
        let root = self.root();
        let is_old = root.looked.elapsed() >= FOLDER_VALIDITY;
        (root.folder.clone(), is_old)
    }

    /// Takes in the outcome of a look at the root's path, begun at `looked`; returns the folder
    /// from now on. Where the path leads nowhere the last folder stays.
    pub(super) fn follow(
        &self,
        looked: Instant,
        found: Result<Folder, Errno>,
        path: &Path,
    ) -> Folder {
        let path = path.display();
        let mut root = self.root();
        if looked <= root.looked {
            return root.folder.clone(); // another look was later, and was faster
        }
        root.looked = looked;
        let was_lost = std::mem::replace(&mut root.is_lost, found.is_err());
        match found {
            Ok(folder) if root.folder.is(&folder) => folder,
            Ok(folder) => {
                root.folder = folder.clone();
                drop(root);
                // Behind the line above: a file that is put meanwhile is of the new folder, or is
                // forgotten here.
                self.forget(|_| true);
                tracing::info!(root = %path, "the root leads to another folder");
                folder
            }
            Err(error) => {
                if !was_lost {
                    tracing::warn!(root = %path, %error, "the root leads nowhere; the last folder stays");
                }
                root.folder.clone()
            }
        }
    }

    /// The file that this path meant a moment ago. One that can be read live must still have a
    /// name: it was deleted otherwise, or another took its place, and that is seen at once.
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

    /// Keeps a file that was just opened in this folder, if there is room and the folder is still
    /// the root's.
    pub(super) fn put(self: &Arc<Self>, folder: &Folder, path: &str, content: &Content) {
        let mut files = self.shards[threads::slot(SHARDS)].files();
        let is_new = !files.contains_key(path);
        if is_new && !self.has_room() {
            return;
        }
        if !self.root().folder.is(folder) {
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

    /// Whether one more file may be kept. It is counted then.
    fn has_room(&self) -> bool {
        let one_more = |count: usize| (count < MAX_RECENT_FILES).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.count.fetch_update(order, order, one_more).is_ok()
    }

    /// Closes some files.
    fn forget(&self, is_over: impl Fn(&File) -> bool) {
        for shard in &self.shards {
            let closed: Vec<_> = shard.files().extract_if(|_, file| is_over(file)).collect();
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
    }

    fn root(&self) -> MutexGuard<'_, Root> {
        // Whole after every step, whatever happened elsewhere.
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn files(&self) -> MutexGuard<'_, HashMap<Box<str>, File>> {
        // A table of whole entries, whatever happened elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes files that are no longer believed, until none is left.
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
        // A file that was put before that line did not start another sweep.
        let is_empty = recent.count.load(Ordering::SeqCst) == 0;
        if is_empty || recent.is_swept.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}
