//! The *crash drill*: many requests are in flight when the process or thread crashes that answers
//! one of them. How many others notice, and how long until the server answers again? The crashes
//! are real: a process traps, a thread aborts, and so does a process that fork and exec created.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::scratch::Scratch;
use super::subject::{Structuring, Subject};
use crate::client::{self, Answer, Pending};
use crate::server::Server;

/// Requests in flight beside the one that crashes: as many as connections by default.
pub(crate) const OTHERS: usize = 32;

/// Processes, or threads: so many that no request waits for one.
const ROOM: &str = "40";

/// From the request that crashes until the crash. All others are sent meanwhile, on a busy machine,
/// too.
const CRASH_AFTER: Duration = Duration::from_millis(200);

/// How long the others take: they arrive before the crash, and are answered well after it.
const WAIT: Duration = Duration::from_millis(500);

/// The request that crashes is read first if the others are sent so much later.
const HEAD_START: Duration = Duration::from_millis(10);

/// How long a server that did not end may take to answer again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a server that does not answer.
const GLANCE: Duration = Duration::from_millis(1);

/// How many requests noticed the crash.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Crash {
    /// Requests in flight, the one that crashed not counted.
    others: usize,
    /// How many of those were not answered with 200.
    pub(crate) others_lost: usize,
    /// Connections that were closed before their answer, that of the crash counted.
    pub(crate) connections_lost: usize,
    /// Milliseconds from the news of the crash to the next good answer; nothing if there never was
    /// one.
    pub(crate) answers_again_ms: Option<f64>,
}

/// The wish of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Answer,
    Wait,
    Crash,
}

/// The subject, with the drill's worker as its module.
pub(crate) fn subject(subject: Subject, scratch: &Scratch) -> anyhow::Result<Subject> {
    let text = include_str!("drill.wat")
        .replacen("CRASH_NANOSECONDS", &CRASH_AFTER.as_nanos().to_string(), 1)
        .replacen("WAIT_NANOSECONDS", &WAIT.as_nanos().to_string(), 1);
    Ok(subject.with_module(scratch.write("drill.wat", text.as_bytes())?))
}

/// Crashes whoever answers one request of many.
pub(crate) fn drill(subject: &Subject, structuring: Structuring) -> anyhow::Result<Crash> {
    let (flags, other): (&[&str], _) = match structuring {
        // The others wait anyway, in line behind the one that crashes.
        Structuring::Single => (&[], Task::Answer),
        Structuring::PerRequest | Structuring::Pool => (&["--workers", ROOM], Task::Wait),
        Structuring::Threads | Structuring::ForkExec => {
            (&["--workers", ROOM, "--drill"], Task::Wait)
        }
    };
    let mut server = subject.server(structuring, flags)?;
    let (crashing, others) = server.check(send(server.address, other))?;
    thread::scope(|scope| {
        let end = |pending: Pending| scope.spawn(move || End::of(pending));
        let others: Vec<_> = others.into_iter().map(end).collect();
        let crashed = End::of(crashing);
        let is_crash = !is_good(&crashed.answer);
        server.check(is_crash.then_some(()).context("what should crash did not"))?;
        let again = answers_again(&mut server)?;
        let others = others.into_iter().map(ScopedJoinHandle::join);
        let others = others.collect::<Result<Vec<_>, _>>();
        let others = others.map_err(|_| anyhow!("a client's thread panicked"))?;
        Ok(Crash::of(&crashed, &others, again))
    })
}

/// Sends the request that crashes, and all others after it.
fn send(address: SocketAddr, other: Task) -> io::Result<(Pending, Vec<Pending>)> {
    let crashing = client::send(address, Task::Crash.path())?;
    thread::sleep(HEAD_START);
    let others = (0..OTHERS).map(|_| client::send(address, other.path()));
    Ok((crashing, others.collect::<Result<_, _>>()?))
}

/// How a request ended, and when.
struct End {
    answer: io::Result<Answer>,
    at: Instant,
}

impl End {
    fn of(pending: Pending) -> Self {
        Self {
            answer: pending.answer(),
            at: Instant::now(),
        }
    }
}

impl Crash {
    fn of(crashed: &End, others: &[End], again: Option<Instant>) -> Self {
        let good = || others.iter().filter(|end| is_good(&end.answer));
        let all = others.iter().chain([crashed]);
        let answered = good().map(|end| end.at).chain(again);
        let again = answered.filter(|at| *at > crashed.at).min();
        Self {
            others: others.len(),
            others_lost: others.len() - good().count(),
            connections_lost: all.filter(|end| end.answer.is_err()).count(),
            answers_again_ms: again.map(|at| (at - crashed.at).as_secs_f64() * 1e3),
        }
    }
}

/// When the server answers again, if it ever does.
fn answers_again(server: &mut Server) -> anyhow::Result<Option<Instant>> {
    let begin = Instant::now();
    while !server.has_ended()? {
        let answer = client::ask(server.address, Task::Answer.path());
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

impl Task {
    pub(crate) const ALL: [Self; 3] = [Self::Answer, Self::Wait, Self::Crash];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Wait => "wait",
            Self::Crash => "crash",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Answer => "/",
            Self::Wait => "/wait",
            Self::Crash => "/crash",
        }
    }

    pub(crate) fn of_word(word: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|task| word == task.word())
    }

    /// Unknown paths are ordinary requests.
    pub(crate) fn of_path(path: &str) -> Self {
        let known = Self::ALL.into_iter().find(|task| path == task.path());
        known.unwrap_or(Self::Answer)
    }

    /// Does the task, in a native thread or process.
    pub(crate) fn perform(self) {
        match self {
            Self::Answer => {}
            Self::Wait => thread::sleep(WAIT),
            Self::Crash => {
                thread::sleep(CRASH_AFTER);
                std::process::abort();
            }
        }
    }
}
