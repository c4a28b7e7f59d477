//! The *structurings* of a server, measured on this machine with this module: the host's three, and
//! natively with threads and with fork and exec. This is the program's command `bench`.
//!
//! Each structuring is a server in a process of its own, and all are asked for the same. First
//! comes the memory of one more process. Then the servers take turns under load, in rounds, and
//! nothing is timed inside them. Then each server times its steps, on one connection, so that no
//! step contains waiting. The steps are means over all requests, since a server does not know which
//! requests warm it up. Last comes a crash. Where memory or a crash can't be measured, the figures
//! say so, and why.

mod cgi;
mod crash;
mod figures;
mod listener;
mod memory;
mod outputs;
mod plots;
mod scratch;
mod subject;
mod tables;
mod words;
mod yardstick;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use wasm_pool_host::descriptors;
use wasm_pool_host::steps::Totals;

use crate::kernel::{self, Machine};
use crate::load::{Load, Question};
use crate::progress::Progress;
use crate::server::Server;
use crate::turn::{Rounds, Turn};
pub use cgi::child;
use figures::{Figures, Gaps, Measured, Setup};
use memory::Memory;
use outputs::Outputs;
use scratch::Scratch;
use subject::{Structuring, Subject};
pub use yardstick::Yardstick;

/// The warm-up is a quarter of the time that counts, but at most as long as a pool needs to grow
/// and caches to be warm.
const WARM_UP: (u32, Duration) = (4, Duration::from_millis(500));

/// What is measured, how, and where the figures go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Flags of the host that say what guests may read, and in how much memory.
    pub guests: Vec<OsString>,
    /// Files that a process may have open.
    pub max_open_files: u32,
    /// The module; otherwise the built-in worker.
    pub module: Option<PathBuf>,
    /// The path that is asked for.
    pub path: String,
    /// Connections that each ask again as soon as they are answered.
    pub connections: usize,
    /// How long each structuring is measured in a round.
    pub time: Duration,
    /// Rounds, of which the median counts.
    pub rounds: usize,
    /// The most processes that a pool has by default. So many threads are enough, too.
    pub workers: usize,
    /// The file for JSON. `-` is standard output, which has no table then.
    pub json: Option<PathBuf>,
    /// The file for the plots.
    pub svg: Option<PathBuf>,
    /// The file for the page.
    pub html: Option<PathBuf>,
}

/// Measures everything, and writes the figures; does nothing more once `stop` completes. All
/// servers end with it.
///
/// # Errors
/// Where requests can't be measured, something can't be written, or a server answers wrongly.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let outputs = Outputs::open(&settings)?;
    let scratch = Arc::new(Scratch::new()?);
    let shared = Arc::clone(&scratch);
    descriptors::raise(); // a socket for each connection
    // Each structuring has its rounds, its steps and its crash. Before come the module and the
    // memory.
    let turns = Structuring::ALL.len() * (settings.rounds + 2) + 2;
    let progress = Progress::of(turns)?;
    let shown = progress.clone();
    // Servers die with the thread that started them, where their guards can't end them.
    let measuring = tokio::task::spawn_blocking(move || measure(&settings, &shared, &shown));
    let measured = tokio::select! {
        biased;
        () = stop => None,
        measured = measuring => Some(measured.context("the measuring thread panicked")?),
    };
    scratch.remove();
    progress.end();
    match measured {
        None => Ok(()),
        Some(Ok(figures)) => outputs.write(&figures),
        Some(Err(error)) => Err(words::in_words(&error)),
    }
}

fn measure(settings: &Settings, scratch: &Scratch, progress: &Progress) -> anyhow::Result<Figures> {
    progress.turn("asking the module");
    let subject = Subject::new(settings, scratch)?;
    let drill = crash::subject(subject.clone(), scratch)?;
    let load = Setup::new(settings, &subject.body);
    let mut gaps = Gaps::default();
    progress.turn("memory");
    let memory = Memory::measure(&subject, &mut gaps);
    let mut rounds = Structuring::ALL.map(|_| Rounds::default());
    for number in 1..=settings.rounds {
        let what = format!("under load, round {number}");
        let round = by_turns(&what, progress, |one| under_load(&subject, one, settings))?;
        for (Rounds(turns), turn) in rounds.iter_mut().zip(round) {
            turns.push(turn);
        }
    }
    let steps = by_turns("step by step", progress, |one| {
        step_by_step(&subject, one, settings)
    })?;
    let crashes = by_turns("and a crash", progress, |one| {
        let crash = crash::drill(&drill, one);
        Ok(gaps.unless_measured(&format!("crash of {one}"), crash))
    })?;
    let all = Structuring::ALL.into_iter();
    let measured = all.zip(&rounds).zip(steps).zip(crashes);
    let structurings = measured.map(|(((name, rounds), steps), crash)| {
        Measured::new(name, rounds, &steps, memory.of(name), crash)
    });
    Ok(Figures {
        version: env!("CARGO_PKG_VERSION"),
        date: kernel::date(),
        command: words::command(),
        machine: Machine::this(),
        load,
        structurings: structurings.collect(),
        not_measured: gaps,
    })
}

/// Measures something of each structuring.
fn by_turns<T>(
    what: &str,
    progress: &Progress,
    mut measure: impl FnMut(Structuring) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let turn = |structuring: Structuring| {
        progress.turn(&format!("{structuring} {what}"));
        measure(structuring)
    };
    Structuring::ALL.into_iter().map(turn).collect()
}

fn under_load(subject: &Subject, one: Structuring, settings: &Settings) -> anyhow::Result<Turn> {
    let threads = settings.connections.min(settings.workers).to_string();
    let flags: &[&str] = match one.is_ours() {
        true => &[],
        false => &["--workers", &threads],
    };
    let mut server = subject.server(one, flags)?;
    ask(&mut server, subject, settings.connections, settings.time)
}

fn step_by_step(
    subject: &Subject,
    one: Structuring,
    settings: &Settings,
) -> anyhow::Result<Totals> {
    let flags: &[&str] = match one.is_ours() {
        true => &["--steps"],
        false => &["--steps", "--workers", "1"],
    };
    let mut server = subject.server(one, flags)?;
    ask(&mut server, subject, 1, settings.time)?;
    server.steps()
}

fn ask(
    server: &mut Server,
    subject: &Subject,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Turn> {
    let (part, most) = WARM_UP;
    let load = Load::new(connections, (duration / part).min(most), duration);
    let question = Question {
        path: &subject.path,
        body: &subject.body,
    };
    server.measure(&load, question)
}
