//! The *crash drill*: many requests are in flight when a process or thread crashes that answers one
//! of them. The drill counts the other requests that fail, and measures the time until the server
//! answers again. The crashes are real: a process traps, a thread aborts, and a process aborts that
//! fork and exec created.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use wasm_pool_native::{CRASH_AFTER, Task, WAIT};

use super::subject::{Structuring, Subject};
use crate::client::{self, Answer, Pending};
use crate::quantities::ANSWERS_AGAIN;
use crate::results::Turn;
use crate::server::Server;

/// The requests in flight beside the request that crashes: as many as connections by default.
pub(crate) const OTHERS: usize = 32;

/// The number of processes or threads: so many that no request waits for one.
const ROOM: &str = "40";

/// The others are sent this much later, so that the server reads the request that crashes first.
const HEAD_START: Duration = Duration::from_millis(10);

/// The longest time until a server that did not end answers again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The interval between two requests to a server that does not answer.
const GLANCE: Duration = Duration::from_millis(1);

/// The subject, with the drill's worker as its module.
pub(crate) fn subject(subject: &Subject, scratch: &Path) -> anyhow::Result<Subject> {
    let text = include_str!("drill.wat")
        .replacen("CRASH_NANOSECONDS", &CRASH_AFTER.as_nanos().to_string(), 1)
        .replacen("WAIT_NANOSECONDS", &WAIT.as_nanos().to_string(), 1);
    let module = scratch.join("drill.wat");
    fs::write(&module, text).context("can't write a temporary file")?;
    Ok(Subject {
        module: Some(module),
        ..subject.clone()
    })
}

/// Crashes the process or thread that answers one request of many.
pub(crate) fn drill(subject: &Subject, structuring: Structuring) -> anyhow::Result<Turn> {
    let (flags, other): (&[&str], _) = match structuring {
        // The other requests wait anyway, in line behind the request that crashes.
        Structuring::Single => (&[], Task::Answer),
        Structuring::PerRequest | Structuring::Pool => (&["--workers", ROOM], Task::Wait),
        Structuring::Threads | Structuring::ForkExec => {
            (&["--workers", ROOM, "--drill"], Task::Wait)
        }
    };
    let mut server = subject.server(structuring, flags)?;
    let (crashing, others) = server.check(send(server.address, other))?;
    thread::scope(|scope| {
        let others = others
            .into_iter()
            .map(|other| scope.spawn(move || end(other)));
        let others: Vec<_> = others.collect();
        let crashed = end(crashing);
        let is_crash = !is_good(&crashed.0);
        server.check(is_crash.then_some(()).context("what should crash did not"))?;
        let again = answers_again(&mut server)?;
        let others = others.into_iter().map(ScopedJoinHandle::join);
        let others = others.collect::<Result<Vec<_>, _>>();
        let others = others.map_err(|_| anyhow!("a client's thread panicked"))?;
        Ok(turn(&crashed, &others, again))
    })
}

/// Counts the other requests that were not answered with 200. Counts the connections that were
/// closed before their answer, including that of the request that crashes. Measures the time from
/// the end of the crashed request to the next good answer, if there is one.
fn turn(crashed: &End, others: &[End], again: Option<Instant>) -> Turn {
    let good = || others.iter().filter(|(answer, _)| is_good(answer));
    let all = others.iter().chain([crashed]);
    let closed = all.filter(|(answer, _)| answer.is_err()).count();
    let news = crashed.1;
    let mut turn = vec![
        ("others", others.len() as f64),
        ("others_lost", (others.len() - good().count()) as f64),
        ("connections_lost", closed as f64),
    ];
    let answered = good().map(|(_, at)| *at).chain(again);
    let again = answered.filter(|at| *at > news).min();
    turn.extend(again.map(|at| (ANSWERS_AGAIN, (at - news).as_secs_f64() * 1e3)));
    turn
}

/// Sends the request that crashes, and then all other requests.
fn send(address: SocketAddr, other: Task) -> io::Result<(Pending, Vec<Pending>)> {
    let crashing = client::send(address, &Task::Crash.path())?;
    thread::sleep(HEAD_START);
    let others = (0..OTHERS).map(|_| client::send(address, &other.path()));
    Ok((crashing, others.collect::<Result<_, _>>()?))
}

/// The outcome of a request, and the time of its end.
type End = (io::Result<Answer>, Instant);

fn end(pending: Pending) -> End {
    (pending.answer(), Instant::now())
}

/// The time when the server answers again. `None` if it has ended.
fn answers_again(server: &mut Server) -> anyhow::Result<Option<Instant>> {
    let begin = Instant::now();
    while !server.has_ended() {
        let answer = client::ask(server.address, &Task::Answer.path());
        if is_good(&answer) {
            return Ok(Some(Instant::now()));
        }
        let is_patient = begin.elapsed() < PATIENCE;
        server.check(is_patient.then_some(()).context("it never answered again"))?;
        thread::sleep(GLANCE);
    }
    Ok(None)
}

fn is_good(answer: &io::Result<Answer>) -> bool {
    answer.as_ref().is_ok_and(Answer::is_good)
}
