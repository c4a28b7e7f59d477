//! The clock's rest: it does not rest while a guest runs, and its time does not go back.

use std::sync::{Arc, PoisonError};

use shuttle::sync::Mutex;
use shuttle::thread;

use super::tested::Running;
use crate::check::Model;

/// All models of the clock.
pub const MODELS: &[Model] = &[
    Model { name: "the first slice wakes the clock", run: || wakes(1, 0) },
    Model { name: "a slice after another wakes the clock", run: || wakes(1, 1) },
    Model { name: "one of two slices wakes the clock", run: || wakes(2, 0) },
    Model { name: "slices begin in the order of their times", run: times },
];

/// The time before the clock's rest, and the time at its end. No model asks for the time in
/// between.
const BEFORE_MS: u64 = 10;
const AFTER_MS: u64 = 20;

/// The clock of a host without running guests: it ticks twice more, and rests.
fn clock(running: &Arc<Running<2>>) -> thread::JoinHandle<()> {
    let running = Arc::clone(running);
    running.set_now(BEFORE_MS);
    thread::spawn(move || {
        let mut begun = 0;
        running.is_idle(&mut begun);
        if running.is_idle(&mut begun) {
            running.rest(begun, || AFTER_MS);
        }
    })
}

/// Guests run until the clock ticks again. Before, this many slices have ended. If the clock rests
/// for ever, the guests wait for ever.
fn wakes(guests: usize, before: usize) {
    let running = Arc::new(Running::new());
    let clock = clock(&running);
    let thread = clock.thread().clone();
    let ticks = Arc::new(Mutex::new(Some(clock)));
    let guests: Vec<_> = (0..guests)
        .map(|slot| {
            let (running, thread, ticks) = (running.clone(), thread.clone(), ticks.clone());
            thread::spawn(move || {
                for _ in 0..before {
                    drop(running.begin(slot, &thread, || AFTER_MS));
                }
                let _slice = running.begin(slot, &thread, || AFTER_MS);
                let clock = ticks.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(clock) = clock {
                    clock.join().expect("the clock ticks");
                }
            })
        })
        .collect();
    for guest in guests {
        guest.join().expect("a guest ends");
    }
}

fn times() {
    let running = Arc::new(Running::new());
    let clock = clock(&running);
    let thread = clock.thread().clone();
    let mut last_ms = 0;
    for _ in 0..2 {
        drop(running.begin(0, &thread, || AFTER_MS));
        let since_ms = running.since_ms(0);
        assert!(last_ms <= since_ms, "{last_ms} ms, then {since_ms} ms");
        last_ms = since_ms;
    }
    let _slice = running.begin(0, &thread, || AFTER_MS);
    clock.join().expect("the clock ticks");
}
