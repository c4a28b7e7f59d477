//! `bench`: the work per request of a server, measured on this machine with this module: in the three
//! structurings, and natively with threads and with fork and exec.
//!
//! Each structuring is a server in a process of its own, and all are asked for the same. First comes the memory
//! of one more process. In rounds they take turns under load, without any clock in their way. Then, in a turn of
//! its own, each has its steps timed, on one connection, so that nothing but work is in them and no waiting; they
//! are means of all requests from the first on, since a server does not know which of them are to warm it up. At
//! the end comes a crash. Where memory or a crash can't be measured, the figures say so and why.

mod cgi;
mod client;
mod crash;
mod figures;
mod load;
mod memory;
mod numbers;
mod outputs;
mod page;
mod plot;
mod progress;
mod scratch;
mod server;
mod structurings;
mod table;
mod yardstick;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use wasm_pool_host::steps::Totals;

use crate::cli::{Bench, MAX_WORKERS_PER_CORE};
use crate::descriptors;
pub(crate) use cgi::child;
use figures::{Figures, Gaps, Machine, Measured, Setup};
use load::{Faults, Load, Question, Sample};
use memory::Memory;
use outputs::Outputs;
use progress::Progress;
use scratch::Scratch;
use structurings::{Site, Structuring};
pub(crate) use yardstick::start as yardstick;

/// A free port of this machine.
const LISTEN: &str = "127.0.0.1:0";

/// Before anything counts: a quarter of the time that counts, and at most as long as a pool needs to grow and
/// caches to be warm.
const WARM_UP: (u32, Duration) = (4, Duration::from_millis(500));

/// Measures everything, and writes it where it was asked for; nothing where `stop` completes before. Whatever
/// was started ends with this.
///
/// # Errors
/// Where requests can't be measured, something can't be written, or a server answers with what it should not.
pub(crate) async fn run(args: Bench, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let outputs = Outputs::open(&args)?;
    let scratch = Arc::new(Scratch::new()?);
    let shared = Arc::clone(&scratch);
    descriptors::raise(); // a socket for each connection
    let turns = Structuring::ALL.len() * (args.rounds + 2) + 2; // rounds, steps, crashes; module, memory
    let progress = Progress::of(turns)?;
    let shown = progress.clone();
    // Servers die with the thread that started them, if their guards can't see to it.
    let measuring = tokio::task::spawn_blocking(move || measure(&args, &shared, &shown));
    let measured = tokio::select! {
        biased;
        () = stop => None,
        measured = measuring => Some(measured.context("the measuring thread panicked")?),
    };
    scratch.remove();
    progress.end();
    measured.map_or(Ok(()), |figures| outputs.write(&figures?))
}

fn measure(args: &Bench, scratch: &Scratch, progress: &Progress) -> anyhow::Result<Figures> {
    progress.turn("asking the module");
    let site = Site::new(args, scratch)?;
    let drill = crash::site(site.clone(), scratch)?;
    let load = Setup::new(args, &site.body);
    let mut gaps = Gaps::default();
    progress.turn("memory");
    let memory = Memory::measure(&site, &mut gaps);
    let mut samples = Structuring::ALL.map(|_| Vec::new());
    for number in 1..=args.rounds {
        let what = format!("under load, round {number}");
        let round = by_turns(&what, progress, |one| under_load(&site, one, args))?;
        for (samples, sample) in samples.iter_mut().zip(round) {
            samples.push(sample);
        }
    }
    let steps = by_turns("step by step", progress, |one| {
        step_by_step(&site, one, args)
    })?;
    let crashes = by_turns("and a crash", progress, |one| {
        let crash = crash::drill(&drill, one);
        Ok(gaps.unless_measured(&format!("crash of {one}"), crash))
    })?;
    let measured = Structuring::ALL
        .into_iter()
        .zip(&samples)
        .zip(steps)
        .zip(crashes);
    let structurings = measured.map(|(((name, samples), steps), crash)| {
        Measured::new(name, samples, &steps, memory.of(name), crash)
    });
    Ok(Figures {
        version: env!("CARGO_PKG_VERSION"),
        date: figures::date(),
        command: figures::command(),
        machine: Machine::this(),
        load,
        structurings: structurings.collect(),
        not_measured: gaps,
    })
}

/// Something of each structuring.
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

fn under_load(site: &Site, structuring: Structuring, args: &Bench) -> anyhow::Result<Sample> {
    let threads = args.connections.min(default_workers()).to_string();
    let flags: &[&str] = if structuring.is_ours() {
        &[]
    } else {
        &["--workers", &threads]
    };
    let server = site.server(structuring, flags)?;
    server.check(ask(&server, site, args.connections, args.time))
}

/// The most that our own pool has by default: what is enough for it is enough for threads.
fn default_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores * MAX_WORKERS_PER_CORE as usize
}

fn step_by_step(site: &Site, structuring: Structuring, args: &Bench) -> anyhow::Result<Totals> {
    let flags: &[&str] = if structuring.is_ours() {
        &["--steps"]
    } else {
        &["--steps", "--workers", "1"]
    };
    let server = site.server(structuring, flags)?;
    server.check(ask(&server, site, 1, args.time))?;
    server.steps()
}

fn ask(
    server: &server::Server,
    site: &Site,
    connections: usize,
    duration: Duration,
) -> std::io::Result<Sample> {
    let (part, most) = WARM_UP;
    let load = Load {
        connections,
        keep_alive: true,
        threads: 1,
        warm_up: (duration / part).min(most),
        duration,
        faults: Faults::Refused,
    };
    let question = Question {
        path: &site.path,
        body: &site.body,
    };
    load::run(server.address, &load, question)
}
