//! The part of a process that a pool uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::exit::{Crash, Exit};
use crate::message::{Request, Response};
use crate::pid::Pid;

/// A process is alive until it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    row: Row,
    alive: Arc<AtomicU32>,
}

#[derive(Debug)]
pub(crate) struct Row;

impl Process {
    pub(crate) fn new(alive: &Arc<AtomicU32>) -> Self {
        let alive = Arc::clone(alive);
        alive.fetch_add(1, Ordering::Relaxed);
        Self { row: Row, alive }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::new(1).expect("nobody has 0")
    }

    pub(crate) fn row(&self) -> &Row {
        &self.row
    }

    pub(crate) fn memory(&self) -> (u64, u64) {
        (0, 0)
    }

    pub(crate) fn set_exit(&mut self, _: Exit) {}

    pub(crate) fn end(self, _: Exit) {}

    pub(crate) fn fail(self, _: Crash) {}

    pub(crate) fn reject(self, _: String) {}

    pub(crate) async fn handle(
        &mut self,
        _: &Request,
        _: Instant,
        _: Instant,
    ) -> Result<Response, Crash> {
        Ok(Response)
    }

    #[allow(dead_code, reason = "the pool calls this, and no model gets there")]
    pub(crate) async fn exchange(
        &mut self,
        _: Request,
        _: Instant,
        _: Instant,
        _: oneshot::Sender<Response>,
    ) -> Result<(), Crash> {
        Ok(())
    }

    #[allow(dead_code, reason = "the pool calls this, and no model gets there")]
    pub(crate) fn is_worn(&self) -> bool {
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Row {
    pub(crate) fn is_killed(&self) -> bool {
        false
    }

    pub(crate) fn is_idle(&self, _: Instant) {}

    pub(crate) fn served(&self) -> u64 {
        0
    }
}
