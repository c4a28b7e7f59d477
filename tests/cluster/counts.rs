//! Counts replies by their statuses, while several clients ask.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::{Reply, eventually};

#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<u16, usize>>);

impl Counts {
    pub(super) fn add(&self, reply: &Reply) {
        *self.lock().entry(reply.status).or_default() += 1;
    }

    pub(super) fn with(&self, status: u16) -> usize {
        self.lock().get(&status).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> usize {
        self.lock().values().sum()
    }

    /// Waits until so many more requests were served.
    pub(super) fn wait_served(&self, count: usize) {
        let goal = self.with(200) + count;
        eventually("more requests are served", || {
            (self.with(200) >= goal).then_some(())
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
