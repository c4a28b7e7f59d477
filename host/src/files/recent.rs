//! Files that were opened a moment ago. What is asked for again and again is found here by its path, and
//! neither opened nor closed again: that is half of what reading a small file costs.
//!
//! What a path means is believed for [`VALIDITY`], and no longer; what the file holds is never remembered.
//! So a change of a file is seen at once, and so is the end of its last name, by which most files are
//! replaced. What only changes the way to it is seen that much later: a link or a folder that leads elsewhere,
//! a rename over a file that has another name too, permissions.

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
pub(super) struct Recent(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    files: HashMap<Box<str>, File>,
    /// Whether [`sweep`] is at work.
    is_swept: bool,
}

#[derive(Debug)]
struct File {
    fd: Arc<OwnedFd>,
    opened: Instant,
}

impl Recent {
    /// The file that this path meant a moment ago.
    pub(super) fn get(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let table = self.table();
        let file = table.files.get(path)?;
        (file.opened.elapsed() < VALIDITY).then(|| Arc::clone(&file.fd))
    }

    /// Keeps a file that was just opened, if there is room.
    pub(super) fn put(self: &Arc<Self>, path: &str, fd: &Arc<OwnedFd>) {
        let mut table = self.table();
        if table.files.len() >= MAX_RECENT_FILES && !table.files.contains_key(path) {
            return;
        }
        if !std::mem::replace(&mut table.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        let fd = Arc::clone(fd);
        let opened = Instant::now();
        table.files.insert(path.into(), File { fd, opened });
    }

    /// Forgets a file that turned out to be another by now.
    pub(super) fn remove(&self, path: &str) {
        self.table().files.remove(path);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
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
        let mut table = recent.table();
        table
            .files
            .retain(|_, file| file.opened.elapsed() < VALIDITY);
        if table.files.is_empty() {
            table.is_swept = false;
            return;
        }
    }
}
