//! Files that were opened a moment ago. What is asked for again and again is found here by its path, and neither
//! opened nor closed again: that is half of what reading a small file costs. A small file is here with a copy of
//! what it holds, and is not read again either.
//!
//! All that is believed for [`VALIDITY`], and no longer: a change is seen that much later at most. An old length
//! is never remembered with new bytes: a copy has both from one look at the file, and of a file without one nothing
//! is remembered but the way to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Content;

/// Shorter than anybody would notice, and still thousands of requests long under load.
const VALIDITY: Duration = Duration::from_millis(100);

/// The most files, and so descriptors or copies, that are kept.
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
    content: Content,
    opened: Instant,
}

impl Recent {
    /// The file that this path meant a moment ago. One that can be read live must still have a name: it was deleted
    /// otherwise, or another took its place, and that is seen at once.
    pub(super) fn get(&self, path: &str) -> Option<Content> {
        let content = {
            let table = self.table();
            let file = table.files.get(path)?;
            (file.opened.elapsed() < VALIDITY).then(|| file.content.clone())?
        };
        let is_there = match &content {
            Content::Copy { .. } => true,
            Content::Live(fd) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_nlink > 0),
        };
        if !is_there {
            self.table().files.remove(path);
        }
        is_there.then_some(content)
    }

    /// Keeps a file that was just opened, if there is room.
    pub(super) fn put(self: &Arc<Self>, path: &str, content: &Content) {
        let mut table = self.table();
        if table.files.len() >= MAX_RECENT_FILES && !table.files.contains_key(path) {
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
