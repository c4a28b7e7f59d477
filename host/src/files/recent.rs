//! What was found a moment ago: the folder that the root's path leads to, and files that were opened in it. What is
//! asked for again and again is found here by its path, and neither opened nor closed again: that is half of what
//! reading a small file costs. A small file is here with a copy of what it holds, and is not read again either.
//!
//! All that is believed for a moment and no longer: a change of a file is seen [`FILE_VALIDITY`] later at most, and
//! that the path leads to another folder [`FOLDER_VALIDITY`] later than that. With the folder go its files. An old
//! length is never remembered with new bytes: a copy has both from one look at the file, and of a file without one
//! nothing is remembered but the way to it.
//!
//! Nobody watches the disk: who asks looks again where the last look is too old, so that an idle host stays idle.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use super::folder::Folder;
use super::open::{Content, OpenFile};
use super::{Opened, metadata};

/// Shorter than anybody would notice, and still thousands of requests long under load.
const FILE_VALIDITY: Duration = Duration::from_millis(100);

/// With [`FILE_VALIDITY`], a second: soon enough for who puts up a new release, and too seldom to cost anything.
const FOLDER_VALIDITY: Duration = Duration::from_millis(900);

/// The most files, and so descriptors or copies, that are kept.
pub const MAX_RECENT_FILES: usize = 256;

/// What was found a moment ago. The table belongs to one root.
#[derive(Debug)]
pub(super) struct Recent(Mutex<Table>);

#[derive(Debug)]
struct Table {
    folder: Folder,
    /// When somebody last looked where the root's path leads.
    looked: Instant,
    /// Whether it led nowhere.
    is_lost: bool,
    /// Files in `folder`, by path.
    files: HashMap<Box<str>, File>,
    /// Whether [`sweep`] is at work.
    is_swept: bool,
}

#[derive(Debug)]
struct File {
    content: Content,
    opened: Instant,
}

impl Recent {
    pub(super) fn new(folder: Folder) -> Self {
        Self(Mutex::new(Table {
            folder,
            looked: Instant::now(),
            is_lost: false,
            files: HashMap::new(),
            is_swept: false,
        }))
    }

    /// The folder, and whether the last look at where the root's path leads is too old.
    pub(super) fn folder(&self) -> (Folder, bool) {
        let table = self.table();
        let is_old = table.looked.elapsed() >= FOLDER_VALIDITY;
        (table.folder.clone(), is_old)
    }

    /// Takes in what a look at the root's path, begun at `looked`, has found; returns the folder from now on.
    /// Where the path leads nowhere the last folder stays.
    pub(super) fn follow(
        &self,
        looked: Instant,
        found: Result<Folder, Errno>,
        root: &Path,
    ) -> Folder {
        let root = root.display();
        let mut table = self.table();
        if looked <= table.looked {
            return table.folder.clone(); // another look was later, and was faster
        }
        table.looked = looked;
        let was_lost = std::mem::replace(&mut table.is_lost, found.is_err());
        match found {
            Ok(folder) if table.folder.is(&folder) => folder,
            Ok(folder) => {
                table.folder = folder.clone();
                let files = std::mem::take(&mut table.files);
                drop(table);
                drop(files); // closes them, and nobody waits for that
                tracing::info!(%root, "the root leads to another folder");
                folder
            }
            Err(error) => {
                if !was_lost {
                    tracing::warn!(%root, %error, "the root leads nowhere; the last folder stays");
                }
                table.folder.clone()
            }
        }
    }

    /// The file that this path meant a moment ago. One that can be read live must still have a name: it was deleted
    /// otherwise, or another took its place, and that is seen at once.
    pub(super) fn get(&self, path: &str) -> Option<Opened> {
        let content = {
            let table = self.table();
            let file = table.files.get(path)?;
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
            self.table().files.remove(path);
            return None;
        };
        let file = OpenFile::of(content);
        Some(Opened { file, metadata })
    }

    /// Keeps a file that was just opened in this folder, if there is room and the folder is still the root's.
    pub(super) fn put(self: &Arc<Self>, folder: &Folder, path: &str, content: &Content) {
        let mut table = self.table();
        let is_full = table.files.len() >= MAX_RECENT_FILES && !table.files.contains_key(path);
        if is_full || !table.folder.is(folder) {
            return;
        }
        if !std::mem::replace(&mut table.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        let content = content.clone();
        let opened = Instant::now();
        table.files.insert(path.into(), File { content, opened });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A table of whole entries, whatever happened elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is no longer believed, until nothing is left.
async fn sweep(recent: Weak<Recent>) {
    loop {
        tokio::time::sleep(FILE_VALIDITY).await;
        let Some(recent) = recent.upgrade() else {
            return;
        };
        let mut table = recent.table();
        table
            .files
            .retain(|_, file| file.opened.elapsed() < FILE_VALIDITY);
        if table.files.is_empty() {
            table.is_swept = false;
            return;
        }
    }
}
