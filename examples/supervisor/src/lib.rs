//! A supervisor: a process that does no work of its own, so that nothing can go wrong with it, and
//! starts those again that do. Where starting again doesn't help, it gives up, and says so to
//! whoever started it.

mod client;
mod restarts;
mod worker;

use std::time::Instant;

use wasm_pool_guest::mailbox::{self, Down, Exit, Incoming, Pid};
use wasm_pool_guest::{process, program, talk};

use crate::restarts::{MOST, PERIOD, Restarts};

/// Who is supervised, by name. The pids change, the names stay.
const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// How many times the client makes a worker crash, if the command line doesn't say.
const CRASHES: u32 = 3;

program!(run);

/// All processes run the same module; what a process is, its parent says.
fn run() {
    let args = process::args();
    match (process::parent(), args.as_slice()) {
        (None, []) => supervise(CRASHES),
        (None, [crashes]) => match crashes.parse() {
            Ok(crashes) => supervise(crashes),
            Err(_) => give_up(2, "how many crashes? That is no number"),
        },
        (None, _) => give_up(2, "only one argument is known: how many crashes"),
        (Some(_), [role, crashes]) if role == "client" => {
            client::run(crashes.parse().unwrap_or_default());
        }
        (Some(_), [role, name]) if role == "worker" => worker::run(name),
        (Some(_), _) => unreachable!("the supervisor starts clients and workers"),
    }
}

struct Supervisor {
    workers: Vec<Worker>,
    client: Pid,
    restarts: Restarts,
}

struct Worker {
    name: &'static str,
    pid: Pid,
}

fn supervise(crashes: u32) {
    let mut supervisor = Supervisor::start(crashes);
    loop {
        let Incoming::Down(down) = mailbox::receive().content else {
            continue; // nobody has anything else to say to a supervisor
        };
        if down.pid == supervisor.client {
            return the_client_has_ended(&down.exit);
        }
        supervisor.restart(&down);
    }
}

impl Supervisor {
    fn start(crashes: u32) -> Self {
        let workers = WORKERS.map(|name| {
            let pid = spawn("worker", name);
            println!("supervisor: {name} is process {pid}");
            Worker { name, pid }
        });
        Self {
            workers: workers.into(),
            client: spawn("client", &crashes.to_string()),
            restarts: Restarts::default(),
        }
    }

    /// One for one: a worker that has ended is started again, the others are left alone.
    fn restart(&mut self, down: &Down) {
        let Some(nth) = self.workers.iter().position(|it| it.pid == down.pid) else {
            return;
        };
        let (name, pid, exit) = (self.workers[nth].name, down.pid, down.exit);
        print!("supervisor: {name}, process {pid}, has ended: {exit}; ");
        match self.restarts.one_more(Instant::now()) {
            Some(restart) => println!("restart {restart} of {MOST} in {} s", PERIOD.as_secs()),
            None => {
                println!("no more than {MOST} restarts in {} s", PERIOD.as_secs());
                self.stop()
            }
        }
        // It says so before: what the new worker prints comes after what is printed here.
        self.workers[nth].pid = spawn("worker", name);
    }

    /// Ends the others, then itself. Its children would end with it anyway; this way they end
    /// before it has said so.
    fn stop(&self) -> ! {
        let pids = self.workers.iter().map(|worker| worker.pid);
        for pid in pids.chain([self.client]) {
            let _has_ended_already = process::kill(pid);
        }
        println!("supervisor: giving up");
        talk::exit(1)
    }
}

/// Starts a child and asks to hear of its end. A supervisor that can't do that is of no use.
fn spawn(role: &str, argument: &str) -> Pid {
    match process::spawn_monitor(&[role.into(), argument.into()]) {
        Ok(pid) => pid,
        Err(error) => give_up(1, &format!("a {role} can't be started: {}", error.name())),
    }
}

fn the_client_has_ended(exit: &Exit) {
    if !matches!(exit, Exit::Normal) {
        give_up(1, &format!("the client has ended: {}", exit));
    }
    println!("supervisor: the client has ended, and so do I");
    // The workers end now: they are this process's children.
}

fn give_up(code: u32, reason: &str) -> ! {
    eprintln!("supervisor: {reason}");
    talk::exit(code)
}
