//! The drills: everything that can go wrong, at once and for a while, beside clients who ask for
//! nothing bad. They measure what those clients notice, so they are a test binary of their own:
//! cargo runs it when nothing else runs.

#[allow(dead_code)] // drills need a part of it
#[path = "../support/mod.rs"]
mod support;

mod attackers;
mod crashes;
mod everything;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One drill at a time has the machine to itself, while it holds this.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner) // another has failed
}
