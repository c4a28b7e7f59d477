//! *Scratch* is a temporary folder for the files that servers read. The measuring thread can't be
//! stopped, and may outlive the end of the bench. Once the folder is removed, nothing can be
//! written there.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tempfile::TempDir;

/// A temporary folder, until it is removed.
#[derive(Debug)]
pub(crate) struct Scratch(Mutex<Option<TempDir>>);

impl Scratch {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        Ok(Self(Mutex::new(Some(folder))))
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let folder = self.folder();
        let path = folder
            .as_ref()
            .context("the bench has ended")?
            .path()
            .join(name);
        std::fs::write(&path, bytes).context("can't write a temporary file")?;
        Ok(path)
    }

    /// Removes the folder and its files.
    pub(crate) fn remove(&self) {
        drop(self.folder().take());
    }

    fn folder(&self) -> MutexGuard<'_, Option<TempDir>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
