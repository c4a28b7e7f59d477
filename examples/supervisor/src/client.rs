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
    let mut last = None;
    for _ in 0..crashes {
        last = count(last);
        println!("client: {VICTIM}, crash");
        crash(last);
    }
    count(last);
    println!("client: done");
}

/// Asks all workers to count, one after the other. `ended` is the victim's pid in its last life; the answer,
/// the one in this.
fn count(ended: Option<Pid>) -> Option<Pid> {
    let mut victim = None;
    for name in WORKERS {
        let pid = find(name, ended);
        if let Err(error) = talk::call(pid, COUNT, PATIENCE) {
            fail(&format!("{name} doesn't count: {}", error.name()));
        }
        if name == VICTIM {
            victim = Some(pid);
        }
    }
    victim
}

/// A call like any other, but the one who is called ends before it can reply.
fn crash(victim: Option<Pid>) {
    let Some(pid) = victim else { return };
    match talk::call(pid, CRASH, PATIENCE) {
        Err(ErrorCode::NoProcess) => {}
        Err(error) => fail(&format!("{VICTIM} doesn't crash: {}", error.name())),
        Ok(_) => fail(&format!("{VICTIM} doesn't crash")),
    }
}

/// Who has this name, other than who had it before. Between two lives nobody has it, for a moment.
fn find(name: &str, ended: Option<Pid>) -> Pid {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match process::whereis(name) {
            Some(pid) if Some(pid) != ended => return pid,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    fail(&format!("{name} is not there"))
}

fn fail(reason: &str) -> ! {
    eprintln!("client: {reason}");
    crate::exit(1)
}
