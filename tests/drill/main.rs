//! The drills: every kind of failure at once and for a while, beside clients with harmless
//! requests. They measure how these clients are affected, so they are a test binary of their own:
//! cargo runs it when no other test runs.

#[allow(dead_code)] // drills need a part of it
#[path = "../support/mod.rs"]
mod support;

mod attackers;
mod crashes;
mod doors;
mod everything;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holding this gives a drill the machine for itself, since only one drill holds it at a time.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner) // another drill has failed
}
