//! A singleton: one process of its name in the whole cluster. Each host has a candidate. The first
//! one that gets the name does the work, and the others wait for its end. So the work moves when
//! its host is lost.

use std::thread::sleep;
use std::time::Duration;

use wasm_pool_guest::mailbox::{self, Incoming};
use wasm_pool_guest::talk::{self, Answer};
use wasm_pool_guest::{Response, cluster, process, program};

/// The name that one process of the cluster has.
const NAME: &str = "counter";

/// More than the counter needs for an answer, and as long as a client may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before the next try to get the name. The name of a lost host is free some seconds
/// later.
const PAUSE: Duration = Duration::from_millis(250);

program!(run);

/// Each host runs this module, and each starts its own root process.
fn run() {
    match process::parent() {
        None => serve(),
        Some(_) => stand_by(),
    }
}

/// The root process of a host: it answers clients, and keeps a candidate alive.
fn serve() {
    start_candidate();
    talk::serve(|message| match message.content {
        Incoming::Request(asked) => Some(Answer::response(asked.client, ask_the_counter())),
        Incoming::Down(_) => {
            start_candidate();
            None
        }
        Incoming::Data(_) | Incoming::Call(_) => None,
    })
}

fn start_candidate() {
    if let Err(error) = process::spawn_monitor(&[]) {
        eprintln!("no candidate can be started: {}", error.name());
        talk::exit(1); // the host starts another root process
    }
}

/// The counter is on any host, and is called as if it were here.
fn ask_the_counter() -> Response {
    let Ok(Some(counter)) = cluster::whereis(NAME) else {
        return Response::text(503, "Nobody counts at the moment.\n");
    };
    match talk::call(counter, b"", PATIENCE) {
        Ok(count) => {
            let count = String::from_utf8_lossy(&count);
            let host = talk::host_of(counter);
            Response::text(200, format!("{count}, counted on host {host}\n"))
        }
        // It may have counted. Only a client that may be counted twice asks again.
        Err(error) => Response::text(503, format!("No answer: {}.\n", error.name())),
    }
}

/// A candidate: it counts once it has the name.
fn stand_by() {
    loop {
        match cluster::register(NAME) {
            Ok(()) => return count(),
            Err(process::ErrorCode::NameTaken) => wait_for_the_end(),
            Err(error) => println!("not yet: {}", error.name()), // this host may be cut off
        }
        sleep(PAUSE);
    }
}

/// Waits until the process that has the name has ended, or its host is lost.
fn wait_for_the_end() {
    let Ok(Some(counter)) = cluster::whereis(NAME) else {
        return;
    };
    if process::monitor(counter).is_ok() {
        // The counter sends nothing, so this is the news of its end.
        let _news = mailbox::receive_from(counter);
    }
}

/// The counter. Its count is in its memory, and so begins anew where it moves to. If the host can't
/// keep the name, it ends this process before another one can have the name.
fn count() {
    println!("host {} counts", cluster::here());
    let mut count: u64 = 0;
    talk::serve(|asked| {
        count += 1;
        Answer::reply(&asked, count.to_string())
    })
}
