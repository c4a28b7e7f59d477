//! The client: it knows workers by name only, and so goes on when one of them is somebody else.

use std::time::{Duration, Instant};

use wasm_pool_guest::mailbox::{ErrorCode, Pid};
use wasm_pool_guest::{process, talk};

use crate::WORKERS;
use crate::worker::{COUNT, CRASH};

/// Whose turn it is to crash, each time.
const VICTIM: &str = WORKERS[1];

/// More than any worker needs to count to the next number, or a supervisor to start a worker.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(crashes: u32) {
    for _ in 0..crashes {
        let victim = count();
        println!("client: {VICTIM}, crash");
        crash(victim);
        find(VICTIM); // whoever is there now was started by a supervisor who has said so
    }
    count();
    println!("client: done");
}

/// Asks all workers to count, one after the other. Gives the victim's pid in this life.
fn count() -> Pid {
    let [_, victim, _] = WORKERS.map(|name| {
        let pid = find(name);
        if let Err(error) = talk::call(pid, COUNT, PATIENCE) {
            fail(&format!("{name} doesn't count: {}", error.name()));
        }
        pid
    });
    victim
}

/// A call like any other, but the one who is called ends before it can reply.
fn crash(victim: Pid) {
    match talk::call(victim, CRASH, PATIENCE) {
        Err(ErrorCode::NoProcess) => {}
        Err(error) => fail(&format!("{VICTIM} doesn't crash: {}", error.name())),
        Ok(_) => fail(&format!("{VICTIM} doesn't crash")),
    }
}

/// The process that has this name. When a worker has ended, its name is free for a moment, until
/// the supervisor is told and starts the next.
fn find(name: &str) -> Pid {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match process::whereis(name) {
            Some(pid) => return pid,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    fail(&format!("{name} is not there"))
}

fn fail(reason: &str) -> ! {
    eprintln!("client: {reason}");
    talk::exit(1)
}
