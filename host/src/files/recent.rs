//! Files that were opened a moment ago. What is asked for again and again is found here by its path, and
//! neither opened nor closed again: that is half of what reading a small file costs.
//!
//! What a path means is believed for [`VALIDITY`], and no longer; what the file holds is never remembered.
//! So a change of a file is seen at once, and so are its end and its replacement by another, since a file
//! without a name is believed no more. Only a file that was moved elsewhere keeps its old path for a moment.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// Shorter than anybody would notice, and still thousands of requests long under load.
const VALIDITY: Duration = Duration::from_millis(100);

/// The most files, and so descriptors, that are kept.
pub const MAX_RECENT_FILES: usize = 256;

/// The files, by path. The table belongs to one root.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<Box<str>, File>>);

#[derive(Debug)]
struct File {
    fd: Arc<OwnedFd>,
    opened: Instant,
}

impl Recent {
    /// The file that this path meant a moment ago.
    pub(super) fn get(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let files = self.files();
        let file = files.get(path)?;
        (file.opened.elapsed() < VALIDITY).then(|| Arc::clone(&file.fd))
    }

    /// Keeps a file that was just opened, if there is room.
    pub(super) fn put(self: &Arc<Self>, path: &str, fd: &Arc<OwnedFd>) {
        let mut files = self.files();
        if files.len() >= MAX_RECENT_FILES && !files.contains_key(path) {
            return;
        }
        if files.is_empty() {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        let fd = Arc::clone(fd);
        let opened = Instant::now();
        files.insert(path.into(), File { fd, opened });
    }

    /// Forgets a file that turned out to be another by now.
    pub(super) fn remove(&self, path: &str) {
        self.files().remove(path);
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Box<str>, File>> {
        // A table of whole entries, whatever happened elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is no longer believed, until nothing is left.
async fn sweep(recent: Weak<Recent>) {
    loop {
        tokio::time::sleep(VALIDITY).await;
        let Some(recent) = recent.upgrade() else {
            return;
        };
        let mut files = recent.files();
        files.retain(|_, file| file.opened.elapsed() < VALIDITY);
        if files.is_empty() {
            return;
        }
    }
}
